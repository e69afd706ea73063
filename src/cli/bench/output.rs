//! What is printed of a measurement: a table for people, JSON and CSV for programs.

use serde_json::{Value, json};

use crate::cli::{
    bench::{Report, Row, runner::Workload},
    machine, report,
};
use crate::model::KvDtype;

/// Figures of one row.
#[derive(Debug, Clone, PartialEq)]
struct Figures {
    test: &'static str,
    /// Tokens a second of all sequences together.
    median: f64,
    min: f64,
    max: f64,
    /// Median, for prefill.
    first_token_ms: Option<f64>,
    /// Bytes a second that decode reached and that the memory gave, for decode.
    reached: Option<f64>,
    available: Option<f64>,
}

impl Figures {
    fn of(row: &Row) -> Self {
        let tokens = (row.workload.batch() * row.workload.tokens()) as f64;
        let rates: Vec<f64> = row.seconds.iter().map(|seconds| tokens / seconds).collect();
        let seconds = median(&row.seconds);
        let decode = matches!(row.workload, Workload::Decode { .. });
        let steps = row.workload.tokens() as f64;
        Self {
            test: if decode { "decode" } else { "prefill" },
            median: median(&rates),
            min: rates.iter().copied().fold(f64::INFINITY, f64::min),
            max: rates.iter().copied().fold(0.0, f64::max),
            first_token_ms: (!decode).then_some(seconds * 1e3),
            reached: row.step_bytes.map(|bytes| bytes * steps / seconds),
            available: (!row.bandwidths.is_empty()).then(|| median(&row.bandwidths)),
        }
    }

    fn share(&self) -> Option<f64> {
        Some(self.reached? / self.available?)
    }
}

/// Of an even number the mean of the middle two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

pub(super) fn table(report: &Report) -> String {
    let header = ["test", "tokens", "batch", "depth", "tokens/s", "min–max", "first token"];
    let header = header.into_iter().chain(["read GB/s", "memory GB/s", "share"]);
    let mut rows = vec![header.map(str::to_owned).collect::<Vec<_>>()];
    for row in &report.rows {
        let figures = Figures::of(row);
        let optional = |value: Option<f64>, text: &dyn Fn(f64) -> String| {
            value.map_or_else(|| "-".to_owned(), text)
        };
        let gigabytes = |value: f64| format!("{:.1}", value / 1e9);
        rows.push(vec![
            figures.test.to_owned(),
            row.workload.tokens().to_string(),
            row.workload.batch().to_string(),
            row.workload.depth().to_string(),
            format!("{:.2}", figures.median),
            format!("{:.2}–{:.2}", figures.min, figures.max),
            optional(figures.first_token_ms, &|ms| format!("{ms:.0} ms")),
            optional(figures.reached, &gigabytes),
            optional(figures.available, &gigabytes),
            optional(figures.share(), &|share| format!("{:.0} %", share * 100.0)),
        ]);
    }
    facts_table(report) + "\n" + &report::table(&rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9])
}

fn facts_table(report: &Report) -> String {
    let config = &report.config;
    let parameters = report
        .num_parameters
        .map_or_else(String::new, |count| format!(", {:.2}B parameters", count as f64 / 1e9));
    let shape = format!(
        "{:?}, {} layers of {}{parameters}",
        config.architecture, config.num_layers, config.hidden_size
    );
    let weights = format!("{} ({})", report::bytes(report.weight_bytes), report.quantization);
    let peak = report.peak_memory.map_or_else(|| "unknown".to_owned(), report::bytes);
    let features = machine::cpu_features().join(" ");
    let rows = [
        ("model", report.model.clone()),
        ("shape", shape),
        ("weights", weights),
        ("keys and values", dtype_name(report.kv_cache_dtype).to_owned()),
        ("processor", format!("{} ({features})", machine::cpu_name())),
        ("threads", report.threads.to_string()),
        ("load time", format!("{:.2} s", report.load_time.as_secs_f64())),
        ("peak memory", peak),
        ("repeats", report.repeats.to_string()),
    ];
    let rows: Vec<_> = rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec();
    report::table(&rows, &[])
}

pub(super) fn json(report: &Report) -> String {
    let rows: Vec<Value> = report.rows.iter().map(row_json).collect();
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": report.model,
        "architecture": format!("{:?}", report.config.architecture).to_lowercase(),
        "num_layers": report.config.num_layers,
        "hidden_size": report.config.hidden_size,
        "num_parameters": report.num_parameters,
        "quantization": report.quantization,
        "weight_bytes": report.weight_bytes,
        "kv_cache_dtype": dtype_name(report.kv_cache_dtype),
        "processor": machine::cpu_name(),
        "features": machine::cpu_features(),
        "threads": report.threads,
        "load_s": report.load_time.as_secs_f64(),
        "peak_memory_bytes": report.peak_memory,
        "repeats": report.repeats,
        "rows": rows,
    });
    format!("{value:#}\n")
}

