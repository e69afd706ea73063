//! [`Weight`]: a tensor of a checkpoint in the one form in which operations read it.
//!
//! Quantized matrices are packed for our kernels, on CPUs that have them; there is no second copy.
//! Everything else stays a tensor of Candle.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Result, Tensor, bail};
use kernels::{BlockFormat, GROUP, KernelTable, PackedFormat, SuperFormat};

use super::device::Device;
use super::pages::Pages;
use super::parallel::for_each;

const CANDLE_CPU: candle_core::Device = candle_core::Device::Cpu;

/// A matrix as a file has it.
#[derive(Debug, Clone, Copy)]
pub struct FileMatrix<'a> {
    pub bytes: &'a [u8],
    pub dtype: GgmlDType,
    /// Outermost dimension first.
    pub dims: &'a [usize],
}

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
            let (bytes, dtype) = (&tensor.data()?[..], tensor.dtype());
            let [packed] = Packed::new(&[FileMatrix { bytes, dtype, dims: &dims }], &|_, _| {})?
                .try_into()
                .expect("one for each matrix");
            return Ok(Self { dims, storage: Storage::Packed(Arc::new(packed)) });
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

    /// Packs matrices for which [`Self::is_packed`] holds, into memory that they share.
    ///
    /// The threads take them in order and in pieces. After each, `done(index, range)` is told which
    /// bytes of which matrix are not needed any more, from several threads.
    pub fn pack(
        matrices: &[FileMatrix<'_>],
        done: &(dyn Fn(usize, Range<usize>) + Sync),
    ) -> Result<Vec<Self>> {
        let packed = Packed::new(matrices, done)?;
        let weights = packed.into_iter().zip(matrices).map(|(packed, matrix)| Self {
            dims: matrix.dims.to_vec(),
            storage: Storage::Packed(Arc::new(packed)),
        });
        Ok(weights.collect())
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
            Storage::Packed(packed) => packed.bytes().len(),
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
    pages: Arc<Pages>,
    range: Range<usize>,
}

impl Packed {
    fn new(
        matrices: &[FileMatrix<'_>],
        done: &(dyn Fn(usize, Range<usize>) + Sync),
    ) -> Result<Vec<Self>> {
        let places = places(matrices)?;
        let mut pages = Pages::new(places.last().map_or(0, |place| place.range.end))?;
        let mut rest = pages.bytes_mut();
        let mut all_pieces = Vec::new();
        let mut end = 0;
        for (matrix_id, (matrix, place)) in matrices.iter().zip(&places).enumerate() {
            let (groups, behind) = rest[place.range.start - end..].split_at_mut(place.range.len());
            (rest, end) = (behind, place.range.end);
            all_pieces.extend(pieces(matrix_id, place, matrix.bytes, groups));
        }
        let table = KernelTable::detect();
        for_each(all_pieces.into_iter(), |piece| {
            let group_bytes = GROUP * piece.row_bytes;
            let groups = piece.groups.chunks_mut(group_bytes);
            for (group, rows) in groups.zip(piece.rows.chunks(group_bytes)) {
                table.pack_group(piece.format, rows, piece.row_bytes, group);
            }
            done(piece.matrix_id, piece.range);
        });
        let pages = Arc::new(pages);
        let packed = places.into_iter().map(|Place { format, n, k, range }| Self {
            format,
            n,
            k,
            pages: Arc::clone(&pages),
            range,
        });
        Ok(packed.collect())
    }

    fn bytes(&self) -> &[u8] {
        &self.pages.bytes()[self.range.clone()]
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
        &self.bytes()[first * row_bytes..(first + count).next_multiple_of(GROUP) * row_bytes]
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

/// What a matrix is, and where it lies among others in the memory that they share.
struct Place {
    format: PackedFormat,
    n: usize,
    k: usize,
    range: Range<usize>,
}

fn places(matrices: &[FileMatrix<'_>]) -> Result<Vec<Place>> {
    /// Vectors that begin with a line of the caches are read faster.
    const LINE: usize = 64;
    let mut start = 0;
    let places = matrices.iter().map(|FileMatrix { bytes, dtype, dims }| {
        let (Some(format), &[n, k]) = (packed_format(*dtype), *dims) else {
            bail!("a tensor {dims:?} of {dtype:?} is not packed")
        };
        let row_bytes = k / format.block_len() * format.block_bytes();
        if n.checked_mul(row_bytes) != Some(bytes.len()) {
            bail!("{} bytes are not a matrix [{n}, {k}] of {format:?}", bytes.len())
        }
        let len = format.packed_bytes(n, k).expect("it is little more than what is in memory");
        let range = start..start + len;
        start = range.end.next_multiple_of(LINE);
        Ok(Place { format, n, k, range })
    });
    places.collect()
}

/// Some groups of a matrix, to be packed by one thread.
struct Piece<'a> {
    matrix_id: usize,
    format: PackedFormat,
    row_bytes: usize,
    /// Of the matrix as the file has it.
    range: Range<usize>,
    rows: &'a [u8],
    groups: &'a mut [u8],
}

/// Cuts a matrix into pieces: few enough that taking them does not show, and small enough that
/// hardly more than one copy of the weights is in memory.
fn pieces<'a>(
    matrix_id: usize,
    place: &Place,
    rows: &'a [u8],
    groups: &'a mut [u8],
) -> impl Iterator<Item = Piece<'a>> {
    const BYTES: usize = 1024 * 1024;
    let format = place.format;
    let row_bytes = place.k / format.block_len() * format.block_bytes();
    let group_bytes = GROUP * row_bytes;
    let len = (BYTES / group_bytes).max(1) * group_bytes;
    let pieces = rows.chunks(len).zip(groups.chunks_mut(len)).enumerate();
    pieces.map(move |(index, (rows, groups))| {
        let range = index * len..index * len + rows.len();
        Piece { matrix_id, format, row_bytes, range, rows, groups }
    })
}
