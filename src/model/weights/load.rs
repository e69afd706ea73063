//! Loading: every tensor copied, or converted, from its mapped file; in parallel.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::{
    TensorError, TensorMap, WeightsError,
    names::Slot,
    quantization::Quantization,
    quantize::{on_device, qtensor_from_floats, weight_from_bytes},
    source::TensorSource,
};
use crate::format::gguf::GgmlType;
use crate::model::config::ModelConfig;
use crate::ops::{Device, Weight};

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
/// The pages of a tensor are released when it has been copied, so that memory peaks near one copy.
pub fn load(
    source: &TensorSource,
    config: &ModelConfig,
    slots: &[Slot],
    options: &LoadOptions<'_>,
) -> Result<TensorMap, WeightsError> {
    let locations = slots
        .iter()
        .map(|slot| source.location(slot.name_in(source.naming())))
        .collect::<Result<Vec<_>, _>>()?;
    let total: u64 = locations.iter().map(|location| location.range.len() as u64).sum();
    let done = AtomicU64::new(0);
    (options.progress)(0, total);
    let tensors = slots.par_iter().zip(&locations).map(|(slot, location)| {
        let dtype = loaded_dtype(slot, location.dtype, config, options)?;
        let bytes = source.bytes(location);
        let tensor = make(bytes, location.dtype, dtype, slot, options.device)?;
        source.release(location);
        let len = location.range.len() as u64;
        (options.progress)(done.fetch_add(len, Ordering::Relaxed) + len, total);
        Ok((slot.name.clone(), tensor))
    });
    let tensors = tensors.collect::<Result<Vec<_>, WeightsError>>()?;
    Ok(tensors.into_iter().collect())
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

fn make(
    bytes: &[u8],
    found: GgmlType,
    wanted: GgmlType,
    slot: &Slot,
    device: &Device,
) -> Result<Weight, WeightsError> {
    if found == wanted {
        return weight_from_bytes(bytes, found, &slot.shape, device);
    }
    on_device(qtensor_from_floats(bytes, found, wanted, &slot.shape)?, device)
}
