//! A request's way through the pipeline, with the toy model.

use std::time::Duration;

use crate::chat::{Message, Role};
use crate::engine::{GenerationError, SubmitError};
use crate::limits;
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{MAX_MODEL_LEN, answer_ids, endless, num_written, saying, scripted};
use crate::pipeline::{
    ChatEvent, ChatRequest, ChatSummary, Input, Pipeline, PipelineError, StopReason,
};

fn request(content: &str) -> ChatRequest {
    ChatRequest::new(Input::Messages(vec![Message::new(Role::User, content)]))
}

/// Reasoning, text and summary of a request that is to end well.
async fn answer(pipeline: &Pipeline, request: ChatRequest) -> (String, String, ChatSummary) {
    let mut stream = pipeline.run(request).await.unwrap();
    let (mut reasoning, mut text) = (String::new(), String::new());
    while let Some(event) = stream.next().await {
        match event {
            ChatEvent::Reasoning(delta) => reasoning.push_str(&delta),
            ChatEvent::Text(delta) => text.push_str(&delta),
            ChatEvent::Finished(summary) => {
                assert_eq!(stream.next().await, None);
                return (reasoning, text, summary);
            }
            ChatEvent::Failed(error) => panic!("{error}"),
            other => panic!("{other:?}"),
        }
    }
    panic!("the stream ended without a final event");
}

