//! The engines' figures, read when they are asked for.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::api::metrics::ModelLabel;
use crate::api::models::ServedModel;
use crate::pipeline::EngineStats;

#[derive(Debug)]
pub(super) struct EngineCollector(pub(super) Vec<Arc<ServedModel>>);

/// One figure: its own name, vLLM's where it has one, what it says, and where it comes from.
struct Figure<T: 'static> {
    own: &'static str,
    alias: Option<&'static str>,
    help: &'static str,
    read: fn(&EngineStats) -> T,
}

const GAUGES: [Figure<f64>; 8] = [
    Figure {
        own: "outcrop_requests_running",
        alias: Some("vllm:num_requests_running"),
        help: "Sequences in the batch",
        read: |stats| stats.num_running as f64,
    },
    Figure {
        own: "outcrop_requests_waiting",
        alias: Some("vllm:num_requests_waiting"),
        help: "Accepted sequences that are not in the batch",
        read: |stats| stats.num_waiting as f64,
    },
    Figure {
        own: "outcrop_kv_cache_used_ratio",
        alias: Some("vllm:kv_cache_usage_perc"),
        help: "Share of the KV cache's blocks that sequences hold, from 0 to 1",
        read: |stats| stats.num_used_blocks as f64 / stats.num_blocks.max(1) as f64,
    },
    Figure {
        own: "outcrop_kv_cache_blocks",
        alias: None,
        help: "Blocks of the KV cache",
        read: |stats| stats.num_blocks as f64,
    },
    Figure {
        own: "outcrop_kv_cache_used_blocks",
        alias: None,
        help: "Blocks that sequences hold",
        read: |stats| stats.num_used_blocks as f64,
    },
    Figure {
        own: "outcrop_kv_cache_cached_blocks",
        alias: None,
        help: "Blocks kept for reuse",
        read: |stats| stats.num_cached_blocks as f64,
    },
    Figure {
        own: "outcrop_kv_cache_free_blocks",
        alias: None,
        help: "Blocks that hold nothing",
        read: |stats| stats.num_free_blocks as f64,
    },
    Figure {
        own: "outcrop_kv_cache_balanced",
        alias: None,
        help: "1 while every block is accounted for; 0 means that blocks leaked",
        read: |stats| flag(stats.blocks_are_balanced()),
    },
];

const COUNTERS: [Figure<u64>; 13] = [
    Figure {
        own: "outcrop_prompt_tokens",
        alias: Some("vllm:prompt_tokens"),
        help: "Prompt tokens, cached ones included",
        read: |stats| stats.prompt_tokens_total,
    },
    Figure {
        own: "outcrop_generated_tokens",
        alias: Some("vllm:generation_tokens"),
        help: "Generated tokens",
        read: |stats| stats.generated_tokens_total,
    },
    Figure {
        own: "outcrop_prefix_cache_queried_tokens",
        alias: Some("vllm:prefix_cache_queries"),
        help: "Prompt tokens looked up in the prefix cache",
        read: |stats| stats.prefix_cache_queried_tokens_total,
    },
    Figure {
        own: "outcrop_prefix_cache_hit_tokens",
        alias: Some("vllm:prefix_cache_hits"),
        help: "Prompt tokens found in the prefix cache",
        read: |stats| stats.prefix_cache_hit_tokens_total,
    },
    Figure {
        own: "outcrop_preemptions",
        alias: Some("vllm:num_preemptions"),
        help: "Sequences taken out of the batch for want of blocks",
        read: |stats| stats.preemptions_total,
    },
    Figure {
        own: "outcrop_drafts",
        alias: Some("vllm:spec_decode_num_drafts"),
        help: "Steps of sequences in which guessed tokens were verified",
        read: |stats| stats.drafts_total,
    },
    Figure {
        own: "outcrop_draft_tokens",
        alias: Some("vllm:spec_decode_num_draft_tokens"),
        help: "Guessed tokens that were verified",
        read: |stats| stats.draft_tokens_total,
    },
    Figure {
        own: "outcrop_accepted_draft_tokens",
        alias: Some("vllm:spec_decode_num_accepted_tokens"),
        help: "Guessed tokens that were right",
        read: |stats| stats.accepted_draft_tokens_total,
    },
    Figure {
        own: "outcrop_engine_steps",
        alias: None,
        help: "Steps of the engine",
        read: |stats| stats.steps_total,
    },
    Figure {
        own: "outcrop_engine_computed_tokens",
        alias: None,
        help: "Rows computed, recomputation included",
        read: |stats| stats.computed_tokens_total,
    },
    Figure {
        own: "outcrop_engine_failed_requests",
        alias: None,
        help: "Requests that the engine failed",
        read: |stats| stats.failed_requests_total,
    },
    Figure {
        own: "outcrop_engine_aborted_requests",
        alias: None,
        help: "Requests dropped before their end",
        read: |stats| stats.aborted_requests_total,
    },
    Figure {
        own: "outcrop_engine_not_a_number",
        alias: None,
        help: "Requests whose logits were not numbers",
        read: |stats| stats.not_a_number_total,
    },
];

impl Collector for EngineCollector {
    /// A name stands once, with the values of all models under it.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut ready = Vec::new();
        let mut stats = Vec::new();
        for model in &self.0 {
            let label = ModelLabel::of(&model.id);
            let pipeline = model.loaded();
            let healthy = pipeline.as_ref().is_some_and(|it| it.engine().is_healthy());
            ready.push((label.clone(), flag(healthy)));
            stats.extend(pipeline.map(|it| (label, it.engine().stats())));
        }
        gauges(&mut encoder, "outcrop_model_ready", "Model loaded and healthy", &ready)?;
        for Figure { own, alias, help, read } in GAUGES {
            let values: Vec<_> =
                stats.iter().map(|(label, stats)| (label.clone(), read(stats))).collect();
            for name in std::iter::once(own).chain(alias) {
                gauges(&mut encoder, name, help, &values)?;
            }
        }
        for Figure { own, alias, help, read } in COUNTERS {
            let values: Vec<_> =
                stats.iter().map(|(label, stats)| (label.clone(), read(stats))).collect();
            for name in std::iter::once(own).chain(alias) {
                counters(&mut encoder, name, help, &values)?;
            }
        }
        encode_cache_config(&mut encoder, &stats)
    }
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(ModelLabel, f64)],
) -> Result<(), Error> {
    if values.is_empty() {
        return Ok(());
    }
    let kind = ConstGauge::new(0.0).metric_type();
    let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
    for (label, value) in values {
        ConstGauge::new(*value).encode(encoder.encode_family(label)?)?;
    }
    Ok(())
}

/// The format adds `_total` to the name.
fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(ModelLabel, u64)],
) -> Result<(), Error> {
    if values.is_empty() {
        return Ok(());
    }
    let kind = ConstCounter::new(0u64).metric_type();
    let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
    for (label, value) in values {
        ConstCounter::new(*value).encode(encoder.encode_family(label)?)?;
    }
    Ok(())
}

/// vLLM's way of saying how large the cache is.
fn encode_cache_config(
    encoder: &mut DescriptorEncoder<'_>,
    stats: &[(ModelLabel, EngineStats)],
) -> Result<(), Error> {
    if stats.is_empty() {
        return Ok(());
    }
    let gauge = ConstGauge::new(1i64);
    let help = "Shape of the KV cache";
    let name = "vllm:cache_config_info";
    let mut encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    for (label, stats) in stats {
        let labels = [
            ("model_name", label.model_name.to_string()),
            ("block_size", stats.block_size.to_string()),
            ("num_gpu_blocks", stats.num_blocks.to_string()),
        ];
        gauge.encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}
