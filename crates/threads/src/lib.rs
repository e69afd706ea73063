//! Threads that stay, for operations of some microseconds.
//!
//! [`Pool::run`] calls a function on the caller's thread and on those of the pool's that come in
//! time: whoever has begun is waited for, whoever has not is not. So the function must do all of
//! its work however few threads call it, for which they take it in pieces; and a thread that the
//! system gives to another program delays nobody, where a barrier would wait for it.
//!
//! Between operations a thread looks for the next one for [`SPIN`], since waking it takes longer
//! than the next operation is away within a step of a model, and then sleeps.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread without work stays awake: longer than what lies between two steps of a model,
/// short enough that an idle server is idle.
const SPIN: Duration = Duration::from_micros(200);

/// Looks at the clock between so many looks for work.
const LOOKS: usize = 64;

/// Set in [`Shared::inside`] when nobody may enter any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

type Work = dyn Fn() + Sync;
type Panic = Box<dyn Any + Send>;

/// The caller's thread and as many more as make `num_threads`.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    num_threads: usize,
    /// Held by the caller whose operation the pool's threads are working on.
    caller: Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    /// Counts operations; a change is the sign that there is a new one.
    generation: AtomicU64,
    /// Threads of the pool that are calling `work`, and [`CLOSED`].
    inside: AtomicUsize,
    work: UnsafeCell<Option<WorkPointer>>,
    panic: Mutex<Option<Panic>>,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct WorkPointer(*const Work);

// SAFETY: `work` is written by the holder of `Pool::caller` while `inside` is closed and empty, and
// read by threads that have entered since; what it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Pool {
    /// Starts `num_threads - 1` threads, which end with the program.
    ///
    /// # Errors
    /// The system's, if it does not give a thread.
    pub fn new(num_threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            inside: AtomicUsize::new(CLOSED),
            work: UnsafeCell::new(None),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        for id in 1..num_threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("ops-{id}")).spawn(move || shared.serve())?;
        }
        Ok(Self { shared, num_threads: num_threads.max(1), caller: Mutex::new(()) })
    }

    /// Threads that may call the function of [`Self::run`], the caller's included.
    pub fn num_threads(&self) -> usize {
        self.num_threads
    }

    /// Calls `f` on this thread and on others of the pool, some of them more than once, and returns
    /// when all calls have. While the pool works for another caller, or for `f` itself, only this
    /// thread calls it.
    ///
    /// # Panics
    /// If `f` does, on any thread.
    pub fn run(&self, f: &(dyn Fn() + Sync)) {
        let turn = match self.caller.try_lock() {
            Ok(turn) => turn,
            // Unlocked by a panic of `f`, when it was closed.
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return f(),
        };
        if self.num_threads == 1 {
            return f();
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed; `Opened` lets nobody call `f` after this function.
        let work = unsafe { std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const Work>(f) };
        // SAFETY: `inside` is closed and empty, so no other thread reads it; there is one caller.
        unsafe { *shared.work.get() = Some(WorkPointer(work)) };
        // One that the caller's own panic was ahead of.
        *lock(&shared.panic) = None;
        shared.open();
        let opened = Opened(shared);
        f();
        drop(opened);
        let panic = lock(&shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// An operation that threads may enter. Dropped, it is closed, and nobody is inside.
struct Opened<'a>(&'a Shared);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let inside = &self.0.inside;
        inside.fetch_or(CLOSED, Ordering::AcqRel);
        let mut looks = 0;
        while inside.load(Ordering::Acquire) != CLOSED {
            looks += 1;
            // A thread inside may be waiting for this core.
            if looks % (16 * LOOKS) == 0 { thread::yield_now() } else { spin_loop() }
        }
    }
}

