//! Weights of a checkpoint under their canonical (GGUF) names, whatever the container format.
//!
//! [`TensorSource`] knows where the tensors lie in mapped files and has compared the set with what
//! the configuration implies; [`load::load`] makes a [`TensorMap`] of it.

mod load;
mod mapped_file;
mod names;
mod quantization;
mod quantize;
mod source;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use candle_core::quantized::{GgmlDType, QTensor};
use thiserror::Error;

use crate::format::{
    gguf::{GgufError, split::SplitError},
    safetensors::SafetensorsError,
};
use crate::ops::Weight;

pub use load::{LoadOptions, load};
pub use mapped_file::MappedFile;
pub use names::{Role, Slot, slots};
pub use quantization::{Quantization, UnknownQuantization};
pub use source::{Naming, TensorSource};

pub(in crate::model) use quantize::weight_from_bytes;

/// All tensors of a checkpoint. Those of one dimension (norms and biases) are always F32.
#[derive(Debug, Default)]
pub struct TensorMap(HashMap<String, Arc<Weight>>);

#[derive(Debug, Error)]
pub enum TensorError {
    #[error("tensor `{name}` is missing")]
    Missing { name: String },
    #[error("tensor `{name}` has shape {found:?}, but the configuration implies {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("tensor `{name}` is not part of a {architecture} model")]
    Unexpected { name: String, architecture: &'static str },
    #[error("tensor `{name}` has type {found}, but {expected}")]
    Dtype { name: String, found: &'static str, expected: &'static str },
}

#[derive(Debug, Error)]
pub enum WeightsError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Gguf { path: PathBuf, source: GgufError },
    #[error("{}: {source}", path.display())]
    Safetensors { path: PathBuf, source: SafetensorsError },
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error("{}: tensor `{name}` is also in another file of the checkpoint", path.display())]
    DuplicateTensor { path: PathBuf, name: String },
    #[error("{}: tensor `{name}` is not there, though the index says so", path.display())]
    NotInShard { path: PathBuf, name: String },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl TensorMap {
    /// Takes a tensor out, checked to have `shape` (outermost dimension first).
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Arc<Weight>, TensorError> {
        self.take_optional(name, shape)?
            .ok_or_else(|| TensorError::Missing { name: name.to_owned() })
    }

    pub fn take_optional(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<Arc<Weight>>, TensorError> {
        let Some(tensor) = self.0.remove(name) else { return Ok(None) };
        check_shape(name, tensor.dims(), shape)?;
        Ok(Some(tensor))
    }

    /// Bytes of one tensor that is still held.
    pub fn bytes_of(&self, name: &str) -> Option<usize> {
        self.0.get(name).map(|tensor| tensor.num_bytes())
    }

    /// All tensors with their elements as `f32`, on the CPU.
    pub fn into_floats(self) -> Result<Self, WeightsError> {
        let float = |(name, tensor): (String, Arc<Weight>)| {
            let elements = tensor.dequantize()?;
            Ok((name, Weight::new(QTensor::quantize(&elements, GgmlDType::F32)?)?))
        };
        self.0.into_iter().map(float).collect()
    }

    /// Types of the matrices still held.
    pub fn matrix_types(&self) -> impl Iterator<Item = GgmlDType> {
        let matrices = self.0.values().filter(|tensor| tensor.dims().len() == 2);
        matrices.map(|tensor| tensor.dtype())
    }

    /// Bytes of all tensors still held.
    pub fn num_bytes(&self) -> usize {
        self.0.values().map(|tensor| tensor.num_bytes()).sum()
    }
}

impl FromIterator<(String, Weight)> for TensorMap {
    fn from_iter<I: IntoIterator<Item = (String, Weight)>>(tensors: I) -> Self {
        Self(tensors.into_iter().map(|(name, tensor)| (name, Arc::new(tensor))).collect())
    }
}

fn check_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<(), TensorError> {
    if found == expected {
        return Ok(());
    }
    let (name, found, expected) = (name.to_owned(), found.to_vec(), expected.to_vec());
    Err(TensorError::Shape { name, found, expected })
}
