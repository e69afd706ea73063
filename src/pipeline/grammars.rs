//! The compiler of a model's grammars, off the runtime and bounded.

use std::sync::{Arc, OnceLock};
use std::{io, thread};

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::chat::{GrammarCompiler, GrammarError, TextAssets};
use crate::limits;
use crate::pipeline::PipelineError;
use crate::pipeline::constraint::{AnswerConstraint, Wanted};

#[cfg(target_os = "linux")]
const LOWEST_PRIORITY: i32 = 19;
const WHAT: &str = "the schema or grammar";

#[derive(Debug)]
pub(super) struct Grammars {
    /// Made for the first request that needs it: it takes a second, and some ten MB of memory.
    compiler: OnceLock<Result<Arc<GrammarCompiler>, GrammarError>>,
    /// Those who wait or compile.
    waiting: Semaphore,
    /// One at a time: the cores are for the engine.
    compiling: Arc<Semaphore>,
}

impl Default for Grammars {
    fn default() -> Self {
        Self {
            compiler: OnceLock::new(),
            waiting: Semaphore::new(limits::GRAMMARS_WAITING_MAX),
            compiling: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Grammars {
    pub(super) async fn compile(
        self: &Arc<Self>,
        text: &Arc<TextAssets>,
        wanted: Wanted,
    ) -> Result<AnswerConstraint, PipelineError> {
        let _waiting = self.waiting.try_acquire().map_err(|_| GrammarError::Busy)?;
        let compiling = Arc::clone(&self.compiling).acquire_owned();
        let turn = timeout(limits::GRAMMAR_COMPILE_TIMEOUT, compiling);
        let turn = turn.await.map_err(|_| GrammarError::Busy)?;
        let compiler = self.compiler(text).await?;
        let tokenizer = Arc::clone(&text.tokenizer);
        let too_complex = wanted.refusal(GrammarError::TooComplex { what: WHAT });
        let task = in_background(move || {
            // Kept until the work is done, also if nobody waits for it any more.
            let _turn = turn;
            wanted.compile(&compiler, &tokenizer)
        })
        .map_err(|_| GrammarError::Busy)?;
        let compiled = timeout(limits::GRAMMAR_COMPILE_TIMEOUT, task).await;
        compiled.map_err(|_| too_complex)?.map_err(|_| PipelineError::Panicked)?
    }

    async fn compiler(
        self: &Arc<Self>,
        text: &Arc<TextAssets>,
    ) -> Result<Arc<GrammarCompiler>, PipelineError> {
        if let Some(compiler) = self.compiler.get() {
            return Ok(compiler.clone()?);
        }
        let (grammars, text) = (Arc::clone(self), Arc::clone(text));
        let task = tokio::task::spawn_blocking(move || {
            let made = || GrammarCompiler::new(&text.tokenizer, &text.stop_ids).map(Arc::new);
            grammars.compiler.get_or_init(made).clone()
        });
        Ok(task.await.map_err(|_| PipelineError::Panicked)??)
    }
}

/// On a thread that takes what the engine's threads leave, and hardly more. They wait for each
/// other, so a step takes as long as the one that was disturbed the most.
fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("grammar".into()).spawn(move || {
        // Elsewhere it would be that of the whole program.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
        let _ = sender.send(work());
    })?;
    Ok(receiver)
}
