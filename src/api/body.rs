//! Reading a request's body: bounded in bytes, in time, and in what all bodies take together.

use axum::body::Body;
use axum::body::HttpBody;
use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use std::sync::Arc;

use crate::api::app::App;
use crate::api::refusal::Refusal;
use crate::limits;

/// Holds its share of the memory for bodies until it is dropped.
pub(super) struct BufferedBody {
    pub(super) bytes: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

pub(super) async fn read(app: &App, body: Body) -> Result<BufferedBody, Refusal> {
    let limit = limits::REQUEST_BODY_BYTES_MAX;
    // A chunked body does not say how long it will be.
    let announced = body.size_hint().exact();
    let announced = announced.map_or(Ok(limit), usize::try_from).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Refusal::BodyTooLong { limit });
    }
    let kib = u32::try_from(announced.div_ceil(1024)).expect("the limit is far below 4 TiB");
    let share = Arc::clone(&app.shared().body_kib)
        .try_acquire_many_owned(kib)
        .map_err(|_| Refusal::BodiesFull { limit: limits::BUFFERED_BODY_BYTES_MAX })?;
    let read = async {
        let mut bytes = Vec::new();
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refusal::BodyIncomplete)?;
            if chunk.len() > limit - bytes.len() {
                return Err(Refusal::BodyTooLong { limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    let seconds = limits::REQUEST_BODY_TIMEOUT.as_secs();
    let bytes = timeout(limits::REQUEST_BODY_TIMEOUT, read)
        .await
        .map_err(|_| Refusal::BodyTooSlow { seconds })??;
    Ok(BufferedBody { bytes, _share: share })
}
