//! The words of a text that say what it is about, in English and Chinese, without a dictionary.

/// Words that occur in any text.
const FILLERS: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "because", "been", "being", "but", "by", "can", "could", "did", "do", "does", "for", "from",
    "get", "give", "had", "has", "have", "he", "her", "here", "his", "how", "i", "if", "in",
    "into", "is", "it", "its", "just", "like", "make", "may", "me", "more", "most", "much", "my",
    "need", "no", "not", "of", "on", "one", "or", "other", "our", "out", "please", "related",
    "request", "she", "should", "so", "some", "such", "tell", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "thing", "this", "those", "to", "up", "us", "use",
    "using", "want", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will",
    "with", "would", "you", "your",
];
/// Han characters that join others and say little.
const HAN_FILLERS: &str = "的了是在我有和就不人都一个上也很到说要去你会着没看好自己这那他她它们吗呢吧啊么什怎哪请把被给让对与及或等之而但因为所以可以能为从于将其";

/// A term by its spelling, folded to its stem, or a pair of Han characters.
pub(super) fn terms(skeleton: &str) -> Vec<String> {
    let mut terms = Vec::new();
    let mut word = String::new();
    let mut han: Option<char> = None;
    for character in skeleton.chars().chain([' ']) {
        let is_han = matches!(character, '\u{3400}'..='\u{9FFF}' | '\u{20000}'..='\u{3FFFF}');
        if character.is_alphanumeric() && !is_han {
            word.push(character);
            han = None;
            continue;
        }
        if !word.is_empty() {
            if !FILLERS.contains(&word.as_str()) {
                terms.push(stem(&word));
            }
            word.clear();
        }
        han = match is_han {
            false => None,
            true => {
                if let Some(before) = han
                    && !(HAN_FILLERS.contains(before) || HAN_FILLERS.contains(character))
                {
                    terms.push([before, character].iter().collect());
                }
                Some(character)
            }
        };
    }
    terms
}

/// English endings off: enough for `invest`, `invests`, `investing` and `investment` to meet.
fn stem(word: &str) -> String {
    const ENDINGS: &[&str] = &[
        "ations", "ation", "ments", "ment", "ings", "ing", "ers", "ies", "ors", "ed", "er", "or",
        "es", "ly", "al", "s", "y", "e",
    ];
    if !word.is_ascii() || word.bytes().any(|byte| byte.is_ascii_digit()) {
        return word.to_owned();
    }
    let ending =
        ENDINGS.iter().find(|ending| word.len() >= ending.len() + 4 && word.ends_with(*ending));
    word[..word.len() - ending.map_or(0, |ending| ending.len())].to_owned()
}
