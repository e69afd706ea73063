//! Headers of GGUF files.

use outcrop::format::gguf::{GgufError, GgufHeader};
use outcrop::limits::{
    GGUF_ARRAY_ELEMENTS_MAX, GGUF_METADATA_ENTRIES_MAX, GGUF_TENSORS_MAX, TENSOR_NAME_BYTES_MAX,
};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::gguf_file::{
    ARRAY, BOOL, GgufFile, STRING, Tensor, U32, array, claimed_string, entry, string,
};
use crate::{Case, bounded};

fn parse(bytes: &[u8]) -> Result<GgufHeader, GgufError> {
    GgufHeader::parse(bytes, bytes.len() as u64)
}

fn with(change: impl FnOnce(&mut GgufFile)) -> Vec<u8> {
    let mut file = GgufFile::default();
    change(&mut file);
    file.bytes()
}

#[test]
fn the_file_that_the_others_are_made_from_is_right() {
    assert_eq!(parse(&GgufFile::default().bytes()).map(|header| header.tensors.len()), Ok(2));
}

#[test]
fn beginnings() {
    let mut cases = vec![
        Case::new("empty", vec![], "magic"),
        Case::new("three bytes", b"GGU".to_vec(), "magic"),
        Case::new("other magic", with(|file| file.magic = *b"GGML"), "not a GGUF file"),
        Case::new("version cut", b"GGUF\x03\0".to_vec(), "version"),
        Case::new("big-endian", with(|file| file.version = 3u32.swap_bytes()), "big-endian"),
    ];
    for version in [0, 1, 4, u32::MAX] {
        let bytes = with(|file| file.version = version);
        cases.push(Case::new(format!("version {version}"), bytes, "version"));
    }
    for count in [GGUF_TENSORS_MAX + 1, 1 << 32, 1 << 63, u64::MAX] {
        let bytes = with(|file| file.num_tensors = Some(count));
        cases.push(Case::new(format!("{count} tensors"), bytes, "number of tensors"));
    }
    for count in [GGUF_METADATA_ENTRIES_MAX + 1, 1 << 32, u64::MAX] {
        let bytes = with(|file| file.num_entries = Some(count));
        cases.push(Case::new(format!("{count} entries"), bytes, "number of metadata entries"));
    }
    let bytes = with(|file| file.num_tensors = Some(GGUF_TENSORS_MAX));
    cases.push(Case::new("more tensors than bytes", bytes, "tensor table"));
    let bytes = GgufFile { num_entries: Some(9), entries: vec![], ..empty() }.bytes();
    cases.push(Case::new("entries that are not there", bytes, "metadata key number 0"));
    cases.iter().for_each(|case| case.check(parse));
}

fn empty() -> GgufFile {
    GgufFile { entries: vec![], tensors: vec![], data: vec![], ..GgufFile::default() }
}

