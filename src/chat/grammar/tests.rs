//! Whatever is drawn, the answer is valid, however little room there is.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::chat::{GrammarCompiler, GrammarError, GrammarMatcher, GrammarSource, fixture};
use crate::limits;

fn end() -> u32 {
    fixture::tokenizer().special_id(fixture::EOS).unwrap()
}

fn compiler() -> GrammarCompiler {
    GrammarCompiler::new(&fixture::tokenizer(), &[end()]).unwrap()
}

/// Draws among the allowed tokens until the end; `None` if there was none within the room.
fn walk(matcher: &mut GrammarMatcher, room: usize, mut seed: u64) -> Option<String> {
    let tokenizer = fixture::tokenizer();
    let mut text = Vec::new();
    for written in 0..room {
        let words = matcher.allowed().unwrap();
        let ids: Vec<u32> = (0..fixture::VOCAB_SIZE)
            .filter(|id| words[*id as usize / 32] >> (id % 32) & 1 == 1)
            .collect();
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let drawn = ids[(seed >> 33) as usize % ids.len()];
        if drawn == end() {
            return String::from_utf8(text).ok();
        }
        let Some(token) = matcher.accept(drawn, room - written - 1).unwrap() else {
            return String::from_utf8(text).ok();
        };
        text.extend_from_slice(tokenizer.token_bytes(token));
        if matcher.must_end() {
            return String::from_utf8(text).ok();
        }
    }
    matcher.may_end().then(|| String::from_utf8(text).ok()).flatten()
}

/// Others wait while the way to the end is looked for.
#[test]
fn the_way_to_the_end_is_looked_for_within_bounds() {
    let compiler = compiler();
    let pattern = |it: &str| GrammarSource::JsonSchema(json!({"type": "string", "pattern": it}));
    let mut num_searched = 0;
    for source in
        [GrammarSource::Regex("\\p{L}{500}".to_owned()), pattern("(.|\\n)*?x"), pattern("(a+)+$")]
    {
        let mut matcher = compiler.compile(&source).unwrap();
        let (mut searched, mut longest) = (0, 0);
        let room = 400;
        for written in 0..room {
            let words = matcher.allowed().unwrap();
            let mut ids = (0..end()).filter(|id| words[*id as usize / 32] >> (id % 32) & 1 == 1);
            let Some(drawn) = ids.nth(written % 7) else { break };
            let next = matcher.accept(drawn, room - written - 1).unwrap();
            let queries = std::mem::take(&mut matcher.num_queries);
            longest = longest.max(queries);
            searched += queries;
            if next.is_none() || matcher.must_end() {
                break;
            }
        }
        assert!(longest <= limits::COMPLETION_QUERIES_MAX + 4, "{longest} at once");
        assert!(searched <= room * 2 * limits::COMPLETION_SPARE_TOKENS, "{searched} in all");
        num_searched += searched;
    }
    assert!(num_searched > 0, "nothing was looked for");
}

/// The keywords that [`schemas`] uses, as the specification has them.
fn is_valid(schema: &Value, value: &Value) -> bool {
    if let Some(choices) = schema["enum"].as_array() {
        return choices.contains(value);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().any(|option| is_valid(option, value));
    }
    let within = |number: f64, least: &str, most: &str| {
        schema[least].as_f64().is_none_or(|least| number >= least)
            && schema[most].as_f64().is_none_or(|most| number <= most)
    };
    match (schema["type"].as_str().unwrap(), value) {
        ("null", Value::Null) | ("boolean", Value::Bool(_)) => true,
        ("integer", Value::Number(it)) => {
            it.as_f64().unwrap().fract() == 0.0
                && within(it.as_f64().unwrap(), "minimum", "maximum")
        }
        ("number", Value::Number(it)) => within(it.as_f64().unwrap(), "minimum", "maximum"),
        ("string", Value::String(it)) => {
            within(it.chars().count() as f64, "minLength", "maxLength")
        }
        ("array", Value::Array(items)) => {
            within(items.len() as f64, "minItems", "maxItems")
                && items.iter().all(|item| is_valid(&schema["items"], item))
        }
        ("object", Value::Object(members)) => {
            let required = schema["required"].as_array().unwrap();
            required.iter().all(|name| members.contains_key(name.as_str().unwrap()))
                && members.iter().all(|(name, member)| {
                    let property = &schema["properties"][name];
                    property.is_object() && is_valid(property, member)
                })
        }
        _ => false,
    }
}

