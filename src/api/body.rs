//! Reading a request's body: bounded in bytes, in time, and in what all bodies take together.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures_util::StreamExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::api::refusal::Refusal;
use crate::limits;

/// Holds its share of the memory for bodies until it is dropped.
pub(super) struct BufferedBody {
    pub(super) bytes: Vec<u8>,
    share: Share,
}

impl BufferedBody {
    /// To be read once more by whoever comes next; it keeps its share until then.
    pub(super) fn into_body(self) -> Body {
        Body::new(ReadBody { bytes: Some(self.bytes.into()), _share: self.share })
    }
}

/// What all bodies that are being read have to keep to.
#[derive(Debug)]
pub(super) struct Bodies {
    /// One permit for each KiB of a body.
    kib: Arc<Semaphore>,
    pace: BodyPace,
}

impl Bodies {
    pub(super) fn new(pace: BodyPace) -> Self {
        Self { kib: Arc::new(Semaphore::new(limits::BUFFERED_BODY_BYTES_MAX / 1024)), pace }
    }

    pub(super) async fn read(&self, body: Body) -> Result<BufferedBody, Refusal> {
        let limit = limits::REQUEST_BODY_BYTES_MAX;
        // A chunked body does not say how long it will be.
        let announced = body.size_hint().exact();
        let announced = announced.map_or(Ok(limit), usize::try_from).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(Refusal::BodyTooLong { limit });
        }
        let (pace, mut share) = (self.pace, Share::of(&self.kib));
        let started_at = Instant::now();
        let mut bytes = Vec::new();
        let mut chunks = body.into_data_stream();
        loop {
            let deadline = started_at + pace.time_for(bytes.len());
            let chunk = timeout_at(deadline, chunks.next()).await;
            let chunk = chunk.map_err(|_| Refusal::BodyTooSlow {
                seconds: pace.timeout.as_secs(),
                rate: pace.bytes_per_second,
            })?;
            let Some(chunk) = chunk else { return Ok(BufferedBody { bytes, share }) };
            let chunk = chunk.map_err(|_| Refusal::BodyIncomplete)?;
            if chunk.len() > limit - bytes.len() {
                return Err(Refusal::BodyTooLong { limit });
            }
            share.grow(bytes.len() + chunk.len())?;
            match bytes.is_empty() {
                // A body that was read before comes as one piece, which is not copied.
                true => bytes = chunk.into(),
                false => bytes.extend_from_slice(&chunk),
            }
        }
    }
}

/// A body's share of the memory for all of them: what has come of it, not what was announced, so
/// that an announcement takes nothing from others.
struct Share {
    kib: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    fn of(kib: &Arc<Semaphore>) -> Self {
        Self { kib: Arc::clone(kib), held: None }
    }

    fn grow(&mut self, num_bytes: usize) -> Result<(), Refusal> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = num_bytes.div_ceil(1024).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).expect("the limit of a body is far below 4 TiB");
        let more = Arc::clone(&self.kib)
            .try_acquire_many_owned(missing)
            .map_err(|_| Refusal::BodiesFull { limit: limits::BUFFERED_BODY_BYTES_MAX })?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

/// How slowly a body may come.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyPace {
    /// Passes before the rate counts: a client may be computing what it sends.
    pub(super) grace: Duration,
    pub(super) bytes_per_second: u32,
    /// For the whole body.
    pub(super) timeout: Duration,
}

impl BodyPace {
    pub(super) const DEFAULT: Self = Self {
        grace: limits::REQUEST_BODY_GRACE,
        bytes_per_second: limits::REQUEST_BODY_BYTES_PER_SECOND_MIN,
        timeout: limits::REQUEST_BODY_TIMEOUT,
    };

    /// The time since the beginning within which more must come than these bytes.
    fn time_for(self, num_bytes: usize) -> Duration {
        let seconds = num_bytes as f64 / f64::from(self.bytes_per_second);
        let earned = Duration::from_secs_f64(seconds);
        (self.grace + earned).min(self.timeout)
    }
}

/// A body that has been read, in one piece.
struct ReadBody {
    bytes: Option<Bytes>,
    _share: Share,
}

impl HttpBody for ReadBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
