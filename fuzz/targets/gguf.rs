//! Any bytes are a GGUF file or an error: no panic, no endless loop, no memory beyond the file's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outcrop::format::gguf::{GgufHeader, TensorInfo};
use outcrop::model::config::{ModelConfig, TensorShapes};

struct Shapes<'a>(&'a [TensorInfo]);

impl TensorShapes for Shapes<'_> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        let mut tensors = self.0.iter();
        tensors.find(|tensor| tensor.name == name).map(|tensor| tensor.dims.as_slice())
    }
}

fuzz_target!(|file: &[u8]| {
    let Ok(header) = GgufHeader::parse(file, file.len() as u64) else { return };
    for tensor in &header.tensors {
        // Panics unless parsing has placed every tensor inside the file.
        let elements = tensor.dims.iter().map(|&dim| dim as u64).product();
        let expected = tensor.dtype.data_bytes(elements);
        assert_eq!(Some(tensor.data(file).len() as u64), expected);
    }
    if let Ok(config) = ModelConfig::from_gguf(&header.metadata, &Shapes(&header.tensors), None) {
        assert!(config.check().is_ok());
    }
});
