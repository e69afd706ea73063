//! The header of a GGUF file, and every check that makes its tensor table safe to follow.
//!
//! A file is: magic, version, number of tensors, number of metadata entries; the entries; for each
//! tensor its name, dimensions (innermost first), type and offset; padding to the alignment; the
//! tensors' data. Once [`GgufHeader::parse`] has returned, each tensor lies in the file, aligned,
//! apart from the others, and its shape and type account for its bytes exactly.

use super::{
    dtype::{self, GgmlType},
    error::GgufError,
    metadata::Metadata,
    reader::{Field, Reader},
    value::ValueReader,
};
use crate::limits::{
    GGUF_ALIGNMENT_MAX, GGUF_ALIGNMENT_MIN, GGUF_KEY_BYTES_MAX, GGUF_METADATA_ENTRIES_MAX,
    GGUF_TENSOR_DIMS_MAX, GGUF_TENSORS_MAX, TENSOR_DIM_MAX, TENSOR_NAME_BYTES_MAX,
};

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
pub(super) const VERSION: u32 = 3;
pub(super) const ALIGNMENT_DEFAULT: u64 = 32;
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";

#[derive(Debug, Clone, PartialEq)]
pub struct GgufHeader {
    pub metadata: Metadata,
    /// In the order of the file's table.
    pub tensors: Vec<TensorInfo>,
    /// Where the tensors' data begins, from the start of the file.
    pub data_offset: u64,
    pub alignment: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    /// Outermost dimension first.
    pub dims: Vec<usize>,
    pub dtype: GgmlType,
    /// From the start of the file.
    pub offset: u64,
    pub num_bytes: u64,
}

impl TensorInfo {
    /// The tensor's bytes within `file`, which must be as long as the header was checked against.
    pub fn data<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        &file[self.offset as usize..(self.offset + self.num_bytes) as usize]
    }
}

