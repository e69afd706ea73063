//! Finds names of people, addresses and places: a linear-chain model over hashed features.
//!
//! Each token has a score for each of eight labels, each pair of labels another; the best sequence
//! is found by Viterbi's recursion, and how sure it is by the forward-backward one. The weights are
//! 8-bit rows of a hashed table.

use std::ops::Range;
use std::sync::OnceLock;

use super::tokens::{FEATURES_MAX, Token, features, tokens};
use super::weights::{Reader, WeightsError};

/// Labels in one row of the table.
pub const LABELS: usize = 8;
/// The largest tables the reader accepts, as powers of two of rows.
const LOG2_ROWS_MAX: u32 = 20;
const LISTED_MAX: u32 = 1 << 20;
/// Tokens labelled together; a longer text is cut, so that memory has a bound.
const TOKENS_MAX: usize = 512;
const KIND: u8 = b'T';
/// The signs of eight 8-bit weights.
const SIGNS: u64 = 0x8080_8080_8080_8080;
const EVEN_BYTES: u64 = 0x00FF_00FF_00FF_00FF;
/// Sums of as many bytes fit in 16 bits.
const _: () = assert!(FEATURES_MAX * 255 <= u16::MAX as usize);
/// Hashes are even, so this many upper bits find a word among very few.
const START_BITS: u32 = 14;

/// A token's part in an entity. Names know their ends, since Chinese does not mark them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Label {
    Outside,
    NameBegin,
    NameInside,
    NameEnd,
    NameOnly,
    AddressBegin,
    AddressInside,
    Place,
}

/// What an entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityKind {
    Name,
    /// Where someone lives or receives mail.
    Address,
    /// A city, region or country alone.
    Place,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Bytes of the text.
    pub range: Range<usize>,
    pub kind: EntityKind,
    /// The probability of its least certain token, from 0 to 1.
    pub score: f32,
}

/// The model.
pub struct Tagger {
    shift: u32,
    scale: f32,
    /// Added to the labels that begin a name or an address, which training makes too unlikely for
    /// text of other kinds than it saw. First for tokens of Latin and like scripts, then for
    /// ideographs.
    begin: [f32; 2],
    /// `transitions[before][after]`.
    transitions: [[f32; LABELS]; LABELS],
    /// The least score of a name, an address, a place.
    thresholds: [f32; 3],
    /// Rows of weights, each a byte that is 128 more than the weight, so that eight can be added in
    /// two words.
    table: Vec<u64>,
    /// Hashes of listed words, sorted, and what the lists say of each.
    words: Vec<u32>,
    listed: Vec<u8>,
    /// Where in `words` those begin that share their upper bits.
    starts: Vec<u32>,
}

impl Tagger {
    /// The weights that ship with the program.
    pub fn built_in() -> &'static Self {
        static BUILT_IN: OnceLock<Tagger> = OnceLock::new();
        BUILT_IN.get_or_init(|| {
            let bytes = include_bytes!("../../../models/guardrail/tagger.bin");
            Self::from_bytes(bytes).expect("the weights in the program were checked by a test")
        })
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        let mut reader = Reader::new(bytes, KIND)?;
        let scale = reader.f32("scale")?;
        let begin = [reader.f32("begin")?, reader.f32("begin")?];
        let mut thresholds = [0.0; 3];
        for threshold in &mut thresholds {
            *threshold = reader.f32("threshold")?;
        }
        let mut transitions = [[0.0; LABELS]; LABELS];
        for transition in transitions.as_flattened_mut() {
            *transition = reader.f32("transition")?;
        }
        let (words, listed) = read_listed(&mut reader)?;
        let starts = (0..=1 << START_BITS)
            .map(|bucket: u64| {
                let first = bucket << (u32::BITS - START_BITS);
                words.partition_point(|word| u64::from(*word) < first) as u32
            })
            .collect();
        let (log2_rows, num_rows) = reader.log2("rows", LOG2_ROWS_MAX)?;
        let (rows, _) = reader.bytes("table", num_rows * LABELS)?.as_chunks::<LABELS>();
        let table = rows.iter().map(|row| u64::from_le_bytes(*row) ^ SIGNS).collect();
        reader.end()?;
        let shift = u64::BITS - log2_rows;
        Ok(Self { shift, scale, begin, transitions, thresholds, table, words, listed, starts })
    }

    /// The entities of a text as it was written, not folded, in order and apart.
    pub fn entities(&self, text: &str) -> Vec<Entity> {
        let tokens = tokens(text, |word| self.listed(word));
        tokens.chunks(TOKENS_MAX).flat_map(|tokens| self.chunk(tokens)).collect()
    }

    fn listed(&self, word: u64) -> u8 {
        let key = list_key(word);
        let bucket = (key >> (u32::BITS - START_BITS)) as usize;
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        let place = self.words[range.clone()].iter().position(|word| *word == key);
        place.map_or(0, |place| self.listed[range.start + place])
    }

    fn chunk(&self, tokens: &[Token]) -> Vec<Entity> {
        let emissions: Vec<[f32; LABELS]> =
            (0..tokens.len()).map(|at| self.emission(tokens, at)).collect();
        let labels = best(&emissions, &self.transitions);
        if labels.iter().all(|label| *label == Label::Outside as usize) {
            return Vec::new();
        }
        let marginals = marginals(&emissions, &self.transitions);
        entities(tokens, &labels, &marginals)
            .into_iter()
            .filter(|entity| entity.score >= self.thresholds[entity.kind as usize])
            .collect()
    }

    fn emission(&self, tokens: &[Token], at: usize) -> [f32; LABELS] {
        // Places first and rows afterwards, so that memory is asked for all rows at once.
        let (mut places, mut num_places) = ([0; FEATURES_MAX], 0);
        features(tokens, at, |hash| {
            places[num_places] = (hash >> self.shift) as usize;
            num_places += 1;
        });
        let (mut even, mut odd) = (0, 0);
        for place in &places[..num_places] {
            let row = self.table[*place];
            even += row & EVEN_BYTES;
            odd += row >> 8 & EVEN_BYTES;
        }
        let sums: [i32; LABELS] = std::array::from_fn(|label| {
            let word = if label % 2 == 0 { even } else { odd };
            i32::from((word >> (16 * (label / 2))) as u16) - 128 * num_places as i32
        });
        let mut scores = sums.map(|sum| self.scale * sum as f32);
        for label in [Label::NameBegin, Label::NameOnly, Label::AddressBegin] {
            scores[label as usize] += self.begin[usize::from(tokens[at].is_ideograph)];
        }
        scores
    }
}

