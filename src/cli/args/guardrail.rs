//! Where guardrails are read from, and what `outcrop guardrail` is asked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::guardrail::{
    ApplyOptions, GuardrailChoice, GuardrailCommand, GuardrailSource, JudgeOptions,
};
use crate::cli::serve::GuardrailServeOptions;
use crate::guardrail::{Direction, OnFailure, OutputScope};
use crate::limits;

/// Guardrails beside the one that ships with the program.
#[derive(Debug, Clone, Args)]
pub(super) struct GuardrailFolderArgs {
    /// A folder of guardrails, each a file .toml or .json; `default` ships with the program
    #[arg(long = "guardrails", env = "OUTCROP_GUARDRAILS", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// A folder with a sentence-transformers BERT, by which denied topics are told: config.json,
    /// tokenizer.json, model.safetensors
    #[arg(long, env = "OUTCROP_GUARDRAIL_EMBEDDER", value_name = "DIR")]
    guardrail_embedder: Option<PathBuf>,
    /// When the embedder or the judge has no answer: block, or pass what words alone do not find
    #[arg(long, env = "OUTCROP_GUARDRAIL_FAILURE", value_enum, default_value = "block")]
    guardrail_failure: FailureArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailureArg {
    Block,
    Pass,
}

impl GuardrailFolderArgs {
    pub(super) fn into_source(self) -> GuardrailSource {
        GuardrailSource {
            folder: self.folder,
            embedder: self.guardrail_embedder,
            on_failure: match self.guardrail_failure {
                FailureArg::Block => OnFailure::Block,
                FailureArg::Pass => OnFailure::Pass,
            },
        }
    }
}

/// A model that guardrails ask.
#[derive(Debug, Clone, Args)]
pub(super) struct JudgeArgs {
    /// The id of a model being served that guardrails ask where they are in doubt: about denied
    /// topics and content filters
    #[arg(long, env = "OUTCROP_GUARDRAIL_JUDGE", value_name = "MODEL_ID")]
    guardrail_judge: Option<String>,
    /// Seconds in which the judge has to answer
    #[arg(long, env = "OUTCROP_GUARDRAIL_JUDGE_TIMEOUT", value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=600),
          default_value_t = limits::GUARDRAIL_JUDGE_TIMEOUT_DEFAULT.as_secs())]
    guardrail_judge_timeout: u64,
}

impl JudgeArgs {
    pub(super) fn into_options(self) -> Option<JudgeOptions> {
        let timeout = Duration::from_secs(self.guardrail_judge_timeout);
        self.guardrail_judge.map(|model_id| JudgeOptions { model_id, timeout })
    }
}

/// Guardrails around requests to a server.
#[derive(Debug, Args)]
pub(super) struct GuardrailServeArgs {
    #[command(flatten)]
    folder: GuardrailFolderArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    /// Let guardrails pass over what models think before they answer
    #[arg(long = "guardrail-skip-reasoning", env = "OUTCROP_GUARDRAIL_SKIP_REASONING")]
    pub(super) skip_reasoning: bool,
    /// Append a line of JSON for each text in which a guardrail found something
    #[arg(long = "guardrail-audit", env = "OUTCROP_GUARDRAIL_AUDIT", value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Write what matched into the audit file, too
    #[arg(long = "guardrail-audit-text", env = "OUTCROP_GUARDRAIL_AUDIT_TEXT", requires = "audit")]
    audit_text: bool,
}

impl GuardrailServeArgs {
    pub(super) fn into_options(self) -> GuardrailServeOptions {
        GuardrailServeOptions {
            source: self.folder.into_source(),
            judge: self.judge.into_options(),
            audit: self.audit,
            audit_text: self.audit_text,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct GuardrailArgs {
    #[command(subcommand)]
    command: GuardrailSubcommand,
}

#[derive(Debug, Subcommand)]
enum GuardrailSubcommand {
    /// Tell whether files are guardrails, and if not, why
    Check {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List the guardrails, or print the definition of one
    Show {
        #[command(flatten)]
        guardrails: GuardrailFolderArgs,
        /// An id, a name or an ARN, and after a colon a version [default version: DRAFT]
        #[arg(value_name = "ID[:VERSION]")]
        guardrail: Option<String>,
    },
    /// Judge the text on standard input; the answer is JSON
    Apply(ApplyArgs),
}

#[derive(Debug, Args)]
struct ApplyArgs {
    #[command(flatten)]
    guardrails: GuardrailFolderArgs,
    /// An id, a name or an ARN, and after a colon a version
    #[arg(default_value = "default", value_name = "ID[:VERSION]")]
    guardrail: String,
    /// Whose text it is: the client's or the model's
    #[arg(long, value_enum, ignore_case = true, default_value = "input")]
    source: SourceArg,
    /// List what was looked for and not found, also
    #[arg(long)]
    full: bool,
    /// Each line is an object with the member `text`; the answer has a line for each
    #[arg(long)]
    jsonl: bool,
    /// Also tell how much the text is about each denied topic: from one half on it is
    #[arg(long)]
    scores: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SourceArg {
    Input,
    Output,
}

impl GuardrailArgs {
    pub(super) fn into_command(self) -> GuardrailCommand {
        match self.command {
            GuardrailSubcommand::Check { files } => GuardrailCommand::Check { files },
            GuardrailSubcommand::Show { guardrails, guardrail } => GuardrailCommand::Show {
                source: guardrails.into_source(),
                choice: guardrail.as_deref().map(GuardrailChoice::parse),
            },
            GuardrailSubcommand::Apply(args) => GuardrailCommand::Apply(ApplyOptions {
                source: args.guardrails.into_source(),
                choice: GuardrailChoice::parse(&args.guardrail),
                direction: match args.source {
                    SourceArg::Input => Direction::Input,
                    SourceArg::Output => Direction::Output,
                },
                scope: match args.full {
                    true => OutputScope::Full,
                    false => OutputScope::Interventions,
                },
                jsonl: args.jsonl,
                scores: args.scores,
            }),
        }
    }
}