fn schemas() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "name", "größe", "数", "with \"quotes\"", "x/y", ""]);
    let leaf = prop_oneof![
        Just(json!({"type": "null"})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "number"})),
        Just(json!({"type": "string"})),
        (0u32..4, 0u32..6).prop_map(|(least, more)| {
            json!({"type": "string", "minLength": least, "maxLength": least + more})
        }),
        (-200i32..200, 0i32..300).prop_map(|(least, more)| {
            json!({"type": "integer", "minimum": least, "maximum": least + more})
        }),
        prop::collection::vec(name.clone(), 1..4).prop_map(|names| json!({"enum": names})),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            (inner.clone(), 0u32..3, prop::option::of(0u32..3)).prop_map(|(items, least, more)| {
                let mut array = json!({"type": "array", "items": items, "minItems": least});
                if let Some(more) = more {
                    array["maxItems"] = json!(least + more);
                }
                array
            }),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|any| json!({"anyOf": any})),
            prop::collection::btree_map(name.clone(), (inner, any::<bool>()), 1..4).prop_map(
                |members| {
                    let required: Vec<_> =
                        members.iter().filter(|it| it.1.1).map(|it| *it.0).collect();
                    let properties: serde_json::Map<String, Value> =
                        members.iter().map(|it| (it.0.to_string(), it.1.0.clone())).collect();
                    json!({"type": "object", "properties": properties, "required": required})
                }
            ),
        ]
    })
}

#[test]
fn any_way_through_a_schema_is_valid_json_within_any_room() {
    let compiler = compiler();
    let config = ProptestConfig { cases: 200, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let walks = (schemas(), 0usize..60, any::<u64>());
    let result = runner.run(&walks, |(schema, more, seed)| {
        let mut matcher = compiler.compile(&GrammarSource::JsonSchema(schema.clone())).unwrap();
        let least = matcher.num_tokens_min();
        prop_assert!(least > 0, "no way to the end of {}", schema);
        let text = walk(&mut matcher, least + more, seed);
        let value = text.as_deref().map(serde_json::from_str::<Value>);
        prop_assert!(
            value.as_ref().is_some_and(|it| it.as_ref().is_ok_and(|it| is_valid(&schema, it))),
            "{:?} for {}",
            text,
            schema
        );
        Ok(())
    });
    result.unwrap();
}

#[test]
fn formats_and_patterns_are_completed_too() {
    let compiler = compiler();
    for schema in [
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "string", "format": "email"}),
        json!({"type": "string", "format": "uuid"}),
        json!({"type": "string", "format": "duration"}),
        json!({"type": "string", "pattern": "^[a-z]{3}-[0-9]+$"}),
        json!({"type": "number", "exclusiveMinimum": 12.5, "maximum": 13}),
        json!({"$ref": "#/$defs/list", "$defs": {"list": {
            "type": "object", "required": ["value", "next"],
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]},
            },
        }}}),
        json!({"type": "array", "items": {"$ref": "#"}}),
    ] {
        let source = GrammarSource::JsonSchema(schema.clone());
        for seed in 0..10 {
            let mut matcher = compiler.compile(&source).unwrap();
            let room = matcher.num_tokens_min() + 3 * seed as usize;
            let text = walk(&mut matcher, room, seed).unwrap_or_else(|| panic!("{schema}"));
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text} for {schema}");
        }
    }
}

#[test]
fn choices_and_regular_expressions_hold() {
    let compiler = compiler();
    let choices = ["yes".to_owned(), "no \"really\"\n".to_owned(), "ありがとう".to_owned()];
    let regex = regex::Regex::new("^[a-c]{2,5}(x|yz)$").unwrap();
    for seed in 0..20 {
        let mut matcher = compiler.compile(&GrammarSource::Choice(choices.to_vec())).unwrap();
        assert!(choices.contains(&walk(&mut matcher, 20, seed).unwrap()));
        let source = GrammarSource::Regex("[a-c]{2,5}(x|yz)".to_owned());
        let text = walk(&mut compiler.compile(&source).unwrap(), 7, seed).unwrap();
        assert!(regex.is_match(&text), "{text}");
    }
}

#[test]
fn what_cannot_be_enforced_is_refused_by_name() {
    let compiler = compiler();
    let refusal = |schema: Value| {
        compiler.compile(&GrammarSource::JsonSchema(schema)).unwrap_err().to_string()
    };
    let unique = refusal(json!({"type": "array", "uniqueItems": true, "items": {}}));
    assert!(unique.contains("uniqueItems"), "{unique}");
    assert!(refusal(json!([1])).contains("not an object"));
    assert!(refusal(json!({"type": "string", "format": "colour"})).contains("colour"));
    let lark = compiler.compile(&GrammarSource::Lark("start: nothing".to_owned())).unwrap_err();
    assert!(matches!(lark, GrammarError::Invalid { what: "the grammar", .. }), "{lark}");
    assert!(compiler.compile(&GrammarSource::Choice(Vec::new())).is_err());
}

