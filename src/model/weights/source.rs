//! Where the tensors of a checkpoint lie: mapped files and a table by name.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    ops::Range,
};

use super::{
    MappedFile, TensorError, WeightsError, check_shape,
    names::{Slot, is_ignored},
};
use crate::format::{
    gguf::{GgmlType, TensorInfo},
    safetensors::{SafetensorsInfo, SafetensorsType},
};
use crate::model::config::{ModelConfig, TensorShapes};

/// Whose names the tensors of a source have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    Gguf,
    HuggingFace,
}

#[derive(Debug)]
pub struct TensorSource {
    naming: Naming,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Location>,
}

#[derive(Debug, Clone)]
pub(super) struct Location {
    file_id: usize,
    /// Within the file; checked to lie in it by the format's reader.
    pub(super) range: Range<usize>,
    pub(super) dims: Vec<usize>,
    pub(super) dtype: GgmlType,
}

impl TensorSource {
    pub fn new(naming: Naming) -> Self {
        Self { naming, files: Vec::new(), tensors: BTreeMap::new() }
    }

    pub fn naming(&self) -> Naming {
        self.naming
    }

    pub fn add_gguf(
        &mut self,
        file: MappedFile,
        tensors: Vec<TensorInfo>,
    ) -> Result<(), WeightsError> {
        let tensors = tensors.into_iter().map(|tensor| {
            (tensor.name, tensor.dims, tensor.dtype, tensor.offset, tensor.num_bytes)
        });
        self.add(file, tensors)
    }

    pub fn add_safetensors(
        &mut self,
        file: MappedFile,
        tensors: Vec<SafetensorsInfo>,
    ) -> Result<(), WeightsError> {
        let tensors = tensors.into_iter().map(|tensor| {
            let dtype = match tensor.dtype {
                SafetensorsType::F32 => GgmlType::F32,
                SafetensorsType::F16 => GgmlType::F16,
                SafetensorsType::Bf16 => GgmlType::Bf16,
            };
            (tensor.name, tensor.dims, dtype, tensor.offset, tensor.num_bytes)
        });
        self.add(file, tensors)
    }

    fn add(
        &mut self,
        file: MappedFile,
        tensors: impl Iterator<Item = (String, Vec<usize>, GgmlType, u64, u64)>,
    ) -> Result<(), WeightsError> {
        let file_id = self.files.len();
        for (name, dims, dtype, offset, num_bytes) in tensors {
            // The mapping is a slice, so what lies in the file fits `usize`.
            let range = offset as usize..(offset + num_bytes) as usize;
            match self.tensors.entry(name) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(Location { file_id, range, dims, dtype });
                }
                btree_map::Entry::Occupied(entry) => {
                    let name = entry.key().clone();
                    return Err(WeightsError::DuplicateTensor { path: file.path().into(), name });
                }
            }
        }
        self.files.push(file);
        Ok(())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The values of a small tensor of type F32, such as rope factors; `None` if it is absent.
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, TensorError> {
        let Some(location) = self.tensors.get(name) else { return Ok(None) };
        if location.dtype != GgmlType::F32 || location.dims.len() != 1 {
            return Err(TensorError::Dtype {
                name: name.to_owned(),
                found: location.dtype.name(),
                expected: "it must be a vector of F32",
            });
        }
        let bytes = self.bytes(location).as_chunks::<4>().0;
        Ok(Some(bytes.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }

    /// Whether the tensors are exactly those of the configuration, in shape and number.
    pub fn check(&self, config: &ModelConfig, slots: &[Slot]) -> Result<(), TensorError> {
        let mut expected = BTreeSet::new();
        for slot in slots {
            let name = slot.name_in(self.naming);
            let location = self.location(name)?;
            check_shape(name, &location.dims, &slot.shape)?;
            if slot.shape.len() == 1 && location.dtype.is_quantized() {
                return Err(TensorError::Dtype {
                    name: name.to_owned(),
                    found: location.dtype.name(),
                    expected: "norms and biases must be F32, F16 or BF16",
                });
            }
            expected.insert(name);
        }
        let unexpected = self.tensors.keys().find(|name| {
            !expected.contains(name.as_str()) && !is_ignored(name, self.naming, config)
        });
        match unexpected {
            Some(name) => Err(TensorError::Unexpected {
                name: name.clone(),
                architecture: config.architecture.name(),
            }),
            None => Ok(()),
        }
    }

    /// Bytes of data by element type, the most first.
    pub fn bytes_by_type(&self) -> Vec<(GgmlType, u64)> {
        let mut totals: Vec<(GgmlType, u64)> = Vec::new();
        for location in self.tensors.values() {
            let bytes = location.range.len() as u64;
            match totals.iter_mut().find(|(dtype, _)| *dtype == location.dtype) {
                Some((_, total)) => *total += bytes,
                None => totals.push((location.dtype, bytes)),
            }
        }
        totals.sort_by_key(|&(_, total)| std::cmp::Reverse(total));
        totals
    }

    pub(super) fn location(&self, name: &str) -> Result<&Location, TensorError> {
        let location = self.tensors.get(name);
        location.ok_or_else(|| TensorError::Missing { name: name.to_owned() })
    }

    pub(super) fn bytes(&self, location: &Location) -> &[u8] {
        &self.files[location.file_id].bytes()[location.range.clone()]
    }

    /// Lets go of the pages of some bytes of a tensor.
    pub(super) fn release(&self, location: &Location, range: Range<usize>) {
        let start = location.range.start;
        self.files[location.file_id].release(start + range.start..start + range.end);
    }
}

impl TensorShapes for TensorSource {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|location| location.dims.as_slice())
    }
}
