//! A model that judges what it is asked and what it writes, with the toy model.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use crate::guardrail::{Experts, Guardrail, Identity, OnFailure, OutputScope, StreamMode};
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{answer_ids, control_id, num_written, scripted};
use crate::pipeline::{
    ChatEvent, ChatRequest, GuardedText, Guarding, Input, Message, ModelJudge, Pipeline, Role,
};

/// A guardrail that denies a topic, and asks `judge` what is about it.
fn guardrail(judge: watch::Receiver<Option<Pipeline>>, on_failure: OnFailure) -> Arc<Guardrail> {
    let definition = json!({
        "name": "g",
        "blockedInputMessaging": "not this",
        "blockedOutputsMessaging": "not that",
        "topicPolicyConfig": { "topicsConfig": [
            { "name": "Zorps", "definition": "Anything about them.", "type": "DENY" }
        ] },
    });
    let identity = Identity { id: "g".into(), arn: "arn:g".into(), version: "1".into() };
    let definition = serde_json::from_value(definition).unwrap();
    let mut guardrail = Guardrail::new(identity, definition).unwrap();
    let judge = ModelJudge::new(judge, Duration::from_secs(20));
    let experts = Experts::new(on_failure).with_judge(Arc::new(judge));
    guardrail.equip(&Arc::new(experts)).unwrap();
    Arc::new(guardrail)
}

/// Answers with `answer`; asked as a judge, with yes where the text has a tentacle, if it need not
/// think first. Counts the questions.
fn model(answer: &str, questions: &Arc<AtomicUsize>) -> Pipeline {
    let ids = answer_ids(answer);
    let questions = Arc::clone(questions);
    scripted(move |step| {
        let bytes: Vec<u8> = step.tokens.iter().filter_map(|id| u8::try_from(*id).ok()).collect();
        let text = String::from_utf8_lossy(&bytes);
        if !text.contains("You sort texts") {
            return ToyReply::Token(ids[num_written(step)]);
        }
        let closed = control_id("</think>");
        if !step.tokens.iter().rev().take(4).any(|id| *id == closed) {
            // A part of the prompt, or reasoning that would be a wrong answer.
            return ToyReply::Token(0);
        }
        questions.fetch_add(1, Ordering::Relaxed);
        let is_about = text.split("<text>").last().unwrap().contains("tentacle");
        ToyReply::Token(u32::from(if is_about { b'y' } else { b'n' }))
    })
}

async fn answer(pipeline: &Pipeline, guardrail: &Arc<Guardrail>, content: &str) -> Vec<String> {
    let guarding = Guarding {
        guardrail: Arc::clone(guardrail),
        input: vec![GuardedText { text: content.to_owned(), qualifiers: Vec::new() }],
        mode: StreamMode::Sync,
        scope: OutputScope::Interventions,
        is_whole: false,
        reasoning: false,
        observer: None,
    };
    let request = ChatRequest {
        guarding: Some(guarding),
        ..ChatRequest::new(Input::Messages(vec![Message::new(Role::User, content)]))
    };
    let mut stream = pipeline.run(request).await.unwrap();
    let mut texts = Vec::new();
    while let Some(event) = stream.next().await {
        if let ChatEvent::Text(text) = event {
            texts.push(text);
        }
    }
    texts
}

#[tokio::test]
async fn the_served_model_judges_prompts_and_answers_and_remembers() {
    let questions = Arc::default();
    let clean = "This is a sentence of no interest. ".repeat(13);
    let pipeline = model(&format!("</think>{clean}It has a tentacle."), &questions);
    let (_sender, receiver) = watch::channel(Some(pipeline.clone()));
    let guardrail = guardrail(receiver, OnFailure::Block);
    assert_eq!(answer(&pipeline, &guardrail, "what has a tentacle?").await, ["not this"]);
    assert_eq!(questions.load(Ordering::Relaxed), 1);
    let texts = answer(&pipeline, &guardrail, "hello").await;
    // The first paragraph has left when the second one is blocked.
    assert_eq!(texts.last().unwrap(), "not that");
    let sent = texts[..texts.len() - 1].concat();
    assert!(clean.starts_with(&sent) && sent.len() >= 400, "{sent}");
    assert_eq!(questions.load(Ordering::Relaxed), 4);
    assert_eq!(answer(&pipeline, &guardrail, "hello").await, texts);
    assert_eq!(questions.load(Ordering::Relaxed), 4, "all of it was known");
}

#[tokio::test]
async fn a_judge_that_does_not_answer_blocks_unless_told_otherwise() {
    let pipeline = model("</think>fine", &Arc::default());
    for (on_failure, said) in [(OnFailure::Block, "not this"), (OnFailure::Pass, "fine")] {
        let (_sender, loading) = watch::channel(None);
        let guardrail = guardrail(loading, on_failure);
        assert_eq!(answer(&pipeline, &guardrail, "hello").await, [said]);
    }
}
