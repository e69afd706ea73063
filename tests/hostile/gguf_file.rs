//! GGUF files put together field by field, right or wrong.

/// Numbers of value types.
pub(crate) const U32: u32 = 4;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

pub(crate) struct GgufFile {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// Replaces the number of tensors that there are.
    pub(crate) num_tensors: Option<u64>,
    /// Replaces the number of entries that there are.
    pub(crate) num_entries: Option<u64>,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) data: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: Vec<u8>,
    /// Innermost first, as in the file.
    pub(crate) dims: Vec<u64>,
    /// Replaces the number of dimensions that there are.
    pub(crate) num_dims: Option<u32>,
    pub(crate) dtype: u32,
    pub(crate) offset: u64,
}

impl Tensor {
    /// 8 floats, which are as long as the alignment.
    pub(crate) fn floats(name: &str, offset: u64) -> Self {
        Self { name: name.into(), dims: vec![8], num_dims: None, dtype: 0, offset }
    }
}

impl Default for GgufFile {
    /// Two entries and two tensors, all in order.
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            num_tensors: None,
            num_entries: None,
            entries: vec![
                entry("general.architecture", STRING, &string(b"llama")),
                entry("numbers", ARRAY, &array(U32, 2, &[0; 8])),
            ],
            tensors: vec![Tensor::floats("a", 0), Tensor::floats("b", 32)],
            data: vec![1; 64],
        }
    }
}

impl GgufFile {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.num_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.num_entries.unwrap_or(self.entries.len() as u64).to_le_bytes());
        out.extend(self.entries.iter().flatten());
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend(tensor.num_dims.unwrap_or(tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(tensor.dtype.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    pub(crate) fn with_entry(entry: Vec<u8>) -> Vec<u8> {
        let mut file = Self::default();
        file.entries.push(entry);
        file.bytes()
    }

    pub(crate) fn with_tensor(change: impl FnOnce(&mut Tensor)) -> Vec<u8> {
        let mut file = Self::default();
        change(&mut file.tensors[1]);
        file.bytes()
    }
}

pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    claimed_string(text.len() as u64, text)
}

/// A string that says it has `len` bytes.
pub(crate) fn claimed_string(len: u64, text: &[u8]) -> Vec<u8> {
    [&len.to_le_bytes(), text].concat()
}

pub(crate) fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(key.as_bytes()), &kind.to_le_bytes()[..], value].concat()
}

/// An array that says it has `count` elements.
pub(crate) fn array(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}
