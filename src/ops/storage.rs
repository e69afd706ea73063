//! Views of Candle's CPU storage.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result, bail};
use kernels::{Floats, FloatsMut};

/// The elements of a contiguous `f32` tensor.
pub(super) fn f32_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed, not {layout:?}")
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The same, to change it.
pub(super) fn f32_slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed, not {layout:?}")
    };
    let dtype = storage.dtype();
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        _ => bail!("an f32 tensor is needed, not {dtype:?}"),
    }
}

/// The elements of a contiguous tensor in a storage type that the kernels read.
pub(super) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Floats<'a>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed, not {layout:?}")
    };
    let dtype = storage.dtype();
    match storage {
        CpuStorage::F32(values) => Ok(Floats::F32(&values[start..end])),
        CpuStorage::F16(values) => Ok(Floats::F16(&values[start..end])),
        CpuStorage::BF16(values) => Ok(Floats::Bf16(&values[start..end])),
        _ => bail!("a tensor of f32, f16 or bf16 is needed, not {dtype:?}"),
    }
}

/// The same, to change it.
pub(super) fn floats_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<FloatsMut<'a>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a contiguous tensor is needed, not {layout:?}")
    };
    let dtype = storage.dtype();
    match storage {
        CpuStorage::F32(values) => Ok(FloatsMut::F32(&mut values[start..end])),
        CpuStorage::F16(values) => Ok(FloatsMut::F16(&mut values[start..end])),
        CpuStorage::BF16(values) => Ok(FloatsMut::Bf16(&mut values[start..end])),
        _ => bail!("a tensor of f32, f16 or bf16 is needed, not {dtype:?}"),
    }
}
