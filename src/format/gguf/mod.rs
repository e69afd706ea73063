//! GGUF, versions 2 and 3: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod dtype;
mod error;
mod header;
mod metadata;
mod reader;
pub mod split;
#[cfg(test)]
mod tests;
mod value;
mod writer;

pub use dtype::GgmlType;
pub use error::GgufError;
pub use header::{GgufHeader, TensorInfo};
pub use metadata::{Array, Metadata, MetadataError, Required, Value};
pub use writer::{GgufWriter, TensorSpec};
