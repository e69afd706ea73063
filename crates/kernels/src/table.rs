//! [`KernelTable`]: the kernels of one instruction set behind one type.

use std::cell::RefCell;
use std::sync::OnceLock;

use crate::attention::{AttendArgs, AttendRowsArgs, PARTITION, partial_len};
use crate::columns::Columns;
use crate::kv::{self, KvElements, UnpackArgs};
use crate::kv_q8_0::Block;
use crate::linear::LinearArgs;
use crate::packed::PackedFormat;
use crate::quantized::{BLOCK_LEN, QuantizedLinearArgs, ROW_TILE, RowBlock};
use crate::row::{RmsNormArgs, RopeArgs};
use crate::scalar;
use crate::super_blocks::{SUPER_LEN, SuperLinearArgs, SuperRow};

/// Kernels for one instruction set.
///
/// The functions are `unsafe` to call because they may need CPU features. Whoever holds a table
/// may call them: every constructor has checked the CPU.
#[derive(Debug)]
pub struct KernelTable {
    pub(crate) name: &'static str,
    pub(crate) rows_together: usize,
    pub(crate) attend: unsafe fn(&AttendArgs<'_>, &mut [f32], &mut [f32]),
    /// `None` where rows are computed one by one.
    pub(crate) attend_rows: Option<unsafe fn(&AttendRowsArgs<'_>, &mut [f32])>,
    pub(crate) unpack_q8_0: unsafe fn(&UnpackArgs<'_>, &[Block], &mut [f32]),
    pub(crate) pack_group: unsafe fn(PackedFormat, &[u8], usize, &mut [u8]),
    pub(crate) linear: unsafe fn(&LinearArgs<'_>, &mut Columns<'_>),
    pub(crate) quantize_rows: unsafe fn(&[f32], usize, &mut [RowBlock]),
    pub(crate) quantized_linear: unsafe fn(&QuantizedLinearArgs<'_>, &mut Columns<'_>),
    pub(crate) quantize_super_rows: unsafe fn(&[f32], usize, &mut [SuperRow]),
    pub(crate) super_linear: unsafe fn(&SuperLinearArgs<'_>, &mut Columns<'_>),
    pub(crate) rms_norm: unsafe fn(&RmsNormArgs<'_>, &mut [f32]),
    pub(crate) rope: unsafe fn(&RopeArgs<'_>, &mut [f32]),
    pub(crate) silu_mul: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub(crate) sum_words: unsafe fn(&[u8]) -> u64,
}

static SCALAR: KernelTable = KernelTable {
    name: "scalar",
    rows_together: ROW_TILE,
    attend: scalar::attend,
    attend_rows: None,
    unpack_q8_0: crate::kv_q8_0::unpack,
    pack_group: PackedFormat::pack_group,
    linear: scalar::linear,
    quantize_rows: scalar::quantize_rows,
    quantized_linear: scalar::quantized_linear,
    quantize_super_rows: scalar::quantize_super_rows,
    super_linear: scalar::super_linear,
    rms_norm: scalar::rms_norm,
    rope: scalar::rope,
    silu_mul: scalar::silu_mul,
    sum_words: crate::read::sum_words,
};

#[cfg(target_arch = "x86_64")]
static AVX2: KernelTable = KernelTable {
    name: "avx2",
    rows_together: ROW_TILE,
    attend: crate::avx2::attend,
    attend_rows: None,
    unpack_q8_0: crate::avx2::unpack_q8_0,
    pack_group: crate::avx2::pack_group,
    linear: crate::avx2::linear,
    quantize_rows: crate::avx2::quantize_rows,
    quantized_linear: crate::avx2::quantized_linear,
    quantize_super_rows: crate::avx2::quantize_super_rows,
    super_linear: crate::avx2::super_linear,
    rms_norm: crate::avx2::rms_norm,
    rope: crate::avx2::rope,
    silu_mul: crate::avx2::silu_mul,
    sum_words: crate::avx2::sum_words,
};

/// Norms, rope, rounding and packing are AVX2's: they wait for memory, not for the processor.
#[cfg(target_arch = "x86_64")]
static AVX512: KernelTable = KernelTable {
    name: "avx512",
    rows_together: ROW_TILE,
    attend: crate::avx512::attend,
    attend_rows: Some(crate::avx512::attend_rows),
    unpack_q8_0: crate::avx2::unpack_q8_0,
    pack_group: crate::avx2::pack_group,
    linear: crate::avx512::linear,
    quantize_rows: crate::avx2::quantize_rows,
    quantized_linear: crate::avx512::quantized_linear,
    quantize_super_rows: crate::avx2::quantize_super_rows,
    super_linear: crate::avx512::super_linear,
    rms_norm: crate::avx2::rms_norm,
    rope: crate::avx2::rope,
    silu_mul: crate::avx512::silu_mul,
    sum_words: crate::avx512::sum_words,
};

/// All but the products that it is for is AVX-512's.
#[cfg(target_arch = "x86_64")]
static AMX: KernelTable = KernelTable {
    name: "amx",
    rows_together: crate::amx::ROWS_MAX,
    quantized_linear: crate::amx::quantized_linear,
    super_linear: crate::amx::super_linear,
    ..AVX512
};

impl KernelTable {
    /// The reference, which runs everywhere.
    pub fn scalar() -> &'static Self {
        &SCALAR
    }

    /// AVX2 with FMA and F16C, if the CPU has all three.
    pub fn avx2() -> Option<&'static Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            crate::fetch::look_at_processor();
            return Some(&AVX2);
        }
        None
    }

    /// AVX-512 with its byte, vector-length and neural-network instructions, if the CPU has all of
    /// them. Its results have the bits of [`Self::avx2`]'s.
    pub fn avx512() -> Option<&'static Self> {
        #[cfg(target_arch = "x86_64")]
        if Self::avx2().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
        {
            return Some(&AVX512);
        }
        None
    }

    /// AVX-512 and AMX's products of bytes, if the CPU has them all and the system lets them be
    /// used. Its results have the bits of [`Self::avx512`]'s.
    pub fn amx() -> Option<&'static Self> {
        #[cfg(target_arch = "x86_64")]
        if Self::avx512().is_some() && crate::amx::is_available() {
            return Some(&AMX);
        }
        None
    }

