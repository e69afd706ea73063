//! A served model as a guardrail's judge: one prompt, one token, yes or no. The part of the prompt
//! that is the same for every text comes first, so that the prefix cache holds it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::chat::{ReasoningTags, TextAssets, Tokenizer, TokenizerError};
use crate::engine::{
    ConstraintError, GenerationError, GenerationRequest, Priority, SamplingParams, TokenConstraint,
    TokenEvent, TokenLogprobs,
};
use crate::guardrail::{Judge, Question};
use crate::limits;
use crate::pipeline::prompt::{self, Encoded};
use crate::pipeline::{Input, Message, Pipeline, PipelineError, Role};

/// How models write the two answers.
const YES: [&str; 7] = ["yes", "Yes", "YES", " yes", " Yes", "是", "\"yes"];
const NO: [&str; 7] = ["no", "No", "NO", " no", " No", "否", "\"no"];
/// Whose prompts these are to the prefix cache: no client's.
const SALT: &str = "guardrail judge";

static CONSULTING: Semaphore = Semaphore::const_new(limits::GUARDRAIL_CONSULTATIONS_MAX);

/// Does work in which a guardrail may ask its models, on a thread that may wait. Such work holds
/// none of the permits for templates and tokenizers, which a judge's own prompts need.
pub async fn consulting<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PipelineError> {
    let permit = CONSULTING.acquire().await.expect("the semaphore is never closed");
    let task = tokio::task::spawn_blocking(move || {
        // Kept until the work is done, also if nobody waits for it any more.
        let _permit = permit;
        work()
    });
    task.await.map_err(|_| PipelineError::Panicked)
}

/// A model that is served, or that will be once it is loaded.
#[derive(Debug)]
pub struct ModelJudge {
    model: watch::Receiver<Option<Pipeline>>,
    runtime: Handle,
    timeout: Duration,
}

impl ModelJudge {
    /// Must be called within the runtime on which the model's requests run.
    pub fn new(model: watch::Receiver<Option<Pipeline>>, timeout: Duration) -> Self {
        Self { model, runtime: Handle::current(), timeout }
    }
}

impl Judge for ModelJudge {
    fn ask(&self, questions: &[Question]) -> Vec<Option<f32>> {
        let Some(model) = self.model.borrow().clone() else {
            tracing::warn!("the guardrail's judge is still loading");
            return vec![None; questions.len()];
        };
        let ask = async |question: &Question| {
            let answer = timeout(self.timeout, model.judge(question)).await;
            match answer {
                Ok(Ok(likelihood)) => return Some(likelihood),
                Ok(Err(error)) => tracing::warn!(%error, "the guardrail's judge failed"),
                Err(_) => tracing::warn!("the guardrail's judge did not answer in time"),
            }
            None
        };
        self.runtime.block_on(join_all(questions.iter().map(ask)))
    }
}

impl Pipeline {
    /// How likely the answer to a question is yes.
    async fn judge(&self, question: &Question) -> Result<f32, PipelineError> {
        let input = Input::Messages(vec![
            Message::new(Role::System, question.preface.to_string()),
            Message::new(Role::User, question.text.clone()),
        ]);
        let prepare = move |text: &TextAssets| {
            let Encoded { mut ids, reasoning_open } = prompt::encode(text, &input, &[])?;
            if let Some(tags) = &text.reasoning {
                ids.extend(without_reasoning(&text.tokenizer, tags, reasoning_open)?);
            }
            Ok((ids, Answers::new(&text.tokenizer)?))
        };
        let (prompt, answers) = self.off_the_runtime(prepare).await?;
        let answers = Arc::new(answers);
        let request = GenerationRequest {
            prompt,
            max_tokens: 1,
            stop_ids: Arc::from([]),
            sampling: SamplingParams {
                temperature: 0.0,
                top_p: 1.0,
                top_k: 0,
                min_p: 0.0,
                repetition_penalty: 1.0,
                seed: 0,
            },
            reasoning_budget: None,
            // Somebody's request, which was let in, waits for it.
            priority: Priority::High,
            cache_salt: Some(SALT.into()),
            logprobs: Some(limits::TOP_LOGPROBS_MAX),
        };
        let constraint = Box::new(OneAnswer { answers: Arc::clone(&answers), is_written: false });
        let mut generation = self.engine.submit_constrained(request, Some(constraint))?;
        while let Some(event) = generation.next().await {
            match event {
                TokenEvent::Logprobs(logprobs) => return Ok(answers.likelihood_of_yes(&logprobs)),
                TokenEvent::Failed(error) => return Err(error.into()),
                TokenEvent::Token(_) | TokenEvent::Finished(_) => {}
            }
        }
        Err(GenerationError::EngineStopped.into())
    }
}

