//! Any bytes are a GGUF file or an error: no panic, no endless loop, no memory beyond the file's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outcrop::format::gguf::GgufHeader;

fuzz_target!(|file: &[u8]| {
    let Ok(header) = GgufHeader::parse(file, file.len() as u64) else { return };
    for tensor in &header.tensors {
        // Panics unless parsing has placed every tensor inside the file.
        assert!(tensor.data(file).len() <= file.len());
    }
});
