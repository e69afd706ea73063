//! Slices of floats in the storage types that weights and KV caches use.

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A slice of floats in one of three storage types.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

/// A mutable slice of floats in one of three storage types.
#[derive(Debug)]
pub enum FloatsMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    Bf16(&'a mut [bf16]),
}

impl<'a> Floats<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements of `range`. Panics if there are fewer.
    pub fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::F16(values) => Self::F16(&values[range]),
            Self::Bf16(values) => Self::Bf16(&values[range]),
        }
    }

    /// Loads as many elements as `out` has, from element `start` on.
    pub(crate) fn load(&self, start: usize, out: &mut [f32]) {
        match self.slice(start..start + out.len()) {
            Self::F32(values) => out.copy_from_slice(values),
            Self::F16(values) => values.convert_to_f32_slice(out),
            Self::Bf16(values) => values.convert_to_f32_slice(out),
        }
    }

    /// Views native-endian bytes as `f32`. `None` if they are misaligned or not a whole number.
    pub fn f32_from_bytes(bytes: &'a [u8]) -> Option<Self> {
        // SAFETY: every bit pattern is a valid f32.
        let (head, values, tail) = unsafe { bytes.align_to::<f32>() };
        (head.is_empty() && tail.is_empty()).then_some(Self::F32(values))
    }

    /// Views native-endian bytes as `f16`. `None` if they are misaligned or not a whole number.
    pub fn f16_from_bytes(bytes: &'a [u8]) -> Option<Self> {
        // SAFETY: f16 is a transparent u16, for which every bit pattern is valid.
        let (head, values, tail) = unsafe { bytes.align_to::<f16>() };
        (head.is_empty() && tail.is_empty()).then_some(Self::F16(values))
    }

    /// Views native-endian bytes as `bf16`. `None` if they are misaligned or not a whole number.
    pub fn bf16_from_bytes(bytes: &'a [u8]) -> Option<Self> {
        // SAFETY: bf16 is a transparent u16, for which every bit pattern is valid.
        let (head, values, tail) = unsafe { bytes.align_to::<bf16>() };
        (head.is_empty() && tail.is_empty()).then_some(Self::Bf16(values))
    }
}

impl FloatsMut<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores `source` from element `start` on, rounding to nearest even.
    pub(crate) fn store(&mut self, start: usize, source: &[f32]) {
        let range = start..start + source.len();
        match self {
            Self::F32(values) => values[range].copy_from_slice(source),
            Self::F16(values) => values[range].convert_from_f32_slice(source),
            Self::Bf16(values) => values[range].convert_from_f32_slice(source),
        }
    }
}

/// An element of [`Floats`].
pub(crate) trait Element: Copy {
    fn to_f32(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Element for f16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        // `half` would look up the CPU's features at each call.
        f16::to_f32_const(self)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        bf16::to_f32_const(self)
    }
}
