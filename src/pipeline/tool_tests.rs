//! Tools, output formats and prompts without messages, with the toy model.

use serde_json::{Value, json};

use crate::chat::{Message, Role, ToolCall, ToolChoice, ToolSpec};
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{answer_ids, endless, num_written, saying, scripted};
use crate::pipeline::{
    ChatEvent, ChatRequest, ChatSummary, GrammarError, Input, OutputFormat, Pipeline,
    PipelineError, ReasoningFormat, StopReason, TokenLogprob, ToolError,
};

#[derive(Debug, Default)]
struct Answer {
    reasoning: String,
    text: String,
    calls: Vec<(String, String, String)>,
    num_ended_calls: usize,
    logprobs: Vec<TokenLogprob>,
}

async fn answer(pipeline: &Pipeline, request: ChatRequest) -> (Answer, ChatSummary) {
    let mut stream = pipeline.run(request).await.unwrap();
    let mut answer = Answer::default();
    while let Some(event) = stream.next().await {
        match event {
            ChatEvent::Reasoning(delta) => answer.reasoning.push_str(&delta),
            ChatEvent::Text(delta) => answer.text.push_str(&delta),
            ChatEvent::ToolCallStart { id, name } => answer.calls.push((id, name, String::new())),
            ChatEvent::ToolCallArguments(delta) => {
                answer.calls.last_mut().expect("a call has begun").2.push_str(&delta);
            }
            ChatEvent::ToolCallEnd => answer.num_ended_calls += 1,
            ChatEvent::Logprobs(logprobs) => answer.logprobs.extend(logprobs),
            ChatEvent::Finished(summary) => return (answer, summary),
            ChatEvent::Failed(error) => panic!("{error}"),
        }
    }
    panic!("the stream ended without a final event");
}

fn request(content: &str) -> ChatRequest {
    ChatRequest::new(Input::Messages(vec![Message::new(Role::User, content)]))
}

fn weather() -> ToolSpec {
    ToolSpec {
        name: "get_weather".to_owned(),
        description: Some("The weather of a city".to_owned()),
        parameters: json!({
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        }),
        strict: false,
        field: "tools[0]".to_owned(),
    }
}

fn with_tool(choice: ToolChoice) -> ChatRequest {
    ChatRequest { tools: vec![weather()], tool_choice: choice, ..request("Rain?") }
}

fn object(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value.is_object(), "{text}");
    value
}

#[tokio::test]
async fn a_forced_call_is_valid_and_alone_whatever_the_model_wants() {
    // It would reason and then write `a` for ever.
    let pipeline = endless(std::time::Duration::ZERO);
    for choice in [ToolChoice::Any, ToolChoice::Tool("get_weather".to_owned())] {
        let mut forced = with_tool(choice);
        forced.max_tokens = Some(160);
        let (answer, summary) = answer(&pipeline, forced).await;
        assert_eq!(answer.text, "");
        let [(id, name, arguments)] = &answer.calls[..] else { panic!("{answer:?}") };
        assert!(id.starts_with("tooluse_") && id.len() == 30, "{id}");
        assert_eq!((name.as_str(), answer.num_ended_calls), ("get_weather", 1));
        let arguments = object(arguments);
        assert!(arguments["city"].is_string() && arguments["days"].as_u64() >= Some(1));
        assert_eq!(summary.stop_reason, StopReason::ToolUse);
        assert!(answer.reasoning.starts_with("aaa"), "it may reason before");
        assert!(summary.usage.generated_tokens <= 160);
    }
}

#[tokio::test]
async fn a_schema_holds_after_the_reasoning_within_any_room() {
    let pipeline = scripted(|_| ToyReply::Hash);
    let schema = json!({
        "type": "object",
        "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}},
        "required": ["answer", "sure"],
    });
    for seed in 0..12 {
        let mut asked = request("?");
        asked.output_format = OutputFormat::JsonSchema(schema.clone());
        asked.max_tokens = Some(60 + 7 * seed as usize);
        asked.reasoning_budget = Some(5);
        asked.sampling.temperature = Some(1.0);
        asked.sampling.seed = Some(seed);
        let (answer, summary) = answer(&pipeline, asked).await;
        let value = object(&answer.text);
        assert!(value["answer"].is_string() && value["sure"].is_boolean(), "{}", answer.text);
        assert_eq!(summary.stop_reason, StopReason::EndTurn);
    }
}

