//! What guardrails did, by guardrail. Labels are names of definitions, so their number is bounded;
//! no text is among them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::guardrail::{Assessment, Direction, Intervention};

/// From a short prompt judged by words to a long text judged by everything.
const SECONDS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

#[derive(Debug)]
pub(super) struct GuardrailMetrics {
    interventions: Family<InterventionLabels, Counter>,
    detections: Family<DetectionLabels, Counter>,
    text_units: Family<UnitLabels, Counter>,
    seconds: Family<SecondsLabels, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InterventionLabels {
    guardrail: String,
    version: String,
    direction: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DetectionLabels {
    guardrail: String,
    policy: &'static str,
    r#type: String,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnitLabels {
    guardrail: String,
    policy: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SecondsLabels {
    guardrail: String,
    direction: &'static str,
}

impl GuardrailMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            interventions: Family::default(),
            detections: Family::default(),
            text_units: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        };
        registry.register(
            "outcrop_guardrail_interventions",
            "Texts that a guardrail blocked or masked",
            metrics.interventions.clone(),
        );
        registry.register(
            "outcrop_guardrail_detections",
            "Distinct things that a policy found in a text",
            metrics.detections.clone(),
        );
        registry.register(
            "outcrop_guardrail_text_units",
            "Thousands of characters that a policy looked at, as Bedrock counts them",
            metrics.text_units.clone(),
        );
        registry.register(
            "outcrop_guardrail_duration_seconds",
            "Time that judging one text took",
            metrics.seconds.clone(),
        );
        metrics
    }

    pub(super) fn observe(&self, direction: Direction, assessment: &Assessment) {
        let Some(applied) = &assessment.applied_guardrail_details else { return };
        let guardrail = &applied.guardrail_id;
        let direction = direction.name();
        let intervention = assessment.intervention();
        if intervention != Intervention::None {
            let labels = InterventionLabels {
                guardrail: guardrail.clone(),
                version: applied.guardrail_version.clone(),
                direction,
                action: intervention.name(),
            };
            self.interventions.get_or_create(&labels).inc();
        }
        for fired in assessment.fired() {
            let labels = DetectionLabels {
                guardrail: guardrail.clone(),
                policy: fired.policy,
                r#type: fired.name,
                action: fired.action.name(),
            };
            self.detections.get_or_create(&labels).inc_by(fired.matches.len().max(1) as u64);
        }
        let Some(metrics) = &assessment.invocation_metrics else { return };
        let labels = SecondsLabels { guardrail: guardrail.clone(), direction };
        self.seconds.get_or_create(&labels).observe(metrics.processing.as_secs_f64());
        for (policy, units) in metrics.usage.by_policy() {
            if units > 0 {
                let labels = UnitLabels { guardrail: guardrail.clone(), policy };
                self.text_units.get_or_create(&labels).inc_by(units.into());
            }
        }
    }
}
