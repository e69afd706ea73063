//! Streams texts through the gate in pieces, for the figures of leaks and of what it holds back.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::guardrail::{
    Block, Direction, EntityKind, Grounding, Guardrail, Identity, OutputScope, Released,
    StreamGuard, StreamMode, Verdict,
};
use crate::random::Random;

/// A text of `stream_pii_gen`: its values in characters, and two ways in which it was cut.
#[derive(Deserialize)]
struct Case {
    text: String,
    label: Vec<(String, usize, usize)>,
    chunks: Vec<String>,
    byte_chunks_hex: Vec<String>,
}

#[derive(Deserialize)]
struct Plain {
    text: String,
}

/// Pieces of a token's length, in characters.
const TOKEN_CHARS: [usize; 2] = [4, 2];

/// Streams each case as it was cut and `num_random` times as chance cuts it, then texts of
/// `plain`, of which nothing is to be masked, to see how much waits.
pub(crate) fn stream(cases: &str, plain: &str, num_random: usize) -> std::io::Result<()> {
    let cases: Vec<Case> = crate::rows::read(cases)?;
    let guardrail = guardrail()?;
    let (mut differ, mut leaks, mut runs) = (0, 0, 0);
    let mut random = Random::new(5);
    let wholes: Vec<String> = cases.iter().map(|case| masked(&guardrail, &case.text)).collect();
    let mut judge = |case: &Case, whole: &str, pieces: &[&[u8]]| {
        let output = streamed(&guardrail, pieces);
        runs += 1;
        differ += usize::from(output != *whole);
        leaks += case.label.iter().filter(|label| leaked(&case.text, label, &output)).count();
    };
    for (case, whole) in cases.iter().zip(&wholes) {
        let pieces: Vec<&[u8]> = case.chunks.iter().map(String::as_bytes).collect();
        judge(case, whole, &pieces);
        let bytes: Vec<Vec<u8>> = case.byte_chunks_hex.iter().map(|hex| unhex(hex)).collect();
        let pieces: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        judge(case, whole, &pieces);
    }
    for index in 0..num_random {
        let index = index % cases.len();
        let mut rest = cases[index].text.as_bytes();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let len = 1 + (random.unit() * random.unit() * 16.0) as usize;
            let (piece, behind) = rest.split_at(len.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        judge(&cases[index], &wholes[index], &pieces);
    }
    println!("{runs} streams of {} texts: {differ} differ from the whole", cases.len());
    println!("{leaks} labelled values left");
    held_back(&guardrail, plain)
}

fn held_back(guardrail: &Arc<Guardrail>, plain: &str) -> std::io::Result<()> {
    let texts: Vec<Plain> = crate::rows::read(plain)?;
    let ordinary = texts.iter().filter(|it| masked(guardrail, &it.text) == it.text);
    let mut waiting: Vec<usize> = Vec::new();
    for Plain { text } in ordinary {
        let is_han = text.chars().filter(|it| *it >= '\u{2E80}').count() * 2 > text.chars().count();
        let chars: Vec<char> = text.chars().collect();
        let mut guard = gate(guardrail);
        let (mut pushed, mut left) = (0, 0);
        for piece in chars.chunks(TOKEN_CHARS[usize::from(is_han)]) {
            pushed += piece.len();
            let (Released::Text(out) | Released::Blocked(out)) =
                guard.push(&piece.iter().collect::<String>());
            left += out.chars().count();
            waiting.push(pushed - left);
        }
    }
    waiting.sort_unstable();
    let rank = |share: f64| waiting[((waiting.len() - 1) as f64 * share) as usize];
    println!(
        "characters held back after each of {} pieces: median {}, p90 {}, p99 {}, most {}",
        waiting.len(),
        rank(0.5),
        rank(0.9),
        rank(0.99),
        rank(1.0)
    );
    Ok(())
}

/// Masks all kinds that have a form.
fn guardrail() -> std::io::Result<Arc<Guardrail>> {
    let formed =
        EntityKind::ALL.iter().filter(|it| !matches!(it, EntityKind::Name | EntityKind::Address));
    let kinds: Vec<_> = formed.map(|it| json!({ "type": it, "action": "ANONYMIZE" })).collect();
    let definition = serde_json::from_value(json!({
        "name": "stream", "blockedInputMessaging": "-", "blockedOutputsMessaging": "-",
        "sensitiveInformationPolicyConfig": { "piiEntitiesConfig": kinds },
        "wordPolicyConfig": { "managedWordListsConfig": [
            { "type": "PROFANITY", "inputAction": "NONE", "outputAction": "NONE" },
        ] },
    }))?;
    let [id, arn, version] = ["stream", "", "DRAFT"].map(str::to_owned);
    let made = Guardrail::new(Identity { id, arn, version }, definition);
    Ok(Arc::new(made.map_err(std::io::Error::other)?))
}

fn gate(guardrail: &Arc<Guardrail>) -> StreamGuard {
    let scope = OutputScope::Interventions;
    StreamGuard::new(Arc::clone(guardrail), StreamMode::Sync, Grounding::default(), scope)
        .expect("a synchronous gate may mask")
}

fn masked(guardrail: &Guardrail, text: &str) -> String {
    let scope = OutputScope::Interventions;
    match guardrail.assess(Direction::Output, &[Block::new(text)], scope).verdict {
        Verdict::Masked(mut blocks) => blocks.pop().unwrap_or_default(),
        Verdict::Pass | Verdict::Blocked(_) => text.to_owned(),
    }
}

/// What leaves, in all. Bytes of a character that is cut wait for the rest of it, as the
/// detokenizer makes them.
fn streamed(guardrail: &Arc<Guardrail>, pieces: &[&[u8]]) -> String {
    let mut guard = gate(guardrail);
    let (mut output, mut bytes) = (String::new(), Vec::new());
    let mut take = |released| match released {
        Released::Text(text) | Released::Blocked(text) => output.push_str(&text),
    };
    for piece in pieces {
        bytes.extend_from_slice(piece);
        let whole = match std::str::from_utf8(&bytes) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let text: Vec<u8> = bytes.drain(..whole).collect();
        take(guard.push(&String::from_utf8_lossy(&text)));
    }
    take(guard.finish());
    output
}

/// Whether a value that has a form stands in what left.
fn leaked(text: &str, label: &(String, usize, usize), output: &str) -> bool {
    let (kind, start, end) = label;
    let value: String = text.chars().skip(*start).take(end - start).collect();
    let is_learnt = matches!(kind.as_str(), "NAME" | "ADDRESS");
    !is_learnt && value.len() >= 4 && output.contains(&value)
}

fn unhex(hex: &str) -> Vec<u8> {
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
    pairs.iter().map(|[high, low]| value(*high) << 4 | value(*low)).collect()
}
