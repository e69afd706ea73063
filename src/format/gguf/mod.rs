//! GGUF, versions 2 and 3: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod metadata;

pub use metadata::{Array, Metadata, MetadataError, Required, Value};
