//! A cursor over a file's bytes on which no read can pass the end.
//!
//! Lengths come from the file and are not to be believed: each is compared with what is left
//! before anything is allocated for it, and with a limit where memory would be larger than file.

use std::fmt;

use super::error::GgufError;

/// Where in the header a read stands. It becomes text only in an error.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    Header(&'static str),
    Key { index: u64 },
    Value { key: &'a str },
    TensorName { index: u64 },
    Tensor { name: &'a str, part: &'static str },
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(part) => write!(f, "header field `{part}`"),
            Self::Key { index } => write!(f, "metadata key number {index}"),
            Self::Value { key } => write!(f, "value of metadata key `{key}`"),
            Self::TensorName { index } => write!(f, "name of tensor number {index}"),
            Self::Tensor { name, part } => write!(f, "{part} of tensor `{name}`"),
        }
    }
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64, field: Field<'_>) -> Result<&'a [u8], GgufError> {
        let rest = &self.bytes[self.offset..];
        let taken = usize::try_from(count).ok().and_then(|count| rest.get(..count));
        let Some(taken) = taken else {
            return Err(GgufError::Truncated {
                field: field.to_string(),
                offset: self.offset(),
                wanted: count,
                left: rest.len() as u64,
            });
        };
        self.offset += taken.len();
        Ok(taken)
    }

    /// Bytes of `count` items of `size` bytes each, without reading them.
    pub(super) fn require(&self, count: u64, size: u64, field: Field<'_>) -> Result<(), GgufError> {
        let wanted = count.saturating_mul(size);
        let left = (self.bytes.len() - self.offset) as u64;
        if wanted > left {
            let field = field.to_string();
            return Err(GgufError::Truncated { field, offset: self.offset(), wanted, left });
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self, field: Field<'_>) -> Result<[u8; N], GgufError> {
        let bytes = self.take(N as u64, field)?;
        Ok(bytes.try_into().expect("take returns as many bytes as were asked for"))
    }

    pub(super) fn u32(&mut self, field: Field<'_>) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u64(&mut self, field: Field<'_>) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A length of 64 bits, then that many bytes of UTF-8.
    pub(super) fn string(
        &mut self,
        bytes_max: u64,
        field: Field<'_>,
    ) -> Result<&'a str, GgufError> {
        let len = self.u64(field)?;
        if len > bytes_max {
            let field = format!("length of {field}");
            return Err(GgufError::OverLimit { field, found: len, limit: bytes_max });
        }
        let bytes = self.take(len, field)?;
        std::str::from_utf8(bytes).map_err(|_| GgufError::Utf8 { field: field.to_string() })
    }

    /// A string that names something: not empty and, as in C, without NUL.
    pub(super) fn name(&mut self, bytes_max: u64, field: Field<'_>) -> Result<&'a str, GgufError> {
        let name = self.string(bytes_max, field)?;
        if name.is_empty() {
            return Err(GgufError::Empty { field: field.to_string() });
        }
        if name.contains('\0') {
            return Err(GgufError::Nul { field: field.to_string() });
        }
        Ok(name)
    }
}
