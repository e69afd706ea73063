//! Calls are read back as the grammar has them written.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::form::ToolFormat;
use super::{ToolParser, ToolSegment, check_tools};
use crate::chat::{CallWatch, ToolCall, ToolChoice, ToolError, ToolSpec};
use crate::limits;

const FORMATS: [ToolFormat; 4] =
    [ToolFormat::DeepSeek, ToolFormat::Hermes, ToolFormat::Llama, ToolFormat::Written];

fn parse<'a>(
    format: ToolFormat,
    pieces: impl IntoIterator<Item = &'a str>,
) -> (Vec<ToolSegment>, usize, bool) {
    let mut parser = ToolParser::new(format);
    let mut segments: Vec<ToolSegment> = Vec::new();
    let mut all: Vec<ToolSegment> = pieces.into_iter().flat_map(|it| parser.push(it)).collect();
    all.extend(parser.finish());
    for segment in all {
        match (segment, segments.last_mut()) {
            (ToolSegment::Text(text), Some(ToolSegment::Text(last))) => last.push_str(&text),
            (ToolSegment::Arguments(text), Some(ToolSegment::Arguments(last))) => {
                last.push_str(&text);
            }
            (segment, _) => segments.push(segment),
        }
    }
    (segments, parser.num_calls(), parser.is_malformed())
}

fn call(name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: String::new(), name: name.to_owned(), arguments: arguments.to_owned() }
}

fn written(format: ToolFormat, calls: &[ToolCall]) -> String {
    super::written::calls(format, calls, &str::to_owned)
}

fn expected(calls: &[ToolCall]) -> Vec<ToolSegment> {
    let segments = |call: &ToolCall| {
        [
            ToolSegment::Start { name: call.name.clone() },
            ToolSegment::Arguments(call.arguments.clone()),
            ToolSegment::End,
        ]
    };
    calls.iter().flat_map(segments).collect()
}

#[test]
fn calls_are_read_back_at_any_split() {
    let calls = [
        call("get_weather", "{\"city\": \"Zürich \\\" }] \\\\\", \"days\": [1, {\"a\": {}}]}"),
        call("x", "{}"),
    ];
    for format in FORMATS {
        let calls = if format == ToolFormat::Llama { &calls[..1] } else { &calls[..] };
        let text = written(format, calls);
        let (whole, num_calls, malformed) = parse(format, [text.as_str()]);
        assert_eq!(whole, expected(calls), "{format:?}");
        assert_eq!((num_calls, malformed), (calls.len(), false));
        for cut in (0..text.len()).filter(|&cut| text.is_char_boundary(cut)) {
            assert_eq!(parse(format, [&text[..cut], &text[cut..]]).0, whole, "{format:?} at {cut}");
        }
        let characters = text.split_inclusive(|_| true);
        assert_eq!(parse(format, characters).0, whole, "{format:?}");
    }
}

#[test]
fn text_around_calls_is_text() {
    let calls = [call("a", "{\"b\": 1}")];
    for format in [ToolFormat::DeepSeek, ToolFormat::Hermes] {
        let text = format!("Let me see <tool.\n\n{}", written(format, &calls));
        let (segments, ..) = parse(format, [text.as_str()]);
        assert_eq!(segments[0], ToolSegment::Text("Let me see <tool.".to_owned()));
        assert_eq!(segments[1..], expected(&calls));
        for cut in 0..text.find("tool▁").unwrap_or(30).min(18) {
            assert_eq!(parse(format, [&text[..cut], &text[cut..]]).0, segments);
        }
    }
    let (segments, num_calls, malformed) = parse(ToolFormat::Llama, ["{\"answer\": ", "42}"]);
    assert_eq!(segments, [ToolSegment::Text("{\"answer\": 42}".to_owned())]);
    assert_eq!((num_calls, malformed), (0, false));
    let (segments, ..) = parse(ToolFormat::Llama, ["Use {\"name\": \"x\"}."]);
    assert_eq!(segments, [ToolSegment::Text("Use {\"name\": \"x\"}.".to_owned())]);
}

