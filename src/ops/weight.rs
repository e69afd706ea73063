//! [`Weight`]: a tensor of a checkpoint in the one form in which operations read it.
//!
//! Quantized matrices are packed for our kernels, on CPUs that have them; there is no second copy.
//! Everything else stays a tensor of Candle.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Result, Tensor, bail};
use kernels::{BlockFormat, GROUP, KernelTable, PackedFormat, SuperFormat};
use memmap2::MmapMut;
use rayon::prelude::*;

use super::device::Device;

const CANDLE_CPU: candle_core::Device = candle_core::Device::Cpu;

/// A tensor of a checkpoint.
#[derive(Debug)]
pub struct Weight {
    dims: Vec<usize>,
    pub(super) storage: Storage,
}

#[derive(Debug)]
pub(super) enum Storage {
    Candle(Arc<QTensor>),
    Packed(Arc<Packed>),
    #[cfg(feature = "cuda")]
    Cuda {
        matrix: Arc<cuda::Matrix>,
        session: Arc<cuda::Session>,
    },
}

impl Weight {
    /// The form for the tensor's type and shape on the CPU, where it is.
    pub fn new(tensor: QTensor) -> Result<Self> {
        let dims = tensor.shape().dims().to_vec();
        if Self::is_packed(tensor.dtype(), &dims) {
            return Self::pack(&tensor.data()?, tensor.dtype(), &dims);
        }
        Ok(Self { dims, storage: Storage::Candle(Arc::new(tensor)) })
    }

    /// Whether tensors of this type and shape are packed on this CPU. The reference kernels are no
    /// reason to: Candle has some vector code for every instruction set.
    pub fn is_packed(dtype: GgmlDType, dims: &[usize]) -> bool {
        let (Some(format), &[n, k]) = (packed_format(dtype), dims) else { return false };
        let is_whole = n > 0 && k > 0 && k.is_multiple_of(format.block_len());
        is_whole && KernelTable::avx2().is_some()
    }

    /// Packs `bytes`, a matrix as a file has it, for which [`Self::is_packed`] holds.
    pub fn pack(bytes: &[u8], dtype: GgmlDType, dims: &[usize]) -> Result<Self> {
        let (Some(format), &[n, k]) = (packed_format(dtype), dims) else {
            bail!("a tensor {dims:?} of {dtype:?} is not packed")
        };
        let packed = Packed::new(format, bytes, n, k)?;
        Ok(Self { dims: dims.to_vec(), storage: Storage::Packed(Arc::new(packed)) })
    }

    /// Copies `bytes`, a matrix as a file has it, to a GPU.
    #[cfg(feature = "cuda")]
    pub fn upload(
        session: &Arc<cuda::Session>,
        bytes: &[u8],
        dtype: GgmlDType,
        dims: &[usize],
    ) -> Result<Self> {
        let &[n, k] = dims else { bail!("a tensor {dims:?} is no matrix") };
        let format = super::cuda::weight_format(dtype);
        let matrix = cuda::Matrix::new(session, format, n, k, bytes);
        let matrix = Arc::new(matrix.map_err(candle_core::Error::wrap)?);
        let storage = Storage::Cuda { matrix, session: Arc::clone(session) };
        Ok(Self { dims: dims.to_vec(), storage })
    }

    /// Outermost dimension first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    pub fn dtype(&self) -> GgmlDType {
        match &self.storage {
            Storage::Candle(tensor) => tensor.dtype(),
            Storage::Packed(packed) => ggml_dtype(packed.format),
            #[cfg(feature = "cuda")]
            Storage::Cuda { matrix, .. } => super::cuda::ggml_dtype(matrix.format()),
        }
    }

    pub fn device(&self) -> Device {
        match &self.storage {
            Storage::Candle(_) | Storage::Packed(_) => Device::Cpu,
            #[cfg(feature = "cuda")]
            Storage::Cuda { session, .. } => Device::Cuda(Arc::clone(session)),
        }
    }

    /// Bytes in memory.
    pub fn num_bytes(&self) -> usize {
        match &self.storage {
            Storage::Candle(tensor) => tensor.storage_size_in_bytes(),
            Storage::Packed(packed) => packed.bytes.len(),
            #[cfg(feature = "cuda")]
            Storage::Cuda { matrix, .. } => matrix.num_bytes(),
        }
    }

    /// The elements as `f32`, on the CPU.
    pub fn dequantize(&self) -> Result<Tensor> {
        match &self.storage {
            Storage::Candle(tensor) => tensor.dequantize(&tensor.device()),
            Storage::Packed(packed) => packed.rows(0..packed.n),
            #[cfg(feature = "cuda")]
            Storage::Cuda { matrix, session } => super::cuda::elements(session, matrix),
        }
    }
}

