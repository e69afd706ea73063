//! Everything that is found at a place of the text: words, sensitive information, expressions. One
//! search serves whole texts and, taken up again and again, streams.

use std::cell::OnceCell;
use std::ops::Range;

use regex_automata::hybrid::dfa::Cache;

use crate::guardrail::block::Direction;
use crate::guardrail::definition::Action;
use crate::guardrail::entities::{self, EntityKind, EntitySet};
use crate::guardrail::fold::Folded;
use crate::guardrail::learned::{Entity, Tagger, tagger};
use crate::guardrail::rules::Rules;
use crate::guardrail::segment::segments;

/// A structured find below this gives way to an address around it, whose parts look like others.
const STRONG: u8 = 86;

/// What was found where, in bytes of the original text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) range: Range<usize>,
    pub(super) source: Source,
    pub(super) action: Action,
    /// From 0 to 1.
    pub(super) confidence: f32,
}

/// Which rule of the guardrail found it; places are those in the definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Word(usize),
    Managed,
    Entity(EntityKind),
    Pattern(usize),
}

impl Source {
    /// What stands for a finding in a masked text.
    pub(super) fn tag(self, rules: &Rules) -> String {
        match self {
            Self::Entity(kind) => format!("{{{}}}", kind.name()),
            Self::Pattern(index) => format!("{{{}}}", rules.patterns[index].name),
            Self::Word(_) | Self::Managed => unreachable!("words are never masked"),
        }
    }
}

/// A text and its skeleton, which is made once for all who read it, and only if somebody does.
#[derive(Debug)]
pub(super) struct Reading<'t> {
    pub(super) text: &'t str,
    skeleton: OnceCell<Folded<'t>>,
}

impl<'t> Reading<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, skeleton: OnceCell::new() }
    }

    pub(super) fn skeleton(&self) -> &Folded<'t> {
        self.skeleton.get_or_init(|| Folded::skeleton(self.text))
    }

    /// The skeleton of whole characters in `range`, in bytes of the text.
    pub(super) fn skeleton_of(&self, range: Range<usize>) -> &str {
        let skeleton = self.skeleton();
        &skeleton.text()[skeleton.folded_start(range.start)..skeleton.folded_start(range.end)]
    }
}

/// The findings of a text, by where they begin, and from where on there could be others yet.
#[derive(Debug, Default)]
pub(super) struct Detected {
    pub(super) findings: Vec<Finding>,
    pub(super) live_from: usize,
}

/// The rules of one direction.
#[derive(Debug)]
pub(super) struct Detector<'g> {
    rules: &'g Rules,
    direction: Direction,
    /// Kinds that have a form.
    formed: EntitySet,
    tags_names: bool,
    tags_addresses: bool,
}

impl<'g> Detector<'g> {
    pub(super) fn new(rules: &'g Rules, direction: Direction) -> Self {
        let asked = rules.entities.iter().filter(|(_, rule)| rule.at(direction).is_some());
        let kinds: EntitySet = asked.map(|(kind, _)| *kind).collect();
        let learnt = [EntityKind::Name, EntityKind::Address];
        let all = EntityKind::ALL.iter().copied();
        Self {
            rules,
            direction,
            formed: all.filter(|it| kinds.contains(*it) && !learnt.contains(it)).collect(),
            tags_names: kinds.contains(EntityKind::Name),
            tags_addresses: kinds.contains(EntityKind::Address),
        }
    }

    /// Whether finds depend on the sentence around them.
    pub(super) fn reads_sentences(&self) -> bool {
        self.tags_names || self.tags_addresses
    }

    /// Searches from `from` on, which is the start of a sentence if sentences are read. With
    /// `caches`, one for each pattern, the text goes on.
    pub(super) fn detect(
        &self,
        reading: &Reading<'_>,
        from: usize,
        caches: Option<&mut [Cache]>,
    ) -> Detected {
        let text = reading.text;
        let is_end = caches.is_none();
        let mut found = Detected { findings: Vec::new(), live_from: text.len() };
        self.words(reading, from, is_end, &mut found);
        self.entities(text, from, is_end, &mut found);
        self.patterns(text, from, caches, &mut found);
        found.findings.sort_by_key(|it| (it.range.start, usize::MAX - it.range.end));
        found
    }

    fn words(&self, reading: &Reading<'_>, from: usize, is_end: bool, found: &mut Detected) {
        let Some(words) = &self.rules.words else { return };
        let skeleton = reading.skeleton();
        let scan = words.matcher.scan(skeleton.text(), skeleton.folded_start(from), is_end);
        if !is_end {
            found.live_from = found.live_from.min(skeleton.original_start(scan.live_from));
        }
        for hit in scan.hits {
            let range = covered(skeleton, hit.range);
            let custom = hit.custom.map(|index| (Source::Word(index), words.rules[index]));
            let managed = words.managed.filter(|_| hit.is_managed);
            let managed = managed.map(|rule| (Source::Managed, rule));
            for (source, rule) in custom.into_iter().chain(managed) {
                if let Some(action) = rule.at(self.direction) {
                    found.findings.push(Finding {
                        range: range.clone(),
                        source,
                        action,
                        confidence: 1.0,
                    });
                }
            }
        }
    }

