//! What a checkpoint says about text, from either container format.

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use super::tokenizer::{gguf, vocabulary::REASONING_TAGS};
use crate::chat::{ChatTemplate, TemplateError, Tokenizer, TokenizerError, ToolFormat};
use crate::format::gguf::{Metadata, MetadataError};
use crate::limits;

/// Control tokens that end a turn in the families that are served. Checkpoints that were converted
/// carelessly name only one of those that their model writes.
const END_OF_TURN: [&str; 7] = [
    "<｜end▁of▁sentence｜>",
    "<|EOT|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
];

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

/// How the checkpoint's makers sample from it, where they say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SamplingDefaults {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    pub repetition_penalty: Option<f32>,
}

impl SamplingDefaults {
    /// Each of these, or where it is absent that of `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            temperature: self.temperature.or(other.temperature),
            top_p: self.top_p.or(other.top_p),
            top_k: self.top_k.or(other.top_k),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
        }
    }
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
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("{file} is not valid: {reason}")]
    Json { file: &'static str, reason: String },
    #[error("{field} is {value}, which is not {expected}")]
    Sampling { field: &'static str, value: f64, expected: &'static str },
}

impl TextAssets {
    /// How the model is told about tools and calls them.
    pub fn tool_format(&self) -> ToolFormat {
        self.template.as_ref().map_or(ToolFormat::Written, |template| template.tool_format())
    }

    pub fn from_gguf(metadata: &Metadata) -> Result<Self, AssetsError> {
        let tokenizer = Tokenizer::from_gguf(metadata)?;
        let token_id = |key| gguf::token_id(metadata, key, tokenizer.vocab_size());
        let bos_id = token_id("tokenizer.ggml.bos_token_id")?;
        let eos_id = token_id("tokenizer.ggml.eos_token_id")?;
        let eot_id = token_id("tokenizer.ggml.eot_token_id")?;
        let eom_id = token_id("tokenizer.ggml.eom_token_id")?;
        let texts = metadata.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        let text = |id: Option<u32>| texts.get(id? as usize).cloned();
        let template = match metadata.string("tokenizer.chat_template")? {
            Some(source) => {
                Some(ChatTemplate::new(source, &tokenizer, text(bos_id), text(eos_id))?)
            }
            None => None,
        };
        let ends = [eos_id, eot_id, eom_id].into_iter().flatten().collect();
        let sampling = SamplingFields {
            temperature: ("general.sampling.temp", metadata.float("general.sampling.temp")?),
            top_p: ("general.sampling.top_p", metadata.float("general.sampling.top_p")?),
            top_k: ("general.sampling.top_k", metadata.unsigned("general.sampling.top_k")?),
            repetition_penalty: (
                "general.sampling.penalty_repeat",
                metadata.float("general.sampling.penalty_repeat")?,
            ),
        };
        Ok(Self::new(tokenizer, template, ends, sampling.checked()?))
    }

    pub fn from_hf(files: &HfFiles<'_>) -> Result<Self, AssetsError> {
        let config = Json::parse("tokenizer_config.json", files.tokenizer_config_json)?;
        let generation = Json::parse("generation_config.json", files.generation_config_json)?;
        let tokenizer = Tokenizer::from_json(files.tokenizer_json)?;
        let (bos_token, eos_token) = (config.token("bos_token")?, config.token("eos_token")?);
        let bos_id = match (config.value["add_bos_token"].as_bool(), &bos_token) {
            (Some(true), Some(bos_token)) => Some(config.id_of(&tokenizer, bos_token)?),
            (Some(false), _) => None,
            (Some(true), None) | (None, _) => tokenizer.bos_id(),
        };
        let tokenizer = tokenizer.with_bos(bos_id);
        let mut ends = generation.token_ids("eos_token_id", tokenizer.vocab_size())?;
        if let Some(eos_token) = &eos_token {
            ends.push(config.id_of(&tokenizer, eos_token)?);
        }
        let source = match files.chat_template_jinja {
            Some(source) => Some(source),
            None => config.chat_template()?,
        };
        let template = match source {
            Some(source) => Some(ChatTemplate::new(source, &tokenizer, bos_token, eos_token)?),
            None => None,
        };
        let sampling = SamplingFields {
            temperature: ("temperature", generation.number("temperature")?),
            top_p: ("top_p", generation.number("top_p")?),
            top_k: ("top_k", generation.value["top_k"].as_u64()),
            repetition_penalty: ("repetition_penalty", generation.number("repetition_penalty")?),
        };
        Ok(Self::new(tokenizer, template, ends, sampling.checked()?))
    }

    fn new(
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        mut stop_ids: Vec<u32>,
        sampling: SamplingDefaults,
    ) -> Self {
        stop_ids.extend(END_OF_TURN.iter().filter_map(|token| tokenizer.special_id(token)));
        stop_ids.sort_unstable();
        stop_ids.dedup();
        let [open, close] = REASONING_TAGS;
        let reasoning = tokenizer.special_id(open).zip(tokenizer.special_id(close)).map(
            |(open_id, close_id)| ReasoningTags {
                open: open.to_owned(),
                close: close.to_owned(),
                open_id,
                close_id,
            },
        );
        Self {
            tokenizer: Arc::new(tokenizer),
            template: template.map(Arc::new),
            stop_ids: stop_ids.into(),
            reasoning,
            sampling,
        }
    }
}

