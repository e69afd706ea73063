//! `POST /chat/completions`.

mod answer;
mod embedded;
mod parse;
mod stream;
mod wire;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::api::app::App;
use crate::api::guardrail::GuardrailChoice;
use crate::api::openai::answer::Head;
use crate::api::openai::call;
use crate::api::openai::error::OpenAiError;
use crate::api::openai::sse;
use crate::api::record::Record;

use answer::Wanted;
use parse::chat_call;
use stream::ChunkEncoder;
use wire::ChatBody;

pub(in crate::api) use embedded::{ChatAnswer, embedded_chat, embedded_output_format};
pub(super) use stream::DONE;

pub(super) async fn chat_completions(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let (body, guardrail): (ChatBody, _) = call::read(&app, request).await?;
    let head = Head::new("chatcmpl-", body.model.clone());
    let chat = chat_call(body)?;
    let wanted = Wanted {
        reasoning: chat.include_reasoning,
        logprobs: chat.request.logprobs.is_some(),
        service_tier: chat.service_tier,
    };
    let guardrail = GuardrailChoice::with_body(guardrail, chat.guardrail_config, chat.stream)?;
    let requests = call::Wanted { prompts: vec![chat.request], n: chat.n, guardrail };
    let mut choices = call::start(&app, &record, &head.model, requests).await?;
    if chat.stream {
        let encoder = ChunkEncoder::new(head, wanted, chat.include_usage, chat.n);
        return Ok(sse::response(choices, app, record, encoder));
    }
    let (messages, summary) = call::collect(&app, &record, &mut choices).await?;
    let mut answer = answer::completion(&head, wanted, messages, summary.usage);
    answer.guardrail = choices.guardrail_members();
    record.finished(summary);
    Ok(call::json(&answer))
}
