use proptest::prelude::*;

use super::WordMatcher;
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
    for text in ["a".repeat(1 << 20), "a ".repeat(1 << 20), "4@".repeat(1 << 19)] {
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
        let matcher = WordMatcher::new(["quibble", "flim flam", "胡扯", "be", "zax"].into_iter(), true);
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
}
#[test]
fn zz_dev() {
    use std::io::Read as _;
    let Ok(mut f) = std::fs::File::open("/tmp/words_dev.jsonl") else { return };
    let mut s = String::new();
    f.read_to_string(&mut s).unwrap();
    let m = WordMatcher::new(std::iter::empty(), true);
    let mut t = std::collections::BTreeMap::<String, (usize, usize, Vec<String>)>::new();
    for l in s.lines() {
        let v: serde_json::Value = serde_json::from_str(l).unwrap();
        let text = v["text"].as_str().unwrap();
        let hit = !found(&m, text).is_empty();
        let k = format!(
            "{} {} {}",
            v["lang"],
            v["label"],
            v.get("form").map(|f| f.to_string()).unwrap_or_default()
        );
        let e = t.entry(k).or_default();
        e.0 += 1;
        e.1 += hit as usize;
        let want = v["label"] == 1;
        if hit != want {
            e.2.push(format!("{text} {:?}", found(&m, text)));
        }
    }
    for (k, (n, h, b)) in t {
        println!(
            "{k} {h}/{n} {:.3} {:?}",
            h as f64 / n as f64,
            b.iter().take(if k.contains(" 0 ") { 30 } else { 12 }).collect::<Vec<_>>()
        );
    }
}
