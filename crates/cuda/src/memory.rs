//! Memory of the GPU: buffers that stay, and a pool for what a step needs.
//!
//! The pool hands out and takes back by its own books, without a call of the driver. Work on one
//! stream is done in order, so what was given back may be handed out again at once; and the same
//! requests in the same order get the same addresses, which captured work relies on.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::driver::{Driver, check};
use crate::{CudaError, Result, sys};

/// Addresses are multiples of this.
const ALIGNMENT: usize = 512;
/// The least that the pool takes of the driver at a time.
const CHUNK_BYTES: usize = 16 << 20;
const UPLOAD_BYTES_MIN: usize = 1 << 16;

/// Bytes that stay where they are until they are dropped.
#[derive(Debug)]
pub struct Buffer {
    driver: Arc<Driver>,
    address: u64,
    bytes: usize,
}

impl Buffer {
    pub(crate) fn new(driver: &Arc<Driver>, bytes: usize) -> Result<Self> {
        driver.bind()?;
        // Kernels read words, of which the last may hold less than a word of what was asked for.
        let room = bytes.max(1).next_multiple_of(4);
        let mut address = 0;
        // SAFETY: there is a place for the address.
        let result = unsafe { sys::cuMemAlloc_v2(&mut address, room) };
        if result == sys::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(CudaError::OutOfMemory { bytes });
        }
        check(result, "cuMemAlloc")?;
        Ok(Self { driver: Arc::clone(driver), address, bytes })
    }

    pub(crate) fn of(driver: &Arc<Driver>, bytes: &[u8]) -> Result<Self> {
        let buffer = Self::new(driver, bytes.len())?;
        // SAFETY: the buffer is as long.
        unsafe { copy_to(driver, buffer.address, bytes) }?;
        Ok(buffer)
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    pub fn num_bytes(&self) -> usize {
        self.bytes
    }

    /// Sets all bytes to zero, and waits until they are: another stream may be the first to look.
    pub(crate) fn clear(&self) -> Result<()> {
        self.driver.bind()?;
        let stream = self.driver.stream();
        // SAFETY: the buffer is as long as is written; freeing it waits for the stream.
        let result = unsafe { sys::cuMemsetD8Async(self.address, 0, self.bytes, stream) };
        check(result, "cuMemsetD8Async")?;
        self.driver.synchronize()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.driver.bind().is_ok() {
            // SAFETY: allocated by `new` and freed once; the driver waits for work that uses it.
            let _ = unsafe { sys::cuMemFree_v2(self.address) };
        }
    }
}

/// Copies `bytes` to `address` and waits for it. On the stream: a copy outside of it may still be
/// on its way from the driver's own buffers when the call returns, and a stream that does not wait
/// for the default one would read what was there before.
///
/// # Safety
///
/// That many bytes are allocated at `address`.
pub(crate) unsafe fn copy_to(driver: &Driver, address: u64, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    driver.bind()?;
    let (from, stream) = (bytes.as_ptr().cast::<c_void>(), driver.stream());
    // SAFETY: the caller's; `bytes` is borrowed until the stream is done.
    let result = unsafe { sys::cuMemcpyHtoDAsync_v2(address, from, bytes.len(), stream) };
    let copied = check(result, "cuMemcpyHtoDAsync");
    driver.synchronize()?;
    copied
}

/// Memory of the host that the GPU copies from and to by itself.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// The context that it belongs to lives as long.
    driver: Arc<Driver>,
    pointer: *mut u8,
    bytes: usize,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(crate) fn new(driver: &Arc<Driver>, bytes: usize) -> Result<Self> {
        driver.bind()?;
        let mut pointer = std::ptr::null_mut();
        // SAFETY: there is a place for the address.
        check(unsafe { sys::cuMemHostAlloc(&mut pointer, bytes, 0) }, "cuMemHostAlloc")?;
        // SAFETY: that many bytes were allocated; they hold something before they are read.
        unsafe { std::ptr::write_bytes(pointer.cast::<u8>(), 0, bytes) };
        Ok(Self { driver: Arc::clone(driver), pointer: pointer.cast(), bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and written; whoever copies into it waits before it reads.
        unsafe { std::slice::from_raw_parts(self.pointer, self.bytes) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed once.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.bytes) }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut c_void {
        self.pointer.cast()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.driver.bind().is_ok() {
            // SAFETY: allocated by `new` and freed once.
            let _ = unsafe { sys::cuMemFreeHost(self.pointer.cast()) };
        }
    }
}

/// Words that kernels read, copied by the GPU itself.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    buffers: Option<(Pinned, Buffer)>,
}

