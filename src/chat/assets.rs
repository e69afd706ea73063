//! What a checkpoint says about text, from either container format.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    chat::{ChatTemplate, TemplateError, Tokenizer, TokenizerError},
    format::gguf::Metadata,
};

/// The text side of a checkpoint.
#[derive(Debug, Clone)]
pub struct TextAssets {
    pub tokenizer: Arc<Tokenizer>,
    /// `None`: a base model, for completions only.
    pub template: Option<Arc<ChatTemplate>>,
    /// Tokens that end a turn.
    pub stop_ids: Arc<[u32]>,
    /// `Some` when the model writes its reasoning between tags.
    pub reasoning: Option<ReasoningTags>,
    pub sampling: SamplingDefaults,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasoningTags {
    pub open: String,
    pub close: String,
    pub open_id: u32,
    pub close_id: u32,
}

/// `generation_config.json`, where there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SamplingDefaults {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    pub repetition_penalty: Option<f32>,
}

/// The text files of a Hugging Face checkpoint directory, as read.
#[derive(Debug, Clone, Copy)]
pub struct HfFiles<'a> {
    pub tokenizer_json: &'a [u8],
    pub tokenizer_config_json: Option<&'a [u8]>,
    pub generation_config_json: Option<&'a [u8]>,
    pub chat_template_jinja: Option<&'a str>,
}

#[derive(Debug, Error)]
pub enum AssetsError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("{file} is not valid: {reason}")]
    Json { file: &'static str, reason: String },
}

impl TextAssets {
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, AssetsError> {
        let _ = metadata;
        unimplemented!()
    }

    pub fn from_hf(files: &HfFiles<'_>) -> Result<Self, AssetsError> {
        let _ = files;
        unimplemented!()
    }
}
