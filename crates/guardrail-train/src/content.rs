//! Trains the content heads: logistic regression over windows, by AdaGrad.
//!
//! A document's label says that it is harmful, not which of its windows is. So a document's windows
//! share its weight by how suspicious they look already: in an attack those that look like the
//! attack, in a clean text those that come closest to a false alarm. That is what scoring by the
//! highest window asks of the weights.

use std::collections::HashMap;

use crate::guardrail::learned::content::{BLOCK_BYTES, NUM_HEADS, STRIDE};
use crate::guardrail::learned::ngrams::Ngrams;
use crate::random::Random;
use crate::rows::Row;

/// What the trainer can be told.
pub(crate) struct Settings {
    pub(crate) log2_rows: u32,
    pub(crate) epochs: usize,
    pub(crate) rate: f32,
    pub(crate) decay: f32,
    /// What AdaGrad's sums of squares begin with. Without it a feature seen twice moves as far as
    /// one seen in every text, and rare wording is learnt by heart.
    pub(crate) damping: f32,
    /// A feature of fewer documents gets no weight: it could only be learnt by heart.
    pub(crate) documents_min: u16,
    /// How strongly a document's weight gathers on its most suspicious windows.
    pub(crate) sharpness: f32,
    /// The share of a window's features that a step does not see, drawn anew each time, so that no
    /// verdict hangs on a few of them.
    pub(crate) dropout: f32,
}

/// Weights before they are rounded.
pub(crate) struct Trained {
    pub(crate) log2_rows: u32,
    pub(crate) bias: [f32; NUM_HEADS],
    pub(crate) table: Vec<[f32; STRIDE]>,
}

struct Document {
    windows: Vec<Vec<u32>>,
    labels: [Option<f32>; NUM_HEADS],
    weight: [f32; NUM_HEADS],
}

pub(crate) fn train(rows: &[Row], settings: &Settings) -> Trained {
    let mut documents: Vec<Document> =
        rows.iter().map(|row| document(row, settings.log2_rows)).collect();
    prune(&mut documents, settings);
    let mut state = State::new(settings);
    let mut order: Vec<usize> = (0..documents.len()).collect();
    let mut random = Random::new(1);
    for epoch in 0..settings.epochs {
        random.shuffle(&mut order);
        let mut loss = 0.0;
        for index in &order {
            let document = documents[*index].thinned(settings.dropout, &mut random);
            loss += state.learn(&document, settings, epoch);
        }
        eprintln!("epoch {epoch}: loss {:.4}", loss / documents.len() as f64);
    }
    // The scorer sees all features, so each counts for less.
    for weight in state.table.as_flattened_mut() {
        *weight *= 1.0 - settings.dropout;
    }
    Trained { log2_rows: settings.log2_rows, bias: state.bias, table: state.table }
}

impl Document {
    /// A copy without a share of its features, which count for its windows' length still.
    fn thinned(&self, dropout: f32, random: &mut Random) -> Self {
        let mut windows = self.windows.clone();
        for feature in windows.iter_mut().flatten() {
            if random.unit() < dropout {
                *feature = NEVER;
            }
        }
        Self { windows, labels: self.labels, weight: self.weight }
    }
}

/// A text's windows as the scorer sees them: two neighbouring blocks, or the only one.
pub(crate) fn windows(text: &str, log2_rows: u32) -> Vec<Vec<u32>> {
    let shift = u64::BITS - log2_rows;
    let mut blocks: Vec<Vec<u32>> = vec![Vec::new()];
    let mut ngrams = Ngrams::default();
    let mut bytes = 0;
    for char in text.chars() {
        if bytes >= BLOCK_BYTES {
            blocks.push(Vec::new());
            bytes = 0;
        }
        let block = blocks.last_mut().expect("there is one from the start");
        ngrams.push(char, |hash| block.push((hash >> shift) as u32));
        bytes += char.len_utf8();
    }
    let block = blocks.last_mut().expect("there is one from the start");
    ngrams.end(|hash| block.push((hash >> shift) as u32));
    if blocks.len() == 1 {
        return blocks;
    }
    blocks.windows(2).map(|pair| pair.concat()).collect()
}

fn document(row: &Row, log2_rows: u32) -> Document {
    Document { windows: windows(&row.text, log2_rows), labels: row.labels, weight: row.weights }
}

