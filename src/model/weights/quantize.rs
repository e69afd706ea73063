//! From the bytes of a file to weights in memory, with or without a change of type.

use candle_core::quantized::{GgmlDType, QStorage, QTensor, QuantizedType, k_quants};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::WeightsError;
use crate::format::gguf::GgmlType;
use crate::ops::{Device, FileMatrix, Weight};

#[cfg(target_endian = "big")]
compile_error!("weights are used as the files hold them, which is little-endian");

pub(super) fn ggml_dtype(dtype: GgmlType) -> GgmlDType {
    match dtype {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::Bf16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2K => GgmlDType::Q2K,
        GgmlType::Q3K => GgmlDType::Q3K,
        GgmlType::Q4K => GgmlDType::Q4K,
        GgmlType::Q5K => GgmlDType::Q5K,
        GgmlType::Q6K => GgmlDType::Q6K,
    }
}

/// Copies `bytes` as they are. Quantized types need `bytes` aligned to 2, as GGUF files have them;
/// the float types of safetensors files may lie anywhere.
pub(in crate::model) fn weight_from_bytes(
    bytes: &[u8],
    dtype: GgmlType,
    dims: &[usize],
    device: &Device,
) -> Result<Weight, WeightsError> {
    let ggml = ggml_dtype(dtype);
    #[cfg(feature = "cuda")]
    if let (Device::Cuda(session), [_, _]) = (device, dims) {
        return Ok(Weight::upload(session, bytes, ggml, dims)?);
    }
    match dtype {
        GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16 => {
            on_device(qtensor_from_floats(bytes, dtype, dtype, dims)?, device)
        }
        _ if Weight::is_packed(ggml, dims) => {
            let matrix = FileMatrix { bytes, dtype: ggml, dims };
            let [weight] =
                Weight::pack(&[matrix], &|_, _| {})?.try_into().expect("one for each matrix");
            Ok(weight)
        }
        _ => {
            let storage = QStorage::from_data(bytes.into(), &candle_core::Device::Cpu, ggml)?;
            on_device(QTensor::new(storage, dims)?, device)
        }
    }
}

/// A matrix goes to the device; a vector stays on the CPU, for who uses it takes it from there.
pub(super) fn on_device(tensor: QTensor, device: &Device) -> Result<Weight, WeightsError> {
    match device {
        Device::Cpu => Ok(Weight::new(tensor)?),
        #[cfg(feature = "cuda")]
        Device::Cuda(session) => match tensor.shape().dims() {
            dims @ [_, _] => Ok(Weight::upload(session, &tensor.data()?, tensor.dtype(), dims)?),
            _ => Ok(Weight::new(tensor)?),
        },
    }
}

/// Converts `bytes`, which are of the float type `from`, into a tensor of any type `to`.
pub(super) fn qtensor_from_floats(
    bytes: &[u8],
    from: GgmlType,
    to: GgmlType,
    dims: &[usize],
) -> Result<QTensor, WeightsError> {
    let source = Floats::new(bytes, from);
    let storage: Box<dyn QuantizedType> = match to {
        GgmlType::F32 => Box::new(source.convert::<f32>()),
        GgmlType::F16 if from == to => Box::new(source.copy(f16::from_bits)),
        GgmlType::F16 => Box::new(source.convert::<f16>()),
        GgmlType::Bf16 if from == to => Box::new(source.copy(bf16::from_bits)),
        GgmlType::Bf16 => Box::new(source.convert::<bf16>()),
        GgmlType::Q4_0 => Box::new(source.convert::<k_quants::BlockQ4_0>()),
        GgmlType::Q4_1 => Box::new(source.convert::<k_quants::BlockQ4_1>()),
        GgmlType::Q5_0 => Box::new(source.convert::<k_quants::BlockQ5_0>()),
        GgmlType::Q5_1 => Box::new(source.convert::<k_quants::BlockQ5_1>()),
        GgmlType::Q8_0 => Box::new(source.convert::<k_quants::BlockQ8_0>()),
        GgmlType::Q2K => Box::new(source.convert::<k_quants::BlockQ2K>()),
        GgmlType::Q3K => Box::new(source.convert::<k_quants::BlockQ3K>()),
        GgmlType::Q4K => Box::new(source.convert::<k_quants::BlockQ4K>()),
        GgmlType::Q5K => Box::new(source.convert::<k_quants::BlockQ5K>()),
        GgmlType::Q6K => Box::new(source.convert::<k_quants::BlockQ6K>()),
    };
    Ok(QTensor::new(QStorage::Cpu(storage), dims)?)
}