    /// The fastest table of this CPU. One that fails its comparison with AVX2's is not taken.
    pub fn detect() -> &'static Self {
        static BEST: OnceLock<&'static KernelTable> = OnceLock::new();
        BEST.get_or_init(|| {
            let Some(narrow) = Self::avx2() else { return Self::scalar() };
            #[cfg(target_arch = "x86_64")]
            for wide in [Self::amx(), Self::avx512()].into_iter().flatten() {
                if crate::check::agree(wide, narrow) {
                    return wide;
                }
            }
            narrow
        })
    }

    /// Name of an instruction set that this CPU has and [`Self::detect`] did not take, because its
    /// results were wrong.
    pub fn distrusted() -> Option<&'static str> {
        let best = Self::amx().or(Self::avx512());
        best.map(Self::name).filter(|name| *name != Self::detect().name)
    }

    /// Name of the instruction set.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Rows of activations that pass weights together where there are as many, a multiple of
    /// [`ROW_TILE`]: more at a time are multiplied as so many one after the other.
    pub fn rows_together(&self) -> usize {
        self.rows_together
    }

    /// Attention of one row's query heads that share a KV head over one partition of the context.
    /// `partial` has [`partial_len`] elements and is overwritten; see [`crate::Partials`].
    ///
    /// Panics if the arguments do not fit each other or a block id is outside the cache.
    pub fn attend(&self, args: &AttendArgs<'_>, partial: &mut [f32]) {
        args.check();
        assert_eq!(partial.len(), partial_len(args.num_heads, args.shape.head_dim));
        SCORES.with_borrow_mut(|scores| {
            let len = args.num_heads * PARTITION;
            if scores.len() < len {
                scores.resize(len, 0.0);
            }
            // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
            unsafe { (self.attend)(args, scores, partial) }
        });
    }

    /// Attention of several rows over one partition, each row with the bits that [`Self::attend`]
    /// gives it alone. `partials` has [`partial_len`] elements for each row and is overwritten.
    ///
    /// Panics if the arguments do not fit each other.
    pub fn attend_rows(&self, args: &AttendRowsArgs<'_>, partials: &mut [f32]) {
        args.check();
        let len = partial_len(args.num_heads, args.head_dim);
        assert_eq!(partials.len(), args.num_rows * len);
        let num_queries = args.num_rows * args.num_heads;
        if let Some(attend_rows) = self.attend_rows.filter(|_| num_queries >= QUERIES_TOGETHER) {
            // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
            return unsafe { attend_rows(args, partials) };
        }
        for (row, partial) in partials.chunks_exact_mut(len).enumerate() {
            self.attend(&args.row(row), partial);
        }
    }

    /// Keys or values of a part of a context as floats, `[end - start, head_dim]`.
    ///
    /// Panics if the arguments do not fit each other or a block id is outside the cache.
    pub fn unpack_kv(&self, args: &UnpackArgs<'_>, out: &mut [f32]) {
        args.check(out);
        match args.cache {
            KvElements::Floats(floats) => kv::unpack_floats(args, floats, out),
            // SAFETY: the table's constructor checked the CPU.
            KvElements::Q8_0(blocks) => unsafe { (self.unpack_q8_0)(args, blocks, out) },
        }
    }

    /// [`PackedFormat::pack_group`].
    ///
    /// Panics if the lengths do not fit.
    pub fn pack_group(
        &self,
        format: PackedFormat,
        rows: &[u8],
        row_bytes: usize,
        group: &mut [u8],
    ) {
        // SAFETY: the table's constructor checked the CPU.
        unsafe { (self.pack_group)(format, rows, row_bytes, group) }
    }

    /// Row `r`, column `w` of `out` = dot product of activation row `r` and weight row `w`.
    ///
    /// Panics if the lengths do not fit.
    pub fn linear(&self, args: &LinearArgs<'_>, out: &mut Columns<'_>) {
        args.check(out);
        // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
        unsafe { (self.linear)(args, out) }
    }

    /// Rounds one tile of rows, 1 to [`ROW_TILE`] of `k` elements, to blocks `[k / 32, rows]`.
    ///
    /// Panics if the lengths do not fit.
    pub fn quantize_rows(&self, rows: &[f32], k: usize, out: &mut [RowBlock]) {
        assert!(k > 0 && k.is_multiple_of(BLOCK_LEN) && rows.len().is_multiple_of(k));
        assert!(rows.len() / k <= ROW_TILE && rows.len() == out.len() * BLOCK_LEN);
        // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
        unsafe { (self.quantize_rows)(rows, k, out) }
    }

    /// Row `r`, column `w` of `out` = dot product of activation row `r` and weight row `w`.
    ///
    /// Panics if the lengths do not fit.
    pub fn quantized_linear(&self, args: &QuantizedLinearArgs<'_>, out: &mut Columns<'_>) {
        args.check(out);
        // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
        unsafe { (self.quantized_linear)(args, out) }
    }

    /// Rounds one tile of rows, 1 to [`ROW_TILE`] of `k` elements, to blocks `[k / 256, rows]`.
    ///
    /// Panics if the lengths do not fit.
    pub fn quantize_super_rows(&self, rows: &[f32], k: usize, out: &mut [SuperRow]) {
        assert!(k > 0 && k.is_multiple_of(SUPER_LEN) && rows.len().is_multiple_of(k));
        assert!(rows.len() / k <= ROW_TILE && rows.len() == out.len() * SUPER_LEN);
        // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
        unsafe { (self.quantize_super_rows)(rows, k, out) }
    }

    /// Row `r`, column `w` of `out` = dot product of activation row `r` and weight row `w`.
    ///
    /// Panics if the lengths do not fit.
    pub fn super_linear(&self, args: &SuperLinearArgs<'_>, out: &mut Columns<'_>) {
        args.check(out);
        // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
        unsafe { (self.super_linear)(args, out) }
    }

    /// Root mean square norm of each row of `weight.len()` elements.
    ///
    /// Panics if the lengths do not fit.
    pub fn rms_norm(&self, args: &RmsNormArgs<'_>, out: &mut [f32]) {
        args.check(out.len());
        // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
        unsafe { (self.rms_norm)(args, out) }
    }

    /// Rotates the heads of each row in place.
    ///
    /// Panics if the lengths do not fit.
    pub fn rope(&self, args: &RopeArgs<'_>, rows: &mut [f32]) {
        args.check(rows.len());
        // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
        unsafe { (self.rope)(args, rows) }
    }

    /// The sum of the whole words of 8 bytes: what it takes is the time to read them.
    pub fn sum_words(&self, bytes: &[u8]) -> u64 {
        // SAFETY: the table's constructor checked the CPU.
        unsafe { (self.sum_words)(bytes) }
    }

    /// `out = silu(gate) * up`, element by element.
    ///
    /// Panics if the lengths differ.
    pub fn silu_mul(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == out.len() && up.len() == out.len(), "three slices of one length");
        // SAFETY: the table's constructor checked the CPU; the arguments were checked above.
        unsafe { (self.silu_mul)(gate, up, out) }
    }
}

/// Queries of several rows from which on they are computed together: as many as a vector has lanes.
const QUERIES_TOGETHER: usize = 16;

thread_local! {
    /// Scores of one partition, `[num_heads, PARTITION]`: clearing them anew for each call would
    /// cost as much as attention over a short context.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}
