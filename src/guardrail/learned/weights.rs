//! The container of trained weights: a checked reader of little-endian fields.
//!
//! ```text
//! "OCGUARD" kind:u8   version:u32   fields as the kind says   fnv1a64 of all before
//! ```
//!
//! The files ship inside the program, but they are read as if they came from outside: every size is
//! checked, the end must be the end, and the sum must match.

use thiserror::Error;

const MAGIC: &[u8; 7] = b"OCGUARD";
const VERSION: u32 = 1;
const SUM_BYTES: usize = 8;

/// Why a file of weights was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WeightsError {
    #[error("the file does not begin as guardrail weights of kind `{0}` do")]
    NotWeights(char),
    #[error("the weights have version {0}, this program reads version {VERSION}")]
    Version(u32),
    #[error("the file ends within `{0}`")]
    Truncated(&'static str),
    #[error("{0} bytes follow the last field")]
    TrailingBytes(usize),
    #[error("the sum over the file does not match")]
    Sum,
    #[error("`{field}` is {value}, it must be {expected}")]
    Field { field: &'static str, value: u64, expected: &'static str },
}

/// Reads fields from the front of a file's bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks magic, version and sum. `kind` tells the files apart.
    pub(super) fn new(bytes: &'a [u8], kind: u8) -> Result<Self, WeightsError> {
        let Some(rest) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(&[kind]))
        else {
            return Err(WeightsError::NotWeights(kind.into()));
        };
        let Some((_, sum)) = bytes.split_last_chunk::<SUM_BYTES>() else {
            return Err(WeightsError::Truncated("sum"));
        };
        if fnv1a64(&bytes[..bytes.len() - SUM_BYTES]) != u64::from_le_bytes(*sum) {
            return Err(WeightsError::Sum);
        }
        let Some(fields) = rest.len().checked_sub(SUM_BYTES) else {
            return Err(WeightsError::Truncated("version"));
        };
        let mut reader = Self { rest: &rest[..fields] };
        match reader.u32("version")? {
            VERSION => Ok(reader),
            version => Err(WeightsError::Version(version)),
        }
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, WeightsError> {
        let Some((head, rest)) = self.rest.split_first_chunk() else {
            return Err(WeightsError::Truncated(field));
        };
        self.rest = rest;
        Ok(u32::from_le_bytes(*head))
    }

    /// A number that must be finite: a threshold that is not a number would let everything pass.
    pub(super) fn f32(&mut self, field: &'static str) -> Result<f32, WeightsError> {
        let bits = self.u32(field)?;
        let value = f32::from_bits(bits);
        if !value.is_finite() {
            let value = u64::from(bits);
            return Err(WeightsError::Field { field, value, expected: "a finite number" });
        }
        Ok(value)
    }

    pub(super) fn bytes(
        &mut self,
        field: &'static str,
        len: usize,
    ) -> Result<&'a [u8], WeightsError> {
        if self.rest.len() < len {
            return Err(WeightsError::Truncated(field));
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    /// The base-2 logarithm of a table's length, and that length.
    pub(super) fn log2(
        &mut self,
        field: &'static str,
        max: u32,
    ) -> Result<(u32, usize), WeightsError> {
        let log2 = self.u32(field)?;
        if log2 == 0 || log2 > max {
            let value = u64::from(log2);
            return Err(WeightsError::Field { field, value, expected: "within its limit" });
        }
        Ok((log2, 1 << log2))
    }

    pub(super) fn end(self) -> Result<(), WeightsError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(WeightsError::TrailingBytes(bytes)),
        }
    }
}

/// FNV-1a: enough against a damaged file, no protection against a forged one.
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