impl Upload {
    /// Begins to copy `words`, and returns where they will be. Waits for nothing: callers have
    /// waited for whatever reads the words before.
    pub(crate) fn begin(&mut self, driver: &Arc<Driver>, words: &[i32]) -> Result<u64> {
        let bytes = words.len() * 4;
        if self.buffers.as_ref().is_none_or(|(pinned, _)| pinned.bytes().len() < bytes) {
            let room = bytes.next_power_of_two().max(UPLOAD_BYTES_MIN);
            self.buffers = Some((Pinned::new(driver, room)?, Buffer::new(driver, room)?));
        }
        let (pinned, buffer) = self.buffers.as_mut().expect("made above");
        for (to, word) in pinned.bytes_mut().as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        driver.bind()?;
        let (from, stream) = (pinned.as_mut_ptr(), driver.stream());
        // SAFETY: both are at least as long, and stay as they are until callers have waited.
        let result = unsafe { sys::cuMemcpyHtoDAsync_v2(buffer.address(), from, bytes, stream) };
        check(result, "cuMemcpyHtoDAsync")?;
        Ok(buffer.address())
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    driver: Arc<Driver>,
    chunks: Mutex<Vec<Chunk>>,
    /// Whoever took memory may have written over what was given back.
    num_takes: AtomicU64,
}

#[derive(Debug)]
struct Chunk {
    buffer: Buffer,
    /// Free ranges in order, none next to another: start and length.
    free: Vec<(usize, usize)>,
}

/// Bytes of the pool.
#[derive(Debug)]
pub(crate) struct Scratch {
    pool: Arc<Pool>,
    chunk: usize,
    start: usize,
    bytes: usize,
    pub(crate) address: u64,
}

impl Pool {
    pub(crate) fn new(driver: &Arc<Driver>) -> Arc<Self> {
        let (driver, chunks) = (Arc::clone(driver), Mutex::default());
        Arc::new(Self { driver, chunks, num_takes: AtomicU64::new(0) })
    }

    /// How often memory was taken. While it stays, what was given back holds what it held.
    pub(crate) fn num_takes(&self) -> u64 {
        self.num_takes.load(Ordering::Relaxed)
    }

    /// A replay takes what its capture took.
    pub(crate) fn note_replay(&self) {
        self.num_takes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<Scratch> {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        self.num_takes.fetch_add(1, Ordering::Relaxed);
        let mut chunks = self.chunks();
        let found = chunks.iter_mut().enumerate().find_map(|(chunk, entry)| {
            let (address, start) = (entry.buffer.address(), take_first(&mut entry.free, bytes)?);
            Some((chunk, start, address))
        });
        let (chunk, start, address) = match found {
            Some(found) => found,
            None => {
                let len = bytes.max(CHUNK_BYTES);
                let buffer = Buffer::new(&self.driver, len)?;
                let address = buffer.address();
                let mut free = vec![(0, len)];
                let start = take_first(&mut free, bytes).expect("the chunk is at least as long");
                chunks.push(Chunk { buffer, free });
                (chunks.len() - 1, start, address)
            }
        };
        let address = address + start as u64;
        Ok(Scratch { pool: Arc::clone(self), chunk, start, bytes, address })
    }

    fn chunks(&self) -> MutexGuard<'_, Vec<Chunk>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_first(free: &mut Vec<(usize, usize)>, bytes: usize) -> Option<usize> {
    let index = free.iter().position(|&(_, len)| len >= bytes)?;
    let (start, len) = free[index];
    if len == bytes {
        free.remove(index);
    } else {
        free[index] = (start + bytes, len - bytes);
    }
    Some(start)
}

fn give_back(free: &mut Vec<(usize, usize)>, start: usize, bytes: usize) {
    let index = free.partition_point(|&(other, _)| other < start);
    free.insert(index, (start, bytes));
    for left in [index, index.saturating_sub(1)] {
        if let [(start, len), (next, more), ..] = free[left..]
            && start + len == next
        {
            free[left] = (start, len + more);
            free.remove(left + 1);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        give_back(&mut self.pool.chunks()[self.chunk].free, self.start, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_whole_again() {
        let mut free = vec![(0, 4096)];
        let starts: Vec<_> = (0..4).map(|_| take_first(&mut free, 1024).unwrap()).collect();
        assert_eq!(starts, [0, 1024, 2048, 3072]);
        assert_eq!(take_first(&mut free, 1), None);
        for start in [1024, 3072, 0, 2048] {
            give_back(&mut free, start, 1024);
        }
        assert_eq!(free, [(0, 4096)]);
        assert_eq!(take_first(&mut free, 4096), Some(0));
    }
}
