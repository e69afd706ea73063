//! The accept loop and the way out.
//!
//! On the signal to stop, readiness fails at once. During the grace period requests are still
//! accepted, because load balancers learn of it late. Then new requests are refused, those in
//! flight finish within the drain timeout, and what is left ends with an exception in its stream.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::app::App;
use crate::api::connection;
use crate::api::lifecycle::Phase;
use crate::api::router::router;
use crate::api::tls::Tls;
use crate::limits;

/// A failing `accept` means that file descriptors have run out; some come back soon.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Where clients come in.
#[derive(Debug)]
pub struct Listener {
    pub tcp: TcpListener,
    /// `None` for HTTP in the clear.
    pub tls: Option<Tls>,
}

impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct DrainOptions {
    /// Requests are still accepted for this long after the signal.
    pub grace: Duration,
    /// Requests in flight have this long afterwards.
    pub timeout: Duration,
}

/// Serves until `stop` resolves and the requests in flight have ended.
pub async fn serve(
    listener: impl Into<Listener>,
    app: App,
    drain_options: DrainOptions,
    stop: impl Future<Output = ()>,
) {
    let listener = listener.into();
    let mut connections = JoinSet::new();
    let leaving = async {
        stop.await;
        drain(&app, drain_options).await;
    };
    tokio::select! {
        () = leaving => {}
        () = accept_all(&listener, &app, &mut connections) => {}
        () = app.shared().access.follow() => {}
        () = follow(&listener) => {}
    }
    let all_closed = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(limits::DRAIN_FLUSH_TIMEOUT, all_closed).await;
    // Those that do not close in time are cut, and charged for as well.
    connections.shutdown().await;
    app.shared().access.record_usage().await;
}

/// Never ends.
async fn follow(listener: &Listener) {
    match &listener.tls {
        Some(tls) => tls.follow().await,
        None => std::future::pending().await,
    }
}

/// Accepts while the server drains as well: probes and clients get an answer, not a closed port.
async fn accept_all(listener: &Listener, app: &App, connections: &mut JoinSet<()>) {
    let router = router(app);
    let permits = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    loop {
        tokio::select! {
            accepted = accept(&listener.tcp, &permits) => match accepted {
                Ok((stream, permit)) => {
                    let (app, router) = (app.clone(), router.clone());
                    let tls = listener.tls.as_ref().map(Tls::acceptor);
                    connections.spawn(async move {
                        let _permit = permit;
                        connection::serve(stream, tls, app, router).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_RETRY).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if ended.is_err() {
                    tracing::error!("a connection's task panicked");
                }
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

pub(super) async fn drain(app: &App, options: DrainOptions) {
    let shared = app.shared();
    // Not even a sleep of no length comes between when there is no grace: it waits for a timer.
    if !options.grace.is_zero() {
        shared.lifecycle.advance(Phase::Leaving);
        sleep(options.grace).await;
    }
    shared.lifecycle.advance(Phase::Draining);
    for model in shared.models.all() {
        if let Some(pipeline) = model.loaded() {
            pipeline.engine().start_draining();
        }
    }
    let all_permits = u32::try_from(limits::REQUESTS_IN_FLIGHT_MAX).expect("it is small");
    let in_flight = shared.in_flight.acquire_many(all_permits);
    let drained = timeout(options.timeout, in_flight).await;
    if drained.is_err() {
        tracing::warn!(seconds = options.timeout.as_secs(), "drain timed out; cutting streams");
    }
    shared.lifecycle.advance(Phase::Cut);
}
