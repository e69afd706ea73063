//! Guardrails as a whole: what becomes of texts, and that a stream becomes the same however it is
//! cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn guardrail(policies: Value) -> Arc<Guardrail> {
    let mut definition = json!({
        "name": "g", "blockedInputMessaging": "no input", "blockedOutputsMessaging": "no output",
    });
    let members = policies.as_object().unwrap().clone();
    definition.as_object_mut().unwrap().extend(members);
    let definition = serde_json::from_value(definition).unwrap();
    let identity = Identity { id: "g".into(), arn: "arn:g".into(), version: "1".into() };
    Arc::new(Guardrail::new(identity, definition).unwrap())
}

fn entities(kinds: &[&str], action: &str) -> Value {
    let entities: Vec<Value> =
        kinds.iter().map(|kind| json!({ "type": kind, "action": action })).collect();
    json!({ "sensitiveInformationPolicyConfig": { "piiEntitiesConfig": entities } })
}

fn formed() -> Vec<&'static str> {
    let all = EntityKind::ALL.iter().map(|kind| kind.name());
    all.filter(|name| !matches!(*name, "NAME" | "ADDRESS")).collect()
}

/// What leaves a stream in all, and whether it was blocked.
fn streamed<'t>(
    guardrail: &Arc<Guardrail>,
    pieces: impl IntoIterator<Item = &'t str>,
) -> (String, bool, Assessment) {
    let mut guard = StreamGuard::new(
        Arc::clone(guardrail),
        StreamMode::Sync,
        Grounding::default(),
        OutputScope::Interventions,
    )
    .unwrap();
    let mut output = String::new();
    let mut is_blocked = false;
    let mut take = |released: Released| match released {
        Released::Text(text) => output.push_str(&text),
        Released::Blocked(text) => {
            output.push_str(&text);
            is_blocked = true;
        }
    };
    for piece in pieces {
        take(guard.push(piece));
    }
    take(guard.finish());
    (output, is_blocked, guard.into_assessment())
}

/// Pieces of up to `longest` characters, by a sequence of numbers.
fn cut<'t>(text: &'t str, lens: &[u8]) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut lens = lens.iter().cycle();
    while !rest.is_empty() {
        let len = usize::from(*lens.next().unwrap()).max(1);
        let end = rest.char_indices().nth(len).map_or(rest.len(), |(at, _)| at);
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}

/// What a decoder hands on of bytes cut anywhere, also within characters: it holds the bytes of a
/// character that is not whole.
fn cut_bytes<'t>(text: &'t str, lens: &[u8]) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let (mut decoded, mut at) = (0, 0);
    for len in lens.iter().cycle() {
        at = (at + usize::from(*len).max(1)).min(text.len());
        let whole = text.floor_char_boundary(at);
        pieces.push(&text[decoded..whole]);
        decoded = whole;
        if at == text.len() {
            return pieces;
        }
    }
    unreachable!("there is a length")
}

fn masked_whole(guardrail: &Guardrail, text: &str) -> String {
    let outcome =
        guardrail.assess(Direction::Output, &[Block::new(text)], OutputScope::Interventions);
    match outcome.verdict {
        Verdict::Pass => text.to_owned(),
        Verdict::Masked(mut texts) => texts.remove(0),
        Verdict::Blocked(message) => panic!("{message}"),
    }
}

