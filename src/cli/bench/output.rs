//! What is printed of a measurement: a table for people, JSON and CSV for programs.

use serde_json::{Value, json};

use crate::cli::{
    bench::{Profile, Report, Row, runner::Workload},
    machine, report,
};
use crate::model::KvDtype;
use crate::ops::{Ceilings, instruction_set};

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
    /// Operations a second, on a GPU, and what its matrix units do.
    computed: Option<f64>,
    computable: Option<f64>,
}

impl Figures {
    fn of(row: &Row, ceilings: Option<Ceilings>) -> Self {
        let tokens = (row.workload.batch() * row.workload.tokens()) as f64;
        let rates: Vec<f64> = row.seconds.iter().map(|seconds| tokens / seconds).collect();
        let seconds = median(&row.seconds);
        let decode = matches!(row.workload, Workload::Decode { .. });
        let steps = row.workload.tokens() as f64;
        Self {
            test: Self::test(row.workload),
            median: median(&rates),
            min: rates.iter().copied().fold(f64::INFINITY, f64::min),
            max: rates.iter().copied().fold(0.0, f64::max),
            first_token_ms: (!decode).then_some(seconds * 1e3),
            reached: row.step_bytes.map(|bytes| bytes * steps / seconds),
            available: (!row.bandwidths.is_empty()).then(|| median(&row.bandwidths)),
            computed: row.operations.map(|operations| operations / seconds),
            computable: ceilings.map(|ceilings| ceilings.operations_per_s),
        }
    }

    fn test(workload: Workload) -> &'static str {
        match workload {
            Workload::Prefill { .. } => "prefill",
            Workload::Decode { .. } => "decode",
        }
    }

    fn memory_share(&self) -> Option<f64> {
        Some(self.reached? / self.available?)
    }

    fn matrix_share(&self) -> Option<f64> {
        Some(self.computed? / self.computable?)
    }

    /// Of the memory's bandwidth or of the matrix units' rate, whichever is nearer: on a roofline
    /// that one is the limit.
    fn share(&self) -> Option<f64> {
        [self.memory_share(), self.matrix_share()].into_iter().flatten().reduce(f64::max)
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
    let header = header.into_iter().chain(["read GB/s", "memory GB/s"]);
    // A CPU's operations are not counted.
    let gpu_header = report.ceilings.map_or(&[][..], |_| &["TFLOP/s", "matrix TFLOP/s"]);
    let header = header.chain(gpu_header.iter().copied()).chain(["share"]);
    let mut rows = vec![header.map(str::to_owned).collect::<Vec<_>>()];
    for row in &report.rows {
        let figures = Figures::of(row, report.ceilings);
        let optional = |value: Option<f64>, text: &dyn Fn(f64) -> String| {
            value.map_or_else(|| "-".to_owned(), text)
        };
        let gigabytes = |value: f64| format!("{:.1}", value / 1e9);
        let teraflops = |value: f64| format!("{:.1}", value / 1e12);
        let mut cells = vec![
            figures.test.to_owned(),
            row.workload.tokens().to_string(),
            row.workload.batch().to_string(),
            row.workload.depth().to_string(),
            format!("{:.2}", figures.median),
            format!("{:.2}–{:.2}", figures.min, figures.max),
            optional(figures.first_token_ms, &|ms| format!("{ms:.0} ms")),
            optional(figures.reached, &gigabytes),
            optional(figures.available, &gigabytes),
        ];
        if report.ceilings.is_some() {
            cells.push(optional(figures.computed, &teraflops));
            cells.push(optional(figures.computable, &teraflops));
        }
        cells.push(optional(figures.share(), &|share| format!("{:.0} %", share * 100.0)));
        rows.push(cells);
    }
    let numbers: Vec<usize> = (1..rows[0].len()).collect();
    let mut text = facts_table(report) + "\n" + &report::table(&rows, &numbers);
    for row in &report.rows {
        if let Some(profile) = &row.profile {
            text += &profile_table(row.workload, profile);
        }
    }
    text
}

fn profile_table(workload: Workload, profile: &Profile) -> String {
    let test = Figures::test(workload);
    let (tokens, batch, depth) = (workload.tokens(), workload.batch(), workload.depth());
    let header = ["operation", "calls", "ms", "share"].map(str::to_owned).to_vec();
    let operations = profile.lines().map(|line| {
        let calls = line.calls.map_or_else(|| "-".to_owned(), |calls| calls.to_string());
        let ms = format!("{:.2}", line.seconds * 1e3);
        vec![line.name.to_owned(), calls, ms, format!("{:.1} %", line.share * 100.0)]
    });
    let rows: Vec<_> = std::iter::once(header).chain(operations).collect();
    let table = report::table(&rows, &[1, 2, 3]);
    format!("\n{test} of {tokens}, batch {batch}, depth {depth}:\n{table}")
}

