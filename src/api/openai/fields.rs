//! Fields that several operations have: from the wire's values to what the pipeline takes.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::api::openai::error::OpenAiError;
use crate::api::openai::wire::{StructuredOutputs, Texts};
use crate::limits;
use crate::pipeline::{OutputFormat, Priority, SamplingOverrides};

pub(super) fn in_range<T: PartialOrd + Display>(
    param: &str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<T, OpenAiError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (start, end) = (range.start(), range.end());
    let message =
        format!("Invalid value for `{param}`: {value}; it must be from {start} to {end}.");
    Err(OpenAiError::invalid(param, message))
}

/// For fields whose neutral values change nothing, which clients send unasked.
pub(super) fn refuse_unless(neutral: bool, param: &str, reason: &str) -> Result<(), OpenAiError> {
    if neutral { Ok(()) } else { Err(OpenAiError::unsupported(param, reason)) }
}

/// Token counts: positive, and no larger than any context.
pub(super) fn max_tokens(param: &str, value: Option<i64>) -> Result<Option<usize>, OpenAiError> {
    let value = value.map(|it| in_range(param, it, &(1..=i64::from(i32::MAX)))).transpose()?;
    Ok(value.map(|it| usize::try_from(it).expect("it is positive")))
}

/// Beyond OpenAI's own, `top_k`, `min_p` and `repetition_penalty` as vLLM spells them.
#[derive(Default)]
pub(super) struct Sampling {
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) repetition_penalty: Option<f64>,
    pub(super) seed: Option<i64>,
}

impl Sampling {
    pub(super) fn check(self) -> Result<SamplingOverrides, OpenAiError> {
        let float = |param, value: Option<f64>, range| {
            let value = value.map(|it| in_range(param, it, &range)).transpose();
            value.map(|value| value.map(|it| it as f32))
        };
        let penalties =
            f64::from(limits::REPETITION_PENALTY_MIN)..=f64::from(limits::REPETITION_PENALTY_MAX);
        // vLLM's -1 keeps all tokens, as does our 0.
        let top_k = self.top_k.map(|it| in_range("top_k", it, &(-1..=i64::MAX))).transpose()?;
        Ok(SamplingOverrides {
            temperature: float("temperature", self.temperature, 0.0..=2.0)?,
            top_p: float("top_p", self.top_p, 0.0..=1.0)?,
            top_k: top_k.map(|it| usize::try_from(it).unwrap_or(0)),
            min_p: float("min_p", self.min_p, 0.0..=1.0)?,
            repetition_penalty: float("repetition_penalty", self.repetition_penalty, penalties)?,
            // A seed is a name for a sequence of draws: its sign means nothing.
            seed: self.seed.map(|it| it as u64),
        })
    }
}

