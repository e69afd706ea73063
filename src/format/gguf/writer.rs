//! Writing of GGUF files, version 3: metadata and tensor table at once, data as a stream.

use std::io::{self, Write};

use super::{
    dtype::GgmlType,
    header::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, MAGIC, VERSION},
    metadata::{Array, Metadata, Value},
    value::ValueType,
};

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    /// Outermost dimension first.
    pub dims: Vec<usize>,
    pub dtype: GgmlType,
}

impl TensorSpec {
    pub fn num_bytes(&self) -> u64 {
        let elements: u64 = self.dims.iter().map(|&dim| dim as u64).product();
        self.dtype.data_bytes(elements).expect("a tensor to be written has a size")
    }
}

/// Takes the tensors' data in the order of the table, in pieces of any size.
#[derive(Debug)]
pub struct GgufWriter<W> {
    out: W,
    alignment: u64,
    /// Data bytes of each tensor, without padding.
    sizes: Vec<u64>,
    /// The tensor being written, and how many of its bytes have been.
    tensor_id: usize,
    written: u64,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the header. Integer arrays are stored as `i32`, or as `i64` if an element needs it.
    pub fn new(mut out: W, metadata: &Metadata, tensors: &[TensorSpec]) -> io::Result<Self> {
        let alignment = match metadata.unsigned(ALIGNMENT_KEY) {
            Ok(alignment) => alignment.unwrap_or(ALIGNMENT_DEFAULT),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
        };
        let header = encode_header(metadata, tensors, alignment);
        out.write_all(&header)?;
        pad(&mut out, header.len() as u64, alignment)?;
        let sizes = tensors.iter().map(TensorSpec::num_bytes).collect();
        Ok(Self { out, alignment, sizes, tensor_id: 0, written: 0 })
    }

    /// Appends data of the current tensor. Panics when there is more than the table says.
    pub fn write_data(&mut self, data: &[u8]) -> io::Result<()> {
        let size = self.sizes[self.tensor_id];
        self.out.write_all(data)?;
        self.written += data.len() as u64;
        assert!(self.written <= size, "more data than tensor {} has", self.tensor_id);
        if self.written == size {
            pad(&mut self.out, size, self.alignment)?;
            self.tensor_id += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Flushes. Panics unless all data of all tensors has been written.
    pub fn finish(mut self) -> io::Result<W> {
        assert_eq!(self.tensor_id, self.sizes.len(), "not all tensors have been written");
        self.out.flush()?;
        Ok(self.out)
    }
}

fn encode_header(metadata: &Metadata, tensors: &[TensorSpec], alignment: u64) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    header.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        put_string(&mut header, key);
        put_value(&mut header, value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        put_string(&mut header, &tensor.name);
        header.extend_from_slice(&(tensor.dims.len() as u32).to_le_bytes());
        for &dim in tensor.dims.iter().rev() {
            header.extend_from_slice(&(dim as u64).to_le_bytes());
        }
        header.extend_from_slice(&tensor.dtype.code().to_le_bytes());
        header.extend_from_slice(&offset.to_le_bytes());
        offset = (offset + tensor.num_bytes()).next_multiple_of(alignment);
    }
    header
}

fn pad(out: &mut impl Write, len: u64, alignment: u64) -> io::Result<()> {
    let padding = len.next_multiple_of(alignment) - len;
    out.write_all(&vec![0; padding as usize])
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_kind(out: &mut Vec<u8>, kind: ValueType) {
    out.extend_from_slice(&(kind as u32).to_le_bytes());
}

fn put_scalar<const N: usize>(out: &mut Vec<u8>, kind: ValueType, bytes: [u8; N]) {
    put_kind(out, kind);
    out.extend_from_slice(&bytes);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(n) => put_scalar(out, ValueType::U8, n.to_le_bytes()),
        Value::I8(n) => put_scalar(out, ValueType::I8, n.to_le_bytes()),
        Value::U16(n) => put_scalar(out, ValueType::U16, n.to_le_bytes()),
        Value::I16(n) => put_scalar(out, ValueType::I16, n.to_le_bytes()),
        Value::U32(n) => put_scalar(out, ValueType::U32, n.to_le_bytes()),
        Value::I32(n) => put_scalar(out, ValueType::I32, n.to_le_bytes()),
        Value::U64(n) => put_scalar(out, ValueType::U64, n.to_le_bytes()),
        Value::I64(n) => put_scalar(out, ValueType::I64, n.to_le_bytes()),
        Value::F32(n) => put_scalar(out, ValueType::F32, n.to_le_bytes()),
        Value::F64(n) => put_scalar(out, ValueType::F64, n.to_le_bytes()),
        Value::Bool(flag) => put_scalar(out, ValueType::Bool, [u8::from(*flag)]),
        Value::String(text) => {
            put_kind(out, ValueType::String);
            put_string(out, text);
        }
        Value::Array(array) => {
            put_kind(out, ValueType::Array);
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    match array {
        Array::Integers(items) => {
            let narrow: Option<Vec<i32>> = items.iter().map(|&n| n.try_into().ok()).collect();
            match narrow {
                Some(items) => put_items(out, ValueType::I32, items, i32::to_le_bytes),
                None => put_items(out, ValueType::I64, items.clone(), i64::to_le_bytes),
            }
        }
        Array::Floats(items) => put_items(out, ValueType::F32, items.clone(), f32::to_le_bytes),
        Array::Bools(items) => {
            put_items(out, ValueType::Bool, items.clone(), |flag| [u8::from(flag)]);
        }
        Array::Strings(items) => {
            put_kind(out, ValueType::String);
            out.extend_from_slice(&(items.len() as u64).to_le_bytes());
            for item in items {
                put_string(out, item);
            }
        }
    }
}

fn put_items<T, const N: usize>(
    out: &mut Vec<u8>,
    kind: ValueType,
    items: Vec<T>,
    bytes: fn(T) -> [u8; N],
) {
    put_kind(out, kind);
    out.extend_from_slice(&(items.len() as u64).to_le_bytes());
    for item in items {
        out.extend_from_slice(&bytes(item));
    }
}
