//! Trains the tagger: a linear-chain conditional random field, by AdaGrad.
//!
//! What a token is gets hidden now and then, and part of the lists too, so that the weights learn
//! what stands around a name and not only the names that they saw.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::guardrail::learned::tagger::{LABELS, Label, list_key};
use crate::guardrail::learned::tokens::{Token, features, listed, tokens, word_hash};
use crate::random::Random;

/// A sentence with its entities in characters.
#[derive(Deserialize)]
pub(crate) struct Tagged {
    pub(crate) text: String,
    pub(crate) spans: Vec<(String, usize, usize)>,
    pub(crate) weight: f32,
    pub(crate) part: usize,
    pub(crate) train: bool,
    pub(crate) source: String,
}

pub(crate) struct Settings {
    pub(crate) log2_rows: u32,
    pub(crate) epochs: usize,
    pub(crate) rate: f32,
    pub(crate) decay: f32,
    pub(crate) tokens_min: u16,
}

/// Weights before they are rounded.
pub(crate) struct Trained {
    pub(crate) log2_rows: u32,
    pub(crate) transitions: [[f32; LABELS]; LABELS],
    pub(crate) table: Vec<[f32; LABELS]>,
    pub(crate) lists: BTreeMap<u32, u8>,
}

/// Features that say what stands around a token; see `tokens::features`.
const NUM_CONTEXTUAL: usize = 18;
/// Where the token's shape comes among the rest; a hidden token keeps it.
const SHAPE: usize = 21;
/// How often a token is hidden: within an entity, and elsewhere.
const HIDDEN: [f32; 2] = [0.2, 0.05];
/// Listed words that are hidden while learning.
const UNLISTED_OF_16: u32 = 6;
/// Lists that are complete, so that hiding them would teach nothing.
const KEPT: u8 =
    listed::COMMON | listed::HAN_FAMILY | listed::HAN_GIVEN | listed::STREET | listed::HAN_WORD;
/// What a label that cannot follow costs.
const IMPOSSIBLE: f32 = -20.0;
const NEVER: u32 = u32::MAX;

struct Sentence {
    features: Vec<Vec<u32>>,
    labels: Vec<usize>,
    weight: f32,
}

/// The lists as the program keeps them.
pub(crate) fn lists(words: &BTreeMap<String, u8>) -> BTreeMap<u32, u8> {
    let mut lists = BTreeMap::new();
    for (word, flags) in words {
        if let Some(hash) = word_hash(word) {
            *lists.entry(list_key(hash)).or_insert(0) |= flags;
        }
    }
    lists
}

pub(crate) fn train(rows: &[Tagged], words: &BTreeMap<String, u8>, settings: &Settings) -> Trained {
    let lists = lists(words);
    let mut sentences: Vec<Sentence> =
        rows.iter().filter_map(|row| sentence(row, &lists, settings.log2_rows)).collect();
    prune(&mut sentences, settings);
    let mut state = State::new(settings);
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    let mut random = Random::new(11);
    for epoch in 0..settings.epochs {
        random.shuffle(&mut order);
        let mut loss = 0.0;
        for index in &order {
            loss += state.learn(&sentences[*index], settings, &mut random);
        }
        eprintln!("epoch {epoch}: loss {:.4}", loss / sentences.len() as f64);
    }
    Trained {
        log2_rows: settings.log2_rows,
        transitions: state.transitions,
        table: state.table,
        lists,
    }
}

fn sentence(row: &Tagged, lists: &BTreeMap<u32, u8>, log2_rows: u32) -> Option<Sentence> {
    let tokens = tokens(&row.text, |word| {
        let key = list_key(word);
        let flags = lists.get(&key).copied().unwrap_or(0);
        // The key's bits are mixed already, so any four choose at random.
        if key % 16 < UNLISTED_OF_16 { flags & KEPT } else { flags }
    });
    if tokens.is_empty() {
        return None;
    }
    let shift = u64::BITS - log2_rows;
    let features = (0..tokens.len())
        .map(|at| {
            let mut hashes = Vec::new();
            features(&tokens, at, |hash| hashes.push((hash >> shift) as u32));
            hashes
        })
        .collect();
    Some(Sentence { features, labels: labels(row, &tokens), weight: row.weight })
}

