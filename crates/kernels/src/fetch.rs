//! Asking for memory before it is read.

use std::arch::x86_64::{__cpuid, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that are fetched together.
pub(crate) const LINE: usize = 64;

static INTO_SECOND_LEVEL: AtomicBool = AtomicBool::new(false);

/// Decides which level of the cache [`fetch`] fills: the second on processors of AMD, whose first
/// one awaits too few lines at a time for all that the memory can deliver, and the first on others.
pub(crate) fn look_at_processor() {
    let id = __cpuid(0);
    let vendor = [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes);
    INTO_SECOND_LEVEL.store(vendor.as_flattened() == b"AuthenticAMD", Ordering::Relaxed);
}

pub(crate) fn is_into_second_level() -> bool {
    INTO_SECOND_LEVEL.load(Ordering::Relaxed)
}

/// Fetches the line at an address. One that cannot be read does no harm.
#[inline]
#[target_feature(enable = "sse")]
pub(crate) fn fetch(address: *const u8) {
    if is_into_second_level() {
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    } else {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}
