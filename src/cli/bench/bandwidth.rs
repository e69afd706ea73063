//! How fast this machine's memory can be read, by the threads that would read weights.

use std::{io, sync::Barrier, thread, time::Instant};

use kernels::KernelTable;
use memmap2::MmapMut;

/// Larger than any cache of a machine that this program runs on, the shared level of large servers
/// included.
const BUFFER_BYTES: usize = 1 << 29;
const PASSES: usize = 3;

/// Bytes a second, of the best of a few passes of `threads` threads over a buffer. The buffer is
/// mapped for the occasion and given back to the system, not to the allocator.
pub(super) fn measure(threads: usize) -> io::Result<f64> {
    let mut buffer = MmapMut::map_anon(BUFFER_BYTES)?;
    // As weights are; reads from small pages are slower, and weights would seem to beat the memory.
    #[cfg(target_os = "linux")]
    if let Err(error) = buffer.advise(memmap2::Advice::HugePage) {
        tracing::debug!(%error, "bandwidth is measured in small pages");
    }
    // Pages that were never written are all the same page of zeros.
    buffer.fill(1);
    let shares: Vec<&[u8]> = buffer.chunks(BUFFER_BYTES.div_ceil(threads)).collect();
    let passes = (0..PASSES).map(|_| pass(&shares));
    let fastest = passes.fold(f64::INFINITY, f64::min);
    Ok(BUFFER_BYTES as f64 / fastest)
}

/// Seconds from the first thread's beginning to the last one's end.
fn pass(shares: &[&[u8]]) -> f64 {
    let start = Barrier::new(shares.len());
    let table = KernelTable::detect();
    let read = |share: &[u8]| {
        start.wait();
        let started_at = Instant::now();
        std::hint::black_box(table.sum_words(share));
        (started_at, Instant::now())
    };
    let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let readers: Vec<_> = shares.iter().map(|share| scope.spawn(|| read(share))).collect();
        readers.into_iter().map(|reader| reader.join().expect("a sum does not panic")).collect()
    });
    let started_at = times.iter().map(|(start, _)| *start).min().expect("there is a thread");
    let ended_at = times.iter().map(|(_, end)| *end).max().expect("there is a thread");
    (ended_at - started_at).as_secs_f64()
}
