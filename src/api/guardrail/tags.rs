//! Tags that mark parts of a prompt for a guardrail: `<NAME>…</NAME>`, where the name is
//! `amazon-bedrock-guardrails-guardContent_SUFFIX`, or the same with `groundingSource` or `query`.
//!
//! The suffix is new for each request, so that nobody who writes a part of the prompt can end a
//! tag. That is why tags that do not pair are refused: text that escapes its tag would not be
//! judged.

use thiserror::Error;

use crate::guardrail::Qualifier;
use crate::pipeline::{GuardedText, Input, Role};

const NAME_START: &str = "amazon-bedrock-guardrails-";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(in crate::api) enum TagError {
    #[error("A tag `{NAME_START}{kind}` with the suffix of the request is not closed.")]
    NotClosed { kind: &'static str },
    #[error("A tag `{NAME_START}{kind}` with the suffix of the request is closed, but not open.")]
    NotOpen { kind: &'static str },
    #[error("A tag `{NAME_START}{kind}` with the suffix of the request is within another one.")]
    Nested { kind: &'static str },
}

const KINDS: [(&str, Qualifier); 3] = [
    ("guardContent", Qualifier::GuardContent),
    ("groundingSource", Qualifier::GroundingSource),
    ("query", Qualifier::Query),
];

/// Takes the tags of this suffix out of the input, whoever's message they stand in; what they
/// marked, in its order.
pub(super) fn take(input: &mut Input, suffix: &str) -> Result<Vec<GuardedText>, TagError> {
    let mut marked = Vec::new();
    match input {
        Input::Text(text) => take_from(text, suffix, &mut marked)?,
        Input::Messages(messages) => {
            for message in messages {
                take_from(&mut message.content, suffix, &mut marked)?;
            }
        }
    }
    Ok(marked)
}

/// What is judged: where no content is marked, a prompt is looked at as a whole, and of a
/// conversation what users said. Sources and queries count beside it.
pub(super) fn guarded(input: &Input, mut marked: Vec<GuardedText>) -> Vec<GuardedText> {
    if marked.iter().any(|it| it.qualifiers.contains(&Qualifier::GuardContent)) {
        return marked;
    }
    let whole = |text: &str| GuardedText { text: text.to_owned(), qualifiers: Vec::new() };
    match input {
        Input::Text(text) => marked.push(whole(text)),
        Input::Messages(messages) => {
            let said = messages.iter().filter(|message| message.role == Role::User);
            marked.extend(said.map(|message| whole(&message.content)));
        }
    }
    marked
}

fn take_from(
    text: &mut String,
    suffix: &str,
    marked: &mut Vec<GuardedText>,
) -> Result<(), TagError> {
    let mut kept = String::new();
    let mut rest = text.as_str();
    // The kind of the tag that is open, and where its text begins in what is kept.
    let mut open: Option<(usize, usize)> = None;
    while let Some((before, tag)) = next_tag(rest, suffix) {
        kept.push_str(&rest[..before]);
        rest = &rest[before + tag.len..];
        let (kind, qualifier) = KINDS[tag.kind];
        open = match (tag.is_end, open) {
            (false, None) => Some((tag.kind, kept.len())),
            (false, Some(_)) => return Err(TagError::Nested { kind }),
            (true, Some((opened, start))) if opened == tag.kind => {
                let text = kept[start..].to_owned();
                if !text.is_empty() {
                    marked.push(GuardedText { text, qualifiers: vec![qualifier] });
                }
                None
            }
            (true, _) => return Err(TagError::NotOpen { kind }),
        };
    }
    if let Some((kind, _)) = open {
        return Err(TagError::NotClosed { kind: KINDS[kind].0 });
    }
    if kept.is_empty() && rest.len() == text.len() {
        return Ok(());
    }
    kept.push_str(rest);
    *text = kept;
    Ok(())
}

struct Tag {
    /// Its index in [`KINDS`].
    kind: usize,
    is_end: bool,
    len: usize,
}

/// The first tag, and the bytes before it. A tag of another suffix is text.
fn next_tag(text: &str, suffix: &str) -> Option<(usize, Tag)> {
    let starts = text.match_indices(NAME_START);
    starts.into_iter().find_map(|(at, _)| {
        let before = &text[..at];
        let (start, is_end) = match (before.strip_suffix("</"), before.strip_suffix('<')) {
            (Some(outside), _) => (outside.len(), true),
            (None, Some(outside)) => (outside.len(), false),
            (None, None) => return None,
        };
        let name = &text[at + NAME_START.len()..];
        let (kind, rest) = KINDS.iter().enumerate().find_map(|(kind, (name_end, _))| {
            let rest = name.strip_prefix(name_end)?.strip_prefix('_')?;
            Some((kind, rest.strip_prefix(suffix)?.strip_prefix('>')?))
        })?;
        Some((start, Tag { kind, is_end, len: text.len() - rest.len() - start }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Message;

    fn tag(kind: &str, text: &str) -> String {
        let name = format!("{NAME_START}{kind}_x1");
        format!("<{name}>{text}</{name}>")
    }

    fn taken(text: &str) -> Result<(String, Vec<(String, Qualifier)>), TagError> {
        let mut input = Input::Text(text.to_owned());
        let marked = take(&mut input, "x1")?;
        let Input::Text(text) = input else { panic!("it was a text") };
        Ok((text, marked.into_iter().map(|it| (it.text, it.qualifiers[0])).collect()))
    }

    #[test]
    fn tags_go_and_leave_what_they_marked() {
        let [guard, source, query] = ["guardContent", "groundingSource", "query"];
        let prompt = format!(
            "Do: {} by {}{} now <{NAME_START}query_x2>",
            tag(guard, "this <b>"),
            tag(source, "六"),
            tag(query, "")
        );
        let (text, marked) = taken(&prompt).unwrap();
        assert_eq!(text, format!("Do: this <b> by 六 now <{NAME_START}query_x2>"));
        let expected = [("this <b>", Qualifier::GuardContent), ("六", Qualifier::GroundingSource)];
        assert_eq!(marked, expected.map(|(text, kind)| (text.to_owned(), kind)));
        for plain in ["", "no tags", "<", "</amazon-bedrock-guardrails-", "<x_x1>"] {
            assert_eq!(taken(plain).unwrap(), (plain.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn tags_that_do_not_pair_are_refused() {
        let whole = tag("query", "q");
        let (open, close) = whole.split_once('q').map_or(("", ""), |_| {
            let end = whole.find("q</").unwrap();
            (&whole[..end], &whole[end + 1..])
        });
        let kind = "query";
        assert_eq!(taken(open), Err(TagError::NotClosed { kind }));
        assert_eq!(taken(close), Err(TagError::NotOpen { kind }));
        assert_eq!(taken(&tag("guardContent", &whole)), Err(TagError::Nested { kind }));
        let crossed = format!("<{NAME_START}guardContent_x1>{close}");
        assert_eq!(taken(&crossed), Err(TagError::NotOpen { kind }));
    }

    #[test]
    fn what_is_judged_is_marked_or_else_all_that_users_said() {
        let judged = |texts: [&str; 2]| {
            let [system, user] = texts.map(str::to_owned);
            let mut input = Input::Messages(vec![
                Message::new(Role::System, system),
                Message::new(Role::User, user),
            ]);
            let marked = take(&mut input, "x1").unwrap();
            guarded(&input, marked).into_iter().map(|it| it.text).collect::<Vec<_>>()
        };
        assert_eq!(judged(["s", "u"]), ["u"]);
        let marked = tag("guardContent", "b");
        assert_eq!(judged([&marked, "u"]), ["b"]);
        let source = format!("a{}", tag("groundingSource", "b"));
        assert_eq!(judged([&source, "u"]), ["b", "u"]);
    }
}