impl GgufHeader {
    /// Parses the header at the start of `prefix`, a file of `file_bytes` or its beginning.
    pub fn parse(prefix: &[u8], file_bytes: u64) -> Result<Self, GgufError> {
        let mut reader = Reader::new(prefix);
        read_version(&mut reader)?;
        let num_tensors = read_count(&mut reader, "number of tensors", GGUF_TENSORS_MAX)?;
        let num_entries =
            read_count(&mut reader, "number of metadata entries", GGUF_METADATA_ENTRIES_MAX)?;
        let metadata = read_metadata(&mut reader, num_entries)?;
        let alignment = read_alignment(&metadata)?;
        let mut tensors = read_tensors(&mut reader, num_tensors)?;
        let data_offset = reader.offset().next_multiple_of(alignment);
        for tensor in &mut tensors {
            place(tensor, data_offset, alignment, file_bytes)?;
        }
        check_distinct(&tensors)?;
        check_apart(&tensors)?;
        Ok(Self { metadata, tensors, data_offset, alignment })
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<(), GgufError> {
    let magic = reader.array::<4>(Field::Header("magic"))?;
    if &magic != MAGIC {
        return Err(GgufError::Magic);
    }
    match reader.u32(Field::Header("version"))? {
        2 | 3 => Ok(()),
        found if (1..=VERSION).contains(&found.swap_bytes()) => Err(GgufError::BigEndian),
        found => Err(GgufError::Version { found }),
    }
}

fn read_count(reader: &mut Reader<'_>, field: &'static str, limit: u64) -> Result<u64, GgufError> {
    let found = reader.u64(Field::Header(field))?;
    if found > limit {
        return Err(GgufError::OverLimit { field: field.to_owned(), found, limit });
    }
    Ok(found)
}

fn read_metadata(reader: &mut Reader<'_>, num_entries: u64) -> Result<Metadata, GgufError> {
    let mut metadata = Metadata::default();
    let mut values = ValueReader::default();
    for index in 0..num_entries {
        let key = reader.name(GGUF_KEY_BYTES_MAX, Field::Key { index })?;
        if metadata.contains(key) {
            return Err(GgufError::DuplicateKey { key: key.to_owned() });
        }
        let value = values.read(reader, key)?;
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn read_alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    let found = metadata.unsigned(ALIGNMENT_KEY)?.unwrap_or(ALIGNMENT_DEFAULT);
    let (min, max) = (GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX);
    if !found.is_power_of_two() || !(min..=max).contains(&found) {
        return Err(GgufError::Alignment { found, min, max });
    }
    Ok(found)
}

/// Name length, one byte of name, number of dimensions, one dimension, type and offset.
const TENSOR_INFO_BYTES_MIN: u64 = 8 + 1 + 4 + 8 + 4 + 8;

fn read_tensors(reader: &mut Reader<'_>, count: u64) -> Result<Vec<TensorInfo>, GgufError> {
    reader.require(count, TENSOR_INFO_BYTES_MIN, Field::Header("tensor table"))?;
    (0..count).map(|index| read_tensor(reader, index)).collect()
}

/// The returned offset is still relative to the data; [`place`] makes it absolute.
fn read_tensor(reader: &mut Reader<'_>, index: u64) -> Result<TensorInfo, GgufError> {
    let name = reader.name(TENSOR_NAME_BYTES_MAX, Field::TensorName { index })?;
    let part = |part| Field::Tensor { name, part };
    let num_dims = reader.u32(part("number of dimensions"))?;
    if !(1..=GGUF_TENSOR_DIMS_MAX).contains(&num_dims) {
        return Err(GgufError::NumDims {
            name: name.to_owned(),
            found: num_dims,
            limit: GGUF_TENSOR_DIMS_MAX,
        });
    }
    let mut dims = Vec::with_capacity(num_dims as usize);
    let mut num_elements = Some(1u64);
    for _ in 0..num_dims {
        let found = reader.u64(part("dimensions"))?;
        if !(1..=TENSOR_DIM_MAX).contains(&found) {
            let limit = TENSOR_DIM_MAX;
            return Err(GgufError::Dimension { name: name.to_owned(), found, limit });
        }
        num_elements = num_elements.and_then(|product| product.checked_mul(found));
        dims.push(found as usize);
    }
    let row_len = dims[0];
    dims.reverse();
    let code = reader.u32(part("type"))?;
    let dtype = GgmlType::from_code(code).ok_or_else(|| GgufError::TensorType {
        name: name.to_owned(),
        code,
        type_name: dtype::unsupported_name(code),
    })?;
    if !row_len.is_multiple_of(dtype.block_len()) {
        return Err(GgufError::RowLength { name: name.to_owned(), row_len, dtype: dtype.name() });
    }
    let offset = reader.u64(part("offset"))?;
    let Some(num_bytes) = num_elements.and_then(|count| dtype.data_bytes(count)) else {
        return Err(GgufError::TensorSize { name: name.to_owned(), dims });
    };
    Ok(TensorInfo { name: name.to_owned(), dims, dtype, offset, num_bytes })
}

fn place(
    tensor: &mut TensorInfo,
    data_offset: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<(), GgufError> {
    let offset = tensor.offset;
    if !offset.is_multiple_of(alignment) {
        return Err(GgufError::Misaligned { name: tensor.name.clone(), offset, alignment });
    }
    let start = data_offset.checked_add(offset);
    let end = start.and_then(|start| start.checked_add(tensor.num_bytes));
    match (start, end) {
        (Some(start), Some(end)) if end <= file_bytes => {
            tensor.offset = start;
            Ok(())
        }
        _ => {
            Err(GgufError::OutOfFile { name: tensor.name.clone(), offset, bytes: tensor.num_bytes })
        }
    }
}

fn check_distinct(tensors: &[TensorInfo]) -> Result<(), GgufError> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(GgufError::DuplicateTensor { name: pair[0].to_owned() }),
        None => Ok(()),
    }
}

fn check_apart(tensors: &[TensorInfo]) -> Result<(), GgufError> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_unstable_by_key(|tensor| tensor.offset);
    let overlap =
        by_offset.windows(2).find(|pair| pair[0].offset + pair[0].num_bytes > pair[1].offset);
    match overlap {
        Some(pair) => {
            Err(GgufError::Overlap { first: pair[0].name.clone(), second: pair[1].name.clone() })
        }
        None => Ok(()),
    }
}