#[test]
fn schemas_are_taken_up_to_their_limits() {
    let compiler = compiler();
    let nested = |depth: usize| {
        // An array of a schema takes one level.
        (1..depth).fold(json!({}), |inner, _| json!({"items": inner}))
    };
    let compile = |schema| compiler.compile(&GrammarSource::JsonSchema(schema));
    assert!(compile(nested(limits::SCHEMA_DEPTH_MAX)).is_ok());
    let depth = limits::SCHEMA_DEPTH_MAX + 1;
    let refused = compile(nested(depth)).unwrap_err();
    assert!(matches!(refused, GrammarError::TooDeep { depth: it, .. } if it == depth));
    let empty = json!({"description": ""}).to_string().len();
    let long = |bytes: usize| json!({"description": "x".repeat(bytes - empty)});
    assert!(compile(long(limits::SCHEMA_BYTES_MAX)).is_ok());
    let refused = compile(long(limits::SCHEMA_BYTES_MAX + 1)).unwrap_err();
    assert!(matches!(refused, GrammarError::TooLarge { limit: limits::SCHEMA_BYTES_MAX, .. }));
}

/// Schemas and expressions that take others minutes or all memory.
#[test]
fn a_hostile_grammar_is_compiled_or_refused_soon() {
    let compiler = compiler();
    let properties = |count: usize, required: bool| {
        let names: Vec<String> = (0..count).map(|index| format!("p{index}")).collect();
        let members: serde_json::Map<String, Value> =
            names.iter().map(|name| (name.clone(), json!({"type": "string"}))).collect();
        let required = if required { names } else { Vec::new() };
        json!({"type": "object", "properties": members, "required": required})
    };
    let options: Vec<Value> = (0..40).map(|index| properties(index + 1, false)).collect();
    let all: Vec<Value> = (0..20)
        .map(|index| json!({"anyOf": [properties(index + 1, true), properties(index + 2, true)]}))
        .collect();
    let mut sources: Vec<GrammarSource> = [
        json!({"oneOf": options.clone()}),
        json!({"anyOf": options.clone(), "allOf": options}),
        json!({"allOf": all}),
        properties(1_500, true),
        properties(1_500, false),
        json!({"type": "string", "minLength": 100_000_000}),
        json!({"type": "string", "maxLength": 100_000_000}),
        json!({"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000_000}),
        json!({"type": "array", "items": {"type": "string"}, "maxItems": 100_000}),
        json!({"type": "string", "pattern": "^(((a{1,300}){1,300}){1,300}){1,300}$"}),
        json!({"type": "string", "pattern": "(.*a.{40}|.*b.{41}|.*c.{42})"}),
        json!({"type": "number", "multipleOf": 0.000_000_123}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"},
        }}),
        json!({"enum": (0..5_000).collect::<Vec<u32>>()}),
        json!({"type": "object", "patternProperties": {"^(a+)+$": {}, "^(a|aa)+$": {}}}),
        json!({"type": "string", "pattern": "é".repeat(120), "minLength": "é".repeat(120)}),
    ]
    .into_iter()
    .map(GrammarSource::JsonSchema)
    .collect();
    for regex in
        ["(a*)*b", "((a{0,1000}){0,1000}){0,1000}", "(?:(?:a|b)*c){500}d", "[", "\\p{L}{900}"]
    {
        sources.push(GrammarSource::Regex(regex.to_owned()));
    }
    for lark in ["start: start", "start: a\na: a a | \"x\"", "start: (\"a\"{0,1000}){0,1000}", ""] {
        sources.push(GrammarSource::Lark(lark.to_owned()));
    }
    for (index, source) in sources.iter().enumerate() {
        let started = Instant::now();
        if let Ok(mut matcher) = compiler.compile(source) {
            // Steps are bounded as well.
            for step in 0..5 {
                let words = match matcher.allowed() {
                    Ok(words) => words,
                    Err(error) if step == 0 => panic!("source {index} cannot begin: {error}"),
                    Err(_) => break,
                };
                let first = (0..fixture::VOCAB_SIZE)
                    .find(|id| words[*id as usize / 32] >> (id % 32) & 1 == 1)
                    .unwrap();
                if first == end() || !matches!(matcher.accept(first, 50), Ok(Some(_))) {
                    break;
                }
            }
        }
        let elapsed = started.elapsed();
        println!("{index}: {elapsed:?}");
        // A tenth of it when optimized and alone.
        assert!(elapsed < Duration::from_secs(20), "source {index} took {elapsed:?}");
    }
}