#[test]
fn metadata() {
    let keyed = |key: Vec<u8>| [key, U32.to_le_bytes().to_vec(), vec![0; 4]].concat();
    let text = |value: Vec<u8>| entry("key", STRING, &value);
    let list = |value: Vec<u8>| entry("key", ARRAY, &value);
    let nested = array(ARRAY, 1, &array(U32, 1, &[0; 4]));
    let deep = (0..65).fold(array(U32, 1, &[0; 4]), |inner, _| array(ARRAY, 1, &inner));
    let above_i64 = array(10, 1, &u64::MAX.to_le_bytes());
    let short_strings = array(STRING, 1 << 19, &[0; 64]);
    let second = entry("numbers", U32, &[0; 4]);
    let cases = [
        ("key of 2^63 bytes", keyed(claimed_string(1 << 63, b"k")), "length of metadata key"),
        ("key of 2^64 - 1 bytes", keyed(claimed_string(u64::MAX, b"k")), "length of metadata key"),
        ("key above the limit", keyed(string(&[b'k'; 65_536])), "length of metadata key number 2"),
        ("key past the end", keyed(claimed_string(60_000, b"k")), "metadata key number 2"),
        ("empty key", keyed(string(b"")), "metadata key number 2 is empty"),
        ("key with NUL", keyed(string(b"k\0y")), "NUL"),
        ("key of no UTF-8", keyed(string(b"\xff")), "UTF-8"),
        ("key that occurs twice", second, "`numbers` occurs twice"),
        ("value type 13", entry("key", 13, &[0; 8]), "`key` has unknown value type 13"),
        ("value type 2^32 - 1", entry("key", u32::MAX, &[0; 8]), "unknown value type"),
        ("boolean 2", entry("key", BOOL, &[2]), "boolean"),
        ("boolean 7 in an array", list(array(BOOL, 2, &[1, 7])), "boolean value 7"),
        (
            "string of 2^30 bytes",
            text(claimed_string(1 << 30, b"x")),
            "value of metadata key `key`",
        ),
        ("string past the end", text(claimed_string(1 << 20, b"x")), "value of metadata key `key`"),
        ("string of 2^64 - 1 bytes", text(claimed_string(u64::MAX, b"x")), "length of value"),
        ("string of no UTF-8", text(string(b"\xc3\x28")), "`key` is not valid UTF-8"),
        ("surrogate", text(string(b"\xed\xa0\x80")), "UTF-8"),
        ("array of arrays", list(nested), "array of arrays"),
        ("arrays 65 deep", list(deep), "array of arrays"),
        ("array of type 99", list(array(99, 1, &[0; 8])), "unknown value type 99"),
        ("2^64 - 1 bytes", list(array(0, u64::MAX, &[0; 8])), "value of metadata key `key`"),
        ("2^61 numbers of 8 bytes", list(array(10, 1 << 61, &[0; 8])), "metadata key `key`"),
        ("2^62 numbers of 4 bytes", list(array(U32, 1 << 62, &[])), "metadata key `key`"),
        ("2^61 strings", list(array(STRING, 1 << 61, &[0; 8])), "metadata key `key`"),
        ("2^19 strings in 64 bytes", list(short_strings), "metadata key `key`"),
        (
            "string in an array too long",
            { list(array(STRING, 1, &claimed_string(1 << 40, b""))) },
            "length of value of metadata key `key`",
        ),
        ("number above i64", list(above_i64), "does not fit"),
    ];
    for (name, entry, message) in cases {
        Case::new(name, GgufFile::with_entry(entry), message).check(parse);
    }
}

#[test]
fn alignments() {
    let value = |n: u32| entry("general.alignment", U32, &n.to_le_bytes());
    for found in [0, 1, 3, 4, 7, 48, 1 << 17, 1 << 31, u32::MAX] {
        let bytes = GgufFile::with_entry(value(found));
        Case::new(format!("alignment {found}"), bytes, "general.alignment").check(parse);
    }
    let others = [
        ("as u64", entry("general.alignment", 10, &(1u64 << 63).to_le_bytes())),
        ("negative", entry("general.alignment", 5, &(-32i32).to_le_bytes())),
        ("as a string", entry("general.alignment", STRING, &string(b"32"))),
        ("as an array", entry("general.alignment", ARRAY, &array(U32, 1, &[32, 0, 0, 0]))),
    ];
    for (name, entry) in others {
        Case::new(name, GgufFile::with_entry(entry), "general.alignment").check(parse);
    }
}

type Change = fn(&mut Tensor);

