//! A socket that gives up on a peer which takes no bytes.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Fails a write or flush that has been pending for the whole of `limit`.
pub(super) struct StallLimit<I> {
    io: I,
    limit: Duration,
    pending_since: Option<Pin<Box<Sleep>>>,
}

impl<I> StallLimit<I> {
    pub(super) fn new(io: I, limit: Duration) -> Self {
        Self { io, limit, pending_since: None }
    }

    fn watch<T>(&mut self, poll: Poll<Result<T>>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if poll.is_ready() {
            self.pending_since = None;
            return poll;
        }
        let limit = self.limit;
        let deadline = self.pending_since.get_or_insert_with(|| Box::pin(sleep(limit)));
        match deadline.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer takes no bytes")))
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for StallLimit<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for StallLimit<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(poll, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(poll, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(poll, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_peer_has_the_whole_limit_for_each_write() {
        let limit = Duration::from_millis(400);
        let (near, mut far) = duplex(4);
        let mut near = StallLimit::new(near, limit);
        near.write_all(b"full").await.unwrap();
        // Slow, and yet taking: that is no stall, however long it goes on.
        for _ in 0..4 {
            let take = async {
                sleep(limit / 3).await;
                far.read_exact(&mut [0]).await
            };
            let (written, taken) = tokio::join!(near.write_all(b"x"), take);
            assert!(written.is_ok() && taken.is_ok());
        }
        let started_at = Instant::now();
        let error = near.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(started_at.elapsed() >= limit);
    }
}
