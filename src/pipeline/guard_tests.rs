//! A guardrail around requests, with the toy model.

use std::sync::Arc;

use serde_json::json;

use crate::guardrail::{Guardrail, Identity, OutputScope, StreamMode};
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{answer_ids, num_written, saying, scripted};
use crate::pipeline::{
    ChatEvent, ChatRequest, GuardedText, Guarding, GuardrailTrace, Input, Message, Pipeline, Role,
    StopReason,
};

fn guardrail() -> Arc<Guardrail> {
    let definition = serde_json::from_value(json!({
        "name": "g",
        "blockedInputMessaging": "not this",
        "blockedOutputsMessaging": "not that",
        "wordPolicyConfig": { "wordsConfig": [{ "text": "xyzzy" }] },
        "sensitiveInformationPolicyConfig": {
            "piiEntitiesConfig": [{ "type": "EMAIL", "action": "ANONYMIZE" }]
        },
    }));
    let identity = Identity { id: "g".into(), arn: "arn:g".into(), version: "1".into() };
    Arc::new(Guardrail::new(identity, definition.unwrap()).unwrap())
}

fn request(content: &str, is_whole: bool) -> ChatRequest {
    let guarding = Guarding {
        guardrail: guardrail(),
        input: vec![GuardedText { text: content.to_owned(), qualifiers: Vec::new() }],
        mode: StreamMode::Sync,
        scope: OutputScope::Interventions,
        is_whole,
        reasoning: true,
        observer: None,
    };
    ChatRequest {
        guarding: Some(guarding),
        ..ChatRequest::new(Input::Messages(vec![Message::new(Role::User, content)]))
    }
}

struct Answer {
    reasoning: String,
    text: String,
    stop_reason: StopReason,
    trace: GuardrailTrace,
}

async fn answer(pipeline: &Pipeline, request: ChatRequest) -> Answer {
    let mut stream = pipeline.run(request).await.unwrap();
    let (mut reasoning, mut text) = (String::new(), String::new());
    loop {
        match stream.next().await.unwrap() {
            ChatEvent::Reasoning(delta) => reasoning.push_str(&delta),
            ChatEvent::Text(delta) => text.push_str(&delta),
            ChatEvent::Finished(summary) => {
                assert_eq!(stream.next().await, None);
                let trace = stream.take_guardrail_trace().unwrap();
                return Answer { reasoning, text, stop_reason: summary.stop_reason, trace };
            }
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn a_blocked_prompt_never_reaches_the_model() {
    let pipeline = saying("</think>never");
    let blocked = answer(&pipeline, request("say XYZZY", false)).await;
    assert_eq!((blocked.text.as_str(), blocked.reasoning.as_str()), ("not this", ""));
    assert_eq!(blocked.stop_reason, StopReason::GuardrailIntervened);
    assert_eq!(blocked.trace.action_reason(), Some("Guardrail blocked."));
    assert_eq!(pipeline.engine().stats().steps_total, 0);
}

#[tokio::test]
async fn the_model_reads_and_the_client_gets_masked_text() {
    let echo = answer_ids("thinking of a@b.cn\n</think>\n\nwrite to c@d.cn now");
    let mut saw_mail = false;
    let pipeline = scripted(move |step| {
        let prompt: Vec<u8> = step.tokens.iter().filter_map(|id| u8::try_from(*id).ok()).collect();
        saw_mail |= prompt.windows(8).any(|window| window == b"me@ab.cn");
        assert!(!saw_mail, "the model read what was to be masked");
        ToyReply::Token(echo[num_written(step)])
    });
    for is_whole in [false, true] {
        let masked = answer(&pipeline, request("mail me@ab.cn", is_whole)).await;
        assert_eq!(masked.reasoning, "thinking of {EMAIL}");
        assert_eq!(masked.text, "write to {EMAIL} now");
        assert_eq!(masked.stop_reason, StopReason::GuardrailIntervened);
        assert_eq!(masked.trace.action_reason(), Some("Guardrail masked."));
        assert_eq!(masked.trace.outputs.len(), 2);
    }
}

#[tokio::test]
async fn a_blocked_answer_ends_there_and_as_a_whole_is_the_message_alone() {
    let pipeline = saying("fine</think>so: xyzzy and so on and on");
    let streamed = answer(&pipeline, request("q", false)).await;
    assert_eq!((streamed.reasoning.as_str(), streamed.text.as_str()), ("fine", "so: not that"));
    assert_eq!(streamed.stop_reason, StopReason::GuardrailIntervened);
    let whole = answer(&pipeline, request("q", true)).await;
    assert_eq!((whole.reasoning.as_str(), whole.text.as_str()), ("", "not that"));
    let clean = answer(&saying("fine</think>so"), request("q", true)).await;
    assert_eq!((clean.text.as_str(), clean.stop_reason), ("so", StopReason::EndTurn));
    assert_eq!(clean.trace.action_reason(), None);
}
