//! Where guardrails are read from, and what `outcrop guardrail` is asked.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::guardrail::{ApplyOptions, GuardrailChoice, GuardrailCommand};
use crate::cli::serve::GuardrailServeOptions;
use crate::guardrail::{Direction, OutputScope};

/// Guardrails beside the one that ships with the program.
#[derive(Debug, Clone, Args)]
pub(super) struct GuardrailFolderArgs {
    /// A folder of guardrails, each a file .toml or .json; `default` ships with the program
    #[arg(long = "guardrails", env = "OUTCROP_GUARDRAILS", value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
}

/// Guardrails around requests to a server.
#[derive(Debug, Args)]
pub(super) struct GuardrailServeArgs {
    #[command(flatten)]
    folder: GuardrailFolderArgs,
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
            folder: self.folder.folder,
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
                folder: guardrails.folder,
                choice: guardrail.as_deref().map(GuardrailChoice::parse),
            },
            GuardrailSubcommand::Apply(args) => GuardrailCommand::Apply(ApplyOptions {
                folder: args.guardrails.folder,
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
            }),
        }
    }
}
