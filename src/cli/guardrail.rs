//! `outcrop guardrail`: what guardrails there are, whether a file is one, and what one says of a
//! text.

use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::embed::Embedder;
use crate::guardrail::{
    Block, Direction, Experts, Guardrail, Guardrails, Judge, OnFailure, OutputScope, Verdict,
};
use crate::limits;

#[derive(Debug)]
pub(super) enum GuardrailCommand {
    /// Compiles files.
    Check {
        files: Vec<PathBuf>,
    },
    /// Lists all, or prints one's definition.
    Show {
        source: GuardrailSource,
        choice: Option<GuardrailChoice>,
    },
    Apply(ApplyOptions),
}

#[derive(Debug)]
pub(super) struct ApplyOptions {
    pub source: GuardrailSource,
    pub choice: GuardrailChoice,
    pub direction: Direction,
    pub scope: OutputScope,
    /// Each line of the input is an object with a `text`.
    pub jsonl: bool,
    /// Also tell how much the text is about each topic.
    pub scores: bool,
}

/// Which guardrail a flag names: `ID` or `ID:VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GuardrailChoice {
    pub identifier: String,
    pub version: String,
}

impl GuardrailChoice {
    /// The version comes last; an ARN has colons of its own.
    pub(super) fn parse(text: &str) -> Self {
        let is_version =
            |it: &str| it == "DRAFT" || !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
        match text.rsplit_once(':') {
            Some((identifier, version)) if is_version(version) => {
                Self { identifier: identifier.to_owned(), version: version.to_owned() }
            }
            _ => Self { identifier: text.to_owned(), version: String::new() },
        }
    }
}

/// Where guardrails are from, and the models that they use beside the program's own.
#[derive(Debug, Clone, Default)]
pub(super) struct GuardrailSource {
    /// A folder of guardrails beside the one that ships.
    pub folder: Option<PathBuf>,
    pub embedder: Option<PathBuf>,
    pub on_failure: OnFailure,
}

/// The served model that guardrails ask.
#[derive(Debug, Clone)]
pub(super) struct JudgeOptions {
    pub model_id: String,
    pub timeout: Duration,
}

/// The guardrail of the program and those of a folder.
pub(super) fn read_guardrails(
    source: &GuardrailSource,
    judge: Option<Arc<dyn Judge>>,
) -> anyhow::Result<Guardrails> {
    let mut guardrails = Guardrails::built_in();
    if let Some(folder) = &source.folder {
        guardrails.read_folder(folder)?;
    }
    if source.embedder.is_none() && judge.is_none() {
        return Ok(guardrails);
    }
    let mut experts = Experts::new(source.on_failure);
    if let Some(folder) = &source.embedder {
        let embedder = Embedder::load(folder).context("cannot load the guardrail's embedder")?;
        experts = experts.with_embedder(Arc::new(embedder))?;
    }
    if let Some(judge) = judge {
        experts = experts.with_judge(judge);
    }
    guardrails.equip(&Arc::new(experts))?;
    Ok(guardrails)
}

pub(super) fn run(command: GuardrailCommand) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match command {
        GuardrailCommand::Check { files } => {
            for file in files {
                let mut guardrails = Guardrails::default();
                guardrails.read_file(&file)?;
                for guardrail in guardrails.all() {
                    writeln!(output, "{}: {}", file.display(), title(&guardrail))?;
                }
            }
        }
        GuardrailCommand::Show { source, choice } => {
            let guardrails = read_guardrails(&source, None)?;
            match choice {
                None => {
                    for guardrail in guardrails.all() {
                        writeln!(output, "{}", title(&guardrail))?;
                    }
                }
                Some(choice) => {
                    let guardrail = guardrails.resolve(&choice.identifier, &choice.version)?;
                    let text = serde_json::to_string_pretty(guardrail.definition())?;
                    writeln!(output, "{text}")?;
                }
            }
        }
        GuardrailCommand::Apply(options) => apply(&options, io::stdin().lock(), &mut output)?,
    }
    Ok(())
}

