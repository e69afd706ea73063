//! Metrics for Prometheus, in the OpenMetrics text format.
//!
//! Own names begin with `outcrop_`. The same values stand under vLLM's names, by which the Gateway
//! API inference extension, KEDA rules and dashboards know an engine.

mod engine;
mod guardrail;

use std::fmt::Error;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::models::ServedModel;
use crate::api::operation::Operation;
use crate::guardrail::{Assessment, Direction};
use crate::pipeline::{ChatSummary, StopReason};

use engine::EngineCollector;
use guardrail::GuardrailMetrics;

/// From a short prompt on a GPU to a long one on a CPU.
const SECONDS: [f64; 17] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
    1280.0,
];
const TOKEN_SECONDS: [f64; 13] =
    [0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5];

type Histograms = Family<ModelLabel, Histogram, fn() -> Histogram>;

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    finished: Family<FinishLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    request_seconds: Histograms,
    first_token_seconds: Histograms,
    token_seconds: Histograms,
    guardrails: GuardrailMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model_name: Arc<str>,
}

impl ModelLabel {
    fn of(model_id: &Arc<str>) -> Self {
        Self { model_name: Arc::clone(model_id) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// Empty for requests that were refused before it was known.
    model_name: Arc<str>,
    operation: Operation,
    /// `OK`, an exception, or `ClientDisconnected`.
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishLabels {
    model_name: Arc<str>,
    finished_reason: &'static str,
}

/// One request that has ended, however it did.
pub(super) struct Observation<'a> {
    pub(super) model_id: Option<&'a Arc<str>>,
    pub(super) operation: Operation,
    pub(super) code: &'static str,
    pub(super) elapsed: Duration,
    pub(super) summary: Option<&'a ChatSummary>,
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
        self.name().encode(encoder)
    }
}

impl Metrics {
    pub(super) fn new(models: &[Arc<ServedModel>]) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        let finished = Family::<FinishLabels, Counter>::default();
        let request_seconds = Histograms::new_with_constructor(|| Histogram::new(SECONDS));
        let first_token_seconds = Histograms::new_with_constructor(|| Histogram::new(SECONDS));
        let token_seconds = Histograms::new_with_constructor(|| Histogram::new(TOKEN_SECONDS));
        registry.register(
            "outcrop_requests",
            "Requests by operation and outcome",
            requests.clone(),
        );
        registry.register("vllm:request_success", "Finished requests", finished.clone());
        let refused = Family::<RefusedLabels, Counter>::default();
        registry.register(
            "outcrop_refused_credentials",
            "Requests that were not let in",
            refused.clone(),
        );
        for (own, alias, help, histograms) in [
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
            // A model that has answered nothing has its zeros.
            for model in models {
                drop(histograms.get_or_create(&ModelLabel::of(&model.id)));
            }
            registry.register(own, help, histograms.clone());
            registry.register(alias, help, histograms.clone());
        }
        let guardrails = GuardrailMetrics::new(&mut registry);
        registry.register_collector(Box::new(EngineCollector(models.to_vec())));
        Self {
            registry,
            requests,
            finished,
            refused,
            request_seconds,
            first_token_seconds,
            token_seconds,
            guardrails,
        }
    }

    pub(super) fn observe_guardrail(&self, direction: Direction, assessment: &Assessment) {
        self.guardrails.observe(direction, assessment);
    }

    pub(super) fn observe_refused(&self, code: &'static str) {
        self.refused.get_or_create(&RefusedLabels { code }).inc();
    }

    pub(super) fn observe(&self, observation: &Observation<'_>) {
        let &Observation { model_id, operation, code, elapsed, summary } = observation;
        let model_name = model_id.cloned().unwrap_or_else(|| "".into());
        let label = ModelLabel::of(&model_name);
        let labels = RequestLabels { model_name: Arc::clone(&model_name), operation, code };
        self.requests.get_or_create(&labels).inc();
        let Some(summary) = summary else { return };
        self.request_seconds.get_or_create(&label).observe(elapsed.as_secs_f64());
        let finished_reason = finished_reason(&summary.stop_reason);
        self.finished.get_or_create(&FinishLabels { model_name, finished_reason }).inc();
        let Some(first_token) = summary.timing.first_token else { return };
        self.first_token_seconds.get_or_create(&label).observe(first_token.as_secs_f64());
        let later_tokens = summary.usage.generated_tokens.saturating_sub(1);
        if later_tokens > 0 {
            let decode = summary.timing.total.saturating_sub(first_token);
            let seconds = decode.as_secs_f64() / later_tokens as f64;
            self.token_seconds.get_or_create(&label).observe(seconds);
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
        StopReason::GuardrailIntervened => "guardrail",
    }
}
