//! The tile registers: whether there are any, their shapes, and products with them.
//!
//! Intrinsics for them are not stable yet, so this is assembly. The compiler knows nothing of these
//! registers and leaves them alone, so they keep what is in them from one piece of it to the next.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, __m512i};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Bytes of a row of a tile.
pub(super) const ROW_BYTES: usize = 64;

/// Sums of a tile: a row for each row of activations, a column for each weight row.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Sums(pub(super) [__m512i; ROWS]);

/// Whether this CPU has tiles with products of bytes, and the system lets this process use them,
/// which it is asked for here.
pub(crate) fn is_available() -> bool {
    static IS_AVAILABLE: OnceLock<bool> = OnceLock::new();
    *IS_AVAILABLE.get_or_init(|| has_tiles() && is_permitted())
}

fn has_tiles() -> bool {
    const FEATURES: u32 = 7;
    const TILES: u32 = 0x1d;
    const TILES_AND_BYTES: u32 = 0b11 << 24;
    if __cpuid(0).eax < TILES || __cpuid_count(FEATURES, 0).edx & TILES_AND_BYTES != TILES_AND_BYTES
    {
        return false;
    }
    // The first palette: eight registers of sixteen rows.
    let palette = __cpuid_count(TILES, 1);
    palette.ebx == 8 << 16 | ROW_BYTES as u32 && palette.ecx == ROWS as u32
}

#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: i32 = 0x1023;
    const XFEATURE_XTILEDATA: i32 = 18;
    // SAFETY: asks for a permission by two numbers; it fails where the kernel knows none of it.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// For sums, activations and weights in registers 0 to 3, 4 and 5, 6 and 7, where a product is
    /// the sum of `depth` elements.
    const fn of(depth: usize) -> Self {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut tile = 0;
        while tile < 8 {
            (row_bytes[tile], rows[tile]) = (ROW_BYTES as u16, ROWS as u8);
            if tile == 4 || tile == 5 {
                row_bytes[tile] = depth as u16;
            } else if tile > 5 {
                rows[tile] = (depth / 4) as u8;
            }
            tile += 1;
        }
        Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }
}

/// This thread's tile registers, from when they have shapes until they are given back: as long as
/// they are in use, the system saves their 8 KiB whenever it lets another thread run.
///
/// Their products are sums of `DEPTH` elements.
pub(super) struct Tiles<const DEPTH: usize> {
    /// They are the thread's.
    _not_send: PhantomData<*mut ()>,
}

/// Elements of sixteen weight rows: steps of four of each.
pub(super) type Steps<const STEPS: usize> = [__m512i; STEPS];

/// Sums of four tiles, two of each of two bands or one of each of four blocks.
pub(super) type Stored = [[Sums; 2]; 2];

impl<const DEPTH: usize> Tiles<DEPTH> {
    const CONFIG: Config = Config::of(DEPTH);

    /// # Safety
    /// [`is_available`].
    pub(super) unsafe fn configure() -> Self {
        // SAFETY: the caller's promise; the shapes are those of the first palette.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &Self::CONFIG, options(nostack, readonly)) };
        Self { _not_send: PhantomData }
    }

    /// Makes the sums zero.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        // SAFETY: as long as there is a value, the registers have shapes.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem),
            );
        }
    }

    /// Stores the sums of as many pairs of tiles.
    #[inline(always)]
    pub(super) fn store(&mut self, sums: &mut [[Sums; 2]]) {
        let [first, rest @ ..] = sums else { return };
        let [a, b] = first.each_mut().map(|sums| &raw mut *sums);
        // SAFETY: sums are as large as a tile.
        unsafe {
            asm!(
                "tilestored [{a} + {row_bytes}], tmm0",
                "tilestored [{b} + {row_bytes}], tmm1",
                a = in(reg) a,
                b = in(reg) b,
                row_bytes = in(reg) ROW_BYTES,
                options(nostack),
            );
            if let [second, ..] = rest {
                let [a, b] = second.each_mut().map(|sums| &raw mut *sums);
                asm!(
                    "tilestored [{a} + {row_bytes}], tmm2",
                    "tilestored [{b} + {row_bytes}], tmm3",
                    a = in(reg) a,
                    b = in(reg) b,
                    row_bytes = in(reg) ROW_BYTES,
                    options(nostack),
                );
            }
        }
    }
}