async fn idle(pipeline: &Pipeline) {
    for _ in 0..500 {
        let stats = pipeline.engine().stats();
        if stats.num_running + stats.num_waiting + stats.num_used_blocks == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the engine is not idle: {:?}", pipeline.engine().stats());
}

#[tokio::test]
async fn reasoning_and_answer_are_told_apart() {
    let pipeline = saying("It is “hard”.\n</think>\n\nThe answer: 六.");
    let (reasoning, text, summary) = answer(&pipeline, request("six?")).await;
    assert_eq!((reasoning.as_str(), text.as_str()), ("It is “hard”.", "The answer: 六."));
    assert_eq!(summary.stop_reason, StopReason::EndTurn);
    let written = answer_ids("It is “hard”.\n</think>\n\nThe answer: 六.").len() - 1;
    assert_eq!(summary.usage.generated_tokens, written);
    assert_eq!(summary.usage.reasoning_tokens, "It is “hard”.\n".len());
    // <bos> <User> six? <Assistant> <think> \n
    assert_eq!(summary.usage.prompt_tokens, 9);
    assert!(summary.timing.first_token.is_some_and(|it| it <= summary.timing.total));
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_and_frees_the_engine() {
    let pipeline = scripted(|step| {
        let say = b"x END y\x00zzEND never"; // the zero stands for the closing tag
        let byte = say.get(num_written(step)).copied().unwrap_or(b'!');
        match byte {
            0 => ToyReply::Token(answer_ids("</think>")[0]),
            byte => ToyReply::Token(byte.into()),
        }
    });
    let mut stopping = request("q");
    stopping.stop_sequences = vec!["END".to_owned()];
    let (reasoning, text, summary) = answer(&pipeline, stopping).await;
    // The reasoning may contain the stop string; the answer ends before it.
    assert_eq!((reasoning.as_str(), text.as_str()), ("x END y", "zz"));
    assert_eq!(summary.stop_reason, StopReason::StopSequence("END".to_owned()));
    assert_eq!(summary.usage.generated_tokens, 13);
    assert_eq!(summary.usage.reasoning_tokens, 7);
    idle(&pipeline).await;
}

#[tokio::test]
async fn a_stop_string_that_stays_incomplete_is_part_of_the_answer() {
    let pipeline = saying("</think>the EN");
    let mut stopping = request("q");
    stopping.stop_sequences = vec!["END".to_owned()];
    let (_, text, summary) = answer(&pipeline, stopping).await;
    assert_eq!((text.as_str(), summary.stop_reason), ("the EN", StopReason::EndTurn));
}

#[tokio::test]
async fn a_reasoning_that_loops_is_closed_at_its_budget() {
    let end = answer_ids("").remove(0);
    let close = answer_ids("</think>").remove(0);
    let pipeline = scripted(move |step| {
        let closed = step.tokens.contains(&close);
        let reply = b"ok".get(num_written(step).saturating_sub(14));
        match (closed, reply) {
            (false, _) => ToyReply::Token(b'a'.into()),
            (true, Some(&byte)) => ToyReply::Token(byte.into()),
            (true, None) => ToyReply::Token(end),
        }
    });
    let mut budgeted = request("q");
    budgeted.reasoning_budget = Some(10);
    let (reasoning, text, summary) = answer(&pipeline, budgeted).await;
    assert_eq!((reasoning.as_str(), text.as_str()), ("aaaaaaaaaa", "ok"));
    assert_eq!(summary.stop_reason, StopReason::EndTurn);
}

#[tokio::test]
async fn a_model_that_never_ends_is_ended() {
    let pipeline = endless(Duration::ZERO);
    let mut limited = request("q");
    limited.max_tokens = Some(5);
    let (reasoning, _, summary) = answer(&pipeline, limited).await;
    assert_eq!((reasoning.as_str(), summary.stop_reason), ("aaaaa", StopReason::MaxTokens));

    let (_, _, summary) = answer(&pipeline, request("q")).await;
    assert_eq!(summary.stop_reason, StopReason::ContextWindowExceeded);
    assert_eq!(summary.usage.prompt_tokens + summary.usage.generated_tokens, MAX_MODEL_LEN);
}

#[tokio::test]
async fn the_second_turn_reads_the_first_from_the_prefix_cache() {
    let pipeline = saying("</think>fine");
    let long = "tell me about rivers and their sources ".repeat(4);
    let (_, _, first) = answer(&pipeline, request(&long)).await;
    let (_, _, second) = answer(&pipeline, request(&long)).await;
    assert_eq!(first.usage.cached_prompt_tokens, 0);
    let expected = (first.usage.prompt_tokens - 1) / 16 * 16;
    assert_eq!(second.usage.cached_prompt_tokens, expected);
    let mut stopping = request(&long);
    stopping.stop_sequences = vec!["fi".to_owned()];
    let (_, _, third) = answer(&pipeline, stopping).await;
    assert_eq!(third.stop_reason, StopReason::StopSequence("fi".to_owned()));
    assert_eq!(third.usage.cached_prompt_tokens, expected);
}

#[tokio::test]
async fn dropping_the_stream_cancels_the_request() {
    let pipeline = endless(Duration::from_millis(1));
    let mut stream = pipeline.run(request("q")).await.unwrap();
    assert!(matches!(stream.next().await, Some(ChatEvent::Reasoning(_))));
    drop(stream);
    idle(&pipeline).await;
    assert_eq!(pipeline.engine().stats().aborted_requests_total, 1);
}

#[tokio::test]
async fn a_model_that_fails_fails_the_request_only() {
    let mut calls = 0;
    let pipeline = scripted(move |_| {
        calls += 1;
        if calls == 3 { ToyReply::NotANumber } else { ToyReply::Token(b'a'.into()) }
    });
    let mut stream = pipeline.run(request("q")).await.unwrap();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    assert_eq!(last, Some(ChatEvent::Failed(GenerationError::NotANumber)));
    let mut limited = request("q");
    limited.max_tokens = Some(3);
    assert_eq!(answer(&pipeline, limited).await.0, "aaa");
}

#[tokio::test]
async fn what_cannot_fit_is_refused_before_the_engine_sees_it() {
    let pipeline = saying("never");
    let refused = pipeline.run(request(&"x".repeat(MAX_MODEL_LEN))).await.unwrap_err();
    assert!(matches!(
        refused,
        PipelineError::Submit(SubmitError::PromptTooLong { limit: MAX_MODEL_LEN, .. })
    ));
    let mut greedy = request("q");
    greedy.max_tokens = Some(MAX_MODEL_LEN);
    let refused = pipeline.run(greedy).await.unwrap_err();
    assert!(matches!(refused, PipelineError::ContextExceeded { prompt_tokens: 6, .. }));
    let mut stopping = request("q");
    stopping.stop_sequences = vec!["s".to_owned(); limits::STOP_STRINGS_MAX + 1];
    assert!(matches!(pipeline.run(stopping).await.unwrap_err(), PipelineError::Stop(_)));
    assert_eq!(pipeline.engine().stats().steps_total, 0);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_text() {
    let pipeline = scripted(|_| ToyReply::Hash);
    let seeded = |seed| {
        let mut request = request("q");
        request.max_tokens = Some(40);
        request.sampling.temperature = Some(1.0);
        request.sampling.seed = Some(seed);
        request
    };
    let first = answer(&pipeline, seeded(7)).await;
    let (second, other) = tokio::join!(answer(&pipeline, seeded(7)), answer(&pipeline, seeded(8)));
    assert_eq!((&first.0, &first.1), (&second.0, &second.1));
    assert_ne!((&first.0, &first.1), (&other.0, &other.1));
}

#[test]
fn debug_output_holds_no_text() {
    let mut request = request("canary-content");
    request.stop_sequences = vec!["canary-stop".to_owned()];
    assert!(!format!("{request:?}").contains("canary"));
}
