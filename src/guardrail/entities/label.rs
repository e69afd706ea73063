//! What the words before a number say it is.

use std::sync::OnceLock;

use super::kind::EntityKind;
use super::labels::LABELS;

/// Bytes before a value in which its label is looked for.
pub(super) const LABEL_BYTES_MAX: usize = 64;

const FULL_STOPS: [&str; 4] = ["。", "！", "？", "；"];
/// By the last byte of what may come between a label and a value that is not its.
const CUTS: [bool; 256] = {
    let mut cuts = [false; 256];
    let (mut digit, mut stop) = (b'0', 0);
    while digit <= b'9' {
        cuts[digit as usize] = true;
        digit += 1;
    }
    (cuts[b'!' as usize], cuts[b';' as usize], cuts[b'.' as usize]) = (true, true, true);
    while stop < FULL_STOPS.len() {
        cuts[FULL_STOPS[stop].as_bytes()[2] as usize] = true;
        stop += 1;
    }
    cuts
};
/// Bits of the table of endings: nearly all are clear.
const ENDING_BITS: u32 = 16;

/// A label, by the kind of value that it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Of(EntityKind),
    /// Any payment card.
    Card,
    /// What one does with a telephone, and with much else.
    Reach,
    /// A number that is nobody's: of an order, a product, a moment.
    Harmless,
}

/// What comes right before an age that nothing else marks.
const TURNED: &[&str] = &[
    "turned ",
    "turn ",
    "turning ",
    "turns ",
    "when he was ",
    "when she was ",
    "when i was ",
    "i am ",
    "i'm ",
    "he is ",
    "she is ",
    "he's ",
    "she's ",
    "they are ",
    "芳龄",
    "今年",
];

/// Whether the words right before `at` speak of somebody's age.
pub(super) fn is_turned(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    TURNED.iter().any(|words| {
        let start = at.checked_sub(words.len());
        start.is_some_and(|start| {
            bytes[start..at].eq_ignore_ascii_case(words.as_bytes())
                && !start.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_alphabetic())
        })
    })
}

/// The labels by their ends.
struct Labels {
    /// Whether a label may end in three bytes: a bit for each hash of them.
    endings: Box<[u64; 1 << (ENDING_BITS - 6)]>,
    /// Their last two bytes, in order.
    pairs: Vec<u16>,
    /// By these, the longest first.
    labels: Vec<(&'static str, Label)>,
}

fn labels() -> &'static Labels {
    static LABELS_OF_ALL: OnceLock<Labels> = OnceLock::new();
    LABELS_OF_ALL.get_or_init(|| {
        let mut endings = Box::new([0; 1 << (ENDING_BITS - 6)]);
        let mut by_pair = Vec::new();
        for (label, texts) in LABELS {
            for text in *texts {
                let [.., before, last] = text.as_bytes() else { unreachable!("of two bytes") };
                let (tail, _) = text.as_bytes().split_at(text.len() - 2);
                let thirds = match tail.last() {
                    Some(third) => *third..=*third,
                    None => 0..=u8::MAX,
                };
                for third in thirds {
                    let bit = slot(ending(ending(ending(0, *last), *before), third));
                    endings[bit / 64] |= 1 << (bit % 64);
                }
                by_pair.push((pair(*before, *last), *text, *label));
            }
        }
        by_pair.sort_by_key(|(pair, text, _)| (*pair, usize::MAX - text.len()));
        Labels {
            endings,
            pairs: by_pair.iter().map(|(pair, ..)| *pair).collect(),
            labels: by_pair.into_iter().map(|(_, text, label)| (text, label)).collect(),
        }
    })
}

/// Two bytes in lower case.
fn pair(before: u8, last: u8) -> u16 {
    u16::from_be_bytes([before.to_ascii_lowercase(), last.to_ascii_lowercase()])
}

/// Puts a byte before the last three of a text, in a form that spellings of a label share.
#[inline]
fn ending(behind: u32, byte: u8) -> u32 {
    let byte = match byte {
        b'_' | b'-' => b' ',
        _ => byte.to_ascii_lowercase(),
    };
    behind >> 8 | u32::from(byte) << 16
}

