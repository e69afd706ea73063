//! `outcrop serve`: the Bedrock endpoint of one model, until a signal ends it.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::api::{self, App, DrainOptions};
use crate::pipeline::load::Loaded;

/// What a shell reports for a program that a second Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(Debug, Clone)]
pub(super) struct ServeOptions {
    pub listen: SocketAddr,
    /// The id under which clients ask for the model. `deepseek.r1-v1:0` and
    /// `us.deepseek.r1-v1:0` mean it as well, alone or at the end of an ARN.
    pub model_id: String,
    /// Further ids or whole ARNs.
    pub aliases: Vec<String>,
    pub drain: DrainOptions,
}

/// Listens at once, so that probes are answered and requests wait while `load` is at work, and
/// serves until SIGTERM or SIGINT. A second signal ends the program without waiting.
pub(super) fn run(
    options: ServeOptions,
    load: impl FnOnce() -> anyhow::Result<Loaded> + Send + 'static,
) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(options, load))
}

async fn serve(
    options: ServeOptions,
    load: impl FnOnce() -> anyhow::Result<Loaded> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    let (app, pipeline) = App::new(&options.model_id, &options.aliases);
    let stop = stop_signal()?;
    let server = tokio::spawn(api::serve(listener, app, options.drain, stop));
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        loaded = loaded(load) => {
            pipeline.send_replace(Some(loaded?.pipeline));
            announce(&options.model_id, address)?;
        }
    }
    Ok(server.await?)
}

/// On a thread of its own: a signal need not wait for the end of loading.
async fn loaded(
    load: impl FnOnce() -> anyhow::Result<Loaded> + Send + 'static,
) -> anyhow::Result<Loaded> {
    let (sender, receiver) = oneshot::channel();
    // Nobody waits for the result any more when the server has stopped.
    thread::Builder::new().name("load".into()).spawn(move || drop(sender.send(load())))?;
    receiver.await.map_err(|_| anyhow!("loading the model panicked"))?
}

/// Scripts wait for this line.
fn announce(model_id: &str, address: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "Serving {model_id} on http://{address}")?;
    Ok(stdout.flush()?)
}

/// Resolves at the first SIGTERM or SIGINT and ends the program at the second.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(async move {
        next().await;
        tracing::info!("draining; a second signal ends the program at once");
        tokio::spawn(async move {
            next().await;
            std::process::exit(EXIT_INTERRUPTED);
        });
    })
}
