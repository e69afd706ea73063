//! Why a GGUF file was refused, and in which field.

use thiserror::Error;

use super::metadata::MetadataError;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum GgufError {
    #[error("not a GGUF file: it does not begin with `GGUF`")]
    Magic,
    #[error("the file is big-endian; only little-endian GGUF files are supported")]
    BigEndian,
    #[error("GGUF version {found} is not supported, only 2 and 3 are")]
    Version { found: u32 },
    #[error("{field}: {wanted} bytes at offset {offset} run past the end, {left} are left")]
    Truncated { field: String, offset: u64, wanted: u64, left: u64 },
    #[error("{field} is {found}, over the limit of {limit}")]
    OverLimit { field: String, found: u64, limit: u64 },
    #[error("{field} is not valid UTF-8")]
    Utf8 { field: String },
    #[error("{field} contains a NUL character")]
    Nul { field: String },
    #[error("{field} is empty")]
    Empty { field: String },
    #[error("metadata key `{key}` occurs twice")]
    DuplicateKey { key: String },
    #[error("metadata key `{key}` has unknown value type {found}")]
    ValueType { key: String, found: u32 },
    #[error("metadata key `{key}` is an array of arrays, which is not supported")]
    NestedArray { key: String },
    #[error("metadata key `{key}` has boolean value {found}, which is neither 0 nor 1")]
    Boolean { key: String, found: u8 },
    #[error("metadata key `{key}` holds {found}, which does not fit a signed 64-bit integer")]
    IntegerRange { key: String, found: u64 },
    #[error("general.alignment is {found}; it must be a power of two between {min} and {max}")]
    Alignment { found: u64, min: u64, max: u64 },
    #[error("tensor `{name}` occurs twice")]
    DuplicateTensor { name: String },
    #[error("tensor `{name}` has type {code} ({type_name}), which is not supported")]
    TensorType { name: String, code: u32, type_name: &'static str },
    #[error("tensor `{name}` has {found} dimensions; it must have 1 to {limit}")]
    NumDims { name: String, found: u32, limit: u32 },
    #[error("tensor `{name}` has dimension {found}; each must be between 1 and {limit}")]
    Dimension { name: String, found: u64, limit: u64 },
    #[error("tensor `{name}` has dimensions {dims:?}, whose size in bytes overflows")]
    TensorSize { name: String, dims: Vec<usize> },
    #[error("tensor `{name}` has rows of {row_len}, not a whole number of {dtype} blocks")]
    RowLength { name: String, row_len: usize, dtype: &'static str },
    #[error("tensor `{name}` has offset {offset}, not a multiple of the alignment {alignment}")]
    Misaligned { name: String, offset: u64, alignment: u64 },
    #[error("tensor `{name}` needs {bytes} bytes at data offset {offset}, past the file's end")]
    OutOfFile { name: String, offset: u64, bytes: u64 },
    #[error("tensors `{first}` and `{second}` overlap in the file")]
    Overlap { first: String, second: String },
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}
