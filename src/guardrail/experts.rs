//! Bigger models that a guardrail asks where words are not enough. It knows them as traits: an
//! embedder, which tells how alike texts are, and a judge, which answers yes or no.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::guardrail::likeness::Background;
use crate::limits;

/// Why an expert has no answer. Never says what it was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the guardrail's embedder failed: {0}")]
pub struct ExpertFailed(pub String);

/// Places texts so that those of like meaning are near.
pub trait Embed: fmt::Debug + Send + Sync {
    /// Vectors of length one and of one dimension: at least one for each text, in their order, and
    /// more for a text that is longer than the model reads at once.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ExpertFailed>;
}

/// Answers questions about a text. Takes its time, so it is never asked on a thread that others
/// wait for; that time is bounded.
pub trait Judge: fmt::Debug + Send + Sync {
    /// How likely the answer to each is yes, from 0 to 1; `None` where there was no answer in time.
    fn ask(&self, questions: &[Question]) -> Vec<Option<f32>>;
}

/// A question in two parts, of which the first is the same for every text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Question {
    pub preface: Arc<str>,
    /// What the client or the model wrote, marked as such.
    pub text: String,
}

/// Shows sizes, never text.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({} + {} bytes)", self.preface.len(), self.text.len())
    }
}

/// What a text counts as when an expert that is configured does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// As what was asked about: nothing passes unseen.
    #[default]
    Block,
    /// As what words alone say of it.
    Pass,
}

/// The experts of a program, and what they said before.
#[derive(Debug, Default)]
pub struct Experts {
    embedder: Option<(Arc<dyn Embed>, Background)>,
    judge: Option<Arc<dyn Judge>>,
    pub(super) on_failure: OnFailure,
    vectors: Remembered<Vec<Vec<f32>>>,
    answers: Remembered<f32>,
}

impl Experts {
    pub fn new(on_failure: OnFailure) -> Self {
        Self { on_failure, ..Self::default() }
    }

    /// Embeds the texts that ship as a background, which takes a second.
    pub fn with_embedder(mut self, embedder: Arc<dyn Embed>) -> Result<Self, ExpertFailed> {
        let background = Background::new(embedder.as_ref())?;
        self.embedder = Some((embedder, background));
        Ok(self)
    }

    pub fn with_judge(mut self, judge: Arc<dyn Judge>) -> Self {
        self.judge = Some(judge);
        self
    }

    pub(super) fn embedder(&self) -> Option<(&dyn Embed, &Background)> {
        self.embedder.as_ref().map(|(embedder, background)| (embedder.as_ref(), background))
    }

    pub(super) fn has_judge(&self) -> bool {
        self.judge.is_some()
    }

    /// The vectors of a text.
    pub(super) fn vectors(&self, text: &str) -> Option<Result<Vec<Vec<f32>>, ExpertFailed>> {
        let (embedder, _) = self.embedder.as_ref()?;
        Some(match self.vectors.recall(&text) {
            Some(vectors) => Ok(vectors),
            None => embedder.embed(&[text]).inspect(|it| self.vectors.keep(&text, it.clone())),
        })
    }

    /// Asks what was not answered before, all of it at once.
    pub(super) fn ask(&self, questions: Vec<Question>) -> Vec<Option<f32>> {
        let Some(judge) = &self.judge else { return vec![None; questions.len()] };
        let mut answers: Vec<_> = questions.iter().map(|it| self.answers.recall(it)).collect();
        let unknown: Vec<_> = (0..answers.len()).filter(|&at| answers[at].is_none()).collect();
        let asked: Vec<_> = unknown.iter().map(|&at| questions[at].clone()).collect();
        if asked.is_empty() {
            return answers;
        }
        for (at, answer) in unknown.into_iter().zip(judge.ask(&asked)) {
            let answer = answer.filter(|it| it.is_finite());
            if let Some(answer) = answer {
                self.answers.keep(&questions[at], answer);
            }
            answers[at] = answer;
        }
        answers
    }
}

/// Answers by a keyed hash of what was asked: the texts themselves are not kept.
#[derive(Debug)]
struct Remembered<T> {
    keys: [RandomState; 2],
    kept: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    by_key: HashMap<[u64; 2], T>,
    /// Oldest first.
    order: VecDeque<[u64; 2]>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        let kept = Kept { by_key: HashMap::new(), order: VecDeque::new() };
        Self { keys: [RandomState::new(), RandomState::new()], kept: Mutex::new(kept) }
    }
}

impl<T: Clone> Remembered<T> {
    fn key(&self, asked: &impl std::hash::Hash) -> [u64; 2] {
        [self.keys[0].hash_one(asked), self.keys[1].hash_one(asked)]
    }

    fn recall(&self, asked: &impl std::hash::Hash) -> Option<T> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_key.get(&self.key(asked)).cloned()
    }

    fn keep(&self, asked: &impl std::hash::Hash, answer: T) {
        let key = self.key(asked);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.by_key.insert(key, answer).is_some() {
            return;
        }
        kept.order.push_back(key);
        if kept.order.len() > limits::GUARDRAIL_ANSWERS_KEPT_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_key.remove(&oldest);
        }
    }
}
