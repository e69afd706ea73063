//! Metrics for Prometheus, in the OpenMetrics text format.
//!
//! Own names begin with `outcrop_`. The same values stand under vLLM's names, by which the Gateway
//! API inference extension, KEDA rules and dashboards know an engine.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, text,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::api::record::Operation;
use crate::pipeline::{ChatSummary, EngineStats, Pipeline, StopReason};

/// From a short prompt on a GPU to a long one on a CPU.
const SECONDS: [f64; 17] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
    1280.0,
];
const TOKEN_SECONDS: [f64; 13] =
    [0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5];

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    finished: Family<FinishLabels, Counter>,
    request_seconds: Histogram,
    first_token_seconds: Histogram,
    token_seconds: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: Operation,
    /// `OK`, an exception, or `ClientDisconnected`.
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishLabels {
    finished_reason: &'static str,
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
        self.name().encode(encoder)
    }
}

impl Metrics {
    pub(super) fn new(model_id: &str, pipeline: watch::Receiver<Option<Pipeline>>) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        let finished = Family::<FinishLabels, Counter>::default();
        let request_seconds = Histogram::new(SECONDS);
        let first_token_seconds = Histogram::new(SECONDS);
        let token_seconds = Histogram::new(TOKEN_SECONDS);
        let model_label = ("model_name".into(), model_id.to_owned().into());
        let model = registry.sub_registry_with_label(model_label);
        model.register("outcrop_requests", "Requests by operation and outcome", requests.clone());
        model.register("vllm:request_success", "Finished requests", finished.clone());
        for (own, alias, help, histogram) in [
            (
                "outcrop_request_duration_seconds",
                "vllm:e2e_request_latency_seconds",
                "From a request's head to the end of its answer",
                &request_seconds,
            ),
            (
                "outcrop_time_to_first_token_seconds",
                "vllm:time_to_first_token_seconds",
                "From acceptance by the engine to the first token",
                &first_token_seconds,
            ),
            (
                "outcrop_time_per_output_token_seconds",
                "vllm:inter_token_latency_seconds",
                "Mean time between the tokens of an answer",
                &token_seconds,
            ),
        ] {
            model.register(own, help, histogram.clone());
            model.register(alias, help, histogram.clone());
        }
        model.register_collector(Box::new(EngineCollector(pipeline)));
        Self { registry, requests, finished, request_seconds, first_token_seconds, token_seconds }
    }

    pub(super) fn observe(
        &self,
        operation: Operation,
        code: &'static str,
        elapsed: Duration,
        summary: Option<&ChatSummary>,
    ) {
        self.requests.get_or_create(&RequestLabels { operation, code }).inc();
        let Some(summary) = summary else { return };
        self.request_seconds.observe(elapsed.as_secs_f64());
        let finished_reason = finished_reason(&summary.stop_reason);
        self.finished.get_or_create(&FinishLabels { finished_reason }).inc();
        let Some(first_token) = summary.timing.first_token else { return };
        self.first_token_seconds.observe(first_token.as_secs_f64());
        let later_tokens = summary.usage.generated_tokens.saturating_sub(1);
        if later_tokens > 0 {
            let decode = summary.timing.total.saturating_sub(first_token);
            self.token_seconds.observe(decode.as_secs_f64() / later_tokens as f64);
        }
    }

    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

/// vLLM's values of `finished_reason`.
fn finished_reason(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn
        | StopReason::StopSequence(_)
        | StopReason::ToolUse
        | StopReason::MalformedToolUse => "stop",
        StopReason::MaxTokens | StopReason::ContextWindowExceeded => "length",
    }
}