/// The part of a word's hash that the lists keep.
pub fn list_key(word: u64) -> u32 {
    (word >> 32) as u32
}

fn read_listed(reader: &mut Reader<'_>) -> Result<(Vec<u32>, Vec<u8>), WeightsError> {
    let count = reader.u32("words")?;
    if count > LISTED_MAX {
        let value = u64::from(count);
        return Err(WeightsError::Field { field: "words", value, expected: "within its limit" });
    }
    let count = count as usize;
    let (keys, _) = reader.bytes("words", count * 4)?.as_chunks::<4>();
    let words: Vec<u32> = keys.iter().map(|key| u32::from_le_bytes(*key)).collect();
    if !words.is_sorted() {
        return Err(WeightsError::Field { field: "words", value: 0, expected: "sorted" });
    }
    Ok((words, reader.bytes("listed", count)?.to_vec()))
}

/// The best sequence of labels.
pub fn best(emissions: &[[f32; LABELS]], transitions: &[[f32; LABELS]; LABELS]) -> Vec<usize> {
    let Some((first, rest)) = emissions.split_first() else { return Vec::new() };
    let mut scores = *first;
    let mut from: Vec<[u8; LABELS]> = Vec::with_capacity(rest.len());
    for emission in rest {
        let mut next = [f32::MIN; LABELS];
        let mut back = [0_u8; LABELS];
        for (before, score) in scores.iter().enumerate() {
            for after in 0..LABELS {
                let score = score + transitions[before][after];
                if score > next[after] {
                    next[after] = score;
                    back[after] = before as u8;
                }
            }
        }
        scores = std::array::from_fn(|label| next[label] + emission[label]);
        from.push(back);
    }
    let mut label =
        (1..LABELS).fold(0, |top, next| if scores[next] > scores[top] { next } else { top });
    let mut labels = vec![label];
    for back in from.iter().rev() {
        label = back[label].into();
        labels.push(label);
    }
    labels.reverse();
    labels
}

/// The probability of each label of each token, over all sequences.
pub fn marginals(
    emissions: &[[f32; LABELS]],
    transitions: &[[f32; LABELS]; LABELS],
) -> Vec<[f32; LABELS]> {
    let steps = transitions.map(|row| row.map(f32::exp));
    let weights: Vec<[f32; LABELS]> = emissions.iter().map(exponentials).collect();
    let mut forward: Vec<[f32; LABELS]> = Vec::with_capacity(weights.len());
    for weight in &weights {
        let reached = match forward.last() {
            None => [1.0; LABELS],
            Some(before) => std::array::from_fn(|after| {
                (0..LABELS).map(|label| before[label] * steps[label][after]).sum()
            }),
        };
        forward.push(normalized(std::array::from_fn(|label| reached[label] * weight[label])));
    }
    let mut backward = [1.0; LABELS];
    for (at, weight) in weights.iter().enumerate().rev() {
        let ahead: [f32; LABELS] = std::array::from_fn(|label| backward[label] * weight[label]);
        let here = &mut forward[at];
        *here = normalized(std::array::from_fn(|label| here[label] * backward[label]));
        backward = normalized(std::array::from_fn(|before| {
            (0..LABELS).map(|label| steps[before][label] * ahead[label]).sum()
        }));
    }
    forward
}