#[test]
fn each_policy_intervenes_by_its_own_action_and_direction() {
    let guardrail = guardrail(json!({
        "wordPolicyConfig": {
            "wordsConfig": [
                { "text": "xyzzy", "outputAction": "NONE" },
                { "text": "plugh", "inputEnabled": false },
            ],
            "managedWordListsConfig": [{ "type": "PROFANITY" }],
        },
        "sensitiveInformationPolicyConfig": {
            "piiEntitiesConfig": [
                { "type": "EMAIL", "action": "ANONYMIZE", "inputAction": "NONE" },
                { "type": "CN_ID_CARD", "action": "BLOCK", "outputAction": "ANONYMIZE" },
            ],
            "regexesConfig": [{ "name": "ticket", "pattern": "T-\\d+", "action": "ANONYMIZE" }],
        },
    }));
    let assess = |direction, text: &str| {
        guardrail.assess(direction, &[Block::new(text)], OutputScope::Interventions)
    };
    let mail = "write to joe@example.com about T-42, T-42";
    let input = assess(Direction::Input, mail);
    let expected = "write to joe@example.com about {ticket}, {ticket}";
    assert_eq!(input.verdict, Verdict::Masked(vec![expected.into()]));
    let sensitive = input.assessment.sensitive_information_policy.as_ref().unwrap();
    assert_eq!(
        serde_json::to_value(sensitive).unwrap(),
        json!({
            "piiEntities":
                [{ "match": "joe@example.com", "type": "EMAIL", "action": "NONE",
                    "detected": true }],
            "regexes": [{ "name": "ticket", "match": "T-42", "regex": "T-\\d+",
                "action": "ANONYMIZED", "detected": true }],
        })
    );
    assert_eq!(input.assessment.action_reason(), Some("Guardrail masked."));
    let output = assess(Direction::Output, "身份证11010519491231002X，T-1, a@b.cn");
    assert_eq!(
        output.verdict,
        Verdict::Masked(vec!["身份证{CN_ID_CARD}，{ticket}, {EMAIL}".into()])
    );
    // What Bedrock has no kind for is told in a place where it takes any name.
    let sensitive = output.assessment.sensitive_information_policy.as_ref().unwrap();
    let sensitive = serde_json::to_value(sensitive).unwrap();
    assert_eq!(sensitive["piiEntities"].as_array().map(Vec::len), Some(1));
    let found = json!({
        "name": "CN_ID_CARD", "match": "11010519491231002X", "action": "ANONYMIZED",
        "detected": true,
    });
    assert!(sensitive["regexes"].as_array().unwrap().contains(&found), "{sensitive}");
    let blocked = |message: &str| Verdict::Blocked(message.into());
    assert_eq!(assess(Direction::Input, "11010519491231002X").verdict, blocked("no input"));
    assert_eq!(assess(Direction::Input, "XYZZY!").verdict, blocked("no input"));
    assert_eq!(assess(Direction::Output, "shit").verdict, blocked("no output"));
    assert_eq!(assess(Direction::Output, "plugh").verdict, blocked("no output"));
    let quiet = assess(Direction::Output, "xyzzy");
    assert_eq!(
        (quiet.verdict, quiet.assessment.word_policy.unwrap().custom_words.len()),
        (Verdict::Pass, 1)
    );
    let absent = assess(Direction::Input, "plugh");
    assert_eq!((absent.verdict, absent.assessment.word_policy), (Verdict::Pass, None));
}

#[test]
fn usage_and_coverage_count_what_was_looked_at() {
    let guardrail = guardrail(json!({
        "wordPolicyConfig": { "wordsConfig": [{ "text": "xyzzy" }] },
        "contextualGroundingPolicyConfig":
            { "filtersConfig": [{ "type": "GROUNDING", "threshold": 0.7 }] },
    }));
    let source = "Tokyo is the capital of Japan.".repeat(40);
    let blocks = [
        Block { text: &source, qualifiers: &[Qualifier::GroundingSource] },
        Block { text: "Which is it? xyzzy", qualifiers: &[Qualifier::Query] },
        Block { text: "Lima has 12 million people.", qualifiers: &[] },
    ];
    let outcome = guardrail.assess(Direction::Output, &blocks, OutputScope::Full);
    let metrics = outcome.assessment.invocation_metrics.as_ref().unwrap();
    assert_eq!((metrics.usage.word_policy_units, metrics.usage.topic_policy_units), (1, 0));
    assert_eq!(metrics.usage.contextual_grounding_policy_units, 2);
    let covered = metrics.guardrail_coverage.text_characters;
    assert_eq!((covered.guarded, covered.total), (27, 1_200 + 18 + 27));
    // The word in the query is nobody's content, the claim is in no source.
    assert_eq!(outcome.assessment.word_policy, None);
    assert_eq!(outcome.verdict, Verdict::Blocked("no output".into()));
}

