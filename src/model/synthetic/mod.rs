//! Random weights of a model's exact shapes and types: what a checkpoint costs to run can be
//! learned before it is downloaded, and tests get small checkpoints from nothing.

mod blocks;
mod metadata;
mod vocabulary;

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use rayon::prelude::*;
use thiserror::Error;

use self::blocks::Centre;
use crate::format::gguf::{GgmlType, GgufWriter, TensorSpec};
use crate::model::{
    config::{ConfigError, ModelConfig},
    weights::{Quantization, Role, Slot, TensorMap, WeightsError, slots, weight_from_bytes},
};
use crate::ops::{Device, Weight};

#[derive(Debug, Error)]
pub enum SyntheticError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("a synthetic vocabulary needs {min} tokens, but the model has {found}")]
    VocabularyTooSmall { found: usize, min: usize },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("the file could not be written: {0}")]
    Io(#[from] io::Error),
}

/// The same seed gives the same bytes, on any number of threads.
#[derive(Debug, Clone)]
pub struct Synthetic {
    config: ModelConfig,
    quantization: Quantization,
    seed: u64,
}

/// Told how many bytes of tensor data are done, and of how many.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Bytes that are in memory at a time while a file is written.
const WINDOW_BYTES: usize = 64 << 20;

impl Synthetic {
    pub fn new(
        config: ModelConfig,
        quantization: Quantization,
        seed: u64,
    ) -> Result<Self, SyntheticError> {
        config.check()?;
        Ok(Self { config, quantization, seed })
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of all tensors' data.
    pub fn num_bytes(&self) -> u64 {
        self.tensors().iter().map(|(_, spec)| spec.num_bytes()).sum()
    }

    pub fn tensor_map(
        &self,
        device: &Device,
        progress: Progress<'_>,
    ) -> Result<TensorMap, SyntheticError> {
        self.tensor_map_with(device, progress, &|_, _| {})
    }

    /// `change` is given the bytes of each tensor on their way to the device.
    pub fn tensor_map_with(
        &self,
        device: &Device,
        progress: Progress<'_>,
        change: &(dyn Fn(&Slot, &mut [u8]) + Sync),
    ) -> Result<TensorMap, SyntheticError> {
        let total = self.num_bytes();
        let done = AtomicU64::new(0);
        let made = self.tensors().into_par_iter().map(|(slot, spec)| {
            let tensor = self.tensor(&slot, &spec, device, change)?;
            let len = spec.num_bytes();
            progress(done.fetch_add(len, Ordering::Relaxed) + len, total);
            Ok((spec.name, tensor))
        });
        let made = made.collect::<Result<Vec<_>, WeightsError>>()?;
        Ok(made.into_iter().collect())
    }

    /// Writes a GGUF file with a vocabulary of the model's size, which other engines load too.
    pub fn write_gguf(
        &self,
        out: impl Write,
        name: &str,
        progress: Progress<'_>,
    ) -> Result<(), SyntheticError> {
        let metadata = metadata::build(&self.config, self.quantization, name)?;
        let rope_factors = metadata::rope_factors(&self.config);
        let (slots, mut specs): (Vec<Slot>, Vec<TensorSpec>) = self.tensors().into_iter().unzip();
        if let Some(factors) = &rope_factors {
            let (name, dims) = ("rope_freqs.weight".to_owned(), vec![factors.len()]);
            specs.insert(0, TensorSpec { name, dims, dtype: GgmlType::F32 });
        }
        let mut writer = GgufWriter::new(out, &metadata, &specs)?;
        if let Some(factors) = &rope_factors {
            let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
            writer.write_data(&bytes)?;
        }
        let total = self.num_bytes();
        let mut done = 0;
        let first = specs.len() - slots.len();
        for (slot, spec) in slots.iter().zip(&specs[first..]) {
            self.for_each_window(slot, spec, |window| {
                writer.write_data(window)?;
                done += window.len() as u64;
                progress(done, total);
                Ok(())
            })?;
        }
        writer.finish()?;
        Ok(())
    }

    fn tensors(&self) -> Vec<(Slot, TensorSpec)> {
        let with_spec = |slot: Slot| {
            let dtype = self.quantization.dtype(&slot, &self.config);
            let spec = TensorSpec { name: slot.name.clone(), dims: slot.shape.clone(), dtype };
            (slot, spec)
        };
        slots(&self.config).into_iter().map(with_spec).collect()
    }

    fn tensor(
        &self,
        slot: &Slot,
        spec: &TensorSpec,
        device: &Device,
        change: &dyn Fn(&Slot, &mut [u8]),
    ) -> Result<Weight, WeightsError> {
        const ALIGNMENT: usize = 16;
        let len = spec.num_bytes() as usize;
        let mut buffer = vec![0; len + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        let bytes = &mut buffer[start..start + len];
        let key = blocks::tensor_key(self.seed, &spec.name);
        blocks::fill(bytes, spec.dtype, centre(slot), key, 0);
        change(slot, bytes);
        weight_from_bytes(bytes, spec.dtype, &spec.dims, device)
    }

    fn for_each_window(
        &self,
        slot: &Slot,
        spec: &TensorSpec,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let stream_bytes = blocks::stream_bytes(spec.dtype);
        let streams = WINDOW_BYTES / stream_bytes;
        let key = blocks::tensor_key(self.seed, &spec.name);
        let len = spec.num_bytes() as usize;
        let mut window = vec![0; len.min(streams * stream_bytes)];
        for (index, start) in (0..len).step_by(streams * stream_bytes).enumerate() {
            let window = &mut window[..(len - start).min(streams * stream_bytes)];
            blocks::fill(window, spec.dtype, centre(slot), key, index * streams);
            write(window)?;
        }
        Ok(())
    }
}

fn centre(slot: &Slot) -> Centre {
    match slot.role {
        Role::Norm => Centre::One,
        _ => Centre::Zero,
    }
}

#[cfg(test)]
mod tests;