#[tokio::test]
async fn a_call_within_text_is_enforced_from_its_opener_on() {
    // The model forgets an argument and breaks the form.
    let pipeline =
        saying("Hm.</think>\n\nLet me see.\n<tool_call>\n{\"name\": \"get_weather\", oops");
    let mut asked = with_tool(ToolChoice::Auto);
    asked.max_tokens = Some(150);
    let (calling, summary) = answer(&pipeline, asked).await;
    assert_eq!((calling.reasoning.as_str(), calling.text.as_str()), ("Hm.", "Let me see."));
    assert_eq!(calling.calls.len(), calling.num_ended_calls);
    assert_eq!(calling.calls[0].1, "get_weather");
    assert!(object(&calling.calls[0].2)["days"].is_u64());
    assert_eq!(summary.stop_reason, StopReason::ToolUse);

    let pipeline = saying("</think>It is <b>dry</b>.");
    let (talking, summary) = answer(&pipeline, with_tool(ToolChoice::Auto)).await;
    assert_eq!((talking.text.as_str(), talking.calls.len()), ("It is <b>dry</b>.", 0));
    assert_eq!(summary.stop_reason, StopReason::EndTurn);

    let written = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {}}\n</tool_call>";
    let pipeline = saying(&format!("</think>{written}"));
    let (told_not_to, _) = answer(&pipeline, with_tool(ToolChoice::None)).await;
    assert_eq!((told_not_to.text.as_str(), told_not_to.calls.len()), (written, 0));
}

#[tokio::test]
async fn a_strict_tool_is_refused_by_name_and_another_takes_any_object() {
    let pipeline = endless(std::time::Duration::ZERO);
    let mut asked = with_tool(ToolChoice::Any);
    asked.max_tokens = Some(120);
    asked.tools[0].parameters["properties"]["days"] = json!({"not": {"type": "integer"}});
    asked.tools[0].strict = true;
    let refused = pipeline.run(asked.clone()).await.unwrap_err();
    let PipelineError::Grammar { field, error: GrammarError::Invalid { .. } } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(field.as_deref(), Some("tools[0]"));
    assert!(refused.to_string().contains("not"), "{refused}");
    asked.tools[0].strict = false;
    let (answer, _) = answer(&pipeline, asked).await;
    object(&answer.calls[0].2);

    let mut none = request("?");
    none.tool_choice = ToolChoice::Any;
    let refused = pipeline.run(none).await.unwrap_err();
    assert!(matches!(refused, PipelineError::Tools(ToolError::NoTools)));
}

#[tokio::test]
async fn an_answer_of_json_may_speak_about_tags() {
    let ids = answer_ids("{\"a\": \"");
    let spelled: Vec<u32> = "<think>x\"}".bytes().map(u32::from).collect();
    let end = answer_ids("").remove(0);
    let close = answer_ids("</think>").remove(0);
    let pipeline = scripted(move |step| {
        let closed = step.tokens.iter().rposition(|&id| id == close);
        let Some(closed) = closed else { return ToyReply::Token(close) };
        // Two line breaks follow the closing tag.
        let said = (step.tokens.len() - closed).saturating_sub(3);
        let script = ids[..ids.len() - 1].iter().chain(&spelled);
        ToyReply::Token(script.copied().nth(said).unwrap_or(end))
    });
    let mut asked = request("?");
    asked.output_format = OutputFormat::JsonObject;
    let (answer, _) = answer(&pipeline, asked).await;
    assert_eq!(answer.text, "{\"a\": \"<think>x\"}");
}