fn packed_format(dtype: GgmlDType) -> Option<PackedFormat> {
    Some(match dtype {
        GgmlDType::Q4_0 => PackedFormat::Blocks(BlockFormat::Q4_0),
        GgmlDType::Q4_1 => PackedFormat::Blocks(BlockFormat::Q4_1),
        GgmlDType::Q5_0 => PackedFormat::Blocks(BlockFormat::Q5_0),
        GgmlDType::Q5_1 => PackedFormat::Blocks(BlockFormat::Q5_1),
        GgmlDType::Q8_0 => PackedFormat::Blocks(BlockFormat::Q8_0),
        GgmlDType::Q2K => PackedFormat::Supers(SuperFormat::Q2K),
        GgmlDType::Q3K => PackedFormat::Supers(SuperFormat::Q3K),
        GgmlDType::Q4K => PackedFormat::Supers(SuperFormat::Q4K),
        GgmlDType::Q5K => PackedFormat::Supers(SuperFormat::Q5K),
        GgmlDType::Q6K => PackedFormat::Supers(SuperFormat::Q6K),
        _ => return None,
    })
}

fn ggml_dtype(format: PackedFormat) -> GgmlDType {
    match format {
        PackedFormat::Blocks(BlockFormat::Q4_0) => GgmlDType::Q4_0,
        PackedFormat::Blocks(BlockFormat::Q4_1) => GgmlDType::Q4_1,
        PackedFormat::Blocks(BlockFormat::Q5_0) => GgmlDType::Q5_0,
        PackedFormat::Blocks(BlockFormat::Q5_1) => GgmlDType::Q5_1,
        PackedFormat::Blocks(BlockFormat::Q8_0) => GgmlDType::Q8_0,
        PackedFormat::Supers(SuperFormat::Q2K) => GgmlDType::Q2K,
        PackedFormat::Supers(SuperFormat::Q3K) => GgmlDType::Q3K,
        PackedFormat::Supers(SuperFormat::Q4K) => GgmlDType::Q4K,
        PackedFormat::Supers(SuperFormat::Q5K) => GgmlDType::Q5K,
        PackedFormat::Supers(SuperFormat::Q6K) => GgmlDType::Q6K,
    }
}

/// A matrix `[n, k]` packed in groups of rows, see [`PackedFormat::pack_group`].
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) format: PackedFormat,
    pub(super) n: usize,
    pub(super) k: usize,
    /// Pages of its own, so that they can be large ones: half as many reads again per second.
    bytes: MmapMut,
}

impl Packed {
    fn new(format: PackedFormat, rows: &[u8], n: usize, k: usize) -> Result<Self> {
        let row_bytes = k / format.block_len() * format.block_bytes();
        if n.checked_mul(row_bytes) != Some(rows.len()) {
            bail!("{} bytes are not a matrix [{n}, {k}] of {format:?}", rows.len())
        }
        let len = format.packed_bytes(n, k).expect("it is little more than what is in memory");
        let mut bytes = MmapMut::map_anon(len)?;
        #[cfg(target_os = "linux")]
        if let Err(error) = bytes.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "weights are in small pages");
        }
        let group_bytes = GROUP * row_bytes;
        let groups = bytes.par_chunks_mut(group_bytes).zip(rows.par_chunks(group_bytes));
        groups.for_each(|(group, rows)| format.pack_group(rows, row_bytes, group));
        Ok(Self { format, n, k, bytes })
    }

    pub(super) fn format_name(&self) -> String {
        format!("{:?}", ggml_dtype(self.format))
    }

    pub(super) fn row_bytes(&self) -> usize {
        self.k / self.format.block_len() * self.format.block_bytes()
    }

    /// The groups of `[first, first + count)` weight rows; `first` is a multiple of [`GROUP`].
    pub(super) fn groups(&self, first: usize, count: usize) -> &[u8] {
        let row_bytes = self.row_bytes();
        &self.bytes[first * row_bytes..(first + count).next_multiple_of(GROUP) * row_bytes]
    }

    /// Some rows as `f32`, `[ids.len(), k]`. A row that is not there is an error.
    pub(super) fn rows(&self, ids: impl ExactSizeIterator<Item = usize>) -> Result<Tensor> {
        let row_bytes = self.row_bytes();
        let num_rows = ids.len();
        let mut bytes = vec![0; num_rows * row_bytes];
        for (id, out) in ids.zip(bytes.chunks_exact_mut(row_bytes)) {
            if id >= self.n {
                bail!("row {id} is not one of {}", self.n)
            }
            self.format.unpack_row(self.groups(id / GROUP * GROUP, GROUP), id % GROUP, out);
        }
        let storage = QStorage::from_data(Cow::Owned(bytes), &CANDLE_CPU, ggml_dtype(self.format))?;
        QTensor::new(storage, (num_rows, self.k))?.dequantize(&CANDLE_CPU)
    }
}