    fn entities(&self, text: &str, from: usize, is_end: bool, found: &mut Detected) {
        if self.formed.is_empty() && !self.reads_sentences() {
            return;
        }
        let plain = Folded::plain(text);
        let start = plain.folded_start(from);
        let mut hits = entities::scan(plain.text(), start, self.formed);
        if !is_end {
            let live = entities::live_from(plain.text(), start);
            found.live_from = found.live_from.min(plain.original_start(live));
        }
        if self.reads_sentences() {
            let (tagged, live_from) = self.tag(text, from, is_end);
            found.live_from = found.live_from.min(live_from);
            let tagged = tagged.into_iter().map(|entity| {
                let range =
                    plain.folded_start(entity.range.start)..plain.folded_start(entity.range.end);
                (range, entity)
            });
            for (range, entity) in tagged {
                let overlaps = |hit: &entities::EntityHit| {
                    hit.range.start < range.end && range.start < hit.range.end
                };
                let is_address = entity.kind == tagger::EntityKind::Address;
                if is_address {
                    hits.retain(|hit| !overlaps(hit) || hit.sureness >= STRONG);
                }
                if !hits.iter().any(overlaps) {
                    let kind = if is_address { EntityKind::Address } else { EntityKind::Name };
                    self.push_entity(kind, entity.range, entity.score, found);
                }
            }
        }
        for hit in hits {
            let range = covered(&plain, hit.range);
            self.push_entity(hit.kind, range, f32::from(hit.sureness) / 100.0, found);
        }
    }

    fn push_entity(
        &self,
        kind: EntityKind,
        range: Range<usize>,
        confidence: f32,
        found: &mut Detected,
    ) {
        let rule = self.rules.entities.iter().find(|(known, _)| *known == kind);
        if let Some(action) = rule.and_then(|(_, rule)| rule.at(self.direction)) {
            let source = Source::Entity(kind);
            found.findings.push(Finding { range, source, action, confidence });
        }
    }

    /// Names and addresses, sentence by sentence, and where the sentence that goes on begins.
    fn tag(&self, text: &str, from: usize, is_end: bool) -> (Vec<Entity>, usize) {
        let sentences = segments(text, from, is_end);
        let live_from = sentences.last().map_or(from, |last| last.end);
        let mut tagged = Vec::new();
        for sentence in sentences {
            for mut entity in Tagger::built_in().entities(&text[sentence.clone()]) {
                let is_asked = match entity.kind {
                    tagger::EntityKind::Name => self.tags_names,
                    tagger::EntityKind::Address => self.tags_addresses,
                    // A city alone says little of anybody.
                    tagger::EntityKind::Place => false,
                };
                if is_asked {
                    entity.range =
                        sentence.start + entity.range.start..sentence.start + entity.range.end;
                    tagged.push(entity);
                }
            }
        }
        (tagged, live_from)
    }

    fn patterns(
        &self,
        text: &str,
        from: usize,
        mut caches: Option<&mut [Cache]>,
        found: &mut Detected,
    ) {
        for (index, pattern) in self.rules.patterns.iter().enumerate() {
            let Some(action) = pattern.rule.at(self.direction) else { continue };
            if let Some(caches) = &mut caches {
                let live = pattern.search.live_from(&mut caches[index], text, from);
                found.live_from = found.live_from.min(live);
            }
            for range in pattern.search.find(text, from) {
                let source = Source::Pattern(index);
                found.findings.push(Finding { range, source, action, confidence: 1.0 });
            }
        }
    }
}

/// The original text of a folded range, with the invisible characters that hang on it.
fn covered(folded: &Folded<'_>, range: Range<usize>) -> Range<usize> {
    let end = folded.original_start(range.end);
    let start = folded.original_range(range).start;
    start..end
}

/// The text with every finding that is to be masked replaced by what `tag` writes for it. Findings
/// are in order; of those that overlap the first counts, and of those the longest.
pub(super) fn masked(
    text: &str,
    range: Range<usize>,
    findings: &[Finding],
    tag: impl Fn(Source) -> String,
) -> String {
    let mut output = String::with_capacity(range.len());
    let mut at = range.start;
    for finding in findings.iter().filter(|it| it.action == Action::Anonymize) {
        if finding.range.start < at || finding.range.end > range.end {
            continue;
        }
        output.push_str(&text[at..finding.range.start]);
        output.push_str(&tag(finding.source));
        at = finding.range.end;
    }
    output.push_str(&text[at..range.end]);
    output
}

#[cfg(test)]
mod tests {
    use crate::guardrail::fold::Folded;

    use super::Reading;

    #[test]
    fn a_part_of_the_skeleton_is_the_skeleton_of_the_part() {
        for text in ["Plain ASCII, 1.", "1 ½", "ＡＢ\u{200b}ｃ 臺灣法輪½\u{200b}é ѕnоw 🇫🇺z\u{335}"]
        {
            let reading = Reading::new(text);
            let bounds: Vec<usize> =
                text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for (index, &start) in bounds.iter().enumerate() {
                for &end in &bounds[index..] {
                    let alone = Folded::skeleton(&text[start..end]);
                    assert_eq!(reading.skeleton_of(start..end), alone.text(), "{start}..{end}");
                }
            }
        }
    }
}
