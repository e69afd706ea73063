//! Weights of a checkpoint under their canonical (GGUF) names, whatever the container format.

use std::{collections::HashMap, sync::Arc};

use candle_core::quantized::QTensor;
use thiserror::Error;

/// All tensors of a checkpoint. Unquantized ones are `QTensor`s of type F32, F16 or BF16.
#[derive(Debug, Default)]
pub struct TensorMap(HashMap<String, Arc<QTensor>>);

#[derive(Debug, Error)]
pub enum TensorError {
    #[error("tensor `{name}` is missing")]
    Missing { name: String },
    #[error("tensor `{name}` has shape {found:?}, but the configuration implies {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
}

impl TensorMap {
    /// Takes a tensor out, checked to have `shape` (outermost dimension first).
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Arc<QTensor>, TensorError> {
        self.take_optional(name, shape)?
            .ok_or_else(|| TensorError::Missing { name: name.to_owned() })
    }

    pub fn take_optional(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<Arc<QTensor>>, TensorError> {
        let Some(tensor) = self.0.remove(name) else { return Ok(None) };
        if tensor.shape().dims() != shape {
            return Err(TensorError::Shape {
                name: name.to_owned(),
                found: tensor.shape().dims().to_vec(),
                expected: shape.to_vec(),
            });
        }
        Ok(Some(tensor))
    }
}

impl FromIterator<(String, QTensor)> for TensorMap {
    fn from_iter<I: IntoIterator<Item = (String, QTensor)>>(tensors: I) -> Self {
        Self(tensors.into_iter().map(|(name, tensor)| (name, Arc::new(tensor))).collect())
    }
}
