//! What all operations of a model do: find it, read and parse the body, run the pipeline.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use tokio::task::spawn_blocking;

use crate::api::app::App;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::model_id::ModelId;
use crate::api::record::Record;
use crate::limits;
use crate::pipeline::{ChatEvent, ChatRequest, ChatStream, ChatSummary, Pipeline};

/// The parsed body of a request to a model that is served. Long bodies, with their documents in
/// base64, are parsed off the asynchronous runtime.
pub(super) async fn parsed<T: Send + 'static>(
    app: &App,
    record: &Record,
    ModelId(model_id): &ModelId,
    request: Request,
    parse: impl FnOnce(&HeaderMap, &[u8]) -> Result<T, BedrockError> + Send + 'static,
) -> Result<T, BedrockError> {
    app.shared().resolve(record, model_id)?;
    let (parts, body) = request.into_parts();
    let body = app.shared().bodies.read(body).await?;
    if body.bytes.len() <= limits::INLINE_PARSE_BYTES_MAX {
        return parse(&parts.headers, &body.bytes);
    }
    let parsed = spawn_blocking(move || parse(&parts.headers, &body.bytes)).await;
    parsed.map_err(|_| BedrockError::InternalServer("parsing the request panicked".to_owned()))?
}

/// Waits for the model where it is still loading.
pub(super) async fn pipeline(
    app: &App,
    ModelId(model_id): &ModelId,
) -> Result<Pipeline, BedrockError> {
    let shared = app.shared();
    let model = shared.models.find(model_id)?;
    Ok(model.pipeline(shared.options.model_load_wait).await?)
}

/// The request becomes the one of the client whose record this is.
pub(super) async fn run(
    app: &App,
    record: &Arc<Record>,
    model_id: &ModelId,
    mut request: ChatRequest,
) -> Result<ChatStream, BedrockError> {
    record.mark(&mut request);
    Ok(pipeline(app, model_id).await?.run(request).await?)
}

/// Hands the whole answer to `push`, piece by piece.
pub(super) async fn collect(
    app: &App,
    record: &Record,
    chat: &mut ChatStream,
    mut push: impl FnMut(ChatEvent),
) -> Result<ChatSummary, BedrockError> {
    let all = async {
        while let Some(event) = chat.next().await {
            match event {
                ChatEvent::Finished(summary) => return Ok(summary),
                ChatEvent::Failed(error) => return Err(error.into()),
                delta => push(delta),
            }
        }
        unreachable!("every stream ends in Finished or Failed")
    };
    tokio::select! {
        summary = all => summary,
        refusal = app.shared().out_of_time(record) => Err(refusal.into()),
    }
}
