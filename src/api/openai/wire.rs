//! What the requests of several operations share, as it stands on the wire.
//!
//! Every field of the current API is in the types, so that one which is not supported is refused by
//! its name and one which does not exist is refused as unknown. JSON `null` means absent.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeOwned, Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::openai::error::OpenAiError;

/// The deepest JSON that is read is serde_json's limit of 128 levels.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, OpenAiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed =
        serde_path_to_error::deserialize(&mut json).map_err(|error| describe("", error))?;
    json.end().map_err(OpenAiError::not_json)?;
    Ok(parsed)
}

/// The same for a part whose type was only known once another part had been read.
pub(super) fn parse_value<T: DeserializeOwned>(value: Value, at: &str) -> Result<T, OpenAiError> {
    serde_path_to_error::deserialize(value).map_err(|error| describe(at, error))
}

fn describe(at: &str, error: serde_path_to_error::Error<serde_json::Error>) -> OpenAiError {
    let path = error.path().to_string();
    let param = match (at, path.as_str()) {
        (at, ".") => at.to_owned(),
        ("", path) => path.to_owned(),
        (at, path) => format!("{at}.{path}"),
    };
    let error = error.into_inner();
    if !error.is_data() {
        return OpenAiError::not_json(error);
    }
    let reason = error.to_string();
    let member = |prefix: &str| {
        let name = reason.strip_prefix(prefix)?.split('`').next()?;
        Some(if param.is_empty() { name.to_owned() } else { format!("{param}.{name}") })
    };
    if let Some(param) = member("unknown field `") {
        // The path of an unknown field may already end in its name.
        let name = param.rsplit('.').next().unwrap_or_default();
        let doubled = format!("{name}.{name}");
        return OpenAiError::unknown(match param.strip_suffix(&doubled) {
            Some(parent) => format!("{parent}{name}"),
            None => param,
        });
    }
    if let Some(param) = member("missing field `") {
        return OpenAiError::missing(param);
    }
    if param.is_empty() {
        return OpenAiError::not_json(reason);
    }
    let message = format!("Invalid value for `{param}`: {reason}");
    OpenAiError::invalid(param, message)
}

/// A text or a list of texts.
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Texts, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Texts)
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// What a message says.
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of content parts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Content::Parts)
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

/// A part of a message, of either API. Models here read text only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "members of other types of parts are read to know their names")]
pub(super) struct Part {
    pub(super) r#type: String,
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    image_url: Option<IgnoredAny>,
    input_audio: Option<IgnoredAny>,
    file: Option<IgnoredAny>,
    detail: Option<IgnoredAny>,
    file_id: Option<IgnoredAny>,
    file_data: Option<IgnoredAny>,
    file_url: Option<IgnoredAny>,
    filename: Option<IgnoredAny>,
    // Parts of an answer that is sent back.
    annotations: Option<IgnoredAny>,
    logprobs: Option<IgnoredAny>,
    parsed: Option<IgnoredAny>,
    /// Every prefix is cached.
    prompt_cache_breakpoint: Option<IgnoredAny>,
}

impl Content {
    /// Parts are joined by line breaks, as for a chat template that takes plain strings.
    pub(super) fn into_text(self, at: &str) -> Result<String, OpenAiError> {
        let parts = match self {
            Self::Text(text) => return Ok(text),
            Self::Parts(parts) => parts,
        };
        let mut texts = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            texts.push(part.into_text(&format!("{at}[{index}]"))?);
        }
        Ok(texts.join("\n"))
    }
}

impl Part {
    fn into_text(self, at: &str) -> Result<String, OpenAiError> {
        let (member, text) = match self.r#type.as_str() {
            "text" | "input_text" | "output_text" => ("text", self.text),
            "refusal" => ("refusal", self.refusal),
            other => {
                let reason = format!("`{other}` is no text, and models here read text only.");
                return Err(OpenAiError::unsupported(format!("{at}.type"), &reason));
            }
        };
        text.ok_or_else(|| OpenAiError::missing(format!("{at}.{member}")))
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
    /// Padding against an observer who counts bytes; TLS ends here, so there is none.
    #[serde(default)]
    #[expect(dead_code, reason = "frames are never padded")]
    include_obfuscation: bool,
}

/// A function that the model may call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Value>,
    pub(super) strict: Option<bool>,
}

/// vLLM's way to ask for an answer of a certain form, which Bedrock's imported models share.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StructuredOutputs {
    pub(super) json: Option<Value>,
    pub(super) regex: Option<String>,
    pub(super) choice: Option<Vec<String>>,
    pub(super) grammar: Option<String>,
    pub(super) json_object: Option<bool>,
}
