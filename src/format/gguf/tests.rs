//! Reader and writer against each other, and single fields of the header changed.

use std::path::PathBuf;

use super::*;
use crate::limits::{GGUF_ARRAY_ELEMENTS_MAX, GGUF_METADATA_ENTRIES_MAX, GGUF_TENSORS_MAX};

fn spec(name: &str, dims: &[usize], dtype: GgmlType) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dims: dims.to_vec(), dtype }
}

/// A file whose tensor data is the tensor's index, repeated.
fn file(entries: &[(&str, Value)], tensors: &[TensorSpec]) -> Vec<u8> {
    let metadata: Metadata =
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, tensors).unwrap();
    for (index, tensor) in tensors.iter().enumerate() {
        writer.write_data(&vec![index as u8; tensor.num_bytes() as usize]).unwrap();
    }
    writer.finish().unwrap()
}

fn parse(bytes: &[u8]) -> Result<GgufHeader, GgufError> {
    GgufHeader::parse(bytes, bytes.len() as u64)
}

#[test]
fn what_is_written_is_read_back() {
    let strings = ["", "Ġhello", "你好"].map(str::to_owned).to_vec();
    let entries = [
        ("general.architecture", Value::String("llama".into())),
        ("i8", Value::I8(-1)),
        ("u16", Value::U16(65_535)),
        ("i64", Value::I64(i64::MIN)),
        ("u64", Value::U64(u64::MAX)),
        ("f32", Value::F32(1e-6)),
        ("f64", Value::F64(0.1)),
        ("bool", Value::Bool(true)),
        ("strings", Value::Array(Array::Strings(strings))),
        ("narrow", Value::Array(Array::Integers(vec![-1, 0, i32::MAX.into()]))),
        ("wide", Value::Array(Array::Integers(vec![i64::MAX]))),
        ("floats", Value::Array(Array::Floats(vec![0.5, -2.0]))),
        ("bools", Value::Array(Array::Bools(vec![true, false]))),
        ("none", Value::Array(Array::Strings(vec![]))),
    ];
    let tensors = [
        spec("a.weight", &[3, 64], GgmlType::Q4_0),
        spec("b.weight", &[2, 256], GgmlType::Q4K),
        spec("c.bias", &[5], GgmlType::F32),
    ];
    let bytes = file(&entries, &tensors);
    let header = parse(&bytes).unwrap();
    for (key, value) in &entries {
        let found = header.metadata.iter().find(|(found, _)| found == key).unwrap().1;
        assert_eq!(found, value);
    }
    for (index, (found, wanted)) in header.tensors.iter().zip(&tensors).enumerate() {
        assert_eq!((&found.name, &found.dims, found.dtype), {
            (&wanted.name, &wanted.dims, wanted.dtype)
        });
        assert_eq!(found.data(&bytes), vec![index as u8; wanted.num_bytes() as usize]);
    }
}

#[test]
fn version_two_is_read_and_others_are_refused() {
    let mut bytes = file(&[], &[spec("a", &[1], GgmlType::F32)]);
    bytes[4] = 2;
    assert!(parse(&bytes).is_ok());
    for found in [1, 4] {
        bytes[4] = found;
        assert_eq!(parse(&bytes), Err(GgufError::Version { found: found.into() }));
    }
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    assert_eq!(parse(&bytes), Err(GgufError::BigEndian));
    bytes[0] = b'g';
    assert_eq!(parse(&bytes), Err(GgufError::Magic));
}

#[test]
fn counts_are_refused_one_above_their_limit() {
    let counts = [(8, GGUF_TENSORS_MAX), (16, GGUF_METADATA_ENTRIES_MAX)];
    for (position, limit) in counts {
        let mut bytes = file(&[], &[]);
        bytes[position..position + 8].copy_from_slice(&limit.to_le_bytes());
        assert!(!matches!(parse(&bytes), Err(GgufError::OverLimit { .. })));
        bytes[position..position + 8].copy_from_slice(&(limit + 1).to_le_bytes());
        let error = parse(&bytes).unwrap_err();
        assert!(matches!(error, GgufError::OverLimit { found, .. } if found == limit + 1));
    }
}

#[test]
fn array_elements_are_counted_over_the_whole_file() {
    let half = (GGUF_ARRAY_ELEMENTS_MAX / 2) as usize;
    let bools = |count| Value::Array(Array::Bools(vec![false; count]));
    assert!(parse(&file(&[("a", bools(half)), ("b", bools(half))], &[])).is_ok());
    let error = parse(&file(&[("a", bools(half)), ("b", bools(half + 1))], &[])).unwrap_err();
    let field = "number of array elements up to metadata key `b`".to_owned();
    let (found, limit) = (GGUF_ARRAY_ELEMENTS_MAX + 1, GGUF_ARRAY_ELEMENTS_MAX);
    assert_eq!(error, GgufError::OverLimit { field, found, limit });
}

#[test]
fn alignment_moves_the_data() {
    let tensors = [spec("a", &[1], GgmlType::F32), spec("b", &[1], GgmlType::F32)];
    for alignment in [8, 64, 65_536] {
        let bytes = file(&[("general.alignment", Value::U32(alignment))], &tensors);
        let header = parse(&bytes).unwrap();
        assert_eq!(header.data_offset % u64::from(alignment), 0);
        assert_eq!(header.tensors[1].offset - header.tensors[0].offset, u64::from(alignment));
    }
}

#[test]
fn a_prefix_is_enough_for_the_header() {
    let bytes = file(&[], &[spec("a", &[1000], GgmlType::F32)]);
    let header = parse(&bytes).unwrap();
    let prefix = &bytes[..header.data_offset as usize];
    assert_eq!(GgufHeader::parse(prefix, bytes.len() as u64), Ok(header));
    assert!(matches!(parse(prefix), Err(GgufError::OutOfFile { .. })));
}

/// The real metadata of R1-Distill-Qwen-7B, where it has been downloaded.
#[test]
fn the_header_of_a_real_checkpoint_is_read() {
    let dir = std::env::var_os("OUTCROP_TEST_MODELS").map(PathBuf::from).or_else(|| {
        Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/outcrop-test-models"))
    });
    let path = dir.map(|dir| dir.join("r1-distill-qwen-7b-q4_k_m.head.gguf"));
    let Some(bytes) = path.and_then(|path| std::fs::read(path).ok()) else {
        eprintln!("skipped: needs r1-distill-qwen-7b-q4_k_m.head.gguf in OUTCROP_TEST_MODELS");
        return;
    };
    let header = GgufHeader::parse(&bytes, u64::MAX).unwrap();
    assert_eq!(header.metadata.string("general.architecture"), Ok(Some("qwen2")));
    assert_eq!(header.metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap().len(), 152_064);
    assert_eq!(header.tensors.len(), 339);
    let name = "token_embd.weight";
    let embedding = header.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    assert_eq!(embedding.dims, [152_064, 3584]);
}
