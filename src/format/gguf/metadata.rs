//! The key-value part of a GGUF header, read through typed accessors whose errors name the key.

use std::collections::BTreeMap;

use thiserror::Error;

/// One metadata value. Strings have been checked to be UTF-8, arrays to be flat.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A flat array of one element type; integers of any width are widened, `f64` narrowed.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Strings(Vec<String>),
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum MetadataError {
    #[error("metadata key `{key}` is missing")]
    Missing { key: String },
    #[error("metadata key `{key}` should be {expected}")]
    WrongType { key: String, expected: &'static str },
}

/// All metadata of a file, by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    /// `None` when the key is absent; an error when it has another type.
    pub fn string(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Any unsigned or non-negative integer type.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, MetadataError> {
        self.typed(key, "a non-negative integer", |value| match *value {
            Value::U8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::U64(n) => Some(n),
            Value::I8(n) => n.try_into().ok(),
            Value::I16(n) => n.try_into().ok(),
            Value::I32(n) => n.try_into().ok(),
            Value::I64(n) => n.try_into().ok(),
            _ => None,
        })
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>, MetadataError> {
        self.typed(key, "a float", |value| match *value {
            Value::F32(n) => Some(n.into()),
            Value::F64(n) => Some(n),
            _ => None,
        })
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        self.typed(key, "a boolean", |value| match *value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, MetadataError> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::Strings(items)) => Some(items.as_slice()),
            _ => None,
        })
    }

    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, MetadataError> {
        self.typed(key, "an array of integers", |value| match value {
            Value::Array(Array::Integers(items)) => Some(items.as_slice()),
            _ => None,
        })
    }

    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>, MetadataError> {
        self.typed(key, "an array of floats", |value| match value {
            Value::Array(Array::Floats(items)) => Some(items.as_slice()),
            _ => None,
        })
    }

    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub fn insert(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(MetadataError::WrongType { key: key.to_owned(), expected }),
        }
    }
}

impl FromIterator<(String, Value)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// Turns an absent key into an error, for keys that a reader cannot do without.
pub trait Required<T> {
    fn required(self, key: &str) -> Result<T, MetadataError>;
}

impl<T> Required<T> for Result<Option<T>, MetadataError> {
    fn required(self, key: &str) -> Result<T, MetadataError> {
        self?.ok_or_else(|| MetadataError::Missing { key: key.to_owned() })
    }
}
