//! The compiler of a model's grammars, off the runtime and bounded.

use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::chat::{GrammarCompiler, GrammarError, TextAssets};
use crate::limits;
use crate::pipeline::PipelineError;
use crate::pipeline::constraint::{AnswerConstraint, Wanted};

const WHAT: &str = "the schema or grammar";

#[derive(Debug)]
pub(super) struct Grammars {
    /// Made for the first request that needs it: it takes a second, and some ten MB of memory.
    compiler: OnceLock<Result<GrammarCompiler, GrammarError>>,
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
        let (grammars, text) = (Arc::clone(self), Arc::clone(text));
        let too_complex = wanted.refusal(GrammarError::TooComplex { what: WHAT });
        let task = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, also if nobody waits for it any more.
            let _turn = turn;
            let compiler = grammars
                .compiler
                .get_or_init(|| GrammarCompiler::new(&text.tokenizer, &text.stop_ids))
                .as_ref()
                .map_err(Clone::clone)?;
            wanted.compile(compiler, &text.tokenizer)
        });
        let compiled = timeout(limits::GRAMMAR_COMPILE_TIMEOUT, task).await;
        compiled.map_err(|_| too_complex)?.map_err(|_| PipelineError::Panicked)?
    }
}