impl Tiles<64> {
    /// Multiplies 64 bytes of the rows of `G` bands, `stride` bytes apart, with unsigned weights
    /// and with signed ones, and adds to the sums of each.
    ///
    /// # Safety
    /// The activations are readable; `G` is 1 or 2.
    #[inline(always)]
    pub(super) unsafe fn multiply<const G: usize>(
        &mut self,
        rows: [*const i8; G],
        stride: usize,
        [unsigned, signed]: [&Steps<16>; 2],
    ) {
        const {
            assert!(G == 1 || G == 2);
        }
        // SAFETY: as long as there is a value, the registers have shapes; the activations are the
        // caller's promise.
        unsafe {
            asm!(
                "tileloadd tmm4, [{rows} + {stride}]",
                "tileloadd tmm6, [{unsigned} + {row_bytes}]",
                "tdpbsud tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{signed} + {row_bytes}]",
                "tdpbssd tmm1, tmm4, tmm7",
                rows = in(reg) rows[0],
                stride = in(reg) stride,
                unsigned = in(reg) unsigned,
                signed = in(reg) signed,
                row_bytes = in(reg) ROW_BYTES,
                options(nostack, readonly),
            );
            if G == 2 {
                asm!(
                    "tileloadd tmm5, [{rows} + {stride}]",
                    "tdpbsud tmm2, tmm5, tmm6",
                    "tdpbssd tmm3, tmm5, tmm7",
                    rows = in(reg) rows[G - 1],
                    stride = in(reg) stride,
                    options(nostack, readonly),
                );
            }
        }
    }
}

impl Tiles<32> {
    /// Multiplies 32 bytes of the rows of a band, `stride` bytes apart, with signed weights: the
    /// sums of tile `T` are these products.
    ///
    /// # Safety
    /// The activations are readable.
    #[inline(always)]
    pub(super) unsafe fn multiply<const T: usize>(
        &mut self,
        rows: *const i8,
        stride: usize,
        weights: &Steps<8>,
    ) {
        macro_rules! multiply {
            ($sums:literal, $rows:literal, $weights:literal) => {
                asm!(
                    concat!("tilezero ", $sums),
                    concat!("tileloadd ", $rows, ", [{rows} + {stride}]"),
                    concat!("tileloadd ", $weights, ", [{weights} + {row_bytes}]"),
                    concat!("tdpbssd ", $sums, ", ", $rows, ", ", $weights),
                    rows = in(reg) rows,
                    stride = in(reg) stride,
                    weights = in(reg) weights,
                    row_bytes = in(reg) ROW_BYTES,
                    options(nostack, readonly),
                )
            };
        }
        // SAFETY: as long as there is a value, the registers have shapes; the activations are the
        // caller's promise.
        unsafe {
            match const { T % 4 } {
                0 => multiply!("tmm0", "tmm4", "tmm6"),
                1 => multiply!("tmm1", "tmm5", "tmm7"),
                2 => multiply!("tmm2", "tmm4", "tmm6"),
                _ => multiply!("tmm3", "tmm5", "tmm7"),
            }
        }
    }

    /// Stores the sums of tile `T`.
    #[inline(always)]
    pub(super) fn store_one<const T: usize>(&mut self, sums: &mut Sums) {
        macro_rules! store {
            ($tile:literal) => {
                asm!(
                    concat!("tilestored [{sums} + {row_bytes}], ", $tile),
                    sums = in(reg) &raw mut *sums,
                    row_bytes = in(reg) ROW_BYTES,
                    options(nostack),
                )
            };
        }
        // SAFETY: as long as there is a value, the registers have shapes; sums are as large as a
        // tile.
        unsafe {
            match const { T % 4 } {
                0 => store!("tmm0"),
                1 => store!("tmm1"),
                2 => store!("tmm2"),
                _ => store!("tmm3"),
            }
        }
    }
}

impl<const DEPTH: usize> Drop for Tiles<DEPTH> {
    fn drop(&mut self) {
        // SAFETY: as long as there is a value, the registers have shapes.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
