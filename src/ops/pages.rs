//! [`Pages`]: memory that many packed matrices share.

use candle_core::Result;
use memmap2::MmapMut;

/// Bytes of a large page on x86-64, and more than one on most others.
const LARGE: usize = 2 * 1024 * 1024;

/// Zeros, in large pages where the system has them: half as many reads again per second. One
/// mapping for all matrices of a model, because only what is whole can be a large page, which of a
/// matrix of a few megabytes is not even half.
#[derive(Debug)]
pub(super) struct Pages {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl Pages {
    pub(super) fn new(len: usize) -> Result<Self> {
        if len < LARGE {
            return Ok(Self { map: MmapMut::map_anon(len.max(1))?, start: 0, len });
        }
        // More than is touched, so that a large page can begin where the matrices do.
        let map = MmapMut::map_anon(len + LARGE)?;
        let start = map.as_ptr().align_offset(LARGE);
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise_range(memmap2::Advice::HugePage, start, len) {
            tracing::debug!(%error, "weights are in small pages");
        }
        Ok(Self { map, start, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.start..self.start + self.len]
    }
}
