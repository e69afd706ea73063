//! A decoder's GPU: stream, memory for steps, and the graphs of decode steps.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::batch::{Batch, GraphKey, Metadata};
use crate::blas::Blas;
use crate::driver::{Driver, Graph, check};
use crate::logits::{Answers, Logits, Output};
use crate::memory::{Buffer, Pinned, Pool};
use crate::rows::Rows;
use crate::{CudaError, Float, Result, sys};

/// A GPU as one decoder uses it. Its operations are done in order.
pub struct Session {
    pub(crate) driver: Arc<Driver>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) blas: Blas,
    pub(crate) metadata: Mutex<Metadata>,
    /// Whether there are weights whose products read activations as integers.
    pub(crate) wants_integers: AtomicBool,
    results: Mutex<Option<Pinned>>,
    pub(crate) answers: Mutex<Answers>,
    graphs: Mutex<Graphs>,
}

/// What there is to say about a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    pub name: String,
    /// Major and minor.
    pub compute_capability: (i32, i32),
    pub num_multiprocessors: usize,
    pub total_bytes: usize,
}

/// The first step of a kind grows the pool and loads what it needs; the second is captured.
enum DecodeGraph {
    Seen,
    Captured {
        graph: Graph,
        output: Output,
    },
    /// It could not be captured.
    Refused,
}

/// Graphs by what their launches depend on.
#[derive(Default)]
struct Graphs {
    by_key: HashMap<GraphKey, DecodeGraph>,
    /// Why the first one was refused.
    refusal: Option<CudaError>,
}

impl Session {
    /// Of GPU `ordinal`. One decoder's operations belong to one session.
    pub fn open(ordinal: usize) -> Result<Arc<Self>> {
        let driver = Arc::new(Driver::open(ordinal)?);
        Ok(Arc::new(Self {
            pool: Pool::new(&driver),
            blas: Blas::new(&driver)?,
            metadata: Mutex::default(),
            wants_integers: AtomicBool::new(false),
            results: Mutex::default(),
            answers: Mutex::default(),
            graphs: Mutex::default(),
            driver,
        }))
    }

    pub fn info(&self) -> SessionInfo {
        let facts = &self.driver.facts;
        SessionInfo {
            name: facts.name.clone(),
            compute_capability: (facts.major, facts.minor),
            num_multiprocessors: facts.num_multiprocessors,
            total_bytes: facts.total_bytes,
        }
    }

    /// Bytes of the GPU's memory that nobody has taken, this program's pools included.
    pub fn free_bytes(&self) -> Result<usize> {
        Ok(self.driver.memory()?.0)
    }

    /// Turing multiplies no matrices of bf16.
    pub fn has_bf16(&self) -> bool {
        self.driver.facts.major >= 8
    }

    /// Computes a step: `work` makes the rows whose elements are wanted, `[batch.num_wanted(), n]`.
    /// Returns when it is done.
    ///
    /// A decode step is captured the second time that one of its size comes, and replayed from then
    /// on without calling `work`.
    ///
    /// # Safety
    ///
    /// All calls of one session pass a `work` that does the same with the same weights, and calls
    /// with the same `cache_id` do it with the same cache, which lives.
    pub unsafe fn compute(
        self: &Arc<Self>,
        batch: &Batch,
        cache_id: u64,
        work: impl Fn() -> Result<Rows>,
    ) -> Result<Logits> {
        let num_wanted = batch.num_wanted();
        let step = || Output::new(self, &work()?, num_wanted > 0);
        // SAFETY: the caller's.
        let output = unsafe { self.launch_step(batch.graph_key(cache_id), &step) };
        let logits = output.and_then(|output| Logits::new(self, output, num_wanted));
        if logits.is_err() {
            // What was launched before the error still reads the metadata of this step. It also
            // tells an error of the step from one that no later step survives.
            self.driver.synchronize()?;
        }
        logits
    }

    /// Whether the GPU can no longer be used by this program: see [`CudaError::Lost`].
    pub fn is_lost(&self) -> bool {
        self.driver.is_lost()
    }

    /// # Safety
    ///
    /// As of [`Self::compute`].
    unsafe fn launch_step(
        &self,
        key: Option<GraphKey>,
        step: &impl Fn() -> Result<Output>,
    ) -> Result<Output> {
        let Some(key) = key else { return step() };
        let mut graphs = self.graphs();
        match graphs.by_key.get(&key) {
            None => {
                // A graph of metadata that has moved reads what was freed.
                graphs.by_key.retain(|other, _| other.is_beside(&key));
                graphs.by_key.insert(key, DecodeGraph::Seen);
            }
            Some(DecodeGraph::Seen) => {
                let made = match self.capture(step) {
                    Ok((graph, output)) => DecodeGraph::Captured { graph, output },
                    Err(error) => {
                        graphs.refusal.get_or_insert(error);
                        DecodeGraph::Refused
                    }
                };
                graphs.by_key.insert(key, made);
            }
            Some(DecodeGraph::Captured { .. } | DecodeGraph::Refused) => {}
        }
        if let Some(DecodeGraph::Captured { graph, output }) = graphs.by_key.get(&key) {
            self.pool.note_replay();
            // SAFETY: the pool keeps its memory, and the caller says the same of all else.
            unsafe { self.driver.replay(graph) }?;
            return Ok(*output);
        }
        drop(graphs);
        step()
    }

