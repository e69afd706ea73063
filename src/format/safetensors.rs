//! Safetensors: a JSON table of tensors, then their data without holes:
//! <https://huggingface.co/docs/safetensors>; and the index over a checkpoint of several files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Component, Path},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use thiserror::Error;

use crate::limits::{
    SAFETENSORS_DIMS_MAX, SAFETENSORS_FILES_MAX, SAFETENSORS_HEADER_BYTES_MAX,
    SAFETENSORS_TENSORS_MAX, TENSOR_DIM_MAX, TENSOR_NAME_BYTES_MAX,
};

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SafetensorsError {
    #[error("the file has {found} bytes, fewer than the 8 of the header's length")]
    TooShort { found: u64 },
    #[error("the header's length is {found}, over the limit of {limit}")]
    HeaderTooLong { found: u64, limit: u64 },
    #[error("the header's length is {found}, but {left} bytes are left")]
    HeaderTruncated { found: u64, left: u64 },
    #[error("the header is not valid: {reason}")]
    Header { reason: String },
    #[error("tensor `{name}` has type {found}; only F32, F16 and BF16 are supported")]
    Dtype { name: String, found: String },
    #[error("tensor `{name}` has shape {shape:?}; each dimension must be between 1 and {limit}")]
    Dimension { name: String, shape: Vec<u64>, limit: u64 },
    #[error("tensor `{name}` has data_offsets {offsets:?}, but its shape needs {wanted} bytes")]
    Size { name: String, offsets: [u64; 2], wanted: u64 },
    #[error("tensor `{name}` has shape {shape:?}, whose size in bytes overflows")]
    SizeOverflow { name: String, shape: Vec<u64> },
    #[error("tensor `{name}` begins at {found}, but the data before it ends at {expected}")]
    NotContiguous { name: String, found: u64, expected: u64 },
    #[error("the tensors' data ends at {expected}, but the file has {found} bytes of data")]
    DataLength { found: u64, expected: u64 },
    #[error("the index is not valid: {reason}")]
    Index { reason: String },
    #[error("the index places tensor `{name}` in `{file}`, which is not a plain file name")]
    IndexPath { name: String, file: String },
    #[error("the index names {found} files, over the limit of {limit}")]
    IndexFiles { found: usize, limit: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafetensorsType {
    F32,
    F16,
    Bf16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetensorsInfo {
    pub name: String,
    /// Outermost dimension first.
    pub dims: Vec<usize>,
    pub dtype: SafetensorsType,
    /// From the start of the file. Not aligned to anything.
    pub offset: u64,
    pub num_bytes: u64,
}

/// Parses the header at the start of `prefix`, which is a file of `file_bytes` or its beginning.
///
/// The tensors returned, ordered by offset, tile the file's data and have the size of their shape.
pub fn parse_header(
    prefix: &[u8],
    file_bytes: u64,
) -> Result<Vec<SafetensorsInfo>, SafetensorsError> {
    let Some((length, rest)) = prefix.split_first_chunk::<8>() else {
        return Err(SafetensorsError::TooShort { found: prefix.len() as u64 });
    };
    let found = u64::from_le_bytes(*length);
    let (limit, left) = (SAFETENSORS_HEADER_BYTES_MAX, rest.len() as u64);
    if found > limit {
        return Err(SafetensorsError::HeaderTooLong { found, limit });
    }
    if found > left {
        return Err(SafetensorsError::HeaderTruncated { found, left });
    }
    let Table(entries) = serde_json::from_slice(&rest[..found as usize])
        .map_err(|error| SafetensorsError::Header { reason: error.to_string() })?;
    let data_offset = 8 + found;
    let mut tensors = entries
        .into_iter()
        .map(|(name, entry)| entry.check(name, data_offset))
        .collect::<Result<Vec<_>, _>>()?;
    tensors.sort_unstable_by_key(|tensor| tensor.offset);
    check_tiled(&tensors, data_offset, file_bytes)?;
    Ok(tensors)
}

fn check_tiled(
    tensors: &[SafetensorsInfo],
    data_offset: u64,
    file_bytes: u64,
) -> Result<(), SafetensorsError> {
    let mut end = data_offset;
    for tensor in tensors {
        if tensor.offset != end {
            return Err(SafetensorsError::NotContiguous {
                name: tensor.name.clone(),
                found: tensor.offset - data_offset,
                expected: end - data_offset,
            });
        }
        end += tensor.num_bytes;
    }
    if end != file_bytes {
        return Err(SafetensorsError::DataLength {
            found: file_bytes.saturating_sub(data_offset),
            expected: end - data_offset,
        });
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Shape,
    data_offsets: [u64; 2],
}

impl Entry {
    fn check(self, name: String, data_offset: u64) -> Result<SafetensorsInfo, SafetensorsError> {
        let (dtype, size) = match self.dtype.as_str() {
            "F32" => (SafetensorsType::F32, 4),
            "F16" => (SafetensorsType::F16, 2),
            "BF16" => (SafetensorsType::Bf16, 2),
            _ => return Err(SafetensorsError::Dtype { name, found: self.dtype }),
        };
        let Shape(shape) = self.shape;
        if shape.is_empty() || !shape.iter().all(|dim| (1..=TENSOR_DIM_MAX).contains(dim)) {
            return Err(SafetensorsError::Dimension { name, shape, limit: TENSOR_DIM_MAX });
        }
        let wanted = shape.iter().try_fold(size, |product: u64, &dim| product.checked_mul(dim));
        let Some(wanted) = wanted else {
            return Err(SafetensorsError::SizeOverflow { name, shape });
        };
        let offsets @ [start, end] = self.data_offsets;
        let offset = start.checked_add(data_offset);
        match (offset, end.checked_sub(start)) {
            (Some(offset), Some(found))
                if found == wanted && end.checked_add(data_offset).is_some() =>
            {
                let dims = shape.into_iter().map(|dim| dim as usize).collect();
                Ok(SafetensorsInfo { name, dims, dtype, offset, num_bytes: wanted })
            }
            _ => Err(SafetensorsError::Size { name, offsets, wanted }),
        }
    }
}

/// Dimensions, counted while they are read: a list of millions would outgrow the header's text.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a shape of at most {SAFETENSORS_DIMS_MAX} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == SAFETENSORS_DIMS_MAX {
                        return Err(A::Error::invalid_length(dims.len() + 1, &self));
                    }
                    dims.push(dim);
                }
                Ok(Shape(dims))
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

/// The header's JSON object without its `__metadata__`.
struct Table(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableVisitor;
        impl<'de> Visitor<'de> for TableVisitor {
            type Value = Table;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
                let mut entries = BTreeMap::new();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::custom("`__metadata__` occurs twice"));
                        }
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    check_name(&name).map_err(A::Error::custom)?;
                    if entries.len() == SAFETENSORS_TENSORS_MAX {
                        return Err(A::Error::custom(format!(
                            "it has more than {SAFETENSORS_TENSORS_MAX} tensors"
                        )));
                    }
                    if entries.contains_key(&name) {
                        return Err(A::Error::custom(format!("tensor `{name}` occurs twice")));
                    }
                    let entry = map.next_value()?;
                    entries.insert(name, entry);
                }
                Ok(Table(entries))
            }
        }
        deserializer.deserialize_map(TableVisitor)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a tensor has an empty name".to_owned());
    }
    if name.len() as u64 > TENSOR_NAME_BYTES_MAX {
        return Err(format!("a tensor's name has more than {TENSOR_NAME_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// `model.safetensors.index.json`: which file of the same directory holds each tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIndex {
    /// File name by tensor name.
    pub weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    pub fn parse(json: &[u8]) -> Result<Self, SafetensorsError> {
        #[derive(Deserialize)]
        struct Document {
            weight_map: BTreeMap<String, String>,
        }
        let Document { weight_map } = serde_json::from_slice(json)
            .map_err(|error| SafetensorsError::Index { reason: error.to_string() })?;
        for (name, file) in &weight_map {
            if !is_plain_file_name(file) {
                return Err(SafetensorsError::IndexPath { name: name.clone(), file: file.clone() });
            }
        }
        let index = Self { weight_map };
        let (found, limit) = (index.files().len(), SAFETENSORS_FILES_MAX);
        if !(1..=limit).contains(&found) {
            return Err(SafetensorsError::IndexFiles { found, limit });
        }
        Ok(index)
    }

    /// Each file once, in order of name.
    pub fn files(&self) -> Vec<&str> {
        let files: BTreeSet<&str> = self.weight_map.values().map(String::as_str).collect();
        files.into_iter().collect()
    }
}

/// One component that stays in its directory, on any operating system's reading of it.
fn is_plain_file_name(file: &str) -> bool {
    let mut components = Path::new(file).components();
    let one = matches!(components.next(), Some(Component::Normal(name)) if name == file);
    one && components.next().is_none()
        && !file.contains(['/', '\\', '\0', ':'])
        && file.ends_with(".safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data_bytes: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data_bytes, 7);
        bytes
    }

    fn parse(header: &str, data_bytes: usize) -> Result<Vec<SafetensorsInfo>, SafetensorsError> {
        let bytes = file(header, data_bytes);
        parse_header(&bytes, bytes.len() as u64)
    }

    #[test]
    fn tensors_are_placed_after_the_header() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
            "a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let tensors = parse(header, 16).unwrap();
        let start = 8 + header.len() as u64;
        let found: Vec<_> =
            tensors.iter().map(|t| (t.name.as_str(), t.dtype, &t.dims[..], t.offset)).collect();
        assert_eq!(
            found,
            [
                ("a", SafetensorsType::F32, &[1usize][..], start),
                ("b", SafetensorsType::Bf16, &[2, 3], start + 4),
            ]
        );
    }

    #[test]
    fn an_index_lists_its_files_once() {
        let index = ShardIndex::parse(
            br#"{"metadata":{"total_size":1},"weight_map":{
                "a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors",
                "c":"model-00002-of-00002.safetensors"}}"#,
        );
        let expected = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(index.unwrap().files(), expected);
    }

    #[test]
    fn an_index_cannot_leave_its_directory() {
        for file in [
            "../a.safetensors",
            "/etc/a.safetensors",
            "x/a.safetensors",
            "..\\\\a.safetensors",
            "C:a.safetensors",
            "./a.safetensors",
            "a.safetensors/",
            "..",
            "",
            "passwd",
        ] {
            let json = format!(r#"{{"weight_map":{{"t":"{file}"}}}}"#);
            let error = ShardIndex::parse(json.as_bytes()).unwrap_err();
            assert!(matches!(error, SafetensorsError::IndexPath { .. }), "{file}: {error}");
        }
    }
}