fn labels(row: &Tagged, tokens: &[Token]) -> Vec<usize> {
    let bytes: Vec<usize> =
        row.text.char_indices().map(|(at, _)| at).chain([row.text.len()]).collect();
    let mut labels = vec![Label::Outside as usize; tokens.len()];
    for (kind, start, end) in &row.spans {
        let (start, end) = (bytes[*start], bytes[(*end).min(bytes.len() - 1)]);
        let inside: Vec<usize> = (0..tokens.len())
            .filter(|at| tokens[*at].range.start < end && tokens[*at].range.end > start)
            .collect();
        for (place, at) in inside.iter().enumerate() {
            let is_first = place == 0;
            let is_last = place + 1 == inside.len();
            let label = match (kind.as_str(), is_first, is_last) {
                ("NAME", true, true) => Label::NameOnly,
                ("NAME", true, false) => Label::NameBegin,
                ("NAME", false, false) => Label::NameInside,
                ("NAME", false, true) => Label::NameEnd,
                ("ADDRESS", true, _) => Label::AddressBegin,
                ("ADDRESS", false, _) => Label::AddressInside,
                ("PLACE", _, _) => Label::Place,
                _ => Label::Outside,
            };
            labels[*at] = label as usize;
        }
    }
    labels
}

fn prune(sentences: &mut [Sentence], settings: &Settings) {
    let mut counts = vec![0_u16; 1 << settings.log2_rows];
    for feature in sentences.iter().flat_map(|sentence| sentence.features.iter().flatten()) {
        let count = &mut counts[*feature as usize];
        *count = count.saturating_add(1);
    }
    for feature in sentences.iter_mut().flat_map(|sentence| sentence.features.iter_mut().flatten())
    {
        if counts[*feature as usize] < settings.tokens_min {
            *feature = NEVER;
        }
    }
}

/// Names are marked from beginning to end; what breaks that cannot be.
fn can_follow(before: usize, after: usize) -> bool {
    let within_name =
        |label| label == Label::NameBegin as usize || label == Label::NameInside as usize;
    let goes_on = |label| label == Label::NameInside as usize || label == Label::NameEnd as usize;
    let in_address =
        |label| label == Label::AddressBegin as usize || label == Label::AddressInside as usize;
    within_name(before) == goes_on(after)
        && (after != Label::AddressInside as usize || in_address(before))
}

struct State {
    table: Vec<[f32; LABELS]>,
    squares: Vec<[f32; LABELS]>,
    transitions: [[f32; LABELS]; LABELS],
    transition_squares: [[f32; LABELS]; LABELS],
}

impl State {
    fn new(settings: &Settings) -> Self {
        let rows = 1 << settings.log2_rows;
        let transitions = std::array::from_fn(|before| {
            std::array::from_fn(|after| if can_follow(before, after) { 0.0 } else { IMPOSSIBLE })
        });
        Self {
            table: vec![[0.0; LABELS]; rows],
            squares: vec![[1e-6; LABELS]; rows],
            transitions,
            transition_squares: [[1e-6; LABELS]; LABELS],
        }
    }

    /// One step; the loss is the negative logarithm of the marked sequence's probability.
    fn learn(&mut self, sentence: &Sentence, settings: &Settings, random: &mut Random) -> f64 {
        let hidden: Vec<bool> = sentence
            .labels
            .iter()
            .map(|label| random.unit() < HIDDEN[usize::from(*label == 0)])
            .collect();
        let emissions: Vec<[f32; LABELS]> = sentence
            .features
            .iter()
            .zip(&hidden)
            .map(|(features, hidden)| self.emission(features, *hidden))
            .collect();
        let chain = Chain::new(&emissions, &self.transitions);
        let mut loss = 0.0;
        for (at, features) in sentence.features.iter().enumerate() {
            let mut gradient = chain.marginal(at);
            loss -= f64::from(gradient[sentence.labels[at]].max(1e-7).ln());
            gradient[sentence.labels[at]] -= 1.0;
            self.step(features, hidden[at], gradient.map(|part| part * sentence.weight), settings);
        }
        for at in 1..sentence.labels.len() {
            let mut pairs = chain.pairs(at);
            pairs[sentence.labels[at - 1]][sentence.labels[at]] -= 1.0;
            self.step_transitions(&pairs, sentence.weight, settings);
        }
        loss
    }