fn title(guardrail: &Guardrail) -> String {
    let identity = guardrail.identity();
    let description = guardrail.definition().description.as_deref().unwrap_or_default();
    format!("{} version {}  {description}", identity.id, identity.version).trim_end().to_owned()
}

fn apply(
    options: &ApplyOptions,
    mut input: impl BufRead,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let guardrails = read_guardrails(&options.source, None)?;
    let choice = &options.choice;
    let guardrail = guardrails.resolve(&choice.identifier, &choice.version)?;
    if !options.jsonl {
        let mut text = String::new();
        let limit = limits::CHAT_INPUT_BYTES_MAX;
        input.take(limit + 1).read_to_string(&mut text).context("cannot read the text")?;
        if text.len() as u64 > limit {
            bail!("the text has more than {limit} bytes");
        }
        let judged = judge(&guardrail, options, &text);
        writeln!(output, "{}", serde_json::to_string_pretty(&judged)?)?;
        return Ok(());
    }
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let limit = limits::CHAT_INPUT_BYTES_MAX;
        let len = input.by_ref().take(limit + 1).read_line(&mut line)?;
        if len == 0 {
            break;
        }
        if len as u64 > limit {
            bail!("line {number} has more than {limit} bytes");
        }
        let row: Value =
            serde_json::from_str(&line).with_context(|| format!("line {number} is no JSON"))?;
        let text = row.get("text").and_then(Value::as_str);
        let text = text.with_context(|| format!("line {number} has no string `text`"))?;
        writeln!(output, "{}", judge(&guardrail, options, text))?;
    }
    Ok(())
}

fn judge(guardrail: &Guardrail, options: &ApplyOptions, text: &str) -> Value {
    let outcome = guardrail.assess(options.direction, &[Block::new(text)], options.scope);
    let (action, result) = match outcome.verdict {
        Verdict::Pass => ("NONE", text.to_owned()),
        Verdict::Masked(texts) => ("GUARDRAIL_INTERVENED", texts.concat()),
        Verdict::Blocked(message) => ("GUARDRAIL_INTERVENED", message),
    };
    let mut judged =
        json!({ "action": action, "output": result, "assessment": outcome.assessment });
    if options.scores {
        let scores = guardrail.topic_scores(options.direction, text).into_iter();
        let scores: Vec<Value> =
            scores.map(|(name, score)| json!({ "name": name, "score": score })).collect();
        judged["topics"] = Value::from(scores);
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_judged_one_by_one_by_the_guardrail_that_ships() {
        let options = ApplyOptions {
            source: GuardrailSource::default(),
            choice: GuardrailChoice::parse("default:1"),
            direction: Direction::Output,
            scope: OutputScope::Interventions,
            jsonl: true,
            scores: false,
        };
        let lines = "{\"text\":\"call 138 0013 8000\"}\n{\"text\":\"the river\"}\n";
        let mut output = Vec::new();
        apply(&options, lines.as_bytes(), &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        let rows: Vec<Value> =
            output.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(rows[0]["output"], "call {PHONE}");
        assert_eq!((&rows[1]["action"], &rows[1]["output"]), (&json!("NONE"), &json!("the river")));
        let wrong = apply(&options, "{}".as_bytes(), &mut Vec::new()).unwrap_err();
        assert_eq!(wrong.to_string(), "line 1 has no string `text`");
    }

    #[test]
    fn a_version_is_told_from_the_colons_of_an_arn() {
        let parsed = |text: &str| {
            let choice = GuardrailChoice::parse(text);
            (choice.identifier, choice.version)
        };
        let arn = "arn:aws-cn:bedrock:cn-north-1:000000000000:guardrail/a";
        assert_eq!(parsed("a:12"), ("a".into(), "12".into()));
        assert_eq!(parsed(arn), (arn.into(), String::new()));
        assert_eq!(parsed(&format!("{arn}:DRAFT")), (arn.into(), "DRAFT".into()));
    }
}
