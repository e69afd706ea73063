//! Every limit of the program, each with the reason for its value.
//!
//! A limit that a user can hit is named in the error that refuses it. Limits that depend on each
//! other are tied by a `const` assertion.

// ---- chat ----

// ---- engine ----

/// Preemptions of one request. After that it is resumed only when the pool holds the whole rest of
/// everything that runs, so that it cannot be preempted again: a request that is thrown out without
/// end would recompute without end.
pub const PREEMPTIONS_PER_REQUEST_MAX: usize = 4;

// ---- format ----

const MIB: u64 = 1 << 20;

/// A reader may use memory of the file's size and this much more, whatever the file says.
pub const FORMAT_EXTRA_BYTES_MAX: u64 = 64 * MIB;
/// Real headers have below 100 entries.
pub const GGUF_METADATA_ENTRIES_MAX: u64 = 4096;
/// The specification's limit.
pub const GGUF_KEY_BYTES_MAX: u64 = 65_535;
/// A tokenizer embedded as one JSON text is the largest string met in practice, near 20 MiB.
pub const GGUF_STRING_BYTES_MAX: u64 = 64 * MIB;
/// Elements of all arrays of a file. Llama 3's vocabulary, types and merges are 537,000 together.
pub const GGUF_ARRAY_ELEMENTS_MAX: u64 = 1 << 20;
/// Llama 70B has 724 tensors.
pub const GGUF_TENSORS_MAX: u64 = 16_384;
/// `GGML_MAX_DIMS`.
pub const GGUF_TENSOR_DIMS_MAX: u32 = 4;
/// The specification asks for a multiple of 8, which also aligns every element type.
pub const GGUF_ALIGNMENT_MIN: u64 = 8;
/// Files are written with 32; a page of 64 KiB is the most that a reader could want.
pub const GGUF_ALIGNMENT_MAX: u64 = 65_536;
/// `split.count` is a 16-bit number, and its name has five digits; 70B in F32 is under 100 parts.
pub const GGUF_SPLITS_MAX: u64 = 1024;
/// ggml has 64, Hugging Face names reach 100.
pub const TENSOR_NAME_BYTES_MAX: u64 = 512;
/// Kernels on accelerators index dimensions by 32-bit signed integers.
pub const TENSOR_DIM_MAX: u64 = i32::MAX as u64;

/// Memory beyond the file's own bytes: for an array element a `String` and its heap block (an
/// allocator gives 32 bytes for one), for a metadata entry or a tensor its key and record.
const _: () = assert!(
    GGUF_ARRAY_ELEMENTS_MAX * (24 + 32 - 9)
        + GGUF_METADATA_ENTRIES_MAX * 256
        + GGUF_TENSORS_MAX * 256
        <= FORMAT_EXTRA_BYTES_MAX
);

// ---- model ----

// ---- pipeline ----

// ---- api ----

// ---- hub ----
