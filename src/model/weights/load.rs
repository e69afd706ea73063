//! Loading: every tensor copied, or converted, from its mapped file; in parallel.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::{
    TensorError, TensorMap, WeightsError,
    names::Slot,
    quantization::Quantization,
    quantize::{ggml_dtype, on_device, qtensor_from_floats, weight_from_bytes},
    source::{Location, TensorSource},
};
use crate::format::gguf::GgmlType;
use crate::model::config::ModelConfig;
use crate::ops::{Device, FileMatrix, Weight};

#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    pub device: &'a Device,
    /// Quantize what the files hold as floats; `None` keeps every matrix's type.
    pub quantize: Option<Quantization>,
    /// Told after each tensor how many of the files' bytes are done, and of how many. Called from
    /// several threads.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl LoadOptions<'static> {
    /// On the CPU, types kept, in silence.
    pub fn plain() -> Self {
        Self { device: &Device::Cpu, quantize: None, progress: &|_, _| {} }
    }
}

/// Makes the tensors of all slots. `source` must have passed [`TensorSource::check`].
///
/// The pages of what has been copied are released, so that memory peaks near one copy.
pub fn load(
    source: &TensorSource,
    config: &ModelConfig,
    slots: &[Slot],
    options: &LoadOptions<'_>,
) -> Result<TensorMap, WeightsError> {
    let tensors = slots.iter().map(|slot| {
        let location = source.location(slot.name_in(source.naming()))?;
        let dtype = loaded_dtype(slot, location.dtype, config, options)?;
        Ok(Tensor { slot, location, dtype })
    });
    let tensors = tensors.collect::<Result<Vec<_>, TensorError>>()?;
    let total: u64 = tensors.iter().map(|tensor| tensor.location.range.len() as u64).sum();
    let done = AtomicU64::new(0);
    (options.progress)(0, total);
    // What is done of a tensor, in bytes of it.
    let release = |tensor: &Tensor<'_>, range: Range<usize>| {
        source.release(tensor.location, range.clone());
        let len = range.len() as u64;
        (options.progress)(done.fetch_add(len, Ordering::Relaxed) + len, total);
    };
    let (packed, others): (Vec<_>, Vec<_>) =
        tensors.iter().partition(|tensor| tensor.is_packed(options.device));
    let matrices: Vec<_> = packed
        .iter()
        .map(|tensor| FileMatrix {
            bytes: source.bytes(tensor.location),
            dtype: ggml_dtype(tensor.dtype),
            dims: &tensor.slot.shape,
        })
        .collect();
    let matrices = Weight::pack(&matrices, &|id, range| release(packed[id], range))?;
    let others = others.into_par_iter().map(|tensor| {
        let weight = make(source.bytes(tensor.location), tensor, options.device)?;
        release(tensor, 0..tensor.location.range.len());
        Ok((tensor.slot.name.clone(), weight))
    });
    let others = others.collect::<Result<Vec<_>, WeightsError>>()?;
    let names = packed.iter().map(|tensor| tensor.slot.name.clone());
    Ok(names.zip(matrices).chain(others).collect())
}

/// A tensor to be loaded.
struct Tensor<'a> {
    slot: &'a Slot,
    location: &'a Location,
    /// What it is to become.
    dtype: GgmlType,
}

impl Tensor<'_> {
    /// Whether it is packed as it is in the file.
    fn is_packed(&self, device: &Device) -> bool {
        device.is_cpu()
            && self.dtype == self.location.dtype
            && Weight::is_packed(ggml_dtype(self.dtype), &self.slot.shape)
    }
}

fn loaded_dtype(
    slot: &Slot,
    found: GgmlType,
    config: &ModelConfig,
    options: &LoadOptions<'_>,
) -> Result<GgmlType, TensorError> {
    if slot.shape.len() == 1 {
        return Ok(GgmlType::F32);
    }
    match options.quantize {
        None => Ok(found),
        Some(quantization) if !found.is_quantized() => Ok(quantization.dtype(slot, config)),
        Some(_) => Err(TensorError::Dtype {
            name: slot.name.clone(),
            found: found.name(),
            expected: "only F32, F16 and BF16 can be quantized",
        }),
    }
}

fn make(bytes: &[u8], tensor: &Tensor<'_>, device: &Device) -> Result<Weight, WeightsError> {
    let (found, shape) = (tensor.location.dtype, &tensor.slot.shape);
    if found == tensor.dtype {
        return weight_from_bytes(bytes, found, shape, device);
    }
    on_device(qtensor_from_floats(bytes, found, tensor.dtype, shape)?, device)
}
