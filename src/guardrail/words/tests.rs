//! What counts as a word of a list, and what does not.

use proptest::prelude::*;

use super::WordMatcher;
use super::walk::Walk;
use crate::guardrail::fold::Folded;

fn found(matcher: &WordMatcher, text: &str) -> Vec<String> {
    let folded = Folded::skeleton(text);
    let hits = matcher.scan(folded.text(), 0, true).hits;
    hits.into_iter().map(|hit| text[folded.original_range(hit.range)].to_owned()).collect()
}

#[test]
fn a_word_is_found_in_its_disguises() {
    let matcher = WordMatcher::new(["Quibble", "flim flam", "胡扯", "zax"].into_iter(), false);
    for text in [
        "quibble",
        "QUIBBLE!",
        "(Quibble)",
        "ｑｕｉｂｂｌｅ",
        "q\u{200b}u\u{200b}i\u{ad}bble",
        "quіbblе",
        "qu1bb|e",
        "quuuuibble",
        "quibbbble",
        "q-u-i-b-b-l-e",
        "q u i b b l e",
        "q.u.i.b.b.l.e",
        "qu*bble",
        "q**bble",
        "ⓠⓤⓘⓑⓑⓛⓔ",
        "qúíbblé",
        "flim  flam",
        "flim-flam",
        "flim\nflam",
        "f l i m f l a m",
        "f l i m  f l a m",
        "胡扯",
        "胡 扯",
        "胡/扯",
        "胡，扯",
        "胡\u{200b}扯",
        "胡😀扯",
        "z4x",
        "z a x a lot",
    ] {
        let text = format!("so {text} it is");
        assert_eq!(found(&matcher, &text).len(), 1, "{text}");
    }
    for text in [
        "quibbled",
        "aquibble",
        "quibbl",
        "flimflam",
        "flim and flam",
        "z a x o n s",
        "胡话扯",
        "胡\n扯",
        "qibble",
        "quible",
        "24x7",
        "z-a-x-i-s",
    ] {
        assert_eq!(found(&matcher, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_innocent_phrase_hides_the_word_in_it() {
    let matcher = WordMatcher::new(std::iter::empty(), true);
    assert_eq!(found(&matcher, "great tits are birds, tits"), ["tits"]);
    assert_eq!(found(&matcher, "他妈妈来了，他妈的"), ["他妈的"]);
    assert_eq!(found(&matcher, "这种可能性很大"), Vec::<String>::new());
    // What the operator asks for by name is no longer innocent.
    let matcher = WordMatcher::new(["tits", "great tits"].into_iter(), true);
    assert_eq!(found(&matcher, "great tits"), ["great tits"]);
}

#[test]
fn one_letter_ten_thousand_times_is_no_trouble() {
    let words: Vec<String> = (1..=100).map(|len| "a".repeat(len)).collect();
    let many = words.iter().cycle().take(10_000).map(String::as_str);
    let matcher = WordMatcher::new(many, true);
    let started_at = std::time::Instant::now();
    for text in ["a".repeat(1 << 18), "a ".repeat(1 << 17), "4@".repeat(1 << 17)] {
        found(&matcher, &text);
    }
    assert!(started_at.elapsed().as_secs() < 20, "{:?}", started_at.elapsed());
}

proptest! {
    /// A search that stops at what is not clear yet and is taken up there finds what one search
    /// finds.
    #[test]
    fn a_search_can_be_cut_anywhere(
        text in "([qquibble14*. -]|胡|扯|\n|zax ){0,60}",
        cut in any::<prop::sample::Index>(),
    ) {
        let words = ["quibble", "flim flam", "胡扯", "be", "zax"];
        let matcher = WordMatcher::new(words.into_iter(), true);
        let folded = Folded::skeleton(&text);
        let whole = matcher.scan(folded.text(), 0, true).hits;
        let bounds: Vec<usize> = folded.text().char_indices().map(|(at, _)| at).collect();
        let cut = if bounds.is_empty() { 0 } else { bounds[cut.index(bounds.len())] };
        let first = matcher.scan(&folded.text()[..cut], 0, false);
        let mut hits = first.hits;
        let from = first.live_from.max(hits.last().map_or(0, |hit| hit.range.end));
        hits.extend(matcher.scan(folded.text(), from, true).hits);
        prop_assert_eq!(hits, whole);
    }

    /// Where the filter lets nobody look, a walk finds nothing, whatever the text goes on with.
    #[test]
    fn what_is_ruled_out_holds_nothing(
        text in "([qubielhtaxczp0-9 @$+*#!.,\n-]|胡|扯|说|的|，|€|é|ab|the |bee|quibble|abcdefgh){0,60}",
    ) {
        let words = [
            "quibble", "quibblers", "flim flam", "the bee", "the 8", "胡扯", "胡", "胡 说", "be", "zax",
            "a b", "x", "i3", "c++", "t恤", "的ab", "的，说", "mp3", "abcdefgh", "abcdefghi", "ée", "1a",
        ];
        let matcher = WordMatcher::new(words.into_iter(), false);
        let folded = Folded::skeleton(&text);
        let text = folded.text();
        for (at, character) in text.char_indices() {
            let mut walk = Walk::new(&matcher.trie, text, false);
            let previous = text[..at].chars().next_back();
            let is_looked_at = matcher.filter.next_start(text, at) == Some(at);
            if is_looked_at || !walk.can_start(previous, character) {
                continue;
            }
            let found = walk.from(at);
            let is_nothing = found.word.is_none() && found.innocent_end == 0 && !found.is_live;
            prop_assert!(is_nothing, "{:?}: {:?}", &text[at..], found);
        }
    }
}