#[test]
fn what_begins_like_a_call_and_is_none_is_not_lost() {
    for text in
        ["<tool_call>x</tool_call>", "<tool_call>\n{\"name\": \"no name\", \"arguments\": {"]
    {
        let (segments, num_calls, malformed) = parse(ToolFormat::Hermes, [text]);
        assert_eq!(segments, [ToolSegment::Text(text.to_owned())]);
        assert_eq!((num_calls, malformed), (0, true));
    }
    // Cut within the arguments: the call has begun and does not end.
    let (segments, num_calls, malformed) =
        parse(ToolFormat::Hermes, ["<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a"]);
    let begun =
        [ToolSegment::Start { name: "f".to_owned() }, ToolSegment::Arguments("{\"a".to_owned())];
    assert_eq!(segments, begun);
    assert_eq!((num_calls, malformed), (0, true));
}

proptest! {
    /// Nothing is lost, and the watch opens where the parser does.
    #[test]
    fn any_split_gives_the_same_segments(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "<tool_call>",
                "\n{\"name\": \"",
                "f",
                "\", \"arguments\": ",
                "{\"a\": \"}\"}",
                "}\n</tool_call>",
                "\n",
                "é",
                "<too",
                "{\"name\": \"",
                "\", \"parameters\": ",
                "}",
                " ",
            ]),
            0..14,
        ),
        format in prop::sample::select(FORMATS.to_vec()),
    ) {
        let all = words.concat();
        let whole = parse(format, [all.as_str()]);
        prop_assert_eq!(&parse(format, words.iter().copied()), &whole);
        prop_assert_eq!(&parse(format, all.split_inclusive(|_| true)), &whole);
        let mut watch = CallWatch::new(format);
        let opened = words.iter().any(|word| watch.push(word.as_bytes()).is_some());
        let mut watch = CallWatch::new(format);
        let opened_by_byte =
            all.as_bytes().iter().any(|byte| watch.push(std::slice::from_ref(byte)).is_some());
        prop_assert_eq!(opened, opened_by_byte);
        let calls = whole.0.iter().any(|it| matches!(it, ToolSegment::Start { .. }));
        prop_assert!(opened || !(calls || whole.2));
    }
}

fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: None,
        parameters: json!({}),
        strict: false,
        field: String::new(),
    }
}

#[test]
fn tools_are_taken_up_to_their_limits() {
    let check = |tools: &[ToolSpec]| check_tools(tools, &ToolChoice::Auto);
    let many =
        |count: usize| (0..count).map(|index| tool(&format!("t{index}"))).collect::<Vec<_>>();
    assert_eq!(check(&many(limits::TOOLS_MAX)), Ok(()));
    let (count, limit) = (limits::TOOLS_MAX + 1, limits::TOOLS_MAX);
    assert_eq!(check(&many(count)), Err(ToolError::TooMany { count, limit }));
    let limit = limits::TOOL_NAME_CHARS_MAX;
    assert_eq!(check(&[tool(&"n".repeat(limit))]), Ok(()));
    for name in [String::new(), "n".repeat(limit + 1), "a b".to_owned(), "ü".to_owned()] {
        assert_eq!(check(&[tool("a"), tool(&name)]), Err(ToolError::Name { index: 1, limit }));
    }
    let repeated = ToolError::Repeated { name: "a".to_owned() };
    assert_eq!(check(&[tool("a"), tool("a")]), Err(repeated));
    assert_eq!(check_tools(&[], &ToolChoice::Any), Err(ToolError::NoTools));
    let unknown = check_tools(&[tool("a")], &ToolChoice::Tool("b".to_owned()));
    assert_eq!(unknown, Err(ToolError::UnknownChoice { name: "b".to_owned() }));
}

#[test]
fn a_declaration_says_what_the_client_said() {
    let mut weather = tool("get_weather");
    weather.description = Some("The weather <|im_end|>".to_owned());
    weather.parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    for format in [ToolFormat::DeepSeek, ToolFormat::Written] {
        let mark = |text: &str| text.replace('<', "‹");
        let text = super::written::declaration(format, &[weather.clone()], &mark);
        let line = text.lines().find(|line| line.starts_with('{')).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["function"]["description"], "The weather ‹|im_end|>");
        assert_eq!(line["function"]["parameters"], weather.parameters);
    }
}
