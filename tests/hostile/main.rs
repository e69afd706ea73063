//! Files that lie. Each is refused with an error that names the field, quickly, and without memory
//! beyond its own size and a fixed allowance, whatever counts and lengths it claims.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod allocation;
mod checkpoint;
mod gguf;
mod gguf_file;
mod safetensors;

use std::time::{Duration, Instant};

use allocation::peak_bytes;
use outcrop::limits::FORMAT_EXTRA_BYTES_MAX;

/// Far above what any of these files takes, and far below what an endless loop would.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Runs `read` on a file of `file_bytes` within the bounds of time and memory.
fn bounded<T>(name: &str, file_bytes: usize, read: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let (result, peak) = peak_bytes(read);
    let allowance = file_bytes as u64 + FORMAT_EXTRA_BYTES_MAX;
    assert!(peak as u64 <= allowance, "{name}: {peak} bytes for a file of {file_bytes}");
    assert!(start.elapsed() < TIME_MAX, "{name}: {:?}", start.elapsed());
    result
}

/// A file and a part of the message that refuses it.
struct Case {
    name: String,
    bytes: Vec<u8>,
    message: &'static str,
}

impl Case {
    fn new(name: impl Into<String>, bytes: Vec<u8>, message: &'static str) -> Self {
        Self { name: name.into(), bytes, message }
    }

    fn check<T, E: std::fmt::Display>(&self, read: impl FnOnce(&[u8]) -> Result<T, E>) {
        let Self { name, bytes, message } = self;
        match bounded(name, bytes.len(), || read(bytes)) {
            Ok(_) => panic!("{name}: it was accepted"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(message), "{name}: `{error}` lacks `{message}`");
            }
        }
    }
}