/// Sampling parameters with the names they have in their file.
struct SamplingFields {
    temperature: (&'static str, Option<f64>),
    top_p: (&'static str, Option<f64>),
    top_k: (&'static str, Option<u64>),
    repetition_penalty: (&'static str, Option<f64>),
}

impl SamplingFields {
    fn checked(self) -> Result<SamplingDefaults, AssetsError> {
        let within =
            |(field, value): (&'static str, Option<f64>), expected, holds: fn(f64) -> bool| {
                match value {
                    Some(value) if !holds(value) => {
                        Err(AssetsError::Sampling { field, value, expected })
                    }
                    _ => Ok(value.map(|value| value as f32)),
                }
            };
        Ok(SamplingDefaults {
            temperature: within(self.temperature, "in [0, 100]", |t| (0.0..=100.0).contains(&t))?,
            top_p: within(self.top_p, "in (0, 1]", |p| p > 0.0 && p <= 1.0)?,
            top_k: match self.top_k {
                (_, None) => None,
                (field, Some(top_k)) => Some(usize::try_from(top_k).map_err(|_| {
                    AssetsError::Sampling { field, value: top_k as f64, expected: "a count" }
                })?),
            },
            repetition_penalty: within(self.repetition_penalty, "in (0, 100]", |penalty| {
                penalty > 0.0 && penalty <= 100.0
            })?,
        })
    }
}

/// A configuration file, empty when there is none.
struct Json {
    file: &'static str,
    value: Value,
}

impl Json {
    fn parse(file: &'static str, bytes: Option<&[u8]>) -> Result<Self, AssetsError> {
        let value = match bytes {
            None => Value::Object(serde_json::Map::new()),
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| AssetsError::Json { file, reason: error.to_string() })?,
        };
        if value.is_object() {
            Ok(Self { file, value })
        } else {
            Err(AssetsError::Json { file, reason: "it is not an object".to_owned() })
        }
    }

    fn error(&self, reason: String) -> AssetsError {
        AssetsError::Json { file: self.file, reason }
    }

    /// A token, written as its text or as an object that describes it.
    fn token(&self, field: &str) -> Result<Option<String>, AssetsError> {
        match &self.value[field] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            described => match described["content"].as_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(self.error(format!("{field} is neither text nor has `content`"))),
            },
        }
    }

    fn id_of(&self, tokenizer: &Tokenizer, token: &str) -> Result<u32, AssetsError> {
        let id = tokenizer.id_of(token);
        id.ok_or_else(|| self.error(format!("it names the token `{token}`, which there is not")))
    }

    /// An id or a list of ids.
    fn token_ids(&self, field: &str, vocab_size: usize) -> Result<Vec<u32>, AssetsError> {
        let listed = match &self.value[field] {
            Value::Null => &[][..],
            Value::Array(ids) => ids.as_slice(),
            id => std::slice::from_ref(id),
        };
        if listed.len() > limits::STOP_IDS_MAX {
            let limit = limits::STOP_IDS_MAX;
            return Err(self.error(format!("{field} has more than {limit} entries")));
        }
        listed
            .iter()
            .map(|id| match id.as_u64() {
                Some(id) if id < vocab_size as u64 => Ok(id as u32),
                _ => Err(self.error(format!("{field} {id} is not in the vocabulary"))),
            })
            .collect()
    }

    fn number(&self, field: &str) -> Result<Option<f64>, AssetsError> {
        match &self.value[field] {
            Value::Null => Ok(None),
            value => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.error(format!("{field} is not a number"))),
            },
        }
    }

    /// One template, or the one named `default` in a list.
    fn chat_template(&self) -> Result<Option<&str>, AssetsError> {
        match &self.value["chat_template"] {
            Value::Null => Ok(None),
            Value::String(source) => Ok(Some(source)),
            Value::Array(named) => named
                .iter()
                .find(|named| named["name"] == "default")
                .and_then(|named| named["template"].as_str())
                .map(Some)
                .ok_or_else(|| self.error("chat_template has no entry `default`".to_owned())),
            _ => Err(self.error("chat_template is neither text nor a list".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::fixture;
    use crate::format::gguf::Value as GgufValue;

    fn tokenizer_json() -> Vec<u8> {
        fixture::tokenizer_json().to_string().into_bytes()
    }

    fn from_hf(config: &Value, generation: &Value) -> Result<TextAssets, AssetsError> {
        TextAssets::from_hf(&HfFiles {
            tokenizer_json: &tokenizer_json(),
            tokenizer_config_json: Some(config.to_string().as_bytes()),
            generation_config_json: Some(generation.to_string().as_bytes()),
            chat_template_jinja: None,
        })
    }

    fn id(text: &TextAssets, token: &str) -> u32 {
        text.tokenizer.id_of(token).unwrap()
    }

    #[test]
    fn a_gguf_header_gives_template_tags_and_every_end_of_turn() {
        let text = fixture::text_assets();
        assert!(text.template.is_some());
        let reasoning = text.reasoning.as_ref().unwrap();
        assert_eq!(reasoning.open_id, id(&text, "<think>"));
        assert_eq!(reasoning.close_id, id(&text, "</think>"));
        // The header names one; the family writes another one too.
        assert_eq!(*text.stop_ids, [id(&text, fixture::EOS), id(&text, "<|EOT|>")]);
        assert_eq!(text.sampling, SamplingDefaults::default());
    }

    #[test]
    fn a_gguf_header_may_name_more_ends_and_sampling() {
        let eot = GgufValue::U32(byte('!'));
        let text = TextAssets::from_gguf(&fixture::metadata_with([
            ("tokenizer.ggml.eot_token_id", eot),
            ("general.sampling.temp", GgufValue::F32(0.5)),
            ("general.sampling.top_k", GgufValue::I32(20)),
        ]))
        .unwrap();
        assert!(text.stop_ids.contains(&byte('!')));
        assert_eq!((text.sampling.temperature, text.sampling.top_k), (Some(0.5), Some(20)));
        let outside = GgufValue::U32(fixture::VOCAB_SIZE);
        let lying = fixture::metadata_with([("tokenizer.ggml.eot_token_id", outside)]);
        let refusal = TextAssets::from_gguf(&lying).unwrap_err().to_string();
        assert!(refusal.contains("tokenizer.ggml.eot_token_id"), "{refusal}");
    }

    fn byte(character: char) -> u32 {
        fixture::byte_id(character.try_into().unwrap())
    }

    #[test]
    fn a_checkpoint_without_template_is_a_base_model() {
        let metadata = fixture::metadata_without("tokenizer.chat_template");
        assert!(TextAssets::from_gguf(&metadata).unwrap().template.is_none());
    }

    #[test]
    fn a_directory_gives_what_a_gguf_header_gives() {
        let config = json!({
            "bos_token": {"content": fixture::BOS}, "eos_token": fixture::EOS,
            "add_bos_token": true, "chat_template": fixture::TEMPLATE,
        });
        let generation = json!({
            "eos_token_id": byte('!'), "do_sample": true, "temperature": 0.6, "top_p": 0.95,
        });
        let (ours, theirs) = (from_hf(&config, &generation).unwrap(), fixture::text_assets());
        assert_eq!(ours.reasoning, theirs.reasoning);
        assert_eq!(ours.tokenizer.bos_id(), theirs.tokenizer.bos_id());
        let ends: Vec<u32> = [byte('!')].iter().chain(theirs.stop_ids.iter()).copied().collect();
        assert_eq!(*ours.stop_ids, *ends);
        assert_eq!((ours.sampling.temperature, ours.sampling.top_p), (Some(0.6), Some(0.95)));
    }

    #[test]
    fn ends_of_turn_may_be_a_list_and_templates_may_have_names() {
        let config = json!({"chat_template": [
            {"name": "tool_use", "template": "tools"}, {"name": "default", "template": "chat"},
        ]});
        let text = from_hf(&config, &json!({"eos_token_id": [1, 2]})).unwrap();
        assert!(text.stop_ids.starts_with(&[1, 2]));
        let input =
            crate::chat::TemplateInput { messages: &[], tools: &[], add_generation_prompt: true };
        assert_eq!(text.template.unwrap().render(&input).unwrap().text(), "chat");
        assert!(from_hf(&json!({}), &json!({})).unwrap().template.is_none());
    }

    #[test]
    fn what_is_wrong_in_a_directory_is_named() {
        let empty = json!({});
        let cases = [
            (json!({"eos_token": "<nope>"}), empty.clone(), "<nope>"),
            (json!({"eos_token": 7}), empty.clone(), "eos_token"),
            (json!({"chat_template": [{"name": "x", "template": ""}]}), empty.clone(), "default"),
            (json!({"chat_template": 7}), empty.clone(), "chat_template"),
            (json!({"chat_template": "{% if %}"}), empty.clone(), "chat template"),
            (json!([]), empty.clone(), "tokenizer_config.json"),
            (empty.clone(), json!({"eos_token_id": fixture::VOCAB_SIZE}), "eos_token_id"),
            (empty.clone(), json!({"eos_token_id": vec![1; limits::STOP_IDS_MAX + 1]}), "entries"),
            (empty.clone(), json!({"temperature": -1}), "temperature"),
            (empty.clone(), json!({"temperature": "hot"}), "temperature"),
            (empty.clone(), json!({"top_p": 0}), "top_p"),
            (empty.clone(), json!({"repetition_penalty": 0}), "repetition_penalty"),
        ];
        for (config, generation, named) in cases {
            let refusal = from_hf(&config, &generation).unwrap_err().to_string();
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}
