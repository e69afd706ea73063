//! Reading of metadata values: thirteen types by number, arrays flat and within a budget.

use super::{
    error::GgufError,
    metadata::{Array, Value},
    reader::{Field, Reader},
};
use crate::limits::{GGUF_ARRAY_ELEMENTS_MAX, GGUF_STRING_BYTES_MAX};

/// `enum gguf_metadata_value_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn from_code(code: u32, key: &str) -> Result<Self, GgufError> {
        let known = Self::ALL.into_iter().find(|kind| *kind as u32 == code);
        known.ok_or_else(|| GgufError::ValueType { key: key.to_owned(), found: code })
    }

    /// The fewest bytes that a value takes in the file.
    fn bytes_min(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::String | Self::Array | Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// Reads values, counting the array elements of the whole file.
#[derive(Default)]
pub(super) struct ValueReader {
    num_elements: u64,
}

impl ValueReader {
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, key: &str) -> Result<Value, GgufError> {
        let field = Field::Value { key };
        let kind = ValueType::from_code(reader.u32(field)?, key)?;
        let value = match kind {
            ValueType::U8 => Value::U8(u8::from_le_bytes(reader.array(field)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(reader.array(field)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(reader.array(field)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(reader.array(field)?)),
            ValueType::U32 => Value::U32(reader.u32(field)?),
            ValueType::I32 => Value::I32(i32::from_le_bytes(reader.array(field)?)),
            ValueType::U64 => Value::U64(reader.u64(field)?),
            ValueType::I64 => Value::I64(i64::from_le_bytes(reader.array(field)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(reader.array(field)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(reader.array(field)?)),
            ValueType::Bool => {
                let [byte] = reader.array(field)?;
                Value::Bool(boolean(byte, key)?)
            }
            ValueType::String => {
                Value::String(reader.string(GGUF_STRING_BYTES_MAX, field)?.to_owned())
            }
            ValueType::Array => Value::Array(self.array(reader, key)?),
        };
        Ok(value)
    }

    fn array(&mut self, reader: &mut Reader<'_>, key: &str) -> Result<Array, GgufError> {
        let field = Field::Value { key };
        let kind = ValueType::from_code(reader.u32(field)?, key)?;
        let count = reader.u64(field)?;
        if kind == ValueType::Array {
            return Err(GgufError::NestedArray { key: key.to_owned() });
        }
        reader.require(count, kind.bytes_min(), field)?;
        self.num_elements = self.num_elements.saturating_add(count);
        if self.num_elements > GGUF_ARRAY_ELEMENTS_MAX {
            return Err(GgufError::OverLimit {
                field: format!("number of array elements up to metadata key `{key}`"),
                found: self.num_elements,
                limit: GGUF_ARRAY_ELEMENTS_MAX,
            });
        }
        match kind {
            ValueType::String => strings(reader, count, key),
            _ => scalars(reader.take(count * kind.bytes_min(), field)?, kind, key),
        }
    }
}

fn strings(reader: &mut Reader<'_>, count: u64, key: &str) -> Result<Array, GgufError> {
    let field = Field::Value { key };
    let mut items = Vec::with_capacity(count as usize);
    for _ in 0..count {
        items.push(reader.string(GGUF_STRING_BYTES_MAX, field)?.to_owned());
    }
    Ok(Array::Strings(items))
}

fn scalars(bytes: &[u8], kind: ValueType, key: &str) -> Result<Array, GgufError> {
    let array = match kind {
        ValueType::U8 => Array::Integers(bytes.iter().map(|&byte| byte.into()).collect()),
        ValueType::I8 => integers(bytes, i8::from_le_bytes),
        ValueType::U16 => integers(bytes, u16::from_le_bytes),
        ValueType::I16 => integers(bytes, i16::from_le_bytes),
        ValueType::U32 => integers(bytes, u32::from_le_bytes),
        ValueType::I32 => integers(bytes, i32::from_le_bytes),
        ValueType::I64 => integers(bytes, i64::from_le_bytes),
        ValueType::U64 => {
            let items = elements(bytes, u64::from_le_bytes).map(|found| {
                i64::try_from(found)
                    .map_err(|_| GgufError::IntegerRange { key: key.to_owned(), found })
            });
            Array::Integers(items.collect::<Result<_, _>>()?)
        }
        ValueType::F32 => Array::Floats(elements(bytes, f32::from_le_bytes).collect()),
        ValueType::F64 => {
            Array::Floats(elements(bytes, f64::from_le_bytes).map(|x| x as f32).collect())
        }
        ValueType::Bool => {
            let items = bytes.iter().map(|&byte| boolean(byte, key));
            Array::Bools(items.collect::<Result<_, _>>()?)
        }
        ValueType::String | ValueType::Array => {
            unreachable!("strings have their own reader and nested arrays are refused before")
        }
    };
    Ok(array)
}

fn integers<T: Into<i64>, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Array {
    Array::Integers(elements(bytes, read).map(Into::into).collect())
}

fn elements<T, const N: usize>(
    bytes: &[u8],
    read: fn([u8; N]) -> T,
) -> impl Iterator<Item = T> + use<'_, T, N> {
    bytes.as_chunks::<N>().0.iter().map(move |chunk| read(*chunk))
}

fn boolean(byte: u8, key: &str) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(GgufError::Boolean { key: key.to_owned(), found }),
    }
}
