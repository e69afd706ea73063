//! Documents as text that a model reads.
//!
//! Formats that are text are passed on as they are, HTML too: what the model sees is exactly what
//! the client sent. Of a docx its text is read; formats that need more than a reader of text are
//! refused by their name.

mod docx;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{Blob, invalid, refuse, unsupported};
use crate::limits;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    format: Option<Format>,
    name: String,
    source: Source,
    context: Option<String>,
    citations: Option<Citations>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Format {
    Pdf,
    Csv,
    Doc,
    Docx,
    Xls,
    Xlsx,
    Html,
    Txt,
    Md,
}

/// A union: exactly one member is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Source {
    bytes: Option<Blob>,
    text: Option<String>,
    content: Option<Vec<TextBlock>>,
    s3_location: Option<IgnoredAny>,
}

/// A piece of a document, and of a search result.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextBlock {
    pub(super) text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Citations {
    pub(super) enabled: bool,
}

impl Document {
    /// The document as a piece of a message, between tags that carry its name.
    pub(super) fn into_text(self, path: &str) -> Result<String, BedrockError> {
        check_name(&self.name, path)?;
        if self.citations.is_some_and(|citations| citations.enabled) {
            let field = format!("{path}.citations");
            return Err(unsupported(&field, "This model cites no sources."));
        }
        let Source { bytes, text, content, s3_location } = self.source;
        let reason = "This server reads nothing over the network; send the document's bytes.";
        refuse(&format!("{path}.source.s3Location"), s3_location, reason)?;
        let text = match (bytes, text, content) {
            (Some(Blob(bytes)), None, None) => read(&bytes, self.format, path)?,
            (None, Some(text), None) => text,
            (None, None, Some(blocks)) => {
                let texts: Vec<_> = blocks.into_iter().map(|block| block.text).collect();
                texts.join("\n")
            }
            _ => {
                return Err(invalid(format!(
                    "The value at `{path}.source` must set exactly one of `bytes`, `text` and \
                     `content`."
                )));
            }
        };
        let name = self.name;
        let context = match self.context {
            Some(context) => format!("<context>\n{context}\n</context>\n"),
            None => String::new(),
        };
        let text = text.trim_end_matches('\n');
        Ok(format!("<document name=\"{name}\">\n{context}{text}\n</document>"))
    }
}

/// Bedrock's rule, with the letters of all scripts.
fn check_name(name: &str, path: &str) -> Result<(), BedrockError> {
    let num_chars = name.chars().count();
    let max = limits::DOCUMENT_NAME_CHARS_MAX;
    if !(1..=max).contains(&num_chars) {
        return Err(invalid(format!(
            "The value at `{path}.name` has {num_chars} characters; it must have from 1 to {max}."
        )));
    }
    let plain = |c: char| c.is_alphanumeric() || c.is_whitespace() || "-()[]".contains(c);
    let mut pairs = name.chars().zip(name.chars().skip(1));
    let has_run = pairs.any(|(a, b)| a.is_whitespace() && b.is_whitespace());
    if has_run || !name.chars().all(plain) {
        return Err(invalid(format!(
            "The document file name can only contain alphanumeric characters, whitespace \
             characters, hyphens, parentheses, and square brackets. The name can't contain more \
             than one consecutive whitespace character. Change `{path}.name` and try again."
        )));
    }
    Ok(())
}

fn read(bytes: &[u8], format: Option<Format>, path: &str) -> Result<String, BedrockError> {
    let max = limits::DOCUMENT_BYTES_MAX;
    if bytes.len() > max {
        let len = bytes.len();
        return Err(invalid(format!(
            "The document at `{path}` has {len} bytes; it may have {max}."
        )));
    }
    let unreadable = |what: &str| {
        let field = format!("{path}.format");
        let reason = format!("{what} cannot be read here; convert it to docx, md, txt or csv.");
        Err(unsupported(&field, &reason))
    };
    match format {
        Some(Format::Txt | Format::Md | Format::Csv | Format::Html) => text(bytes, path),
        Some(Format::Docx) => docx::text(bytes).map_err(|error| {
            invalid(format!("The document at `{path}` cannot be read as docx: {error}."))
        }),
        Some(Format::Pdf) => unreadable("A pdf draws glyphs rather than holding text, so it"),
        Some(Format::Doc) => unreadable("The binary format doc"),
        Some(Format::Xls) => unreadable("The binary format xls"),
        Some(Format::Xlsx) => unreadable("A workbook, whose cells are formulas and numbers,"),
        None => Err(invalid(format!("The value at `{path}.format` is missing."))),
    }
}

fn text(bytes: &[u8], path: &str) -> Result<String, BedrockError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(invalid(format!(
            "The document at `{path}` is not UTF-8 at byte {}; convert it and try again.",
            error.valid_up_to()
        ))),
    }
}

#[cfg(test)]
pub(in crate::api) mod tests {
    use super::*;

    pub(in crate::api) use docx::tests::docx_of;

    fn document(json: serde_json::Value) -> Result<String, String> {
        let document: Document = serde_json::from_value(json).map_err(|it| it.to_string())?;
        document.into_text("d").map_err(|error| error.to_string())
    }

    fn named(name: &str) -> Result<String, String> {
        document(serde_json::json!({ "name": name, "source": { "text": "t" } }))
    }

    #[test]
    fn text_stands_between_tags_with_the_name() {
        let text = document(serde_json::json!({
            "format": "md", "name": "Q3 报告 [1]", "source": { "bytes": "77u/IyBIaQo=" },
            "context": "for Bob", "citations": { "enabled": false },
        }));
        let expected = "<document name=\"Q3 报告 [1]\">\n<context>\nfor Bob\n</context>\n# Hi\n\
                        </document>";
        assert_eq!(text.as_deref(), Ok(expected));
        let text = document(serde_json::json!({
            "name": "n", "source": { "content": [{ "text": "a" }, { "text": "b" }] },
        }));
        assert_eq!(text.unwrap(), "<document name=\"n\">\na\nb\n</document>");
    }

    #[test]
    fn names_follow_bedrocks_rule() {
        assert!(named("a-b (c) [d]").is_ok());
        assert!(named(&"n".repeat(200)).is_ok());
        for wrong in ["", "a.txt", "a  b", "a\"b", "a<b", "a_b", &"n".repeat(201)] {
            assert!(named(wrong).unwrap_err().contains("name"), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_its_name() {
        for format in ["pdf", "doc", "xls", "xlsx"] {
            let refused = document(serde_json::json!({
                "format": format, "name": "n", "source": { "bytes": "AAAA" },
            }));
            assert!(refused.unwrap_err().contains("`d.format`"), "{format}");
        }
        for (source, named) in [
            (serde_json::json!({ "s3Location": { "uri": "s3://b/k" } }), "d.source.s3Location"),
            (serde_json::json!({}), "d.source"),
            (serde_json::json!({ "text": "t", "bytes": "AAAA" }), "d.source"),
            (serde_json::json!({ "bytes": "!" }), "base64"),
            (serde_json::json!({ "bytes": "/w==" }), "not UTF-8 at byte 0"),
        ] {
            let refused = document(serde_json::json!({
                "format": "txt", "name": "n", "source": source,
            }));
            let refused = refused.unwrap_err();
            assert!(refused.contains(named), "{refused}");
        }
        let cited = serde_json::json!({
            "name": "n", "source": { "text": "t" }, "citations": { "enabled": true },
        });
        assert!(document(cited).unwrap_err().contains("d.citations"));
    }
}
