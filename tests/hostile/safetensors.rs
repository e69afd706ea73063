//! Headers of safetensors files.

use outcrop::format::safetensors::{SafetensorsError, SafetensorsInfo, parse_header};
use outcrop::limits::{SAFETENSORS_HEADER_BYTES_MAX, SAFETENSORS_TENSORS_MAX};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{Case, bounded};

fn parse(bytes: &[u8]) -> Result<Vec<SafetensorsInfo>, SafetensorsError> {
    parse_header(bytes, bytes.len() as u64)
}

fn claimed(len: u64, header: &[u8], data_bytes: usize) -> Vec<u8> {
    [&len.to_le_bytes(), header, &vec![0; data_bytes]].concat()
}

/// With the data of two tensors of 8 bytes.
fn file(header: &str) -> Vec<u8> {
    claimed(header.len() as u64, header.as_bytes(), 16)
}

/// A first tensor that is right, and a second.
fn second(entry: &str) -> Vec<u8> {
    file(&format!(r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},{entry}}}"#))
}

/// A second tensor named `b` of this type, shape and offsets.
fn tensor(dtype: &str, shape: &str, offsets: &str) -> Vec<u8> {
    second(&format!(r#""b":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#))
}

#[test]
fn the_file_that_the_others_are_made_from_is_right() {
    assert_eq!(parse(&tensor("BF16", "[2,2]", "[8,16]")).map(|tensors| tensors.len()), Ok(2));
}

#[test]
fn headers() {
    let limit = SAFETENSORS_HEADER_BYTES_MAX;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long_name = "n".repeat(513);
    let field = |entry: &str| second(&format!(r#""b":{entry}"#));
    let cases = [
        ("empty", vec![], "8 of the header's length"),
        ("seven bytes", vec![0; 7], "8 of the header's length"),
        ("length 2^64 - 1", claimed(u64::MAX, b"{}", 0), "over the limit"),
        ("length above the limit", claimed(limit + 1, b"{}", 0), "over the limit"),
        ("length past the end", claimed(3, b"{}", 0), "2 bytes are left"),
        ("length 0", claimed(0, b"", 0), "header is not valid"),
        ("no JSON", file("GGUF"), "header is not valid"),
        ("a list", file("[]"), "header is not valid"),
        ("no UTF-8", claimed(6, b"{\"\xff\":1", 0), "header is not valid"),
        ("text after the object", file("{} x"), "header is not valid"),
        ("100,000 brackets", field(&deep), "header is not valid"),
        ("100,000 brackets of metadata", file(&format!(r#"{{"__metadata__":{deep}}}"#)), {
            "has 16 bytes of data"
        }),
        ("tensor twice", second(r#""a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#), {
            "`a` occurs twice"
        }),
        ("metadata twice", file(r#"{"__metadata__":{},"__metadata__":{}}"#), "occurs twice"),
        ("empty name", second(r#""":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#), {
            "empty name"
        }),
        ("long name", second(&format!(r#""{long_name}":{{}}"#)), "more than 512 bytes"),
        ("no dtype", field(r#"{"shape":[2],"data_offsets":[8,16]}"#), "missing field `dtype`"),
        ("no shape", field(r#"{"dtype":"F32","data_offsets":[8,16]}"#), "missing field `shape`"),
        ("no offsets", field(r#"{"dtype":"F32","shape":[2]}"#), "missing field `data_offsets`"),
        ("unknown field", field(r#"{"dtype":"F32","strides":[1]}"#), "unknown field `strides`"),
        ("null", field("null"), "header is not valid"),
    ];
    for (name, bytes, message) in cases {
        Case::new(name, bytes, message).check(parse);
    }
}

#[test]
fn tensors() {
    let long_shape = format!("[{}1]", "1,".repeat(1_000_000));
    let cases = [
        ("I64", tensor("I64", "[1]", "[8,16]"), "tensor `b` has type I64"),
        ("F8", tensor("F8_E4M3", "[8]", "[8,16]"), "F8_E4M3"),
        ("F64", tensor("F64", "[1]", "[8,16]"), "F64"),
        ("no dimensions", tensor("F32", "[]", "[8,12]"), "shape []"),
        ("dimension 0", tensor("F32", "[0]", "[8,8]"), "shape [0]"),
        ("dimension -1", tensor("F32", "[-1]", "[8,16]"), "header is not valid"),
        ("dimension 1.5", tensor("F32", "[1.5]", "[8,16]"), "header is not valid"),
        ("dimension 1e400", tensor("F32", "[1e400]", "[8,16]"), "header is not valid"),
        ("dimension 2^31", tensor("F32", "[2147483648]", "[8,16]"), "2147483648"),
        ("nine dimensions", tensor("F32", "[1,1,1,1,1,1,1,1,1]", "[8,12]"), "8 dimensions"),
        ("a million dimensions", tensor("F32", &long_shape, "[8,12]"), "8 dimensions"),
        ("product above 2^64", tensor("F32", "[2147483647,2147483647,9]", "[8,16]"), "overflow"),
        ("too short", tensor("F32", "[2]", "[8,12]"), "needs 8 bytes"),
        ("reversed", tensor("F32", "[2]", "[16,8]"), "tensor `b` has data_offsets [16, 8]"),
        ("three offsets", tensor("F32", "[2]", "[8,16,24]"), "header is not valid"),
        (
            "offset near 2^64",
            { tensor("F32", "[2]", "[18446744073709551607,18446744073709551615]") },
            "data_offsets",
        ),
        ("past the end", tensor("F32", "[4]", "[8,24]"), "data ends at 24"),
        ("a hole", tensor("F32", "[1]", "[12,16]"), "`b` begins at 12"),
        ("an overlap", tensor("F32", "[3]", "[4,16]"), "`b` begins at 4"),
        ("data after the last", tensor("F32", "[1]", "[8,12]"), "has 16 bytes of data"),
    ];
    for (name, bytes, message) in cases {
        Case::new(name, bytes, message).check(parse);
    }
}

#[test]
fn every_truncation() {
    let bytes = tensor("BF16", "[2,2]", "[8,16]");
    for len in 0..bytes.len() {
        let error = bounded("truncated", len, || parse(&bytes[..len]));
        assert!(error.is_err(), "{len} of {} bytes were accepted", bytes.len());
    }
}

fn many(count: usize) -> Vec<u8> {
    let entry = |index: usize| {
        let (start, end) = (index * 2, index * 2 + 2);
        format!(r#""{index}":{{"dtype":"F16","shape":[1],"data_offsets":[{start},{end}]}}"#)
    };
    let entries: Vec<_> = (0..count).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    claimed(header.len() as u64, header.as_bytes(), count * 2)
}

#[test]
fn memory_at_the_limits() {
    let bytes = many(SAFETENSORS_TENSORS_MAX);
    assert!(bounded("tensors", bytes.len(), || parse(&bytes)).is_ok());
    let bytes = many(SAFETENSORS_TENSORS_MAX + 1);
    Case::new("one more tensor", bytes, "more than 16384 tensors").check(parse);
    let spaces = " ".repeat(SAFETENSORS_HEADER_BYTES_MAX as usize - 2);
    let bytes = claimed(SAFETENSORS_HEADER_BYTES_MAX, format!("{{{spaces}}}").as_bytes(), 0);
    assert_eq!(bounded("spaces", bytes.len(), || parse(&bytes)), Ok(vec![]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever is accepted after random edits lies in the file.
    #[test]
    fn mutations(edits in vec((any::<Index>(), any::<u8>()), 1..6)) {
        let mut bytes = tensor("BF16", "[2,2]", "[8,16]");
        for (index, byte) in edits {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(tensors) = bounded("mutated", bytes.len(), || parse(&bytes)) {
            for tensor in tensors {
                prop_assert!(tensor.offset + tensor.num_bytes <= bytes.len() as u64);
            }
        }
    }
}