struct ProfileLine<'a> {
    name: &'a str,
    calls: Option<u64>,
    seconds: f64,
    share: f64,
}

impl Profile {
    /// Each operation, and then the rest.
    fn lines(&self) -> impl Iterator<Item = ProfileLine<'_>> {
        let total = self.total.as_secs_f64();
        let line = move |name, calls, seconds: f64| ProfileLine {
            name,
            calls,
            seconds,
            share: seconds / total,
        };
        let known: f64 = self.operations.iter().map(|o| o.total.as_secs_f64()).sum();
        let operations = self.operations.iter();
        let operations =
            operations.map(move |o| line(&o.name, Some(o.calls), o.total.as_secs_f64()));
        operations.chain(std::iter::once(line("rest", None, total - known)))
    }
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
        ("device", report.device.clone()),
        ("threads", report.threads.to_string()),
        ("load time", format!("{:.2} s", report.load_time.as_secs_f64())),
        ("peak memory", peak),
        ("repeats", report.repeats.to_string()),
    ];
    let rows: Vec<_> = rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec();
    report::table(&rows, &[])
}

pub(super) fn json(report: &Report) -> String {
    let rows: Vec<Value> = report.rows.iter().map(|row| row_json(row, report.ceilings)).collect();
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
        "kernels": instruction_set(),
        "device": report.device,
        "threads": report.threads,
        "load_s": report.load_time.as_secs_f64(),
        "peak_memory_bytes": report.peak_memory,
        "repeats": report.repeats,
        "rows": rows,
    });
    format!("{value:#}\n")
}

/// A row of `gpu-check`: what was reached, beside what is to be had.
pub(super) fn gpu_line(row: &Row, ceilings: Ceilings) -> String {
    let figures = Figures::of(row, Some(ceilings));
    let work = row.workload;
    let milliseconds = median(&row.seconds) * 1e3
        / match work {
            Workload::Prefill { .. } => 1.0,
            Workload::Decode { .. } => work.tokens() as f64,
        };
    let share = figures.share().unwrap_or(0.0);
    format!(
        "{:7} batch {:3}, depth {:4}, {:4} tokens: {:9.3} ms of {:9.3}, {:9.1} tokens/s, \
         {:6.0} GB/s, {:5.1} TFLOP/s, {:3.0} % of the roofline\n",
        figures.test,
        work.batch(),
        work.depth(),
        work.tokens(),
        milliseconds,
        milliseconds * share,
        figures.median,
        figures.reached.unwrap_or(0.0) / 1e9,
        figures.computed.unwrap_or(0.0) / 1e12,
        share * 100.0,
    )
}

pub(super) fn row_json(row: &Row, ceilings: Option<Ceilings>) -> Value {
    let figures = Figures::of(row, ceilings);
    json!({
        "test": figures.test,
        "tokens": row.workload.tokens(),
        "batch": row.workload.batch(),
        "depth": row.workload.depth(),
        "tokens_per_s": { "median": figures.median, "min": figures.min, "max": figures.max },
        "first_token_ms": figures.first_token_ms,
        "read_bytes_per_s": figures.reached,
        "memory_bytes_per_s": figures.available,
        "operations_per_s": figures.computed,
        "matrix_operations_per_s": figures.computable,
        "memory_share": figures.memory_share(),
        "matrix_share": figures.matrix_share(),
        "roofline_share": figures.share(),
        "roofline_s": figures.share().map(|share| share * median(&row.seconds)),
        "step_bytes": row.step_bytes,
        "operations": row.operations,
        "seconds": row.seconds,
        "profile": row.profile.as_ref().map(profile_json),
    })
}

fn profile_json(profile: &Profile) -> Value {
    let lines = profile.lines().map(|line| {
        json!({
            "operation": line.name,
            "calls": line.calls,
            "seconds": line.seconds,
            "share": line.share,
        })
    });
    lines.collect()
}

/// Each line stands alone: lines of several runs can be put under one header.
pub(super) fn csv(report: &Report) -> String {
    let header = "model,quantization,weight_bytes,kv_cache_dtype,processor,threads,load_s,\
                  peak_memory_bytes,test,tokens,batch,depth,tokens_per_s,tokens_per_s_min,\
                  tokens_per_s_max,first_token_ms,read_bytes_per_s,memory_bytes_per_s,memory_share";
    let mut rows = vec![header.split(',').map(str::to_owned).collect::<Vec<_>>()];
    for row in &report.rows {
        let figures = Figures::of(row, report.ceilings);
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
            optional(figures.memory_share()),
        ]);
    }
    report::csv(&rows)
}

