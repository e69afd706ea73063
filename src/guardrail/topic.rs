//! Denied topics, by the words of their definition and examples: a sentence is about a topic if it
//! is much more like them than ordinary sentences are. This sees a topic that is named or asked
//! for in like words; it knows no synonyms.
//!
//! A text is a vector of the pieces of its words, of which rare ones count more (tf-idf), and
//! likeness is a cosine. Pieces stand in for stems, and for words of Chinese, which has no spaces.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use crate::guardrail::fold::Folded;
use crate::guardrail::learned::ngrams::is_ideograph;
use crate::guardrail::segment::segments;

/// Ordinary texts, English and Chinese: the language of what is asked.
const BACKGROUND: &str = include_str!("../../models/guardrail/background.txt");
/// Characters of a piece of a word, with the mark before its first one.
const PIECE_CHARS: [usize; 3] = [3, 4, 5];
/// Of the ordinary texts, the share most like a topic may be about it.
const SET_ASIDE: f32 = 0.05;
/// Standard deviations above ordinary texts from which on a sentence is about the topic. Precision
/// and recall balance near 5; above it a single word in another sense does not count.
const DEVIATIONS_MIN: f32 = 7.0;
/// Added to the square of a sentence's length, so that a word or two say less than they resemble.
/// It weighs as much as three rare pieces.
const SHORTNESS: f32 = 100.0;
/// Of cosines: a topic in one script is like no ordinary text in the other, and any likeness would
/// be many deviations.
const DEVIATION_FLOOR: f32 = 0.004;

/// Pieces are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("pieces are hashed as numbers")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type ByPiece<T> = HashMap<u64, T, BuildHasherDefault<Hashed>>;

/// A sentence as a vector of length one, or less if it is short.
#[derive(Debug)]
pub(super) struct Sentence {
    /// Each piece once.
    pieces: Vec<(u64, f32)>,
    script: Script,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Han,
    Other,
}

struct Background {
    /// In how many of the texts a piece is.
    counts: ByPiece<u32>,
    num_texts: usize,
    sentences: Vec<Sentence>,
}

static ORDINARY: LazyLock<Background> = LazyLock::new(|| {
    let texts: Vec<Folded<'_>> =
        BACKGROUND.lines().filter(|line| !line.is_empty()).map(Folded::skeleton).collect();
    let mut counts = ByPiece::default();
    for text in &texts {
        for (piece, _) in counted(pieces(text.text()).0) {
            *counts.entry(piece).or_insert(0) += 1;
        }
    }
    let num_texts = texts.len();
    let mut background = Background { counts, num_texts, sentences: Vec::new() };
    background.sentences = texts.iter().map(|it| Sentence::among(&background, it.text())).collect();
    background
});

impl Sentence {
    pub(super) fn new(skeleton: &str) -> Self {
        Self::among(&ORDINARY, skeleton)
    }

    /// The sentences of a text, one at a time: together they take more room than it does.
    pub(super) fn of(skeleton: &str) -> impl Iterator<Item = Self> {
        segments(skeleton, 0, true).into_iter().map(|range| Self::new(&skeleton[range]))
    }

    fn among(ordinary: &Background, skeleton: &str) -> Self {
        let (hashes, script) = pieces(skeleton);
        let weight = |(piece, count): (u64, u32)| {
            let in_texts = ordinary.counts.get(&piece).copied().unwrap_or(0) as f32;
            let rarity = ((ordinary.num_texts as f32 + 1.0) / (in_texts + 0.5)).ln();
            (piece, (1.0 + (count as f32).ln()) * rarity)
        };
        let mut pieces: Vec<(u64, f32)> = counted(hashes).into_iter().map(weight).collect();
        let length = pieces.iter().map(|(_, weight)| weight * weight).sum::<f32>();
        let length = (length + SHORTNESS).sqrt();
        for (_, weight) in &mut pieces {
            *weight /= length;
        }
        Self { pieces, script }
    }
}

/// Pieces of the words of a text, and of each run of ideographs every one and every two.
fn pieces(skeleton: &str) -> (Vec<u64>, Script) {
    let (mut hashes, mut word) = (Vec::new(), String::new());
    let (mut num_ideographs, mut num_others) = (0_usize, 0_usize);
    let mut before = None;
    for character in skeleton.chars().chain([' ']) {
        let is_ideograph = is_ideograph(character);
        if character.is_alphanumeric() && !is_ideograph {
            num_others += 1;
            word.push(character);
            before = None;
            continue;
        }
        pieces_of_word(&word, &mut hashes);
        word.clear();
        if is_ideograph {
            num_ideographs += 1;
            hashes.push(hash(&[character]));
            hashes.extend(before.map(|before| hash(&[before, character])));
        }
        before = is_ideograph.then_some(character);
    }
    let script = if num_ideographs * 2 > num_others { Script::Han } else { Script::Other };
    (hashes, script)
}

fn pieces_of_word(word: &str, hashes: &mut Vec<u64>) {
    if word.is_empty() {
        return;
    }
    let marked: Vec<char> = std::iter::once('<').chain(word.chars()).chain(['>']).collect();
    hashes.push(hash(&marked));
    for chars in PIECE_CHARS {
        hashes.extend(marked.windows(chars).map(hash));
    }
}