/// Elements converted at a time: a whole number of blocks of any type, and small enough that the
/// `f32`s between source and result stay in the cache.
const CHUNK_LEN: usize = 8192;

/// Little-endian floats at any address.
struct Floats<'a> {
    bytes: &'a [u8],
    dtype: GgmlType,
    size: usize,
}

impl<'a> Floats<'a> {
    fn new(bytes: &'a [u8], dtype: GgmlType) -> Self {
        assert!(!dtype.is_quantized(), "callers have refused to requantize {dtype:?}");
        Self { bytes, dtype, size: dtype.block_bytes() }
    }

    fn copy<T: Send>(&self, from_bits: fn(u16) -> T) -> Vec<T> {
        let elements = self.bytes.as_chunks::<2>().0;
        elements.par_iter().map(|bytes| from_bits(u16::from_le_bytes(*bytes))).collect()
    }

    fn convert<T: k_quants::GgmlType>(&self) -> Vec<T> {
        let mut blocks = vec![T::zeros(); self.bytes.len() / self.size / T::BLCK_SIZE];
        let chunks = self.bytes.par_chunks(CHUNK_LEN * self.size);
        blocks.par_chunks_mut(CHUNK_LEN / T::BLCK_SIZE).zip(chunks).for_each(|(blocks, bytes)| {
            let floats = to_f32(bytes, self.dtype);
            T::from_float(&floats, blocks);
        });
        blocks
    }
}

fn to_f32(bytes: &[u8], dtype: GgmlType) -> Vec<f32> {
    let mut floats = vec![0.0; bytes.len() / dtype.block_bytes()];
    let halves = || bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    match dtype {
        GgmlType::F16 => {
            halves().map(f16::from_bits).collect::<Vec<_>>().convert_to_f32_slice(&mut floats);
        }
        GgmlType::Bf16 => {
            halves().map(bf16::from_bits).collect::<Vec<_>>().convert_to_f32_slice(&mut floats);
        }
        _ => {
            for (float, bytes) in floats.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *float = f32::from_le_bytes(*bytes);
            }
        }
    }
    floats
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 2 * CHUNK_LEN + 256;

    fn wave() -> Vec<f32> {
        (0..LEN).map(|i| (i as f32 * 0.37).sin() * 0.02).collect()
    }

    fn values(tensor: &QTensor) -> Vec<f32> {
        tensor
            .dequantize(&candle_core::Device::Cpu)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    }

    /// One byte is put before the data, as a safetensors header of odd length does.
    fn shifted(bytes: impl Iterator<Item = u8>) -> Vec<u8> {
        std::iter::once(0).chain(bytes).collect()
    }

    #[test]
    fn every_type_is_within_its_step_of_the_source() {
        let bytes = shifted(wave().into_iter().flat_map(f32::to_le_bytes));
        for to in GgmlType::ALL {
            let dims = [LEN / 256, 256];
            let tensor = qtensor_from_floats(&bytes[1..], GgmlType::F32, to, &dims).unwrap();
            assert_eq!(tensor.dtype(), ggml_dtype(to));
            let bits = to.block_bytes() * 8 / to.block_len();
            let tolerance = 0.04 / (1u32 << (bits.min(10) - 1)) as f32;
            for (index, (found, wanted)) in values(&tensor).iter().zip(wave()).enumerate() {
                assert!((found - wanted).abs() <= tolerance, "{to:?} {index}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn halves_are_copied_bit_for_bit_from_any_address() {
        let dims = [LEN];
        let bits = wave().into_iter().map(|x| bf16::from_f32(x).to_bits());
        let bytes = shifted(bits.flat_map(u16::to_le_bytes));
        let tensor =
            qtensor_from_floats(&bytes[1..], GgmlType::Bf16, GgmlType::Bf16, &dims).unwrap();
        assert_eq!(&tensor.data().unwrap()[..], &bytes[1..]);
        let widened = qtensor_from_floats(&bytes[1..], GgmlType::Bf16, GgmlType::F32, &dims);
        let expected: Vec<f32> = wave().into_iter().map(|x| bf16::from_f32(x).to_f32()).collect();
        assert_eq!(values(&widened.unwrap()), expected);
    }
}