/// Reads the engine's figures when they are asked for.
#[derive(Debug)]
struct EngineCollector(watch::Receiver<Option<Pipeline>>);

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let pipeline: Option<Pipeline> = self.0.borrow().clone();
        let healthy = pipeline.as_ref().is_some_and(|it| it.engine().is_healthy());
        gauge(&mut encoder, "outcrop_model_ready", "Model loaded and healthy", flag(healthy))?;
        let Some(pipeline) = pipeline else { return Ok(()) };
        let stats = pipeline.engine().stats();
        encode_gauges(&mut encoder, &stats)?;
        encode_counters(&mut encoder, &stats)?;
        encode_cache_config(&mut encoder, &stats)
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn encode_gauges(encoder: &mut DescriptorEncoder<'_>, stats: &EngineStats) -> Result<(), Error> {
    let used = stats.num_used_blocks as f64 / stats.num_blocks.max(1) as f64;
    for (own, alias, help, value) in [
        (
            "outcrop_requests_running",
            "vllm:num_requests_running",
            "Sequences in the batch",
            stats.num_running as f64,
        ),
        (
            "outcrop_requests_waiting",
            "vllm:num_requests_waiting",
            "Accepted sequences that are not in the batch",
            stats.num_waiting as f64,
        ),
        (
            "outcrop_kv_cache_used_ratio",
            "vllm:kv_cache_usage_perc",
            "Share of the KV cache's blocks that sequences hold, from 0 to 1",
            used,
        ),
    ] {
        gauge(encoder, own, help, value)?;
        gauge(encoder, alias, help, value)?;
    }
    let blocks = [
        ("outcrop_kv_cache_blocks", "Blocks of the KV cache", stats.num_blocks),
        ("outcrop_kv_cache_used_blocks", "Blocks that sequences hold", stats.num_used_blocks),
        ("outcrop_kv_cache_cached_blocks", "Blocks kept for reuse", stats.num_cached_blocks),
        ("outcrop_kv_cache_free_blocks", "Blocks that hold nothing", stats.num_free_blocks),
    ];
    for (name, help, value) in blocks {
        gauge(encoder, name, help, value as f64)?;
    }
    let balanced = flag(stats.blocks_are_balanced());
    let help = "1 while every block is accounted for; 0 means that blocks leaked";
    gauge(encoder, "outcrop_kv_cache_balanced", help, balanced)
}

fn encode_counters(encoder: &mut DescriptorEncoder<'_>, stats: &EngineStats) -> Result<(), Error> {
    for (own, alias, help, value) in [
        (
            "outcrop_prompt_tokens",
            "vllm:prompt_tokens",
            "Prompt tokens, cached ones included",
            stats.prompt_tokens_total,
        ),
        (
            "outcrop_generated_tokens",
            "vllm:generation_tokens",
            "Generated tokens",
            stats.generated_tokens_total,
        ),
        (
            "outcrop_prefix_cache_queried_tokens",
            "vllm:prefix_cache_queries",
            "Prompt tokens looked up in the prefix cache",
            stats.prefix_cache_queried_tokens_total,
        ),
        (
            "outcrop_prefix_cache_hit_tokens",
            "vllm:prefix_cache_hits",
            "Prompt tokens found in the prefix cache",
            stats.prefix_cache_hit_tokens_total,
        ),
        (
            "outcrop_preemptions",
            "vllm:num_preemptions",
            "Sequences taken out of the batch for want of blocks",
            stats.preemptions_total,
        ),
    ] {
        counter(encoder, own, help, value)?;
        counter(encoder, alias, help, value)?;
    }
    let help = "Steps of the engine";
    counter(encoder, "outcrop_engine_steps", help, stats.steps_total)?;
    let help = "Rows computed, recomputation included";
    counter(encoder, "outcrop_engine_computed_tokens", help, stats.computed_tokens_total)?;
    let help = "Requests that the engine failed";
    counter(encoder, "outcrop_engine_failed_requests", help, stats.failed_requests_total)?;
    let help = "Requests dropped before their end";
    counter(encoder, "outcrop_engine_aborted_requests", help, stats.aborted_requests_total)?;
    let help = "Requests whose logits were not numbers";
    counter(encoder, "outcrop_engine_not_a_number", help, stats.not_a_number_total)
}

/// vLLM's way of saying how large the cache is.
fn encode_cache_config(
    encoder: &mut DescriptorEncoder<'_>,
    stats: &EngineStats,
) -> Result<(), Error> {
    let gauge = ConstGauge::new(1i64);
    let help = "Shape of the KV cache";
    let name = "vllm:cache_config_info";
    let mut encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    let labels = [
        ("block_size", stats.block_size.to_string()),
        ("num_gpu_blocks", stats.num_blocks.to_string()),
    ];
    gauge.encode(encoder.encode_family(&labels)?)
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> Result<(), Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

/// The format adds `_total` to the name.
fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), Error> {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}
