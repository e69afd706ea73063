//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, under limits of size and time.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use futures_util::StreamExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::Service;

use crate::api::app::App;
use crate::api::lifecycle::Phase;
use crate::api::stall::StallLimit;
use crate::limits;

/// What HTTP is spoken over: the socket, or TLS over it.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Until the peer closes, is idle for too long, or the server is going away.
pub(super) async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, app: App, router: Router) {
    // Each token is a small write that should leave at once.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let stream = StallLimit::new(stream, app.shared().write_stall_timeout);
    let transport: Box<dyn Transport> = match tls {
        None => Box::new(stream),
        Some(tls) => match timeout(app.shared().first_request_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            // A scanner, a client that does not trust the certificate, or one that is too slow.
            Ok(Err(_)) | Err(_) => return,
        },
    };
    serve_http(transport, app, router).await;
}

async fn serve_http(transport: Box<dyn Transport>, app: App, router: Router) {
    let active = Arc::new(watch::Sender::new(0));
    let first_request = app.shared().first_request_timeout;
    let io = TokioIo::new(transport);
    let service = service_fn(|request: Request<Incoming>| {
        let guard = ActiveGuard::new(&active);
        answer(router.clone(), request, guard)
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(io, service));
    let lifecycle = &app.shared().lifecycle;
    // A server that was draining before the connection came goes on serving it: probes ask then.
    let leave_at = match lifecycle.phase() {
        Phase::Serving | Phase::Leaving => Phase::Draining,
        Phase::Draining | Phase::Cut => Phase::Cut,
    };
    let mut begun = active.subscribe();
    let leaving = async {
        lifecycle.reached(leave_at).await;
        // A new connection has a request on its way, which gets an answer.
        tokio::select! {
            _ = begun.changed() => {}
            () = lifecycle.reached(Phase::Cut) => {}
        }
    };
    // Connections end in many ways that are the peer's own business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = idle(&active, first_request) => {}
        () = leaving => {}
    }
    connection.as_mut().graceful_shutdown();
    // What is in progress goes on; half a request head does not keep the connection.
    tokio::select! {
        _ = connection => {}
        () = idle(&active, first_request) => {}
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Starts with the wait for a next request, so it is the idle timeout too.
        .header_read_timeout(limits::CONNECTION_IDLE_TIMEOUT)
        .max_headers(limits::HEADERS_MAX)
        .max_buf_size(limits::HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits::HTTP2_KEEP_ALIVE)
        .keep_alive_timeout(limits::HTTP2_KEEP_ALIVE)
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_header_list_size(limits::HEADER_BYTES_MAX as u32);
    builder
}

async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    guard: ActiveGuard,
) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(Some(body)));
    let shared = Body::new(SharedBody(Arc::clone(&body)));
    let response = router.call(Request::from_parts(parts, shared)).await?;
    let left = body.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(left) = left.filter(|body| !body.is_end_stream()) {
        discard(left).await;
    }
    Ok(response.map(|body| Body::new(ActiveBody { body, _guard: guard })))
}

/// Takes what a client is still sending of a request that was refused before it was read. To close
/// on it would tear down the connection under the answer, and the client would never see why.
async fn discard(body: Incoming) {
    let mut chunks = Body::new(body).into_data_stream();
    let mut num_bytes = 0;
    let all = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            num_bytes += chunk.len();
            if num_bytes > limits::REQUEST_BODY_BYTES_MAX {
                return;
            }
        }
    };
    // Whoever is slower than that has to live with the closed connection.
    let _ = timeout(limits::REFUSED_BODY_TIMEOUT, all).await;
}

/// A body that can be taken back from a handler that did not read it.
struct SharedBody(Arc<Mutex<Option<Incoming>>>);

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// Resolves when there was no request for a while. A new connection has less time.
async fn idle(active: &watch::Sender<usize>, first_request: Duration) {
    let mut receiver = active.subscribe();
    let mut limit = first_request;
    loop {
        if receiver.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        if timeout(limit, receiver.changed()).await.is_err() {
            return;
        }
        limit = limits::CONNECTION_IDLE_TIMEOUT;
    }
}

/// Counts as a request in progress while it exists.
struct ActiveGuard(Arc<watch::Sender<usize>>);

impl ActiveGuard {
    fn new(active: &Arc<watch::Sender<usize>>) -> Self {
        active.send_modify(|count| *count += 1);
        Self(Arc::clone(active))
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A body that keeps its request in progress until it has been sent.
struct ActiveBody {
    body: Body,
    _guard: ActiveGuard,
}

impl HttpBody for ActiveBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
