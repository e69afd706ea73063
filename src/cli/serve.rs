//! `outcrop serve`: the Bedrock endpoint of one or more models, until a signal ends it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::api::{
    self, Access, AccessOptions, Alias, App, AppOptions, AuditLog, DrainOptions, Listener, Models,
    PipelineSender, Tls, TlsFiles,
};
use crate::cli::guardrail::{GuardrailSource, JudgeOptions, read_guardrails};
use crate::guardrail::Judge;
use crate::keys::{KeyStore, UsageStore};
use crate::limits::ENGINE_END_WAIT;
use crate::pipeline::{EngineEnd, ModelJudge, load::Loaded};

/// What a shell reports for a program that a second Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

#[derive(Debug, Clone)]
pub(super) struct ServeOptions {
    pub listen: SocketAddr,
    /// The ids under which clients ask for the models.
    pub model_ids: Vec<String>,
    pub aliases: Vec<Alias>,
    pub app: AppOptions,
    pub guardrails: GuardrailServeOptions,
    pub entrance: EntranceOptions,
    pub drain: DrainOptions,
}

#[derive(Debug, Clone)]
pub(super) struct GuardrailServeOptions {
    pub source: GuardrailSource,
    pub judge: Option<JudgeOptions>,
    /// Where the audit record is kept beside the log.
    pub audit: Option<PathBuf>,
    pub audit_text: bool,
}

/// Who is let in, and over what.
#[derive(Debug, Clone)]
pub(super) struct EntranceOptions {
    pub keys: KeyStore,
    pub usage: UsageStore,
    pub insecure_no_auth: bool,
    pub access: AccessOptions,
    /// `None` for HTTP in the clear.
    pub tls: Option<TlsFiles>,
}

impl EntranceOptions {
    /// Refuses to let everyone in by mistake.
    fn access(&self, listen: SocketAddr) -> anyhow::Result<Access> {
        let path = self.keys.path().display();
        let access = Access::with_keys(self.keys.clone(), self.usage.clone(), self.access.clone())?;
        let is_local = listen.ip().to_canonical().is_loopback();
        match (self.insecure_no_auth, access.is_required()) {
            (true, true) => bail!(
                "--insecure-no-auth, but `{path}` holds keys: take the flag away, or name another \
                 file with --keys"
            ),
            (true, false) => {
                tracing::warn!(%listen, "everyone who reaches this server may use it");
                Ok(Access::open())
            }
            (false, false) if !is_local => bail!(
                "listening on {listen} without keys would let everyone in: make a key with \
                 `outcrop keys create NAME` (`{path}`), or say --insecure-no-auth"
            ),
            (false, _) => Ok(access),
        }
    }
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
    let engines: Arc<Mutex<Vec<EngineEnd>>> = Arc::default();
    let noted = Arc::clone(&engines);
    let load = move |publish: &mut Publish<'_>| {
        load(&mut |index: usize, loaded: Loaded| {
            let end = loaded.pipeline.engine().end();
            noted.lock().unwrap_or_else(PoisonError::into_inner).push(end);
            publish(index, loaded);
        })
    };
    let served = runtime.block_on(serve(options, load));
    drop(runtime);
    let engines = engines.lock().unwrap_or_else(PoisonError::into_inner);
    engines.iter().for_each(|engine| engine.wait(ENGINE_END_WAIT));
    served
}

async fn serve(
    options: ServeOptions,
    load: impl FnOnce(&mut Publish<'_>) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let access = options.entrance.access(options.listen)?;
    let tls = options.entrance.tls.map(Tls::load).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let tcp = TcpListener::bind(options.listen).await;
    let tcp = tcp.with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = tcp.local_addr()?;
    let (models, pipelines) = Models::new(&options.model_ids, &options.aliases)?;
    let judge = options.guardrails.judge.map(|judge| {
        let known = options.model_ids.iter().position(|id| *id == judge.model_id);
        let index = known.with_context(|| {
            format!("--guardrail-judge names `{}`, which is not served", judge.model_id)
        })?;
        let model = ModelJudge::new(pipelines[index].subscribe(), judge.timeout);
        anyhow::Ok(Arc::new(model) as Arc<dyn Judge>)
    });
    let guardrails = read_guardrails(&options.guardrails.source, judge.transpose()?)?;
    let mut app = App::new(models, options.app).with_access(access).with_guardrails(guardrails);
    if let Some(path) = &options.guardrails.audit {
        let audit = AuditLog::open(path, options.guardrails.audit_text)
            .with_context(|| format!("cannot open the audit record {}", path.display()))?;
        app = app.with_audit_log(audit);
    }
    let stop = stop_signal()?;
    let server = tokio::spawn(api::serve(Listener { tcp, tls }, app, options.drain, stop));
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        loaded = all_loaded(load, pipelines) => {
            loaded?;
            announce(&options.model_ids, scheme, address)?;
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
fn announce(model_ids: &[String], scheme: &str, address: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "Serving {} on {scheme}://{address}", model_ids.join(", "))?;
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

#[cfg(test)]
mod tests {
    use crate::keys::{KeyKind, KeyLimits, NewKey, Timestamp};

    use super::*;

    /// Whether keys are asked for, or the words of the refusal.
    fn entrance(keys: &KeyStore, insecure_no_auth: bool, listen: &str) -> Result<bool, String> {
        let access = AccessOptions::default();
        let usage = UsageStore::new(keys.path().with_file_name("usage.toml"));
        let keys = keys.clone();
        let options = EntranceOptions { keys, usage, insecure_no_auth, access, tls: None };
        let access = options.access(listen.parse().unwrap());
        access.map(|access| access.is_required()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn nobody_is_let_in_by_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let keys = KeyStore::new(path("keys.toml"), path("keys.key"));
        let (local, everywhere) = ("127.0.0.1:8080", "0.0.0.0:8080");
        for listen in [local, "[::1]:8080", "[::ffff:127.0.0.1]:8080"] {
            assert_eq!(entrance(&keys, false, listen), Ok(false), "{listen}");
        }
        for listen in [everywhere, "[::]:8080", "10.0.0.1:8080"] {
            let refused = entrance(&keys, false, listen).unwrap_err();
            assert!(refused.contains("outcrop keys create NAME"), "{refused}");
        }
        assert_eq!(entrance(&keys, true, everywhere), Ok(false));
        let (name, kind, limits) = ("a".to_owned(), KeyKind::Bearer, KeyLimits::default());
        let new = NewKey { name, kind, expires: None, limits };
        keys.create(new, Timestamp::now()).unwrap();
        for listen in [local, everywhere] {
            assert_eq!(entrance(&keys, false, listen), Ok(true));
            let refused = entrance(&keys, true, listen).unwrap_err();
            assert!(refused.contains("keys.toml` holds keys"), "{refused}");
        }
        // A key that is revoked still tells that there were to be keys.
        keys.revoke("a", Timestamp::now()).unwrap();
        assert_eq!(entrance(&keys, false, local), Ok(true));
    }
}