impl Shared {
    fn open(&self) {
        self.inside.store(0, Ordering::Release);
        // Sequentially consistent with the count of sleepers: a thread that is about to sleep sees
        // the new generation, or it is counted here.
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.sleep));
            self.wake.notify_all();
        }
    }

    fn serve(&self) {
        let mut seen = 0;
        loop {
            seen = self.next_generation(seen);
            while self.enter() {
                // SAFETY: it was written before `inside` was opened, and what it points to lives
                // until this thread has left.
                let work = unsafe { (*self.work.get()).map(|work| &*work.0) };
                let called = catch_unwind(AssertUnwindSafe(|| work.map(|work| work())));
                if let Err(panic) = called {
                    lock(&self.panic).get_or_insert(panic);
                }
                self.inside.fetch_sub(1, Ordering::Release);
                if self.generation.load(Ordering::Relaxed) == seen {
                    break;
                }
                seen = self.generation.load(Ordering::Relaxed);
            }
        }
    }

    /// Enters the operation unless it is closed.
    fn enter(&self) -> bool {
        let mut inside = self.inside.load(Ordering::Relaxed);
        while inside & CLOSED == 0 {
            let entered = self.inside.compare_exchange_weak(
                inside,
                inside + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match entered {
                Ok(_) => return true,
                Err(now) => inside = now,
            }
        }
        false
    }

    /// Waits until there has been another operation than `seen`.
    fn next_generation(&self, seen: u64) -> u64 {
        let started = Instant::now();
        loop {
            for _ in 0..LOOKS {
                let generation = self.generation.load(Ordering::Acquire);
                if generation != seen {
                    return generation;
                }
                spin_loop();
            }
            if started.elapsed() > SPIN {
                break;
            }
        }
        let mut guard = lock(&self.sleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let generation = self.generation.load(Ordering::SeqCst);
            if generation != seen {
                self.sleepers.fetch_sub(1, Ordering::SeqCst);
                return generation;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A panic elsewhere says nothing about what these locks guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `len` pieces of work; returns how often each was done.
    fn pieces(pool: &Pool, len: usize) -> Vec<usize> {
        let done: Vec<_> = (0..len).map(|_| AtomicUsize::new(0)).collect();
        let next = AtomicUsize::new(0);
        pool.run(&|| {
            while let Some(done) = done.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        done.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_piece_is_done_once_before_the_caller_goes_on() {
        for num_threads in [0, 1, 2, 3, 8] {
            let pool = Pool::new(num_threads).unwrap();
            for round in 0..2_000 {
                assert_eq!(pieces(&pool, round % 50), vec![1; round % 50]);
            }
            // Asleep by now.
            thread::sleep(10 * SPIN);
            assert_eq!(pieces(&pool, 99), vec![1; 99]);
        }
    }

    #[test]
    fn the_other_threads_take_part_also_after_sleep() {
        let pool = Pool::new(3).unwrap();
        for pause in [Duration::ZERO, 10 * SPIN] {
            thread::sleep(pause);
            let here = AtomicUsize::new(0);
            let deadline = Instant::now() + Duration::from_secs(30);
            pool.run(&|| {
                here.fetch_add(1, Ordering::SeqCst);
                while here.load(Ordering::SeqCst) < 3 && Instant::now() < deadline {
                    thread::yield_now();
                }
            });
            assert!(here.into_inner() >= 3);
        }
    }

    #[test]
    fn callers_at_the_same_time_and_within_work_do_not_wait_for_each_other() {
        let pool = Pool::new(4).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        assert_eq!(pieces(&pool, 20), vec![1; 20]);
                    }
                });
            }
        });
        let sum = AtomicUsize::new(0);
        let next = AtomicUsize::new(0);
        pool.run(&|| {
            while next.fetch_add(1, Ordering::Relaxed) < 10 {
                sum.fetch_add(pieces(&pool, 5).len(), Ordering::Relaxed);
            }
        });
        assert_eq!(sum.into_inner(), 50);
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3).unwrap();
        let caller = thread::current().id();
        let deadline = Instant::now() + Duration::from_secs(30);
        for by_caller in [true, false] {
            let panicked = AtomicUsize::new(0);
            let failed = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|| {
                    if (thread::current().id() == caller) == by_caller {
                        panicked.fetch_add(1, Ordering::SeqCst);
                        panic!("on purpose");
                    }
                    while !by_caller
                        && panicked.load(Ordering::SeqCst) == 0
                        && Instant::now() < deadline
                    {
                        thread::yield_now();
                    }
                });
            }));
            assert!(failed.is_err());
            assert_eq!(pieces(&pool, 20), vec![1; 20]);
        }
    }
}