/// What makes a model that reasons answer at once: reasoning that ends before it begins.
fn without_reasoning(
    tokenizer: &Tokenizer,
    tags: &ReasoningTags,
    is_open: bool,
) -> Result<Vec<u32>, TokenizerError> {
    let mut ids = Vec::new();
    if !is_open {
        ids.push(tags.open_id);
        ids.extend(tokenizer.encode("\n")?);
    }
    ids.extend(tokenizer.encode("\n")?);
    ids.push(tags.close_id);
    ids.extend(tokenizer.encode("\n\n")?);
    Ok(ids)
}

/// The tokens with which the two answers begin.
#[derive(Debug)]
struct Answers {
    yes: Vec<u32>,
    no: Vec<u32>,
    /// A bit for each.
    allowed: Vec<u32>,
}

impl Answers {
    fn new(tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let first = |spellings: [&str; 7]| -> Result<Vec<u32>, TokenizerError> {
            let mut ids = Vec::new();
            for spelling in spellings {
                ids.extend(tokenizer.encode(spelling)?.first());
            }
            Ok(ids)
        };
        let (mut yes, mut no) = (first(YES)?, first(NO)?);
        // Such as a quotation mark, or a space that is a token of its own.
        let shared: Vec<u32> = yes.iter().copied().filter(|id| no.contains(id)).collect();
        for ids in [&mut yes, &mut no] {
            ids.retain(|id| !shared.contains(id));
            ids.sort_unstable();
            ids.dedup();
        }
        if yes.is_empty() || no.is_empty() {
            return Err(TokenizerError::Model("`yes` and `no` begin alike".to_owned()));
        }
        let mut allowed = Vec::new();
        for &id in yes.iter().chain(&no) {
            let word = (id / u32::BITS) as usize;
            allowed.resize(allowed.len().max(word + 1), 0);
            allowed[word] |= 1 << (id % u32::BITS);
        }
        Ok(Self { yes, no, allowed })
    }

    /// The share of yes in what the model gives to the two; those that are not among the most
    /// likely tokens count as nothing, but for the one that was drawn.
    fn likelihood_of_yes(&self, logprobs: &TokenLogprobs) -> f32 {
        let drawn = (logprobs.token, logprobs.logprob);
        let others = logprobs.top.iter().filter(|(id, _)| *id != drawn.0);
        // Relative to the drawn one, which can be too unlikely to be a number by itself.
        let share = |ids: &[u32]| -> f32 {
            let all = others.clone().chain([&drawn]).filter(|(id, _)| ids.contains(id));
            all.map(|(_, logprob)| (logprob - drawn.1).exp()).sum()
        };
        let (yes, no) = (share(&self.yes), share(&self.no));
        yes / (yes + no)
    }
}

#[derive(Debug)]
struct OneAnswer {
    answers: Arc<Answers>,
    is_written: bool,
}

impl TokenConstraint for OneAnswer {
    fn allowed(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        Ok(Some(&self.answers.allowed))
    }

    fn accept(&mut self, token: u32, _room: usize) -> Result<Option<u32>, ConstraintError> {
        self.is_written = true;
        Ok(Some(token))
    }

    fn may_end(&mut self) -> bool {
        self.is_written
    }

    fn must_end(&mut self) -> bool {
        self.is_written
    }

    fn num_tokens_min(&self) -> usize {
        1
    }
}
