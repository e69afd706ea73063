//! `POST /responses`, without state: no response is kept, and the whole conversation comes as
//! `input`.

mod items;
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
use crate::api::openai::choices::Choices;
use crate::api::openai::error::OpenAiError;
use crate::api::openai::sse::{self, Encoder};
use crate::api::record::Record;

use parse::response_call;
use stream::ResponseEncoder;
use wire::ResponseBody;

pub(super) async fn responses(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let (body, guardrail): (ResponseBody, _) = call::read(&app, request).await?;
    let head = Head::new("resp_", body.model.clone());
    let response = response_call(body)?;
    let config = response.guardrail_config;
    let guardrail = GuardrailChoice::with_body(guardrail, config, response.stream)?;
    let wanted = call::Wanted { prompts: vec![response.request], n: 1, guardrail };
    let mut choices = call::start(&app, &record, &head.model, wanted).await?;
    let mut encoder = ResponseEncoder::new(head, response.echo);
    if response.stream {
        return Ok(sse::response(choices, app, record, encoder));
    }
    tokio::select! {
        written = write(&mut choices, &mut encoder) => written?,
        refusal = app.shared().out_of_time(&record) => return Err(refusal.into()),
    }
    let summary = choices.summary();
    let answer = encoder.into_response(&summary);
    record.finished(summary);
    Ok(call::json(&answer))
}

/// Frames are dropped: the last one's response is the answer.
async fn write(choices: &mut Choices, encoder: &mut ResponseEncoder) -> Result<(), OpenAiError> {
    while let Some(event) = choices.next().await {
        encoder.event(event?);
    }
    Ok(())
}
