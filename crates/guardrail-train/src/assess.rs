//! Judges texts by a guardrail, for `scripts/score-guardrail`.

use std::io::Write;
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

use crate::guardrail::{
    Block, Direction, EntityFinder, EntityKind, Guardrail, GuardrailDefinition, Identity,
    OutputScope, Qualifier,
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
        let line = json!({ "assessment": outcome.assessment, "micros": micros });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// One line a text: the places of all kinds of sensitive information, in characters, and the
/// microseconds it took.
pub(crate) fn entities(texts: &str) -> std::io::Result<()> {
    let finder = EntityFinder::new(EntityKind::ALL.iter().copied());
    let texts: Vec<Text> = crate::rows::read(texts)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for Text { text, .. } in &texts {
        let started = Instant::now();
        let found = finder.find(text);
        let micros = started.elapsed().as_secs_f64() * 1e6;
        let places: Vec<_> =
            found.iter().map(|it| (it.kind, it.range.start, it.range.end)).collect();
        writeln!(out, "{}", json!({ "entities": places, "micros": micros }))?;
    }
    Ok(())
}

/// Megabytes a second of whole guardrails: 10,000 words and all kinds that have a form, and the
/// content filters beside them.
pub(crate) fn speed(
    text: &str,
    best: impl Fn(&str, &dyn Fn(&str) -> bool) -> f64,
) -> std::io::Result<()> {
    let formed =
        EntityKind::ALL.iter().filter(|it| !matches!(it, EntityKind::Name | EntityKind::Address));
    let kinds: Vec<_> = formed.map(|it| json!({ "type": it, "action": "NONE" })).collect();
    let mut policies = json!({
        "name": "speed", "blockedInputMessaging": "-", "blockedOutputsMessaging": "-",
        "wordPolicyConfig": { "wordsConfig": words() },
        "sensitiveInformationPolicyConfig": { "piiEntitiesConfig": kinds },
    });
    let strengths = ["SEXUAL", "VIOLENCE", "HATE", "INSULTS", "MISCONDUCT", "PROMPT_ATTACK"];
    let filters = strengths.map(|kind| {
        let output = if kind == "PROMPT_ATTACK" { "NONE" } else { "HIGH" };
        json!({ "type": kind, "inputStrength": "HIGH", "outputStrength": output })
    });
    for name in ["words and formed kinds", "with all content heads"] {
        let definition = serde_json::from_value(policies.clone())?;
        let [id, arn, version] = [name, "", "DRAFT"].map(str::to_owned);
        let guardrail = Guardrail::new(Identity { id, arn, version }, definition)
            .map_err(std::io::Error::other)?;
        let judge = |text: &str| {
            let blocks = [Block::new(text)];
            let outcome = guardrail.assess(Direction::Input, &blocks, OutputScope::Interventions);
            outcome.assessment.applied_guardrail_details.is_none()
        };
        println!("{name} {:.1} MB/s", best(text, &judge));
        policies["contentPolicyConfig"] = json!({ "filtersConfig": filters });
    }
    Ok(())
}

/// As many words as a guardrail may have: pronounceable ones of both writings that no text has.
fn words() -> Vec<serde_json::Value> {
    let latin = (0..5_000_u32).map(|index| {
        let syllables = ["ba", "ke", "di", "so", "nu", "ta", "re", "mi", "lo", "fu"];
        let part = |place: u32| syllables[(index / 10_u32.pow(place) % 10) as usize];
        format!("{}{}{}{}x", part(0), part(1), part(2), part(3))
    });
    let han = (0..5_000_u32).filter_map(|index| {
        let character = |at: u32| char::from_u32(0x4E00 + at);
        Some(format!("{}{}", character(index)?, character(index * 7 % 5_000)?))
    });
    latin.chain(han).map(|text| json!({ "text": text, "inputAction": "NONE" })).collect()
}

/// The names of all kinds of sensitive information.
pub(crate) fn kinds() -> std::io::Result<()> {
    println!("{}", serde_json::to_string(EntityKind::ALL)?);
    Ok(())
}
