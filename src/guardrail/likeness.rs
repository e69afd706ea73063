//! How alike a text is to a topic, by vectors of meaning. A model's cosines lie in a band of its
//! own, so they are held against those of ordinary texts, which ship with the program.

use crate::guardrail::experts::{Embed, ExpertFailed};

const BACKGROUND: &str = include_str!("../../models/guardrail/background.txt");
/// Of the background, those most like the topic may be about it.
const SET_ASIDE: f32 = 0.05;
/// Ordinary texts that a text is held against: the nearest ones.
const NEAREST: usize = 3;
/// Standard deviations above the background at which a text is more likely about the topic than
/// not; on English and on Chinese questions this is where precision and recall meet.
const DEVIATIONS_MIN: f32 = 3.25;
/// How fast doubt ends on both sides of it.
const SHARPNESS: f32 = 3.0;

/// Vectors of ordinary texts, English and Chinese.
#[derive(Debug)]
pub(super) struct Background {
    english: Vec<Vec<f32>>,
    chinese: Vec<Vec<f32>>,
}

impl Background {
    pub(super) fn new(embedder: &dyn Embed) -> Result<Self, ExpertFailed> {
        let (chinese, english): (Vec<&str>, Vec<&str>) =
            BACKGROUND.lines().filter(|line| !line.is_empty()).partition(|line| is_han(line));
        Ok(Self { english: embedder.embed(&english)?, chinese: embedder.embed(&chinese)? })
    }
}

/// Whether a text is written in Han characters, by its letters.
fn is_han(text: &str) -> bool {
    let han = |c: &char| matches!(c, '\u{3400}'..='\u{9FFF}' | '\u{20000}'..='\u{3FFFF}');
    let letters = text.chars().filter(|c| c.is_alphabetic());
    let (han, all) = letters.fold((0, 0), |(n, all), c| (n + usize::from(han(&c)), all + 1));
    han * 3 > all
}

/// A topic among ordinary texts, for each of the two scripts.
#[derive(Debug)]
pub(super) struct Likeness {
    definition: Vec<Vec<f32>>,
    examples: Vec<Vec<f32>>,
    english: Among,
    chinese: Among,
}

/// What ordinary texts are near the topic, and how their scores lie.
#[derive(Debug, Default)]
struct Among {
    texts: Vec<Vec<f32>>,
    mean: f32,
    deviation: f32,
}

impl Likeness {
    pub(super) fn new(
        (embedder, background): (&dyn Embed, &Background),
        name: &str,
        definition: &str,
        examples: &[String],
    ) -> Result<Self, ExpertFailed> {
        let definition = embedder.embed(&[&format!("{name}: {definition}")])?;
        let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
        let examples = match examples.is_empty() {
            true => Vec::new(),
            false => embedder.embed(&examples)?,
        };
        let [english, chinese] = [Among::default(), Among::default()];
        let mut likeness = Self { definition, examples, english, chinese };
        likeness.english = likeness.among(&background.english);
        likeness.chinese = likeness.among(&background.chinese);
        Ok(likeness)
    }

    fn among(&self, background: &[Vec<f32>]) -> Among {
        let prototypes = || self.definition.iter().chain(&self.examples);
        let mut texts: Vec<(f32, &Vec<f32>)> =
            background.iter().map(|it| (prototypes().map(|p| dot(p, it)).sum(), it)).collect();
        texts.sort_by(|a, b| a.0.total_cmp(&b.0));
        texts.truncate((background.len() as f32 * (1.0 - SET_ASIDE)) as usize);
        let texts: Vec<Vec<f32>> = texts.into_iter().map(|(_, it)| it.clone()).collect();
        let scores: Vec<f32> = (0..texts.len())
            .map(|at| {
                let others = texts.iter().enumerate().filter(|(other, _)| *other != at);
                self.raw(&texts[at], others.map(|(_, it)| it))
            })
            .collect();
        let count = scores.len().max(1) as f32;
        let mean = scores.iter().sum::<f32>() / count;
        let square = scores.iter().map(|it| (it - mean).powi(2)).sum::<f32>() / count;
        Among { texts, mean, deviation: square.sqrt().max(1e-4) }
    }

    /// How near to the topic, less how near to ordinary texts.
    fn raw<'v>(&self, vector: &[f32], ordinary: impl Iterator<Item = &'v Vec<f32>>) -> f32 {
        let highest = |vectors: &[Vec<f32>]| {
            vectors.iter().map(|it| dot(it, vector)).fold(f32::NEG_INFINITY, f32::max)
        };
        let definition = highest(&self.definition);
        let near = match self.examples.is_empty() {
            true => 1.5 * definition,
            false => {
                let sum: f32 = self.examples.iter().map(|it| dot(it, vector)).sum();
                let mean = sum / self.examples.len() as f32;
                0.5 * (mean + definition) + 0.5 * highest(&self.examples)
            }
        };
        let mut nearest = [f32::NEG_INFINITY; NEAREST];
        for likeness in ordinary.map(|it| dot(it, vector)) {
            let place = nearest.partition_point(|it| *it >= likeness);
            if place < NEAREST {
                nearest[place..].rotate_right(1);
                nearest[place] = likeness;
            }
        }
        let found = nearest.iter().filter(|it| it.is_finite());
        let ordinary = found.clone().sum::<f32>() / found.count().max(1) as f32;
        near - 0.5 * ordinary
    }

    /// How likely a text is about the topic, by its vectors; the most telling one counts.
    pub(super) fn score(&self, text: &str, vectors: &[Vec<f32>]) -> f32 {
        let among = if is_han(text) { &self.chinese } else { &self.english };
        let scores = vectors.iter().map(|it| {
            let deviations = (self.raw(it, among.texts.iter()) - among.mean) / among.deviation;
            1.0 / (1.0 + (-SHARPNESS * (deviations - DEVIATIONS_MIN)).exp())
        });
        scores.fold(0.0, f32::max)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
