//! Threads for the kernels: one pool for all models, whose operations take turns on it.

use std::sync::{Mutex, OnceLock, PoisonError};

use threads::Pool;

/// As many threads as rayon has, which knows the cores that this process may use, and what
/// `RAYON_NUM_THREADS` says instead.
fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool::new(rayon::current_num_threads()).expect("threads can be started"))
}

/// Threads that compute, the caller's included.
pub fn num_threads() -> usize {
    pool().num_threads()
}

/// Calls `f(index, chunk)` for each chunk of `chunk_len` elements, the last one shorter. Threads
/// take chunks as they become free.
pub(super) fn for_each_chunk<T, F>(values: &mut [T], chunk_len: usize, f: F)
where
    T: Send,
    F: Fn(usize, &mut [T]) + Sync,
{
    if values.len() <= chunk_len {
        if !values.is_empty() {
            f(0, values);
        }
        return;
    }
    for_each(values.chunks_mut(chunk_len).enumerate(), |(index, chunk)| f(index, chunk));
}

/// Calls `f` for each item. Threads take items in order as they become free.
pub(super) fn for_each<I, F>(items: I, f: F)
where
    I: Iterator<Item: Send> + Send,
    F: Fn(I::Item) + Sync,
{
    let items = Mutex::new(items);
    pool().run(&|| {
        loop {
            // A panic in `f` reaches the caller through the pool, so a poisoned lock says nothing.
            let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = next else { return };
            f(item);
        }
    });
}

/// Rows to give a thread at a time in an operation that costs about one step per element: few
/// enough to share a prompt, and all of them where waking a thread would cost more.
pub(super) fn rows_per_chunk(row_len: usize) -> usize {
    const ELEMENTS: usize = 16 * 1024;
    ELEMENTS.div_ceil(row_len.max(1))
}