#[inline]
fn slot(ending: u32) -> usize {
    (ending.wrapping_mul(0x9E37_79B9) >> (u32::BITS - ENDING_BITS)) as usize
}

impl Labels {
    #[inline]
    fn may_end(&self, ending: u32) -> bool {
        let bit = slot(ending);
        self.endings[bit / 64] >> (bit % 64) & 1 != 0
    }

    /// The longest label that ends at `end` of the text in these bytes and does not begin before
    /// `start`.
    fn ending_at(&self, text: &str, start: usize, end: usize, pair: u16) -> Option<Label> {
        let window = &text.as_bytes()[start..end];
        let first = self.pairs.partition_point(|known| *known < pair);
        let num_known = self.pairs[first..].iter().take_while(|known| **known == pair).count();
        let mut known = self.labels[first..first + num_known].iter().filter(|(label, _)| {
            window.len().checked_sub(label.len()).is_some_and(|at| {
                is_label(&window[at..], label.as_bytes()) && has_borders(text, start + at, end)
            })
        });
        known.next().map(|(_, label)| *label)
    }
}

/// The labels before a value, and where the closest begins and ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labelled {
    pub(super) label: Label,
    /// Bytes between the label and the value.
    pub(super) distance: usize,
}

/// The closest label before `at`, unless another number or the end of a sentence lies between.
pub(super) fn before(text: &str, at: usize) -> Option<Labelled> {
    within(text, at, LABEL_BYTES_MAX)
}

/// The same, with at most so many bytes between the label and `at`.
pub(super) fn within(text: &str, at: usize, distance_max: usize) -> Option<Labelled> {
    let mut start = at.saturating_sub(LABEL_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let known = labels();
    let bytes = text.as_bytes();
    let window = bytes.get(start..at)?;
    let mut key = window.iter().rev().take(2).fold(0, |key, byte| ending(key, *byte));
    for len in (2..=window.len()).rev().take(distance_max + 1) {
        let (end, [.., before, last]) = (start + len, &window[..len]) else { break };
        key = ending(key, window[..len].iter().rev().nth(2).copied().unwrap_or(0));
        // Before the first two bytes there is no third.
        if (known.may_end(key) || len == 2)
            && let Some(label) = known.ending_at(text, start, end, pair(*before, *last))
        {
            return Some(Labelled { label, distance: at - end });
        }
        if !CUTS[usize::from(*last)] {
            continue;
        }
        // What ends a sentence, or another number, comes between.
        let is_cut = match *last {
            b'0'..=b'9' | b'!' | b';' => true,
            b'.' => end < at && bytes[end] == b' ' && !is_abbreviation(&bytes[..end - 1]),
            _ => FULL_STOPS.iter().any(|stop| bytes[..end].ends_with(stop.as_bytes())),
        };
        if is_cut {
            return None;
        }
    }
    None
}

/// Whether these bytes spell a label: in any case, and as names in programs are written.
fn is_label(bytes: &[u8], label: &[u8]) -> bool {
    bytes.iter().zip(label).all(|(byte, known)| {
        byte.eq_ignore_ascii_case(known) || *known == b' ' && matches!(byte, b'_' | b'-')
    })
}

/// Words before a full stop that a number follows.
fn is_abbreviation(before: &[u8]) -> bool {
    const KNOWN: [&[u8]; 11] =
        [b"no", b"nr", b"num", b"acct", b"lic", b"tel", b"ph", b"mob", b"exp", b"ext", b"reg"];
    let len = before.iter().rev().take(5).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let word = &before[before.len() - len..];
    KNOWN.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// A label of Latin letters is a word of its own, which an underscore does not change; in names of
/// programs a capital begins one.
fn has_borders(text: &str, start: usize, end: usize) -> bool {
    let bytes = text.as_bytes();
    let is_inside = |at: usize| {
        let (Some(before), Some(after)) = (bytes.get(at.wrapping_sub(1)), bytes.get(at)) else {
            return false;
        };
        let begins_part = before.is_ascii_lowercase() && after.is_ascii_uppercase();
        before.is_ascii_alphabetic() && after.is_ascii_alphabetic() && !begins_part
    };
    !is_inside(start) && !is_inside(end)
}
