//! JSON schemas as clients send them, made ready for the compiler.

use serde_json::{Map, Value, json};

use crate::chat::GrammarError;
use crate::limits;

const WHAT: &str = "the JSON schema";

/// The key under which llguidance reads its own options from a schema.
const JSON_LAYOUT: &str = "x-guidance";

/// A number of 19 digits that 64-bit integers and floating-point numbers both hold exactly.
const NUMBER_MAX: i64 = 9_200_000_000_000_000_000;

/// Where a schema holds further schemas by name, in lists, and alone.
const NAMED: [&str; 5] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
const LISTED: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const SINGLE: [&str; 4] = ["items", "additionalProperties", "additionalItems", "not"];

/// Checks the limits, fixes the white space, bounds numbers, and says no where the schema does not
/// say whether there may be further properties.
///
/// White space is that of Python's `json.dumps`, which models have seen most: were it free, a model
/// could write it without end. Further properties are allowed by JSON Schema if nothing is said,
/// and a model would make some up without end too; an object without them is valid all the same.
pub(in crate::chat) fn prepared(mut schema: Value) -> Result<Value, GrammarError> {
    let bytes = schema.to_string().len();
    let limit = limits::SCHEMA_BYTES_MAX;
    if bytes > limit {
        return Err(GrammarError::TooLarge { what: WHAT, bytes, limit });
    }
    let (depth, limit) = (depth(&schema), limits::SCHEMA_DEPTH_MAX);
    if depth > limit {
        return Err(GrammarError::TooDeep { what: WHAT, depth, limit });
    }
    check_multiples(&schema)?;
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    if !schema.is_object() {
        let reason = "it is not an object".to_owned();
        return Err(GrammarError::Invalid { what: WHAT, reason });
    }
    bound_numbers(&mut schema);
    // Where schemas are combined, each sees the properties of the others.
    if !combines(&schema) {
        close_objects(&mut schema);
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(JSON_LAYOUT.to_owned(), layout());
    }
    Ok(schema)
}

fn layout() -> Value {
    json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "})
}

/// Levels of arrays and objects. serde_json reads 128 at most, so the recursion is bounded.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// An automaton that knows multiples has a state for each remainder; where schemas are combined,
/// for each of the least common multiple. The compiler's fuel does not count them.
fn check_multiples(schema: &Value) -> Result<(), GrammarError> {
    let (mut multiples, mut is_combined) = (Vec::new(), false);
    collect_multiples(schema, &mut multiples, &mut is_combined);
    let limit = limits::SCHEMA_MULTIPLE_MAX;
    let fits = |multiples: &[f64]| num_remainders(multiples).is_some_and(|it| it <= limit);
    let all_fit = match is_combined {
        true => fits(&multiples),
        false => multiples.iter().all(|multiple| fits(&[*multiple])),
    };
    if all_fit {
        return Ok(());
    }
    let reason = format!(
        "the values of `multipleOf`, in units of their last digit, have a least common multiple \
         above {limit}"
    );
    Err(GrammarError::Invalid { what: WHAT, reason })
}

/// The same for schemas within a grammar. What is no JSON there is for its compiler to refuse.
pub(super) fn check_embedded(lark: &str) -> Result<(), GrammarError> {
    const KEYWORD: &str = "%json";
    for (at, _) in lark.match_indices(KEYWORD) {
        let schemas = serde_json::Deserializer::from_str(&lark[at + KEYWORD.len()..]);
        if let Some(Ok(schema)) = schemas.into_iter::<Value>().next() {
            check_multiples(&schema)?;
        }
    }
    Ok(())
}

