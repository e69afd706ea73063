//! Texts as vectors, by a BERT in a folder as sentence-transformers writes them: config.json,
//! tokenizer.json, model.safetensors. Knows nothing of what the vectors are for.

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;
use thiserror::Error;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use crate::guardrail::{Embed, ExpertFailed};
use crate::limits;

/// Why a folder holds no embedder that can be used.
#[derive(Debug, Error)]
pub enum EmbedderError {
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` has more than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("`{}` cannot be used: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("`{}`: `{field}` is {value}, and must be {wanted}", path.display())]
    Field { path: PathBuf, field: &'static str, value: String, wanted: String },
}

/// A model that is ready to embed.
pub struct Embedder {
    model: BertModel,
    tokenizer: Tokenizer,
    /// What the model was trained to see before a text.
    prefix: String,
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Embedder {
    pub fn load(folder: &Path) -> Result<Self, EmbedderError> {
        let path = folder.join("config.json");
        let config: Config = parse(&path, &read(&path, limits::EMBEDDER_JSON_BYTES_MAX)?)?;
        check(&path, &config)?;
        check_pooling(&folder.join("1_Pooling").join("config.json"))?;
        let prefix = prefix(&folder.join("config_sentence_transformers.json"))?;
        let tokenizer = tokenizer(&folder.join("tokenizer.json"), &config)?;
        let path = folder.join("model.safetensors");
        let weights = read(&path, limits::EMBEDDER_WEIGHT_BYTES_MAX)?;
        let model = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)
            .and_then(|weights| BertModel::load(weights, &config))
            .map_err(|error| EmbedderError::File { path, reason: error.to_string() })?;
        Ok(Self { model, tokenizer, prefix })
    }

    /// The pieces of a text that the model reads at once, without padding.
    fn encode(&self, text: &str) -> Result<Vec<Encoding>, ExpertFailed> {
        let text = format!("{}{text}", self.prefix);
        let encoded = self.tokenizer.encode(text, true);
        let mut first = encoded.map_err(|error| ExpertFailed(error.to_string()))?;
        let mut rest = first.take_overflowing();
        rest.insert(0, first);
        Ok(rest)
    }

    /// Vectors of a batch, whose texts are of about one length.
    fn forward(&self, batch: &[&Encoding]) -> candle_core::Result<Vec<Vec<f32>>> {
        let longest = batch.iter().map(|it| it.len()).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for piece in batch {
            let padding = longest - piece.len();
            ids.extend(piece.get_ids().iter().copied().chain(std::iter::repeat_n(0, padding)));
            mask.extend((0..longest).map(|at| u32::from(at < piece.len())));
        }
        let shape = (batch.len(), longest);
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?.to_vec3::<f32>()?;
        let vectors = hidden.iter().zip(batch).map(|(rows, piece)| mean(&rows[..piece.len()]));
        vectors.map(|it| it.ok_or_else(|| candle_core::Error::msg("no finite vector"))).collect()
    }
}

impl Embed for Embedder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ExpertFailed> {
        let mut pieces = Vec::new();
        for text in texts {
            pieces.extend(self.encode(text)?);
        }
        // Padding is computed too, so that pieces of one length go together.
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|&at| pieces[at].len());
        let mut vectors = vec![Vec::new(); pieces.len()];
        for places in order.chunks(limits::EMBEDDER_BATCH_MAX) {
            let batch: Vec<&Encoding> = places.iter().map(|&at| &pieces[at]).collect();
            let found = self.forward(&batch).map_err(|error| ExpertFailed(error.to_string()))?;
            for (&at, vector) in places.iter().zip(found) {
                vectors[at] = vector;
            }
        }
        Ok(vectors)
    }
}

/// The mean of rows, made as long as one; `None` where that is no number.
fn mean(rows: &[Vec<f32>]) -> Option<Vec<f32>> {
    let mut sum = vec![0.0; rows.first()?.len()];
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    let length = sum.iter().map(|it| it * it).sum::<f32>().sqrt();
    let is_usable = length.is_finite() && length > 0.0;
    is_usable.then(|| sum.into_iter().map(|it| it / length).collect())
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, EmbedderError> {
    let failed = |source| EmbedderError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > limit {
        true => Err(EmbedderError::TooLarge { path: path.to_owned(), limit }),
        false => Ok(bytes),
    }
}

fn parse<'b, T: Deserialize<'b>>(path: &Path, bytes: &'b [u8]) -> Result<T, EmbedderError> {
    serde_json::from_slice(bytes)
        .map_err(|error| EmbedderError::File { path: path.to_owned(), reason: error.to_string() })
}

/// What the model's code divides by or counts with; the rest is held against the weights' shapes.
fn check(path: &Path, config: &Config) -> Result<(), EmbedderError> {
    let refused = |field, value: String, wanted: String| {
        Err(EmbedderError::Field { path: path.to_owned(), field, value, wanted })
    };
    if let Some(kind) = config.model_type.as_deref().filter(|it| *it != "bert") {
        return refused("model_type", kind.to_owned(), "bert".to_owned());
    }
    let dim_max = limits::TENSOR_DIM_MAX as usize;
    for (field, value, limit) in [
        ("hidden_size", config.hidden_size, dim_max),
        ("num_attention_heads", config.num_attention_heads, config.hidden_size),
        ("num_hidden_layers", config.num_hidden_layers, limits::EMBEDDER_LAYERS_MAX),
        ("max_position_embeddings", config.max_position_embeddings, dim_max),
        ("type_vocab_size", config.type_vocab_size, dim_max),
    ] {
        if !(1..=limit).contains(&value) {
            return refused(field, value.to_string(), format!("from 1 to {limit}"));
        }
    }
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let wanted = format!("a divisor of `hidden_size`, {}", config.hidden_size);
        return refused("num_attention_heads", config.num_attention_heads.to_string(), wanted);
    }
    if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
        let wanted = "between 0 and 1".to_owned();
        return refused("layer_norm_eps", config.layer_norm_eps.to_string(), wanted);
    }
    Ok(())
}

/// Vectors are means over the tokens; a model that was trained otherwise would be worse unseen.
fn check_pooling(path: &Path) -> Result<(), EmbedderError> {
    #[derive(Deserialize)]
    struct Pooling {
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
    }
    if !path.exists() {
        return Ok(());
    }
    let pooling: Pooling = parse(path, &read(path, limits::EMBEDDER_JSON_BYTES_MAX)?)?;
    match pooling.pooling_mode_mean_tokens {
        true => Ok(()),
        false => Err(EmbedderError::Field {
            path: path.to_owned(),
            field: "pooling_mode_mean_tokens",
            value: "false".to_owned(),
            wanted: "true: other ways of pooling are not supported".to_owned(),
        }),
    }
}

fn prefix(path: &Path) -> Result<String, EmbedderError> {
    #[derive(Deserialize)]
    struct Prompts {
        #[serde(default)]
        prompts: std::collections::HashMap<String, String>,
        #[serde(default)]
        default_prompt_name: Option<String>,
    }
    if !path.exists() {
        return Ok(String::new());
    }
    let Prompts { mut prompts, default_prompt_name } =
        parse(path, &read(path, limits::EMBEDDER_JSON_BYTES_MAX)?)?;
    let Some(name) = default_prompt_name else { return Ok(String::new()) };
    prompts.remove(&name).ok_or_else(|| EmbedderError::Field {
        path: path.to_owned(),
        field: "default_prompt_name",
        value: format!("`{name}`"),
        wanted: "one of `prompts`".to_owned(),
    })
}

fn tokenizer(path: &Path, config: &Config) -> Result<Tokenizer, EmbedderError> {
    let bytes = read(path, limits::EMBEDDER_JSON_BYTES_MAX)?;
    let failed = |reason: String| EmbedderError::File { path: path.to_owned(), reason };
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| failed(error.to_string()))?;
    let (found, limit) = (tokenizer.get_vocab_size(true), config.vocab_size);
    if found > limit {
        return Err(failed(format!("it has {found} tokens, and the model knows {limit}")));
    }
    let max_length = config.max_position_embeddings.min(limits::EMBEDDER_TOKENS_MAX);
    let truncation = TruncationParams { max_length, ..TruncationParams::default() };
    tokenizer
        .with_padding(None)
        .with_truncation(Some(truncation))
        .map_err(|error| failed(error.to_string()))?;
    Ok(tokenizer)
}
