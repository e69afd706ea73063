//! Judges texts by a guardrail, for `scripts/score-guardrail`.

use std::io::Write;
use std::time::Instant;

use serde::Deserialize;

use crate::guardrail::{
    Block, Direction, EntityKind, Guardrail, GuardrailDefinition, Identity, OutputScope, Qualifier,
};

/// A text, and what an answer is held against.
#[derive(Deserialize)]
struct Text {
    text: String,
    #[serde(default)]
    is_output: bool,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    query: Option<String>,
}

/// One line a text: its assessment and the microseconds it took.
pub(crate) fn assess(definition: &str, texts: &str) -> std::io::Result<()> {
    let definition: GuardrailDefinition = serde_json::from_slice(&std::fs::read(definition)?)?;
    let identity =
        Identity { id: "score".to_owned(), arn: String::new(), version: "DRAFT".to_owned() };
    let guardrail = Guardrail::new(identity, definition).map_err(std::io::Error::other)?;
    let texts: Vec<Text> = crate::rows::read(texts)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for text in &texts {
        let mut blocks = Vec::new();
        if let Some(source) = &text.source {
            blocks.push(Block { text: source, qualifiers: &[Qualifier::GroundingSource] });
        }
        if let Some(query) = &text.query {
            blocks.push(Block { text: query, qualifiers: &[Qualifier::Query] });
        }
        blocks.push(Block::new(&text.text));
        let direction = if text.is_output { Direction::Output } else { Direction::Input };
        let started = Instant::now();
        let outcome = guardrail.assess(direction, &blocks, OutputScope::Full);
        let micros = started.elapsed().as_secs_f64() * 1e6;
        let line = serde_json::json!({ "assessment": outcome.assessment, "micros": micros });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The names of all kinds of sensitive information.
pub(crate) fn kinds() -> std::io::Result<()> {
    println!("{}", serde_json::to_string(EntityKind::ALL)?);
    Ok(())
}