/// FNV-1a over characters, its bits spread.
fn hash(piece: &[char]) -> u64 {
    let mixed = piece.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &character| {
        (hash ^ u64::from(character)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    (mixed ^ mixed >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn counted(mut hashes: Vec<u64>) -> Vec<(u64, u32)> {
    hashes.sort_unstable();
    hashes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect()
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    /// Name, definition and examples as one text.
    weights: ByPiece<f32>,
    han: Usual,
    other: Usual,
}

/// How like a topic the ordinary texts of a script are.
#[derive(Debug)]
struct Usual {
    mean: f32,
    deviation: f32,
}

impl Usual {
    fn new(mut cosines: Vec<f32>) -> Self {
        cosines.sort_unstable_by(f32::total_cmp);
        cosines.truncate((cosines.len() as f32 * (1.0 - SET_ASIDE)).ceil() as usize);
        let count = cosines.len().max(1) as f32;
        let mean = cosines.iter().sum::<f32>() / count;
        let square = cosines.iter().map(|it| (it - mean).powi(2)).sum::<f32>() / count;
        Self { mean, deviation: square.sqrt().max(DEVIATION_FLOOR) }
    }
}

impl Topic {
    pub(super) fn new(name: &str, definition: &str, examples: &[String]) -> Self {
        let texts = [name, definition].into_iter().chain(examples.iter().map(String::as_str));
        let all = texts.collect::<Vec<_>>().join("\n");
        let all = Sentence::new(Folded::skeleton(&all).text());
        let weights: ByPiece<f32> = all.pieces.into_iter().collect();
        let usual = |script: Script| {
            let texts = ORDINARY.sentences.iter().filter(|it| it.script == script);
            Usual::new(texts.map(|it| cosine(&weights, it)).collect())
        };
        let (han, other) = (usual(Script::Han), usual(Script::Other));
        Self { name: name.to_owned(), weights, han, other }
    }

    pub(super) fn is_met(&self, score: f32) -> bool {
        score >= 0.5
    }

    /// How likely a sentence is about the topic, from 0 to 1.
    pub(super) fn score(&self, sentence: &Sentence) -> f32 {
        let usual = match sentence.script {
            Script::Han => &self.han,
            Script::Other => &self.other,
        };
        let deviations = (cosine(&self.weights, sentence) - usual.mean) / usual.deviation;
        1.0 / (1.0 + (DEVIATIONS_MIN - deviations).exp())
    }
}

fn cosine(weights: &ByPiece<f32>, sentence: &Sentence) -> f32 {
    sentence.pieces.iter().filter_map(|(piece, it)| Some(weights.get(piece)? * it)).sum()
}

#[cfg(test)]
mod tests {
    use super::{BACKGROUND, Sentence, Topic};
    use crate::guardrail::fold::Folded;

    fn advice() -> Topic {
        let examples = ["Should I buy gold?", "我该买哪只股票？"].map(str::to_owned);
        let definition = "Recommendations about investing money in stocks, funds or 股票投资建议.";
        Topic::new("Investment advice", definition, &examples)
    }

    fn is_met(topic: &Topic, text: &str) -> bool {
        Sentence::of(Folded::skeleton(text).text()).any(|it| topic.is_met(topic.score(&it)))
    }

    #[test]
    fn a_topic_is_met_in_like_words_and_not_by_chance() {
        let topic = advice();
        for text in [
            "Give me investment advice.",
            "What stocks or funds do you recommend investing in?",
            "should i buy gold",
            "Ｓｈｏｕｌｄ Ｉ ｂｕｙ ｇοld?",
            "Thanks for the recipe! Which stocks should I invest in? I have some money left.",
            "请问我该买哪只股票好？",
            "谢谢你的菜谱。给我一些股票投资的建议。",
        ] {
            assert!(is_met(&topic, text), "{text}");
        }
        for text in [
            "",
            "?",
            "a",
            "我",
            "Hi",
            "好的",
            "Go on, please.",
            "继续写",
            "the the the the the",
            "What is the capital of France?",
            "I bought a gold ring for my wife last week in town.",
            "今天天气怎么样？",
            "The chef stocks the kitchen with fresh herbs every morning.",
            "我想买一张去北京的火车票。",
        ] {
            assert!(!is_met(&topic, text), "{text}");
        }
        let met = BACKGROUND.lines().filter(|text| is_met(&topic, text)).count();
        assert!(met <= 6, "{met} ordinary texts");
    }

    /// Of one script only, it has no say in the other.
    #[test]
    fn a_topic_of_one_script_leaves_the_other_alone() {
        let han = Topic::new("股票", "股市、个股、涨跌、大盘、炒股和投资者。", &[]);
        let latin = Topic::new("Stocks", "Shares, the stock market and investors.", &[]);
        assert!(is_met(&han, "炒股的投资者看大盘涨跌") && is_met(&latin, "the stock market today"));
        let (chinese, english): (Vec<&str>, Vec<&str>) =
            BACKGROUND.lines().partition(|line| line.contains(|c: char| c > '\u{3400}'));
        assert!(!english.iter().any(|text| is_met(&han, text)));
        assert!(!chinese.iter().any(|text| is_met(&latin, text)));
    }
}
