//! Flags that several commands share, so that they are the same everywhere.

use clap::{Args, ValueEnum};

use crate::cli::{
    args::{
        device::{DeviceArgs, GpuMemoryArgs},
        guardrail::GuardrailFolderArgs,
        model::model_source,
        values,
    },
    chat::{GuardrailOptions, RequestOptions},
    guardrail::GuardrailChoice,
    load::EngineOptions,
};
use crate::engine::{EngineConfig, Speculation};
use crate::limits::{REPETITION_PENALTY_MAX, REPETITION_PENALTY_MIN, ROWS_PER_STEP_CPU};
use crate::model::KvDtype;
use crate::pipeline::SamplingOverrides;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KvDtypeArg {
    F16,
    Bf16,
    F32,
    /// 8.5 bits an element: nearly twice the context in the same memory
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<KvDtypeArg> for KvDtype {
    fn from(arg: KvDtypeArg) -> Self {
        match arg {
            KvDtypeArg::F16 => Self::F16,
            KvDtypeArg::Bf16 => Self::Bf16,
            KvDtypeArg::F32 => Self::F32,
            KvDtypeArg::Q8_0 => Self::Q8_0,
        }
    }
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Engine")]
pub(super) struct EngineArgs {
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    gpu_memory: GpuMemoryArgs,
    /// Tokens of prompt and answer together [default: what model and memory allow]
    #[arg(long, env = "OUTCROP_MAX_MODEL_LEN", value_name = "N", value_parser = values::count)]
    max_model_len: Option<usize>,
    /// Sequences computed side by side
    #[arg(
        long, env = "OUTCROP_MAX_NUM_SEQS", value_name = "N", default_value = "32",
        value_parser = values::count
    )]
    max_num_seqs: usize,
    /// Rows of one step; longer prompts are read in chunks [default: 512, on a GPU 2048]
    #[arg(
        long, env = "OUTCROP_MAX_NUM_BATCHED_TOKENS", value_name = "N",
        value_parser = values::count
    )]
    max_num_batched_tokens: Option<usize>,
    /// Requests that may wait while all sequences are taken; further ones are throttled
    #[arg(
        long, env = "OUTCROP_MAX_QUEUED_REQUESTS", value_name = "N", default_value = "256",
        value_parser = values::count
    )]
    max_queued_requests: usize,
    /// Prompt tokens of all waiting requests together
    #[arg(
        long, env = "OUTCROP_MAX_QUEUED_TOKENS", value_name = "N", default_value = "1000000",
        value_parser = values::count
    )]
    max_queued_tokens: usize,
    /// Number format of keys and values
    #[arg(
        long, env = "OUTCROP_KV_CACHE_DTYPE", value_name = "TYPE", value_enum,
        default_value_t = KvDtypeArg::F16
    )]
    kv_cache_dtype: KvDtypeArg,
    /// Memory for keys and values, such as 4GiB of all models together [default: half of what the
    /// weights leave free, on a GPU all of --gpu-memory-fraction]
    #[arg(
        long, env = "OUTCROP_KV_CACHE_MEMORY", value_name = "SIZE", value_parser = values::bytes
    )]
    kv_cache_memory: Option<u64>,
    /// Guess tokens that repeat what was written before, or by --draft, and verify several in one
    /// step: auto (as far as it pays), off, or the number to guess. The text is the same either way
    #[arg(
        long, env = "OUTCROP_SPECULATE", value_name = "auto|off|N", default_value = "auto",
        value_parser = values::speculation
    )]
    speculate: Speculation,
    /// A smaller model of the same vocabulary, by id, file or directory: it guesses what the model
    /// will write, as far as that pays, and several guesses are verified in one step. The text is
    /// the same either way
    #[arg(long, env = "OUTCROP_DRAFT", value_name = "MODEL")]
    draft: Option<String>,
    /// Compute every prompt from its beginning, even if an earlier one began with the same tokens
    #[arg(long)]
    no_prefix_cache: bool,
}

