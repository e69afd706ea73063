//! Any bytes are a safetensors file, an index, a configuration or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outcrop::format::safetensors::{ShardIndex, parse_header};
use outcrop::model::ModelConfig;

fuzz_target!(|file: &[u8]| {
    if let Ok(tensors) = parse_header(file, file.len() as u64) {
        for tensor in &tensors {
            let end = (tensor.offset + tensor.num_bytes) as usize;
            // Panics unless parsing has placed every tensor inside the file.
            assert_eq!(file[tensor.offset as usize..end].len() as u64, tensor.num_bytes);
        }
    }
    if let Ok(index) = ShardIndex::parse(file) {
        assert!(index.files().iter().all(|name| !name.contains('/')));
    }
    if let Ok(config) = ModelConfig::from_hf(file) {
        assert!(config.check().is_ok());
    }
});
