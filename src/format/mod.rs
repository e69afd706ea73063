//! Checkpoint container formats: headers and metadata, checked before anything believes them.
//!
//! Knows bytes, names, shapes and offsets; must not know models, tensors of Candle, or text.

pub mod gguf;
pub mod safetensors;