/// Takes out features of too few documents. The length of a window must count them still, as the
/// scorer cannot tell them apart, so they become a feature that is never learnt.
fn prune(documents: &mut [Document], settings: &Settings) {
    let mut counts: Vec<u16> = vec![0; 1 << settings.log2_rows];
    let mut seen: HashMap<u32, usize> = HashMap::new();
    for (index, document) in documents.iter().enumerate() {
        for feature in document.windows.iter().flatten() {
            if seen.insert(*feature, index) != Some(index) {
                let count = &mut counts[*feature as usize];
                *count = count.saturating_add(1);
            }
        }
    }
    for document in documents {
        for feature in document.windows.iter_mut().flatten() {
            if counts[*feature as usize] < settings.documents_min {
                *feature = NEVER;
            }
        }
    }
}

const NEVER: u32 = u32::MAX;

struct State {
    table: Vec<[f32; STRIDE]>,
    squares: Vec<[f32; STRIDE]>,
    bias: [f32; NUM_HEADS],
    bias_squares: [f32; NUM_HEADS],
}

impl State {
    fn new(settings: &Settings) -> Self {
        let rows = 1 << settings.log2_rows;
        Self {
            table: vec![[0.0; STRIDE]; rows],
            squares: vec![[settings.damping; STRIDE]; rows],
            bias: [-2.0; NUM_HEADS],
            bias_squares: [1e-6; NUM_HEADS],
        }
    }

    fn score(&self, window: &[u32]) -> [f32; NUM_HEADS] {
        let norm = norm(window);
        let mut sums = [0.0; STRIDE];
        for feature in window.iter().filter(|feature| **feature != NEVER) {
            for (sum, weight) in sums.iter_mut().zip(&self.table[*feature as usize]) {
                *sum += weight;
            }
        }
        std::array::from_fn(|head| self.bias[head] + norm * sums[head])
    }

    fn learn(&mut self, document: &Document, settings: &Settings, epoch: usize) -> f64 {
        let scores: Vec<_> = document.windows.iter().map(|window| self.score(window)).collect();
        let mut loss = 0.0;
        // Long documents say more than short ones, but not in proportion.
        let total = (document.windows.len() as f32).sqrt();
        let sharpness = if epoch == 0 { 0.0 } else { settings.sharpness };
        let mut gradients = vec![[0.0_f32; NUM_HEADS]; scores.len()];
        for head in 0..NUM_HEADS {
            let Some(label) = document.labels[head] else { continue };
            let highest = scores.iter().map(|score| score[head]).fold(f32::MIN, f32::max);
            let shares: Vec<f32> =
                scores.iter().map(|score| ((score[head] - highest) * sharpness).exp()).collect();
            let sum: f32 = shares.iter().sum();
            for (window, score) in scores.iter().enumerate() {
                let weight = document.weight[head] * total * shares[window] / sum;
                let probability = 1.0 / (1.0 + (-score[head]).exp());
                gradients[window][head] = weight * (probability - label);
                let likelihood = if label > 0.5 { probability } else { 1.0 - probability };
                loss -= f64::from(weight * likelihood.max(1e-7).ln());
            }
        }
        for (window, gradient) in document.windows.iter().zip(&gradients) {
            self.step(window, gradient, settings);
        }
        loss
    }

    fn step(&mut self, window: &[u32], gradient: &[f32; NUM_HEADS], settings: &Settings) {
        if gradient.iter().all(|part| part.abs() < 1e-4) {
            return;
        }
        let norm = norm(window);
        for feature in window.iter().filter(|feature| **feature != NEVER) {
            let weights = &mut self.table[*feature as usize];
            let squares = &mut self.squares[*feature as usize];
            for head in 0..NUM_HEADS {
                if gradient[head] == 0.0 {
                    continue;
                }
                let slope = gradient[head] * norm + settings.decay * weights[head];
                squares[head] += slope * slope;
                weights[head] -= settings.rate * slope / squares[head].sqrt();
            }
        }
        for (head, slope) in gradient.iter().enumerate() {
            self.bias_squares[head] += slope * slope;
            self.bias[head] -= settings.rate * 0.2 * slope / self.bias_squares[head].sqrt();
        }
    }
}

fn norm(window: &[u32]) -> f32 {
    1.0 / (window.len().max(1) as f32).sqrt()
}