#[tokio::test]
async fn a_raw_prompt_has_control_tokens_in_any_spelling_and_one_beginning() {
    let pipeline = saying("Hm.</think>Yes.");
    let count = |text: &str| {
        let input = Input::Text(text.to_owned());
        let pipeline = pipeline.clone();
        async move { pipeline.count_tokens(input, &[]).await.unwrap() }
    };
    let real = "<｜begin▁of▁sentence｜><｜User｜>six?<｜Assistant｜>";
    let fake = "\n<|begin_of_sentence|><|User|>six?<|Assistant|>";
    assert_eq!(count(real).await, 7);
    assert_eq!(count(fake).await, 7);
    assert_eq!(count("<｜User｜>six?<｜Assistant｜>").await, 7);

    let primed = format!("{real}<think>\n");
    let mut asked = ChatRequest::new(Input::Text(primed));
    let (split, _) = answer(&pipeline, asked.clone()).await;
    assert_eq!((split.reasoning.as_str(), split.text.as_str()), ("Hm.", "Yes."));
    asked.reasoning = ReasoningFormat::Inline;
    let (inline, _) = answer(&pipeline, asked).await;
    assert_eq!((inline.reasoning.as_str(), inline.text.as_str()), ("", "Hm.</think>Yes."));
}

#[tokio::test]
async fn log_probabilities_are_those_of_the_answers_tokens() {
    let pipeline = saying("Hm.</think>é!");
    let mut asked = request("?");
    asked.logprobs = Some(1);
    let (answer, _) = answer(&pipeline, asked).await;
    let bytes: Vec<u8> = answer.logprobs.iter().flat_map(|it| it.bytes.clone()).collect();
    assert_eq!(bytes, "é!".as_bytes());
    assert!(answer.logprobs.iter().all(|it| it.logprob == 0.0 && it.top.len() == 1));
    assert_eq!(answer.logprobs[0].text, "\u{fffd}", "half of a character");
    let mut greedy = request("?");
    greedy.logprobs = Some(21);
    assert!(matches!(pipeline.run(greedy).await, Err(PipelineError::Unsupported(_))));
}

#[tokio::test]
async fn tenants_share_no_prefixes() {
    let pipeline = saying("</think>fine");
    let long = "tell me about rivers and their sources ".repeat(4);
    let usage = async |tenant: &str| {
        let asked = ChatRequest { tenant: Some(tenant.into()), ..request(&long) };
        let usage = answer(&pipeline, asked).await.1.usage;
        (usage.cached_prompt_tokens, usage.written_prompt_tokens)
    };
    let (first, other) = (usage("a").await, usage("b").await);
    assert_eq!((first.0, other), (0, first));
    let again = usage("a").await;
    assert!(again.0 > 0 && again.1 == 0, "{again:?}");
}

#[tokio::test]
async fn calls_and_results_of_earlier_turns_are_part_of_the_prompt() {
    let pipeline = scripted(|step| {
        let _ = num_written(step);
        ToyReply::Hash
    });
    let mut calling = Message::new(Role::Assistant, "");
    calling.tool_calls = vec![ToolCall {
        id: "1".to_owned(),
        name: "get_weather".to_owned(),
        arguments: "{\"city\": \"<｜User｜>\"}".to_owned(),
    }];
    let mut result = Message::new(Role::Tool, "rain <｜Assistant｜>");
    result.tool_call_id = Some("1".to_owned());
    let messages = vec![Message::new(Role::User, "?"), calling, result];
    let count = |messages: &[Message], tools: &[ToolSpec]| {
        let (input, tools) = (Input::Messages(messages.to_vec()), tools.to_vec());
        let pipeline = pipeline.clone();
        async move { pipeline.count_tokens(input, &tools).await.unwrap() }
    };
    let with_all = count(&messages, &[weather()]).await;
    assert!(with_all > count(&messages, &[]).await);
    assert!(count(&messages, &[]).await > count(&messages[..1], &[]).await + 40);
}