#[test]
fn ordinary_prose_leaves_a_stream_at_once() {
    let mut policies = entities(&formed(), "ANONYMIZE");
    let words = json!({ "managedWordListsConfig": [{ "type": "PROFANITY" }] });
    policies.as_object_mut().unwrap().insert("wordPolicyConfig".into(), words);
    let guardrail = guardrail(policies);
    let texts = [
        "The river rises in the hills above the town, and winds through meadows until it meets the \
         sea. Most of its water comes from melting snow; in a dry summer children walk across it. \
         People who live beside it tell stories of floods that their grandparents saw.",
        "这条河发源于城外的山间，穿过草地流向大海。河水大多来自融雪，夏天干旱的时候孩子们可以走过去。住在河边的人常常讲起祖辈见过的洪水。",
    ];
    let mut held: Vec<usize> = Vec::new();
    for text in texts {
        let mode = (StreamMode::Sync, Grounding::default(), OutputScope::Interventions);
        let mut guard = StreamGuard::new(Arc::clone(&guardrail), mode.0, mode.1, mode.2).unwrap();
        let (mut sent, mut left) = (0, 0);
        for piece in cut(text, &[4, 3, 1, 5]) {
            sent += piece.chars().count();
            if let Released::Text(text) = guard.push(piece) {
                left += text.chars().count();
            }
            held.push(sent - left);
        }
    }
    held.sort_unstable();
    let (median, p99) = (held[held.len() / 2], held[held.len() * 99 / 100]);
    assert!(median <= 4 && p99 <= 24, "median {median}, 99th of 100 {p99}");
}

#[test]
fn a_block_ends_a_stream_before_what_is_blocked() {
    let mut policies = entities(&["EMAIL"], "ANONYMIZE");
    let words = json!({ "wordsConfig": [{ "text": "xyzzy" }] });
    policies.as_object_mut().unwrap().insert("wordPolicyConfig".into(), words);
    let guardrail = guardrail(policies);
    let text = "mail a@b.cn, say x y z z y, then more and more";
    for lens in [&[1_u8][..], &[3], &[7, 2], &[255]] {
        let (output, is_blocked, assessment) = streamed(&guardrail, cut(text, lens));
        assert_eq!((output.as_str(), is_blocked), ("mail {EMAIL}, say ", true), "{lens:?}");
        let kinds: Vec<&str> = assessment.fired().into_iter().map(|it| it.policy).collect();
        assert_eq!(kinds, ["word", "pii"]);
    }
}

#[test]
fn asynchronous_streams_stop_late_and_cannot_mask() {
    let words = json!({ "wordPolicyConfig": { "wordsConfig": [{ "text": "xyzzy" }] } });
    let new = |guardrail: &Arc<Guardrail>| {
        let (mode, scope) = (StreamMode::Async, OutputScope::Interventions);
        StreamGuard::new(Arc::clone(guardrail), mode, Grounding::default(), scope)
    };
    let mut guard = new(&guardrail(words)).unwrap();
    let text = |text: &str| Released::Text(text.to_owned());
    assert_eq!(guard.push("say xyz"), text("say xyz"));
    assert_eq!(guard.push("zy"), text("zy"));
    assert_eq!(guard.push(" now"), Released::Blocked(String::new()));
    assert_eq!(guard.push(" more"), text(""));
    assert!(new(&guardrail(entities(&["EMAIL"], "ANONYMIZE"))).is_err());
}

