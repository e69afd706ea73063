//! `outcrop serve`: the Bedrock endpoint of one or more models, until a signal ends it.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::api::{self, Alias, App, AppOptions, DrainOptions, Models, PipelineSender};
use crate::pipeline::load::Loaded;

/// What a shell reports for a program that a second Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(Debug, Clone)]
pub(super) struct ServeOptions {
    pub listen: SocketAddr,
    /// The ids under which clients ask for the models.
    pub model_ids: Vec<String>,
    pub aliases: Vec<Alias>,
    pub app: AppOptions,
    pub drain: DrainOptions,
}

/// Is told of each model as it becomes ready, by its position.
pub(super) type Publish<'a> = dyn FnMut(usize, Loaded) + 'a;

/// Listens at once, so that probes are answered and requests wait while `load` is at work, and
/// serves until SIGTERM or SIGINT. A second signal ends the program without waiting.
pub(super) fn run(
    options: ServeOptions,
    load: impl FnOnce(&mut Publish<'_>) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(options, load))
}

async fn serve(
    options: ServeOptions,
    load: impl FnOnce(&mut Publish<'_>) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    let (models, pipelines) = Models::new(&options.model_ids, &options.aliases)?;
    let app = App::new(models, options.app);
    let stop = stop_signal()?;
    let server = tokio::spawn(api::serve(listener, app, options.drain, stop));
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        loaded = all_loaded(load, pipelines) => {
            loaded?;
            announce(&options.model_ids, address)?;
        }
    }
    Ok(server.await?)
}

/// On a thread of its own: a signal need not wait for the end of loading. A model answers as soon
/// as it is loaded, while the next one is still loading.
async fn all_loaded(
    load: impl FnOnce(&mut Publish<'_>) -> anyhow::Result<()> + Send + 'static,
    pipelines: Vec<PipelineSender>,
) -> anyhow::Result<()> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("load".into()).spawn(move || {
        let mut publish = |index: usize, loaded: Loaded| {
            pipelines[index].send_replace(Some(loaded.pipeline));
        };
        // Nobody waits for the result any more when the server has stopped.
        drop(sender.send(load(&mut publish)));
    })?;
    receiver.await.map_err(|_| anyhow!("loading the model panicked"))?
}

/// Scripts wait for this line.
fn announce(model_ids: &[String], address: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "Serving {} on http://{address}", model_ids.join(", "))?;
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