/// Against the highest, so that none overflows.
fn exponentials(scores: &[f32; LABELS]) -> [f32; LABELS] {
    let highest = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.map(|score| (score - highest).max(-60.0).exp())
}

fn normalized(weights: [f32; LABELS]) -> [f32; LABELS] {
    let sum: f32 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

fn entities(tokens: &[Token], labels: &[usize], marginals: &[[f32; LABELS]]) -> Vec<Entity> {
    let mut entities: Vec<Entity> = Vec::new();
    let mut open = false;
    for (at, token) in tokens.iter().enumerate() {
        let label = labels[at];
        let score = marginals[at][label];
        let Some((kind, begins)) = part(label) else {
            open = false;
            continue;
        };
        match entities.last_mut() {
            Some(entity) if open && !begins && entity.kind == kind => {
                entity.range.end = token.range.end;
                entity.score = entity.score.min(score);
            }
            Some(_) | None => entities.push(Entity { range: token.range.clone(), kind, score }),
        }
        open = true;
    }
    entities
}

/// Which kind of entity a label is of, and whether it begins one.
fn part(label: usize) -> Option<(EntityKind, bool)> {
    const BEGIN: usize = Label::NameBegin as usize;
    const INSIDE: usize = Label::NameInside as usize;
    const END: usize = Label::NameEnd as usize;
    const ONLY: usize = Label::NameOnly as usize;
    const ADDRESS: usize = Label::AddressBegin as usize;
    match label {
        0 => None,
        BEGIN | ONLY => Some((EntityKind::Name, true)),
        INSIDE | END => Some((EntityKind::Name, false)),
        ADDRESS => Some((EntityKind::Address, true)),
        6 => Some((EntityKind::Address, false)),
        _ => Some((EntityKind::Place, false)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<(EntityKind, &str)> {
        let entities = Tagger::built_in().entities(text);
        entities.into_iter().map(|entity| (entity.kind, &text[entity.range])).collect()
    }

    #[test]
    fn names_are_found_where_they_stand() {
        assert_eq!(found("My name is Sarah Connor."), [(EntityKind::Name, "Sarah Connor")]);
        assert_eq!(found("Dear Mr. Kowalczyk,"), [(EntityKind::Name, "Kowalczyk")]);
        assert_eq!(found("联系人：王小明，电话"), [(EntityKind::Name, "王小明")]);
        let two = [(EntityKind::Name, "王小明"), (EntityKind::Name, "李秀英")];
        assert_eq!(found("王小明和李秀英是同学。"), two);
    }

    #[test]
    fn an_address_is_one_entity() {
        let text = "Please ship it to 742 Maple Street, Apt. 5, Springfield, IL 62704.";
        assert!(found(text).iter().any(|(kind, part)| {
            *kind == EntityKind::Address && part.starts_with("742") && part.contains("Springfield")
        }));
    }

    #[test]
    fn ordinary_prompts_have_no_names() {
        for text in [
            "How do I sort a list in Python?",
            "Write a poem about the sea and the wind.",
            "请解释一下什么是量子力学，并举例说明。",
            "高兴的时候要多笑，周末一起吃饭吧。",
        ] {
            assert!(found(text).iter().all(|(kind, _)| *kind == EntityKind::Place), "{text}");
        }
    }

    #[test]
    fn damaged_weights_are_refused() {
        let bytes = include_bytes!("../../../models/guardrail/tagger.bin");
        for len in (0..400).chain([bytes.len() - 1]) {
            assert!(Tagger::from_bytes(&bytes[..len]).is_err(), "{len}");
        }
    }

    proptest! {
        /// Whatever the text, entities are apart, in order, and cut no character.
        #[test]
        fn entities_are_ranges_of_the_text(
            text in "(Mr |王|李小|[A-Z][a-z]{2,5} |[0-9]{1,3} |\\PC){0,60}",
        ) {
            let mut last = 0;
            for entity in Tagger::built_in().entities(&text) {
                prop_assert!(entity.range.start >= last && entity.range.end > entity.range.start);
                prop_assert!(text.get(entity.range.clone()).is_some());
                prop_assert!((0.0..=1.0).contains(&entity.score));
                last = entity.range.end;
            }
        }
    }
}