#[test]
fn hostile_texts_take_bounded_time() {
    let words: Vec<Value> =
        (0..10_000).map(|len| json!({ "text": "a".repeat(len % 100 + 1) })).collect();
    let mut policies = entities(&formed(), "ANONYMIZE");
    let members = policies.as_object_mut().unwrap();
    members.insert("wordPolicyConfig".into(), json!({ "wordsConfig": words }));
    let regexes = json!([{ "name": "r", "pattern": "(a+)+b|(x*)*y", "action": "ANONYMIZE" }]);
    members["sensitiveInformationPolicyConfig"]["regexesConfig"] = regexes;
    let guardrail = guardrail(policies);
    let len = 1 << 18;
    for unit in
        ["b", "1", "1 ", "12 ", "a@", "password ", "://", "六", "1.", "-", "<a>", "x", "(1", "4 4-"]
    {
        let text = unit.repeat(len / unit.len());
        let started_at = Instant::now();
        guardrail.assess(Direction::Input, &[Block::new(&text)], OutputScope::Interventions);
        let taken = started_at.elapsed();
        // Seconds on a busy machine; work that grew with the square of the text would take hours.
        assert!(taken < Duration::from_secs(100), "{unit:?} took {taken:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// What leaves a stream is what masking the whole text gives, and so no guarded value leaves.
    #[test]
    fn a_stream_leaves_as_the_whole_text_would_however_it_is_cut(
        parts in prop::collection::vec(prop::sample::select(PARTS), 1..12),
        lens in prop::collection::vec(1_u8..9, 1..12),
    ) {
        let text = parts.concat();
        let guardrail = masking();
        let whole = masked_whole(&guardrail, &text);
        for pieces in [cut(&text, &lens), cut_bytes(&text, &lens)] {
            let (output, _, _) = streamed(&guardrail, pieces);
            prop_assert_eq!(&output, &whole, "{}", text);
        }
    }
}

/// How many texts are cut: as many as the environment asks for, or some that take seconds.
fn cases() -> u32 {
    std::env::var("OUTCROP_STREAM_CASES").map_or(2_000, |cases| cases.parse().unwrap())
}

/// Values, halves of values, and what stands around them.
const PARTS: &[&str] = &[
    "My SSN is 380-30-4942",
    "手机号：133-7971-0349",
    "joe@example.com",
    "身份证11010519491231002X",
    ", ",
    " ",
    "card 4111 1111 1111 1111",
    "6 2 1 7 0 0 5 4 6 6 7 2 9 3 1 9 8 3 2",
    "11010519491231002",
    "X",
    "\n",
    "https://example.com/a?b=c",
    "10.0.0.1",
    "fe80::1:2:3",
    "the river ",
    "他说",
    "。",
    "PRJ-1234",
    "PRJ-12",
    "password: hunter2",
    "密码是",
    "Tr0ub4dor&3",
    "壹叁捌",
    "零零壹叁捌零零零",
    "1",
    "2 ",
    "69 years",
    " old",
    "蒙F·4XSFY",
    "t e s t @ e x a m p l e . c o m",
    "\u{200b}",
    "１３８",
    "+86 ",
    "13800138000",
    "GB82 WEST 1234 5698 7654 32",
    "exp 05/27",
    ", cvv 071",
    "a",
    "-",
    ".",
    "(555) 234-5678",
    "AKIAIOSFODNN7EXAMPLE",
    "www.",
    "begin x",
    " end",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "U.S. ",
    "NHS number 943 476 5919",
    "QQ号是263992968",
    "今年三十五",
    "岁",
    "以",
    "上",
    "38th",
    " birthday",
    "I am 19",
    " an",
    "d I",
    "expires March",
    " 2027",
    "有效期至2026年",
    "9月",
    "粤Z1234",
    "港",
    "example.com",
    "/login",
    "jane[at]example",
    "[dot]com",
    "username is jd",
    "oe.",
    "加qq123456789",
    "vx13912345678",
    "wxid_a1b2c3d4e5f6g7",
    "45yo",
];

fn masking() -> Arc<Guardrail> {
    use std::sync::OnceLock;
    static MASKING: OnceLock<Arc<Guardrail>> = OnceLock::new();
    let made = MASKING.get_or_init(|| {
        let mut policies = entities(&formed(), "ANONYMIZE");
        policies["sensitiveInformationPolicyConfig"]["regexesConfig"] = json!([
            { "name": "project", "pattern": "\\bPRJ-\\d{4}\\b", "action": "ANONYMIZE" },
            { "name": "span", "pattern": "begin[^\\n]*end", "action": "ANONYMIZE" },
        ]);
        guardrail(policies)
    });
    Arc::clone(made)
}
