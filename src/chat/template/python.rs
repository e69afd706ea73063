//! The environment that templates are written for: Jinja2 with the settings, filters and functions
//! that the library `transformers` gives it, and methods of Python's strings.

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, ValueKind},
};
use minijinja_contrib::pycompat;

use super::clock;
use crate::limits;

/// The message of a template that called `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().expect("the default delimiters"));
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(limits::TEMPLATE_RECURSION_MAX);
    environment.set_formatter(write_value);
    environment.set_unknown_method_callback(call_method);
    environment.add_filter("tojson", to_json);
    environment.add_filter("trim", trim);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", clock::strftime_now);
    environment
}

fn raise_exception(message: String) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, "the template raised an exception");
    Err(error.with_source(Refusal(message)))
}

/// Python's names for the values that have one. Lists and mappings are refused: no template means
/// to write Python's notation, and one that shares its parts can be exponentially long.
fn write_value(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::None => out.write_str("None"),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.write_str(&number(value)),
        other => match value.as_str() {
            Some(text) => out.write_str(text),
            None => {
                let reason = format!("a {other} cannot be written, except by `tojson`");
                return Err(Error::new(ErrorKind::InvalidOperation, reason));
            }
        },
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "the output is full"))
}

/// As Python writes numbers: `1e-07` and `1e+16`, where the fewest digits that tell a number apart
/// stand before the exponent, and no exponent from 1e-4 to below 1e16.
fn number(value: &Value) -> String {
    let (Ok(float), false) = (f64::try_from(value.clone()), value.is_integer()) else {
        return value.to_string();
    };
    let exponential = format!("{float:e}");
    let exponent = exponential.split_once('e').and_then(|(digits, exponent)| {
        let exponent: i32 = exponent.parse().ok()?;
        (!(-4..16).contains(&exponent)).then_some((digits, exponent))
    });
    match exponent {
        Some((digits, exponent)) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        // Rust's `Debug` keeps the `.0` of a whole number.
        None if float.is_finite() => format!("{float:?}"),
        None => value.to_string(),
    }
}

/// What Python strips: Unicode's white space and four separators of ASCII.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

fn trim(text: &str, characters: Option<&str>) -> String {
    match characters {
        Some(characters) => text.trim_matches(|c| characters.contains(c)).to_owned(),
        None => text.trim_matches(is_python_space).to_owned(),
    }
}

/// The methods whose idea of white space is Python's; the others are a library's.
fn call_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match (value.as_str(), method, arguments) {
        (Some(text), "strip", []) => Ok(text.trim_matches(is_python_space).into()),
        (Some(text), "lstrip", []) => Ok(text.trim_start_matches(is_python_space).into()),
        (Some(text), "rstrip", []) => Ok(text.trim_end_matches(is_python_space).into()),
        (Some(text), "split", []) => {
            Ok(text.split(is_python_space).filter(|word| !word.is_empty()).collect())
        }
        _ => pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

/// `json.dumps` with `ensure_ascii=False`.
fn to_json(state: &State<'_, '_>, value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    let separators: Option<Vec<String>> = arguments.get("separators")?;
    let sort_keys: Option<bool> = arguments.get("sort_keys")?;
    if arguments.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "ensure_ascii is not supported"));
    }
    arguments.assert_all_used()?;
    let (between_items, after_key) = match separators.as_deref() {
        Some([between_items, after_key]) => (between_items.clone(), after_key.clone()),
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let mut writer = JsonWriter {
        state,
        written: String::new(),
        indent,
        between_items,
        after_key,
        sort_keys: sort_keys.unwrap_or(false),
    };
    writer.value(value, 0)?;
    Ok(writer.written)
}

struct JsonWriter<'a> {
    state: &'a State<'a, 'a>,
    written: String,
    indent: Option<usize>,
    between_items: String,
    after_key: String,
    sort_keys: bool,
}

impl JsonWriter<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > limits::TEMPLATE_RECURSION_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "recursion limit exceeded"));
        }
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None | ValueKind::Undefined => self.written.push_str("null"),
            ValueKind::Bool => {
                self.written.push_str(if value.is_true() { "true" } else { "false" });
            }
            ValueKind::Number => self.written.push_str(&number(value)),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items(('[', ']'), &items, depth, |writer, item| {
                    writer.value(item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.items(('{', '}'), &keys, depth, |writer, key| {
                    writer.text(&key.to_string())?;
                    writer.state.consume_fuel(writer.after_key.len() as u64 / 64)?;
                    writer.written.push_str(&writer.after_key);
                    writer.value(&value.get_item(key)?, depth + 1)
                })?;
            }
            _ => match value.as_str() {
                Some(text) => self.text(text)?,
                None => {
                    let reason = format!("{} is not JSON serializable", value.kind());
                    return Err(Error::new(ErrorKind::InvalidOperation, reason));
                }
            },
        }
        Ok(())
    }

    fn items(
        &mut self,
        (open, close): (char, char),
        items: &[Value],
        depth: usize,
        write: impl Fn(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.written.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.state.consume_fuel(self.between_items.len() as u64 / 64)?;
                self.written.push_str(&self.between_items);
            }
            self.line_break(depth + 1)?;
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line_break(depth)?;
        }
        self.written.push(close);
        Ok(())
    }

    fn line_break(&mut self, depth: usize) -> Result<(), Error> {
        let Some(indent) = self.indent else { return Ok(()) };
        let spaces = indent.saturating_mul(depth);
        self.state.consume_fuel(spaces as u64 / 64)?;
        self.written.push('\n');
        self.written.extend(std::iter::repeat_n(' ', spaces));
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(text.len() as u64 / 64)?;
        self.written.push_str(&serde_json::Value::from(text).to_string());
        Ok(())
    }
}
