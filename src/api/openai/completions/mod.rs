//! `POST /completions`: a prompt as it is, without a chat template.
//!
//! The model's reasoning stays in the text with its tags, since the prompt decides where it begins.

mod parse;
mod stream;
mod wire;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::api::app::App;
use crate::api::guardrail::GuardrailChoice;
use crate::api::openai::answer::{Head, SYSTEM_FINGERPRINT, finish_reason};
use crate::api::openai::call;
use crate::api::openai::error::OpenAiError;
use crate::api::openai::sse;
use crate::api::record::Record;
use crate::pipeline::StopReason;

use parse::completion_call;
use stream::{LegacyLogprobs, TextEncoder};
use wire::{Choice, Completion, CompletionBody};

pub(super) async fn completions(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let (body, guardrail): (CompletionBody, _) = call::read(&app, request).await?;
    let head = Head::new("cmpl-", body.model.clone());
    let mut completion = completion_call(body)?;
    let config = completion.guardrail_config.take();
    let guardrail = GuardrailChoice::with_body(guardrail, config, completion.stream)?;
    let echoed = completion.echoed();
    let wants_logprobs = completion.wants_logprobs();
    let wanted = call::Wanted { prompts: completion.requests, n: completion.n, guardrail };
    let mut choices = call::start(&app, &record, &head.model, wanted).await?;
    if completion.stream {
        let encoder = TextEncoder::new(head, completion.include_usage, echoed, wants_logprobs);
        return Ok(sse::response(choices, app, record, encoder));
    }
    let (answers, summary) = call::collect(&app, &record, &mut choices).await?;
    let texts = answers.into_iter().zip(echoed).enumerate().map(|(index, (answer, echo))| {
        let mut logprobs = LegacyLogprobs::after(&echo);
        let logprobs = wants_logprobs.then(|| logprobs.encode(answer.logprobs));
        let reason = answer.stop_reason.as_ref().unwrap_or(&StopReason::EndTurn);
        let text = echo + &answer.text;
        Choice { index, text, logprobs, finish_reason: Some(finish_reason(reason)) }
    });
    let answer = Completion {
        id: &head.id,
        object: "text_completion",
        created: head.created,
        model: &head.model,
        system_fingerprint: SYSTEM_FINGERPRINT,
        choices: texts.collect(),
        usage: Some(Some(summary.usage.into())),
        guardrail: choices.guardrail_members(),
    };
    record.finished(summary);
    Ok(call::json(&answer))
}