fn row_json(row: &Row) -> Value {
    let figures = Figures::of(row);
    json!({
        "test": figures.test,
        "tokens": row.workload.tokens(),
        "batch": row.workload.batch(),
        "depth": row.workload.depth(),
        "tokens_per_s": { "median": figures.median, "min": figures.min, "max": figures.max },
        "first_token_ms": figures.first_token_ms,
        "read_bytes_per_s": figures.reached,
        "memory_bytes_per_s": figures.available,
        "memory_share": figures.share(),
        "seconds": row.seconds,
    })
}

/// Each line stands alone: lines of several runs can be put under one header.
pub(super) fn csv(report: &Report) -> String {
    let header = "model,quantization,weight_bytes,kv_cache_dtype,processor,threads,load_s,\
                  peak_memory_bytes,test,tokens,batch,depth,tokens_per_s,tokens_per_s_min,\
                  tokens_per_s_max,first_token_ms,read_bytes_per_s,memory_bytes_per_s,memory_share";
    let mut rows = vec![header.split(',').map(str::to_owned).collect::<Vec<_>>()];
    for row in &report.rows {
        let figures = Figures::of(row);
        let optional = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.4}"));
        rows.push(vec![
            report.model.clone(),
            report.quantization.clone(),
            report.weight_bytes.to_string(),
            dtype_name(report.kv_cache_dtype).to_owned(),
            machine::cpu_name(),
            report.threads.to_string(),
            format!("{:.4}", report.load_time.as_secs_f64()),
            report.peak_memory.map_or_else(String::new, |bytes| bytes.to_string()),
            figures.test.to_owned(),
            row.workload.tokens().to_string(),
            row.workload.batch().to_string(),
            row.workload.depth().to_string(),
            format!("{:.4}", figures.median),
            format!("{:.4}", figures.min),
            format!("{:.4}", figures.max),
            optional(figures.first_token_ms),
            optional(figures.reached),
            optional(figures.available),
            optional(figures.share()),
        ]);
    }
    report::csv(&rows)
}

fn dtype_name(dtype: KvDtype) -> &'static str {
    match dtype {
        KvDtype::F32 => "f32",
        KvDtype::F16 => "f16",
        KvDtype::Bf16 => "bf16",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::models;
    use crate::hub;
    use std::time::Duration;

    fn report() -> Report {
        let model = hub::find("smollm2-135m").expect("known");
        let prefill = Row {
            workload: Workload::Prefill { batch: 2, depth: 0, tokens: 100 },
            seconds: vec![2.0, 1.0, 4.0],
            step_bytes: None,
            bandwidths: Vec::new(),
        };
        let decode = Row {
            workload: Workload::Decode { batch: 1, depth: 4096, tokens: 10 },
            seconds: vec![0.5, 1.0],
            step_bytes: Some(3e9),
            bandwidths: vec![50e9, 70e9, 60e9],
        };
        Report {
            model: "a, model".to_owned(),
            config: models::config_of(model).expect("valid"),
            num_parameters: Some(134_515_008),
            quantization: "Q4_1 100%".to_owned(),
            weight_bytes: 98_000_000,
            load_time: Duration::from_millis(250),
            threads: 2,
            kv_cache_dtype: KvDtype::F16,
            repeats: 3,
            peak_memory: Some(1 << 28),
            rows: vec![prefill, decode],
        }
    }

    #[test]
    fn figures_are_medians_of_all_sequences_together() {
        let report = report();
        let prefill = Figures::of(&report.rows[0]);
        assert_eq!((prefill.median, prefill.min, prefill.max), (100.0, 50.0, 200.0));
        assert_eq!(prefill.first_token_ms, Some(2000.0));
        assert_eq!(prefill.share(), None);
        let decode = Figures::of(&report.rows[1]);
        assert_eq!(decode.median, 15.0);
        assert_eq!(decode.first_token_ms, None);
        // 10 steps of 3 GB in 0.75 s, of 60 GB/s.
        assert_eq!((decode.reached, decode.available), (Some(40e9), Some(60e9)));
        assert!((decode.share().expect("decode") - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_three_forms_carry_the_same_figures() {
        let report = report();
        let text = table(&report);
        assert!(text.contains("134M") || text.contains("0.13B parameters"), "{text}");
        let decode = text.lines().last().expect("a row");
        assert!(
            decode.starts_with("decode") && decode.ends_with("40.0         60.0   67 %"),
            "{text}"
        );
        let value: Value = serde_json::from_str(&json(&report)).expect("JSON");
        assert_eq!(value["rows"][1]["tokens_per_s"]["median"], 15.0);
        assert_eq!(value["rows"][0]["memory_share"], Value::Null);
        let csv = csv(&report);
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("\"a, model\",Q4_1 100%,98000000,f16,"), "{csv}");
        assert_eq!(lines[0].split(',').count(), 19);
    }
}
