//! What kernels take, as the structs of `kernels/*.cuh` have it. Pointers are device addresses.

/// A kernel's only argument.
///
/// # Safety
///
/// The type is `repr(C)`, has no padding, and the fields of the kernel's struct in its order.
pub(crate) unsafe trait Args {}

macro_rules! args {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type),*
        }

        // SAFETY: `repr(C)`; fields stand in the order of their alignment or pad by name, and the
        // size is compared with the kernel's own when it is loaded.
        unsafe impl Args for $name {}
    )*};
}

pub(crate) const MATRICES_MAX: usize = 3;

args! {
    LinearMatrix { weights: u64, bias: u64, out: u64, n: i64 }
    LinearArgs {
        matrices: [LinearMatrix; MATRICES_MAX],
        x: u64,
        k: i32,
        row_bytes: i32,
        num_rows: i32,
        num_matrices: i32,
        gated: i32,
        reserved: i32,
    }
    GatherArgs { weights: u64, ids: u64, out: u64, num_rows: i64, k: i32, row_bytes: i32 }
    IntegersArgs { x: u64, out: u64, num_rows: i64, k: i32, reserved: i32 }
    RmsNormArgs {
        x: u64,
        delta: u64,
        weight: u64,
        ids: u64,
        out: u64,
        integers: u64,
        k: i32,
        eps: f32,
    }
    AddArgs { x: u64, other: u64, len: i64, period: i64 }
    SiluMulArgs { gate: u64, up: u64, out: u64, len: i64 }
    BlockMaximaArgs { logits: u64, maxima: u64, width: i32, num_blocks: i32 }
    WeighArgs { logits: u64, rows: u64, weights: u64, width: i32, num_blocks: i32 }
    CopyBlocksArgs { logits: u64, blocks: u64, out: u64, width: i32, num_blocks: i32 }
    RopeWriteArgs {
        queries: u64,
        keys: u64,
        values: u64,
        rotations: u64,
        positions: u64,
        slots: u64,
        key_cache: u64,
        value_cache: u64,
        num_heads: i32,
        num_kv_heads: i32,
        head_dim: i32,
        block_size: i32,
        adjacent: i32,
        reserved: i32,
    }
    AttentionArgs {
        queries: u64,
        keys: u64,
        values: u64,
        seqs: u64,
        tiles: u64,
        tables: u64,
        out: u64,
        partials: u64,
        integers: u64,
        num_heads: i32,
        num_kv_heads: i32,
        block_size: i32,
        num_splits: i32,
        scale: f32,
        out_type: i32,
    }
}