    fn capture(&self, step: &impl Fn() -> Result<Output>) -> Result<(Graph, Output)> {
        self.driver.begin_capture()?;
        let output = step();
        let graph = self.driver.end_capture();
        Ok((graph?, output?))
    }

    /// Decode steps that are replayed, by the number of sequences.
    pub fn num_graphs(&self) -> usize {
        let is_captured = |graph: &&DecodeGraph| matches!(graph, DecodeGraph::Captured { .. });
        self.graphs().by_key.values().filter(is_captured).count()
    }

    /// Why decode steps are not replayed but computed each time; told once.
    pub fn take_refusal(&self) -> Option<CudaError> {
        self.graphs().refusal.take()
    }

    fn graphs(&self) -> MutexGuard<'_, Graphs> {
        self.graphs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first `num_rows` rows, of `f32`.
    pub fn download(&self, rows: &Rows, num_rows: usize) -> Result<Vec<f32>> {
        assert!(rows.dtype() == Float::F32 && num_rows <= rows.num_rows());
        let len = num_rows * rows.width();
        self.read_floats(rows.address(), len)
    }

    /// Waits for all work, and then copies `len` floats from `address` on.
    pub(crate) fn read_floats(&self, address: u64, len: usize) -> Result<Vec<f32>> {
        let mut values = vec![0f32; len];
        self.read(address, len * 4, |bytes| {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        })?;
        Ok(values)
    }

    /// Waits for all work, and then has `bytes` bytes from `address` on looked at.
    fn read(&self, address: u64, bytes: usize, look: impl FnOnce(&[u8])) -> Result<()> {
        if bytes == 0 {
            self.driver.synchronize()?;
            look(&[]);
            return Ok(());
        }
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if results.as_ref().is_none_or(|results| results.bytes().len() < bytes) {
            *results = Some(Pinned::new(&self.driver, bytes.next_power_of_two())?);
        }
        let results = results.as_mut().expect("made above");
        self.driver.bind()?;
        let (to, stream) = (results.as_mut_ptr(), self.driver.stream());
        // SAFETY: both are at least as long, and nobody looks before the stream is done.
        let result = unsafe { sys::cuMemcpyDtoHAsync_v2(to, address, bytes, stream) };
        check(result, "cuMemcpyDtoHAsync")?;
        self.driver.synchronize()?;
        look(&results.bytes()[..bytes]);
        Ok(())
    }

    /// Bytes a second that copying within the GPU's memory moves, reads and writes together.
    pub fn measure_copy(&self, bytes: usize, repeats: usize) -> Result<f64> {
        let (from, to) = (Buffer::new(&self.driver, bytes)?, Buffer::new(&self.driver, bytes)?);
        from.clear()?;
        let copy = || {
            let stream = self.driver.stream();
            // SAFETY: both buffers are that long, and freeing them waits.
            let result =
                unsafe { sys::cuMemcpyDtoDAsync_v2(to.address(), from.address(), bytes, stream) };
            check(result, "cuMemcpyDtoDAsync")
        };
        let took = self.time(repeats, copy)?;
        Ok(2.0 * bytes as f64 / took.as_secs_f64())
    }

    /// Operations a second of a product of two square matrices of numbers that vary, counting a
    /// multiplication and an addition each.
    pub fn measure_product(&self, size: usize, dtype: Float, repeats: usize) -> Result<f64> {
        let elements = (0..size * size).map(|i| (i * 2_654_435_761 % 1021) as f32 / 510.0 - 1.0);
        let bytes: Vec<u8> = match dtype {
            Float::F16 => elements.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect(),
            Float::Bf16 => elements.flat_map(|x| half::bf16::from_f32(x).to_le_bytes()).collect(),
            Float::F32 => elements.flat_map(f32::to_le_bytes).collect(),
        };
        let weights = Buffer::of(&self.driver, &bytes)?;
        let x = Buffer::of(&self.driver, &bytes)?;
        let out = Buffer::new(&self.driver, size * size * 4)?;
        let took = self.time(repeats, || {
            let product = crate::blas::Product {
                weights: weights.address(),
                x: x.address(),
                out: out.address(),
                bias: 0,
                n: size,
                k: size,
                num_rows: size,
                out_stride: size,
                dtype,
            };
            // SAFETY: the buffers have these sizes, and freeing them waits.
            match unsafe { self.blas.multiply(&product) }? {
                true => Ok(()),
                false => Err(CudaError::shape("product", size, "cuBLASLt has an algorithm for it")),
            }
        })?;
        Ok(2.0 * (size as f64).powi(3) / took.as_secs_f64())
    }

    /// The median of a few rounds, each of `repeats` times `work`, by the time of one.
    fn time(&self, repeats: usize, work: impl Fn() -> Result<()>) -> Result<Duration> {
        const ROUNDS: usize = 5;
        work()?;
        self.driver.synchronize()?;
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let started_at = Instant::now();
            for _ in 0..repeats {
                work()?;
            }
            self.driver.synchronize()?;
            rounds.push(started_at.elapsed() / repeats as u32);
        }
        rounds.sort();
        Ok(rounds[ROUNDS / 2])
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("info", &self.info()).finish_non_exhaustive()
    }
}