impl EngineArgs {
    pub(super) fn into_options(self) -> Result<EngineOptions, clap::Error> {
        let draft = self.draft.as_deref();
        if let Some(draft) = draft.filter(|_| self.speculate == Speculation::Off) {
            return Err(values::invalid(
                "--draft",
                draft,
                "with --speculate off nothing is guessed",
            ));
        }
        Ok(EngineOptions {
            draft: draft.map(|draft| model_source("--draft", draft)).transpose()?,
            max_num_batched_tokens: self.max_num_batched_tokens,
            config: EngineConfig {
                // The engine lowers it to what model and cache hold.
                max_model_len: self.max_model_len.unwrap_or(usize::MAX),
                max_num_seqs: self.max_num_seqs,
                // What suits the device, where nothing else was asked for.
                max_num_batched_tokens: ROWS_PER_STEP_CPU,
                queued_requests_max: self.max_queued_requests,
                queued_tokens_max: self.max_queued_tokens,
                prefix_cache: !self.no_prefix_cache,
                speculation: self.speculate,
            },
            kv_cache_dtype: self.kv_cache_dtype.into(),
            kv_cache_bytes: self.kv_cache_memory,
            device: self.device.device,
            gpu_memory_fraction: f64::from(self.gpu_memory.gpu_memory_fraction),
        })
    }
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Answer")]
pub(super) struct RequestArgs {
    /// Tokens of the answer, reasoning included [default: 32768, or what the context has room for]
    #[arg(long, value_name = "N", value_parser = values::count)]
    max_tokens: Option<usize>,
    /// Tokens of reasoning after which the answer is made to begin
    #[arg(long, value_name = "N", value_parser = values::count)]
    reasoning_budget: Option<usize>,
    /// Randomness; 0 always takes the most likely token [default: the model's, or 0.6]
    #[arg(long, value_name = "T", value_parser = |text: &str| values::number(text, 0.0, 2.0))]
    temperature: Option<f32>,
    /// Keep the likeliest tokens whose probabilities sum to this [default: the model's, or 0.95]
    #[arg(long, value_name = "P", value_parser = |text: &str| values::number(text, 0.0, 1.0))]
    top_p: Option<f32>,
    /// Keep this many of the likeliest tokens; 0 keeps all [default: the model's, or 0]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Keep tokens at least this fraction as likely as the likeliest [default: 0]
    #[arg(long, value_name = "P", value_parser = |text: &str| values::number(text, 0.0, 1.0))]
    min_p: Option<f32>,
    /// Above 1 discourages tokens that have occurred [default: the model's, or 1]
    #[arg(long, value_name = "R", value_parser = |text: &str| {
        values::number(text, REPETITION_PENALTY_MIN, REPETITION_PENALTY_MAX)
    })]
    repetition_penalty: Option<f32>,
    /// The same seed gives the same answer [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Text that ends the answer, without being part of it; can be repeated
    #[arg(long = "stop", value_name = "TEXT")]
    stop_sequences: Vec<String>,
    #[command(flatten)]
    guardrails: GuardrailFolderArgs,
    /// Judge prompts and answers by a guardrail: an id, and after a colon a version
    #[arg(long, env = "OUTCROP_GUARDRAIL", value_name = "ID[:VERSION]")]
    guardrail: Option<String>,
}

impl RequestArgs {
    pub(super) fn into_options(self) -> RequestOptions {
        RequestOptions {
            max_tokens: self.max_tokens,
            sampling: SamplingOverrides {
                temperature: self.temperature,
                top_p: self.top_p,
                top_k: self.top_k,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
                seed: self.seed,
            },
            stop_sequences: self.stop_sequences,
            reasoning_budget: self.reasoning_budget,
            guardrail: self.guardrail.map(|choice| GuardrailOptions {
                source: self.guardrails.into_source(),
                choice: GuardrailChoice::parse(&choice),
            }),
        }
    }
}
