//! The rows to learn from, as `scripts/train-guardrail` writes them, one JSON object a line.

use std::io::BufRead;

use serde::Deserialize;

use crate::guardrail::learned::content::NUM_HEADS;

/// A text and what is known of it. A head whose label is absent learns nothing from the row.
#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) labels: [Option<f32>; NUM_HEADS],
    #[serde(default = "ones")]
    pub(crate) weights: [f32; NUM_HEADS],
    /// Which part of a cross-validation holds the row out.
    #[serde(default)]
    pub(crate) part: usize,
    pub(crate) source: String,
    /// Whether the licence lets weights be learnt from it; otherwise it is for measuring.
    pub(crate) train: bool,
}

fn ones() -> [f32; NUM_HEADS] {
    [1.0; NUM_HEADS]
}

pub(crate) fn read<T: for<'de> Deserialize<'de>>(path: &str) -> std::io::Result<Vec<T>> {
    let file = std::io::BufReader::new(std::fs::File::open(path)?);
    file.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}