fn collect_multiples(value: &Value, multiples: &mut Vec<f64>, is_combined: &mut bool) {
    match value {
        Value::Array(items) => {
            items.iter().for_each(|item| collect_multiples(item, multiples, is_combined));
        }
        Value::Object(members) => {
            for (key, member) in members {
                *is_combined |= ["allOf", "anyOf", "oneOf", "$ref"].contains(&key.as_str());
                let multiple = member.as_f64().filter(|_| key == "multipleOf");
                multiples.extend(multiple.filter(|multiple| *multiple > 0.0));
                collect_multiples(member, multiples, is_combined);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The least common multiple, in units of the last digit of any; `None` beyond 64 bits.
fn num_remainders(multiples: &[f64]) -> Option<u64> {
    // As in `7.919e3`: the digits are an integer, with an exponent that is less by those after the
    // point.
    let parts = multiples.iter().map(|multiple| {
        let written = format!("{multiple:e}");
        let (digits, exponent) = written.split_once('e')?;
        let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let integer: u64 = digits.replace('.', "").parse().ok()?;
        Some((integer, exponent.parse::<i32>().ok()? - i32::try_from(decimals).ok()?))
    });
    let parts: Vec<(u64, i32)> = parts.collect::<Option<_>>()?;
    let unit = parts.iter().map(|(_, exponent)| *exponent).fold(0, i32::min);
    parts.into_iter().try_fold(1_u64, |all, (integer, exponent)| {
        let scale = 10_u64.checked_pow(u32::try_from(exponent - unit).ok()?)?;
        let multiple = integer.checked_mul(scale)?;
        all.checked_mul(multiple / greatest_common_divisor(all, multiple))
    })
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Whether one object may have to satisfy several schemas.
fn combines(schema: &Value) -> bool {
    let Value::Object(members) = schema else { return false };
    let alternatives = ["anyOf", "oneOf", "$ref"].iter().any(|key| members.contains_key(*key));
    let own = ["properties", "required", "additionalProperties"];
    members.contains_key("allOf")
        || (alternatives && own.iter().any(|key| members.contains_key(*key)))
        || subschemas(members).any(combines)
}

fn subschemas(members: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    members.iter().flat_map(|(key, value)| match value {
        Value::Object(named) if NAMED.contains(&key.as_str()) => named.values().collect(),
        Value::Array(listed) if LISTED.contains(&key.as_str()) => listed.iter().collect(),
        single if SINGLE.contains(&key.as_str()) => vec![single],
        _ => Vec::new(),
    })
}

fn close_objects(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    if is_open_object(members) {
        members.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for_each_subschema(members, close_objects);
}

fn for_each_subschema(members: &mut Map<String, Value>, change: fn(&mut Value)) {
    for (key, value) in members {
        match value {
            Value::Object(named) if NAMED.contains(&key.as_str()) => {
                named.values_mut().for_each(change);
            }
            Value::Array(listed) if LISTED.contains(&key.as_str()) => {
                listed.iter_mut().for_each(change);
            }
            single if SINGLE.contains(&key.as_str()) => change(single),
            _ => {}
        }
    }
}

/// Numbers stay within 64 bits: JSON knows no bounds, but those who read it do.
fn bound_numbers(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    let is_number = |name: &Value| name == "number" || name == "integer";
    let may_be_number = members.get("type").is_some_and(|types| match types {
        Value::Array(types) => types.iter().any(is_number),
        name => is_number(name),
    });
    if may_be_number {
        for (inclusive, exclusive, bound) in [
            ("minimum", "exclusiveMinimum", -NUMBER_MAX),
            ("maximum", "exclusiveMaximum", NUMBER_MAX),
        ] {
            if !members.contains_key(inclusive) && !members.contains_key(exclusive) {
                members.insert(inclusive.to_owned(), json!(bound));
            }
        }
    }
    for_each_subschema(members, bound_numbers);
}

/// An object whose properties are named, all required ones among them, and nothing said of others.
fn is_open_object(members: &Map<String, Value>) -> bool {
    let Some(Value::Object(properties)) = members.get("properties") else { return false };
    let says = ["additionalProperties", "patternProperties", "minProperties"];
    let required = members.get("required").and_then(Value::as_array);
    let all_named = required.is_none_or(|names| {
        names.iter().all(|name| name.as_str().is_some_and(|name| properties.contains_key(name)))
    });
    all_named && !says.iter().any(|key| members.contains_key(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_bounded_alone_and_together() {
        let number = |multiple: &str| format!(r#"{{"type":"number","multipleOf":{multiple}}}"#);
        let of = |key: &str, multiples: &[&str]| {
            let numbers: Vec<String> = multiples.iter().map(|it| number(it)).collect();
            format!(r#"{{"{key}":[{}]}}"#, numbers.join(","))
        };
        let primes = ["2", "3", "5", "7", "11", "13", "17"];
        for (schema, fits) in [
            (number("100000"), true),
            (number("100001"), false),
            (number("0.01"), true),
            (number("1e-300"), true),
            (number("1e300"), false),
            // 510,510 together, and none where they do not meet.
            (of("allOf", &primes), false),
            (of("prefixItems", &primes), true),
            (of("anyOf", &primes[..6]), true),
            // 3,000,000 millionths.
            (of("allOf", &["3", "1e-6"]), false),
            (of("prefixItems", &["3", "1e-6"]), true),
            (of("allOf", &["0.25", "3"]), true),
        ] {
            let refusal = prepared(serde_json::from_str(&schema).unwrap()).err();
            assert_eq!(refusal.is_none(), fits, "{schema}: {refusal:?}");
            let lark = format!("start: a b\na: \"%json\"\nb: %json {schema}\n");
            assert_eq!(check_embedded(&lark).is_ok(), fits, "{lark}");
        }
    }
}
