//! Trains and scores the guardrail's weights; `scripts/train-guardrail` prepares its rows and calls
//! it.
//!
//! It includes the program's own inference by path, so that training and serving cannot disagree
//! about a feature, and so that training does not compile the rest of the program.

#![expect(clippy::print_stdout, reason = "scores are its output")]

use std::io::Write;

#[path = "../../../src/guardrail/mod.rs"]
pub mod guardrail;
#[path = "../../../src/limits.rs"]
pub mod limits;

mod assess;
mod content;
mod random;
mod rows;
mod stream;
mod tags;
mod write;

use guardrail::fold::Folded;
use guardrail::learned::content::{ContentScorer, NUM_HEADS};
use guardrail::learned::tagger::{EntityKind, Tagger};
use rows::Row;
use tags::Tagged;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["content-train", rows, out, rest @ ..] => train_content(rows, out, rest),
        ["content-score", weights, rows] => score_content(weights, rows),
        ["tagger-train", rows, lists, out, rest @ ..] => train_tagger(rows, lists, out, rest),
        ["tagger-tag", weights, rows] => tag(weights, rows),
        ["assess", definition, texts] => assess::assess(definition, texts),
        ["entities", texts] => assess::entities(texts),
        ["stream", cases, plain, rest @ ..] => {
            stream::stream(cases, plain, option(rest, "--random", 100_000))
        }
        ["kinds"] => assess::kinds(),
        ["speed", text] => speed(text),
        _ => Err(std::io::Error::other("see `main` for the commands")),
    }
}

/// `--key value` pairs after the positional arguments.
fn option<T: std::str::FromStr>(rest: &[&str], key: &str, default: T) -> T {
    rest.windows(2)
        .find(|pair| pair[0] == key)
        .and_then(|pair| pair[1].parse().ok())
        .unwrap_or(default)
}

fn train_content(rows: &str, out: &str, rest: &[&str]) -> std::io::Result<()> {
    let mut rows: Vec<Row> = folded(rows)?;
    let without = option(rest, "--without-part", usize::MAX);
    let without_source: String = option(rest, "--without-source", String::new());
    rows.retain(|row| row.train && row.part != without && row.source != without_source);
    let settings = content::Settings {
        log2_rows: option(rest, "--log2-rows", 18),
        epochs: option(rest, "--epochs", 8),
        rate: option(rest, "--rate", 1.0),
        decay: option(rest, "--decay", 1e-4),
        damping: option(rest, "--damping", 0.3),
        documents_min: option(rest, "--documents-min", 2),
        sharpness: option(rest, "--sharpness", 1.0),
        dropout: option(rest, "--dropout", 0.2),
    };
    let trained = content::train(&rows, &settings);
    std::fs::write(out, write::content(&trained))
}

/// Rows as the program scores them.
fn folded(path: &str) -> std::io::Result<Vec<Row>> {
    let mut rows: Vec<Row> = rows::read(path)?;
    for row in &mut rows {
        row.text = Folded::skeleton(&row.text).text().to_owned();
    }
    Ok(rows)
}

/// One line a row: windows, and for each head the highest window and the mean.
fn score_content(weights: &str, rows: &str) -> std::io::Result<()> {
    let scorer =
        ContentScorer::from_bytes(&std::fs::read(weights)?).map_err(std::io::Error::other)?;
    let rows: Vec<Row> = folded(rows)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let start = std::time::Instant::now();
    let mut bytes = 0;
    for row in &rows {
        let document = scorer.document(&row.text);
        bytes += row.text.len();
        write!(out, "{}", document.num_windows)?;
        for head in 0..NUM_HEADS {
            let mean = document.mean(head);
            write!(out, "\t{:.4}\t{mean:.4}", document.highest[head])?;
        }
        writeln!(out)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{:.1} MB/s", bytes as f64 / 1e6 / seconds);
    Ok(())
}

fn train_tagger(rows: &str, lists: &str, out: &str, rest: &[&str]) -> std::io::Result<()> {
    let mut rows: Vec<Tagged> = rows::read(rows)?;
    let without = option(rest, "--without-part", usize::MAX);
    let without_source: String = option(rest, "--without-source", String::new());
    rows.retain(|row| row.train && row.part != without && row.source != without_source);
    let words = serde_json::from_slice(&std::fs::read(lists)?)?;
    let settings = tags::Settings {
        log2_rows: option(rest, "--log2-rows", 18),
        epochs: option(rest, "--epochs", 8),
        rate: option(rest, "--rate", 0.15),
        decay: option(rest, "--decay", 0.0),
        tokens_min: option(rest, "--tokens-min", 2),
    };
    let trained = tags::train(&rows, &words, &settings);
    std::fs::write(
        out,
        write::tagger(
            &trained,
            [option(rest, "--begin-latin", 2.0), option(rest, "--begin-han", 2.5)],
        ),
    )
}

/// One line a row: its entities as JSON, in bytes of the text.
fn tag(weights: &str, rows: &str) -> std::io::Result<()> {
    let tagger = Tagger::from_bytes(&std::fs::read(weights)?).map_err(std::io::Error::other)?;
    let rows: Vec<Tagged> = rows::read(rows)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for row in &rows {
        let entities: Vec<_> = tagger
            .entities(&row.text)
            .into_iter()
            .map(|entity| {
                let kind = match entity.kind {
                    EntityKind::Name => "NAME",
                    EntityKind::Address => "ADDRESS",
                    EntityKind::Place => "PLACE",
                };
                let characters = |at: usize| row.text[..at].chars().count();
                let (start, end) = (entity.range.start, entity.range.end);
                (kind, characters(start), characters(end), entity.score)
            })
            .collect();
        writeln!(out, "{}", serde_json::to_string(&entities)?)?;
    }
    Ok(())
}

/// Megabytes a second on this core, best of several runs, since others use the machine too.
fn speed(path: &str) -> std::io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let (content, tagger) = (ContentScorer::built_in(), Tagger::built_in());
    println!("content {:.1} MB/s", best(&text, |text| content.score(text).margin[0] > 1e9));
    println!("tagger {:.1} MB/s", best(&text, |text| tagger.entities(text).len() > 1 << 30));
    assess::speed(&text, |text, run| best(text, run))?;
    Ok(())
}

/// The best of many short runs: the scheduler's count of a thread's time is too coarse for them.
fn best(text: &str, run: impl Fn(&str) -> bool) -> f64 {
    let times = (0..25).map(|_| {
        let started_at = std::time::Instant::now();
        assert!(!run(std::hint::black_box(text)));
        started_at.elapsed().as_secs_f64()
    });
    text.len() as f64 / 1e6 / times.fold(f64::MAX, f64::min)
}