fn dtype_name(dtype: KvDtype) -> &'static str {
    match dtype {
        KvDtype::F32 => "f32",
        KvDtype::F16 => "f16",
        KvDtype::Bf16 => "bf16",
        KvDtype::Q8_0 => "q8_0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::models;
    use crate::hub;
    use crate::ops::OperationTime;
    use std::time::Duration;

    fn report() -> Report {
        let model = hub::find("smollm2-135m").expect("known");
        let prefill = Row {
            workload: Workload::Prefill { batch: 2, depth: 0, tokens: 100 },
            seconds: vec![2.0, 1.0, 4.0],
            step_bytes: None,
            bandwidths: Vec::new(),
            operations: None,
            profile: None,
        };
        let decode = Row {
            workload: Workload::Decode { batch: 1, depth: 4096, tokens: 10 },
            seconds: vec![0.5, 1.0],
            step_bytes: Some(3e9),
            bandwidths: vec![50e9, 70e9, 60e9],
            operations: None,
            profile: None,
        };
        Report {
            model: "a, model".to_owned(),
            config: models::config_of(model).expect("valid"),
            num_parameters: Some(134_515_008),
            quantization: "Q4_1 100%".to_owned(),
            weight_bytes: 98_000_000,
            load_time: Duration::from_millis(250),
            threads: 2,
            device: "scalar kernels".to_owned(),
            ceilings: None,
            kv_cache_dtype: KvDtype::F16,
            repeats: 3,
            peak_memory: Some(1 << 28),
            rows: vec![prefill, decode],
        }
    }

    #[test]
    fn figures_are_medians_of_all_sequences_together() {
        let report = report();
        let prefill = Figures::of(&report.rows[0], None);
        assert_eq!((prefill.median, prefill.min, prefill.max), (100.0, 50.0, 200.0));
        assert_eq!(prefill.first_token_ms, Some(2000.0));
        assert_eq!(prefill.share(), None);
        let decode = Figures::of(&report.rows[1], None);
        assert_eq!(decode.median, 15.0);
        assert_eq!(decode.first_token_ms, None);
        // 10 steps of 3 GB in 0.75 s, of 60 GB/s.
        assert_eq!((decode.reached, decode.available), (Some(40e9), Some(60e9)));
        assert!((decode.share().expect("decode") - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn on_a_gpu_the_nearer_limit_counts() {
        let mut report = report();
        report.ceilings = Some(Ceilings { copy_bytes_per_s: 60e9, operations_per_s: 500e12 });
        report.rows[0].operations = Some(800e12);
        report.rows[1].operations = Some(3e12);
        let prefill = Figures::of(&report.rows[0], report.ceilings);
        assert_eq!((prefill.computed, prefill.share()), (Some(400e12), Some(0.8)));
        let decode = Figures::of(&report.rows[1], report.ceilings);
        assert_eq!(decode.computed, Some(4e12));
        assert_eq!(decode.share(), decode.memory_share());
        let text = table(&report);
        assert!(
            text.lines().last().expect("a row").ends_with("4.0           500.0   67 %"),
            "{text}"
        );
    }

    #[test]
    fn a_profile_says_what_operations_leave_of_the_total() {
        let mut report = report();
        let operation = |name: &str, ms| OperationTime {
            name: name.to_owned(),
            calls: 28,
            total: Duration::from_millis(ms),
        };
        report.rows[1].profile = Some(Profile {
            total: Duration::from_millis(200),
            operations: vec![operation("attention", 120), operation("norm", 30)],
        });
        let text = table(&report);
        let (_, profile) =
            text.split_once("\n\ndecode of 10, batch 1, depth 4096:\n").expect("one");
        let shares: Vec<_> = profile.lines().map(|line| line.split("  ").last()).collect();
        assert_eq!(shares[1..], [Some("60.0 %"), Some("15.0 %"), Some("25.0 %")], "{text}");
        let value: Value = serde_json::from_str(&json(&report)).expect("JSON");
        assert_eq!(value["rows"][0]["profile"], Value::Null);
        assert_eq!(value["rows"][1]["profile"][2]["operation"], "rest");
        assert_eq!(value["rows"][1]["profile"][0]["share"], 0.6);
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