#[test]
fn tensors() {
    let cases: [(&str, Change, &str); 28] = [
        ("empty name", |t| t.name = vec![], "name of tensor number 1 is empty"),
        ("name with NUL", |t| t.name = b"b\0".to_vec(), "NUL"),
        ("name of no UTF-8", |t| t.name = b"\xf0".to_vec(), "UTF-8"),
        (
            "long name",
            |t| t.name = vec![b'n'; TENSOR_NAME_BYTES_MAX as usize + 1],
            "length of name",
        ),
        ("name twice", |t| t.name = b"a".to_vec(), "tensor `a` occurs twice"),
        ("no dimensions", |t| t.dims = vec![], "0 dimensions"),
        ("five dimensions", |t| t.dims = vec![1; 5], "5 dimensions"),
        ("2^32 - 1 dimensions", |t| t.num_dims = Some(u32::MAX), "dimensions"),
        ("dimension 0", |t| t.dims = vec![8, 0], "dimension 0"),
        ("dimension 2^31", |t| t.dims = vec![1 << 31], "dimension 2147483648"),
        ("dimension 2^64 - 1", |t| t.dims = vec![u64::MAX], "dimension 18446744073709551615"),
        ("product 0 modulo 2^64", |t| t.dims = vec![1 << 30, 1 << 30, 16], "overflows"),
        ("product above 2^64", |t| t.dims = vec![i32::MAX as u64; 4], "size in bytes overflows"),
        ("bytes above 2^64", |t| t.dims = vec![1 << 30, 1 << 30, 8], "size in bytes overflows"),
        ("removed type", |t| t.dtype = 4, "type 4"),
        ("Q8_1", |t| t.dtype = 9, "`b` has type 9 (Q8_1)"),
        ("Q8_K", |t| t.dtype = 15, "Q8_K"),
        ("IQ2_XXS", |t| t.dtype = 16, "IQ2_XXS"),
        ("MXFP4", |t| t.dtype = 39, "MXFP4"),
        ("type 2^32 - 1", |t| t.dtype = u32::MAX, "`b` has type 4294967295"),
        ("Q4_0 of 33", |t| (t.dtype, t.dims) = (2, vec![33]), "rows of 33"),
        ("Q4_K of 128 by 2", |t| (t.dtype, t.dims) = (12, vec![128, 2]), "rows of 128"),
        ("offset 1", |t| t.offset = 1, "offset 1, not a multiple"),
        ("offset past the end", |t| t.offset = 96, "tensor `b` needs 32 bytes at data offset 96"),
        ("offset near 2^64", |t| t.offset = u64::MAX - 31, "past the file's end"),
        ("a byte too long", |t| t.dims = vec![9], "past the file's end"),
        ("same offset", |t| t.offset = 0, "overlap"),
        ("larger than the file", |t| t.dims = vec![1 << 30], "tensor `b` needs 4294967296 bytes"),
    ];
    for (name, change, message) in cases {
        Case::new(name, GgufFile::with_tensor(change), message).check(parse);
    }
    let overlapping = with(|file| {
        file.tensors[0].dims = vec![16];
    });
    Case::new("the first reaches into the second", overlapping, "`a` and `b` overlap").check(parse);
}

#[test]
fn every_truncation() {
    let bytes = GgufFile::default().bytes();
    for len in 0..bytes.len() {
        let error = bounded("truncated", len, || parse(&bytes[..len]));
        assert!(error.is_err(), "{len} of {} bytes were accepted", bytes.len());
    }
}

/// Files at the limits, made so that memory is largest in proportion to the file.
#[test]
fn memory_at_the_limits() {
    let count = GGUF_ARRAY_ELEMENTS_MAX;
    let repeated = |kind, element: &[u8]| {
        let elements = element.repeat(count as usize);
        with(|file| file.entries = vec![entry("key", ARRAY, &array(kind, count, &elements))])
    };
    let tensor = |index: u64| Tensor::floats(&index.to_string(), index * 32);
    let files = [
        ("empty strings", repeated(STRING, &string(b""))),
        ("strings of a byte", repeated(STRING, &string(b"x"))),
        ("bytes", repeated(0, &[0])),
        ("booleans", repeated(BOOL, &[1])),
        (
            "tensors",
            with(|file| {
                file.tensors = (0..GGUF_TENSORS_MAX).map(tensor).collect();
                file.data = vec![0; GGUF_TENSORS_MAX as usize * 32];
            }),
        ),
        (
            "entries",
            with(|file| {
                let keys = (0..GGUF_METADATA_ENTRIES_MAX).map(|index| format!("{index}"));
                file.entries = keys.map(|key| entry(&key, BOOL, &[1])).collect();
            }),
        ),
    ];
    for (name, bytes) in files {
        let header = bounded(name, bytes.len(), || parse(&bytes));
        assert!(header.is_ok(), "{name}: {header:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is accepted after random edits can be followed: every tensor's bytes are there.
    #[test]
    fn mutations(edits in vec((any::<Index>(), any::<u8>(), 0..4u8), 1..6)) {
        let mut bytes = GgufFile::default().bytes();
        for (index, byte, kind) in edits {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(header) = bounded("mutated", bytes.len(), || parse(&bytes)) {
            for tensor in &header.tensors {
                let elements: usize = tensor.dims.iter().product();
                let expected = tensor.dtype.data_bytes(elements as u64);
                prop_assert_eq!(Some(tensor.data(&bytes).len() as u64), expected);
            }
        }
    }
}