    fn emission(&self, features: &[u32], hidden: bool) -> [f32; LABELS] {
        let mut sums = [0.0; LABELS];
        for feature in seen(features, hidden) {
            for (sum, weight) in sums.iter_mut().zip(&self.table[feature as usize]) {
                *sum += weight;
            }
        }
        sums
    }

    fn step(
        &mut self,
        features: &[u32],
        hidden: bool,
        gradient: [f32; LABELS],
        settings: &Settings,
    ) {
        if gradient.iter().all(|part| part.abs() < 1e-3) {
            return;
        }
        for feature in seen(features, hidden) {
            let weights = &mut self.table[feature as usize];
            let squares = &mut self.squares[feature as usize];
            for label in 0..LABELS {
                let slope = gradient[label] + settings.decay * weights[label];
                squares[label] += slope * slope;
                weights[label] -= settings.rate * slope / squares[label].sqrt();
            }
        }
    }

    fn step_transitions(
        &mut self,
        gradient: &[[f32; LABELS]; LABELS],
        weight: f32,
        settings: &Settings,
    ) {
        for (before, row) in gradient.iter().enumerate() {
            for (after, part) in row.iter().enumerate() {
                if !can_follow(before, after) {
                    continue;
                }
                let slope = part * weight;
                self.transition_squares[before][after] += slope * slope;
                self.transitions[before][after] -=
                    settings.rate * slope / self.transition_squares[before][after].sqrt();
            }
        }
    }
}

fn seen(features: &[u32], hidden: bool) -> impl Iterator<Item = u32> {
    features.iter().enumerate().filter_map(move |(index, feature)| {
        let is_hidden = hidden && index >= NUM_CONTEXTUAL && index != SHAPE;
        (*feature != NEVER && !is_hidden).then_some(*feature)
    })
}

/// The forward and backward sums of one sentence, normalized at each token.
struct Chain {
    steps: [[f32; LABELS]; LABELS],
    weights: Vec<[f32; LABELS]>,
    forward: Vec<[f32; LABELS]>,
    backward: Vec<[f32; LABELS]>,
}

impl Chain {
    fn new(emissions: &[[f32; LABELS]], transitions: &[[f32; LABELS]; LABELS]) -> Self {
        let steps = transitions.map(|row| row.map(f32::exp));
        let weights: Vec<[f32; LABELS]> = emissions
            .iter()
            .map(|scores| {
                let highest = scores.iter().copied().fold(f32::MIN, f32::max);
                scores.map(|score| (score - highest).max(-60.0).exp())
            })
            .collect();
        let mut forward: Vec<[f32; LABELS]> = Vec::new();
        for weight in &weights {
            let reached = match forward.last() {
                None => [1.0; LABELS],
                Some(before) => std::array::from_fn(|after| {
                    (0..LABELS).map(|label| before[label] * steps[label][after]).sum()
                }),
            };
            forward.push(normalized(std::array::from_fn(|label| reached[label] * weight[label])));
        }
        let mut backward = vec![[1.0; LABELS]; weights.len()];
        for at in (1..weights.len()).rev() {
            let ahead: [f32; LABELS] =
                std::array::from_fn(|label| backward[at][label] * weights[at][label]);
            backward[at - 1] = normalized(std::array::from_fn(|before| {
                (0..LABELS).map(|label| steps[before][label] * ahead[label]).sum()
            }));
        }
        Self { steps, weights, forward, backward }
    }

    fn marginal(&self, at: usize) -> [f32; LABELS] {
        normalized(std::array::from_fn(|label| self.forward[at][label] * self.backward[at][label]))
    }

    /// The probability of each pair of labels at `at - 1` and `at`.
    fn pairs(&self, at: usize) -> [[f32; LABELS]; LABELS] {
        let mut pairs = [[0.0; LABELS]; LABELS];
        let mut sum = 0.0;
        for (before, row) in pairs.iter_mut().enumerate() {
            for (after, probability) in row.iter_mut().enumerate() {
                let pair = self.forward[at - 1][before]
                    * self.steps[before][after]
                    * self.weights[at][after]
                    * self.backward[at][after];
                *probability = pair;
                sum += pair;
            }
        }
        pairs.map(|row| row.map(|pair| pair / sum))
    }
}

fn normalized(weights: [f32; LABELS]) -> [f32; LABELS] {
    let sum: f32 = weights.iter().sum::<f32>().max(f32::MIN_POSITIVE);
    weights.map(|weight| weight / sum)
}
