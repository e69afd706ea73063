//! The models that are served, and which of them an id of a request means.
//!
//! Each has its own pipeline, so one may be loading while another answers.

mod names;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::refusal::Refusal;
use crate::pipeline::Pipeline;

use names::Names;
pub(super) use names::{Arn, without_geography};

/// One model being served.
#[derive(Debug)]
pub(super) struct ServedModel {
    pub(super) id: Arc<str>,
    /// When this server began to serve it.
    pub(super) since: SystemTime,
    /// `None` while it is loading.
    pipeline: watch::Receiver<Option<Pipeline>>,
}

impl ServedModel {
    pub(super) fn loaded(&self) -> Option<Pipeline> {
        self.pipeline.borrow().clone()
    }

    /// Waits while the model is loading, up to `limit`.
    pub(super) async fn pipeline(&self, limit: Duration) -> Result<Pipeline, Refusal> {
        let mut pipeline = self.pipeline.clone();
        let loaded = timeout(limit, pipeline.wait_for(Option::is_some)).await;
        match loaded {
            Ok(Ok(pipeline)) => Ok(pipeline.clone().expect("it was waited for")),
            Ok(Err(_)) => Err(Refusal::Draining),
            Err(_) => Err(Refusal::ModelNotReady),
        }
    }
}

/// A further name for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// An id, a whole ARN, or the beginning of ids and a `*`.
    pub name: String,
    /// The id of a model; `None` where only one is served.
    pub model_id: Option<String>,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ModelsError {
    #[error("two models have the id `{0}`")]
    DuplicateId(String),
    #[error("two aliases have the name `{0}`")]
    DuplicateAlias(String),
    #[error("the alias `{alias}` names no model, and several are served: {known}")]
    AliasWithoutModel { alias: String, known: String },
    #[error("the alias `{alias}` means `{model_id}`, but the models served are {known}")]
    AliasOfUnknown { alias: String, model_id: String, known: String },
    #[error("`*` may stand at the end of an alias only, not as in `{0}`")]
    StarWithin(String),
    #[error("an id of a model is empty")]
    EmptyId,
}

/// Hands a pipeline to a model once it is loaded.
pub type PipelineSender = watch::Sender<Option<Pipeline>>;

/// All models served, in the order in which they were asked for.
#[derive(Debug)]
pub struct Models {
    served: Vec<Arc<ServedModel>>,
    names: Names,
}

impl Models {
    /// The senders are in the order of `ids`.
    pub fn new(
        ids: &[String],
        aliases: &[Alias],
    ) -> Result<(Self, Vec<PipelineSender>), ModelsError> {
        let names = Names::new(ids, aliases)?;
        let since = SystemTime::now();
        let (mut served, mut senders) = (Vec::new(), Vec::new());
        for id in ids {
            let (sender, pipeline) = watch::channel(None);
            served.push(Arc::new(ServedModel { id: id.as_str().into(), since, pipeline }));
            senders.push(sender);
        }
        Ok((Self { served, names }, senders))
    }

    /// The model that an id of a request means.
    pub(super) fn find(&self, id: &str) -> Result<&Arc<ServedModel>, Refusal> {
        match self.names.find(id) {
            Some(index) => Ok(&self.served[index]),
            None => {
                let known = names::quoted(self.served.iter().map(|it| &*it.id));
                Err(Refusal::ModelNotFound { id: id.to_owned(), known })
            }
        }
    }

    pub(super) fn all(&self) -> &[Arc<ServedModel>] {
        &self.served
    }

    /// Names that clients can ask for, but for those that a `*` stands for, with their models.
    pub(super) fn listed(&self) -> impl Iterator<Item = (&str, &Arc<ServedModel>)> {
        self.names.listed().map(|(name, index)| (name, &self.served[index]))
    }
}