/// Each choice draws for itself; the first one as if it had been asked for alone.
pub(super) fn seed_of_choice(seed: u64, choice: usize) -> u64 {
    // Weyl's sequence with the golden ratio: far apart, so that the next seed of a client who
    // counts is not the next choice.
    seed.wrapping_add((choice as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Penalties by presence and frequency and a bias on single tokens are not implemented.
pub(super) fn refuse_biases(
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    logit_bias: Option<&BTreeMap<String, f64>>,
) -> Result<(), OpenAiError> {
    let penalty = "only 0 is; `repetition_penalty` discourages repetition.";
    let is_zero = |value: Option<f64>| value.is_none_or(|it| it == 0.0);
    refuse_unless(is_zero(presence_penalty), "presence_penalty", penalty)?;
    refuse_unless(is_zero(frequency_penalty), "frequency_penalty", penalty)?;
    let is_empty = logit_bias.is_none_or(BTreeMap::is_empty);
    refuse_unless(is_empty, "logit_bias", "leave it out or empty.")
}

pub(super) fn stop(stop: Option<Texts>) -> Vec<String> {
    stop.map(|it| it.0).unwrap_or_default()
}

pub(super) fn check_metadata(
    metadata: Option<&BTreeMap<String, String>>,
) -> Result<(), OpenAiError> {
    let Some(metadata) = metadata else { return Ok(()) };
    in_range("metadata: length", metadata.len(), &(0..=limits::REQUEST_METADATA_ENTRIES_MAX))?;
    for (key, value) in metadata {
        let max = limits::OPENAI_METADATA_KEY_CHARS_MAX;
        in_range("metadata: length of a key", key.chars().count(), &(1..=max))?;
        let max = limits::OPENAI_METADATA_VALUE_CHARS_MAX;
        in_range("metadata: length of a value", value.chars().count(), &(0..=max))?;
    }
    Ok(())
}

/// The tier to answer with, and the request's place in the queue.
pub(super) fn service_tier(
    tier: Option<&str>,
) -> Result<(Option<&'static str>, Priority), OpenAiError> {
    match tier {
        None => Ok((None, Priority::Normal)),
        Some("auto" | "default") => Ok((Some("default"), Priority::Normal)),
        Some("flex") => Ok((Some("flex"), Priority::Low)),
        Some("priority" | "scale" | "fast") => Ok((Some("priority"), Priority::High)),
        Some(other) => Err(OpenAiError::invalid(
            "service_tier",
            format!("Invalid value for `service_tier`: `{other}`."),
        )),
    }
}

/// Tokens of reasoning. The models were not trained to reason more or less, so an effort is where
/// their reasoning is cut: `high` leaves it to the model, as does saying nothing.
pub(super) fn reasoning_budget(
    param: &str,
    effort: Option<&str>,
    budget: Option<i64>,
) -> Result<Option<usize>, OpenAiError> {
    let effort_budget = match effort {
        None | Some("high" | "xhigh" | "max") => None,
        Some("none") => Some(0),
        Some("minimal") => Some(limits::REASONING_TOKENS_MINIMAL),
        Some("low") => Some(limits::REASONING_TOKENS_LOW),
        Some("medium") => Some(limits::REASONING_TOKENS_MEDIUM),
        Some(other) => {
            let message = format!("Invalid value for `{param}`: `{other}`.");
            return Err(OpenAiError::invalid(param, message));
        }
    };
    let Some(budget) = budget else { return Ok(effort_budget) };
    if effort.is_some() {
        let message = format!("`reasoning_budget` and `{param}` say the same; keep one of them.");
        return Err(OpenAiError::invalid("reasoning_budget", message));
    }
    let budget = in_range("reasoning_budget", budget, &(0..=i64::from(i32::MAX)))?;
    Ok(Some(usize::try_from(budget).expect("it is not negative")))
}

/// Both APIs name the same formats; the schema lies at different depths.
pub(super) fn output_format(
    kind: &str,
    schema: Option<Value>,
    param: &str,
) -> Result<OutputFormat, OpenAiError> {
    match (kind, schema) {
        ("text", None) => Ok(OutputFormat::Text),
        ("json_object", None) => Ok(OutputFormat::JsonObject),
        ("json_schema", Some(schema)) => Ok(OutputFormat::JsonSchema(schema)),
        ("json_schema", None) => Err(OpenAiError::missing(format!("{param}.schema"))),
        ("text" | "json_object", Some(_)) => Err(OpenAiError::invalid(
            format!("{param}.type"),
            format!("A schema needs the type `json_schema` at `{param}.type`."),
        )),
        (other, _) => Err(OpenAiError::invalid(
            format!("{param}.type"),
            format!("Invalid value for `{param}.type`: `{other}`."),
        )),
    }
}

/// A format, and the field that says it.
pub(in crate::api) type NamedFormat = (OutputFormat, &'static str);

/// Exactly one form, and no other one beside it.
pub(super) fn structured_outputs(
    wire: Option<StructuredOutputs>,
    format: OutputFormat,
) -> Result<NamedFormat, OpenAiError> {
    let Some(wire) = wire else { return Ok((format, "response_format.json_schema.schema")) };
    let param = "structured_outputs";
    let json = wire.json.map(|schema| match schema {
        // A schema may come as a text, as Bedrock's own does.
        Value::String(text) => serde_json::from_str(&text).map(OutputFormat::JsonSchema),
        schema => Ok(OutputFormat::JsonSchema(schema)),
    });
    let json = json.transpose().map_err(|error| {
        let message = format!("`{param}.json` is no JSON: {error}");
        OpenAiError::invalid("structured_outputs.json", message)
    })?;
    let given = [
        (json, "structured_outputs.json"),
        (wire.regex.map(OutputFormat::Regex), "structured_outputs.regex"),
        (wire.choice.map(OutputFormat::Choice), "structured_outputs.choice"),
        (wire.grammar.map(OutputFormat::Grammar), "structured_outputs.grammar"),
        (
            (wire.json_object == Some(true)).then_some(OutputFormat::JsonObject),
            "structured_outputs.json_object",
        ),
    ];
    let mut given = given.into_iter().filter_map(|(format, field)| Some((format?, field)));
    let (first, second) = (given.next(), given.next());
    match (first, second) {
        (Some(first), None) if format == OutputFormat::Text => Ok(first),
        (Some(_), None) => Err(OpenAiError::invalid(
            param,
            format!("`{param}` and `response_format` both say what the answer looks like."),
        )),
        (None, _) | (_, Some(_)) => Err(OpenAiError::invalid(
            param,
            format!("`{param}` must set exactly one of json, regex, choice, grammar, json_object."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_choice_has_the_seed_itself() {
        assert_eq!(seed_of_choice(7, 0), 7);
        let seeds: Vec<u64> = (0..8).map(|choice| seed_of_choice(u64::MAX, choice)).collect();
        assert!((1..8).all(|choice| !seeds[..choice].contains(&seeds[choice])));
        // A client that counts its seeds does not meet the choices of its last request.
        assert!(!seeds[1..].contains(&0));
    }

    #[test]
    fn an_effort_is_a_budget() {
        let budget = |effort| reasoning_budget("reasoning_effort", Some(effort), None).unwrap();
        assert_eq!(budget("none"), Some(0));
        assert!(budget("minimal") < budget("low") && budget("low") < budget("medium"));
        assert_eq!(budget("high"), None);
        assert_eq!(reasoning_budget("e", None, Some(5)).unwrap(), Some(5));
    }

    #[test]
    fn structured_outputs_are_one_form() {
        let parse = |wire: Value, format| {
            let wire = serde_json::from_value(wire).unwrap();
            structured_outputs(Some(wire), format).ok().map(|(format, _)| format)
        };
        let text = OutputFormat::Text;
        let schema = json!({ "type": "object" });
        let expected = Some(OutputFormat::JsonSchema(schema.clone()));
        assert!(parse(json!({ "json": schema }), text.clone()) == expected);
        assert!(parse(json!({ "json": schema.to_string() }), text.clone()) == expected);
        let choice = OutputFormat::Choice(vec!["a".to_owned()]);
        assert!(parse(json!({ "choice": ["a"] }), text.clone()) == Some(choice));
        assert!(parse(json!({ "regex": "a", "choice": ["a"] }), text.clone()).is_none());
        assert!(parse(json!({}), text).is_none());
        assert!(parse(json!({ "regex": "a" }), OutputFormat::JsonObject).is_none());
    }
}
