//! The driver's calls that are used, each with its errors.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::args::Args;
use crate::{CudaError, Result, sys};

/// All kernels, for every GPU that the program was built for; empty if for none.
static KERNELS: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));

/// A fat binary begins with words of eight bytes, which bytes alone would put at any address.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

/// The first version whose compiler made the kernels.
const DRIVER_VERSION_MIN: i32 = 13_000;

/// Compute capability from which a kernel may begin before the one before it has ended: launches
/// and their first loads are hidden behind it. A decode step is hundreds of kernels, of which most
/// take few microseconds.
const EARLY_LAUNCH_MAJOR: i32 = 9;

/// What the stand-in calls itself; it brings kernels of its own.
const STAND_IN: &str = "stand-in";

pub(crate) fn check(result: i32, call: &'static str) -> Result<()> {
    if result == sys::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text = std::ptr::null();
    // SAFETY: the driver is loaded, since it has answered; `text` is where it puts a static string.
    let message = unsafe {
        let _ = sys::cuGetErrorString(result, &mut text);
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy()) }
    };
    let message = message.unwrap_or_else(|| "the driver has no words for it".into()).into_owned();
    Err(CudaError::Driver { call, code: result, message })
}

/// A stream of work on a GPU, and the kernels loaded for it.
///
/// Calls make the GPU's context current on their thread first, so any thread may call.
#[derive(Debug)]
pub(crate) struct Driver {
    device: i32,
    context: sys::Handle,
    stream: sys::Handle,
    module: sys::Handle,
    functions: Mutex<HashMap<String, Function>>,
    is_lost: AtomicBool,
    pub(crate) facts: DeviceFacts,
}

#[derive(Debug, Clone)]
pub(crate) struct DeviceFacts {
    pub(crate) name: String,
    pub(crate) major: i32,
    pub(crate) minor: i32,
    pub(crate) num_multiprocessors: usize,
    pub(crate) total_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Function(sys::Handle);

// SAFETY: handles of the driver may be used from any thread on which the context is current.
unsafe impl Send for Function {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

/// Captured work, to be launched as one.
#[derive(Debug)]
pub struct Graph {
    /// The context that it belongs to lives as long.
    driver: Arc<Driver>,
    executable: sys::Handle,
}

// SAFETY: as for `Driver`.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.driver.bind().is_ok() {
            // SAFETY: made by `end_capture`, and nobody else has it.
            let _ = unsafe { sys::cuGraphExecDestroy(self.executable) };
        }
    }
}

impl Driver {
    pub(crate) fn open(ordinal: usize) -> Result<Self> {
        if !sys::has_driver() {
            return Err(CudaError::NoDriver);
        }
        let device = find(ordinal)?;
        let facts = facts(device)?;
        if (facts.major, facts.minor) < (7, 5) {
            let (major, minor) = (facts.major, facts.minor);
            return Err(CudaError::OldGpu { name: facts.name, major, minor });
        }
        if KERNELS.0.is_empty() && !facts.name.starts_with(STAND_IN) {
            return Err(CudaError::NoKernels);
        }
        let mut context = std::ptr::null_mut();
        let mut stream = std::ptr::null_mut();
        let mut module = std::ptr::null_mut();
        // SAFETY: each call gets a place for its result; `KERNELS` is what nvcc wrote.
        unsafe {
            check(sys::cuDevicePrimaryCtxRetain(&mut context, device), "cuDevicePrimaryCtxRetain")?;
            check(sys::cuCtxSetCurrent(context), "cuCtxSetCurrent")?;
            let flags = sys::CU_STREAM_NON_BLOCKING;
            check(sys::cuStreamCreate(&mut stream, flags), "cuStreamCreate")?;
            let image = KERNELS.0.as_ptr().cast::<c_void>();
            check(sys::cuModuleLoadData(&mut module, image), "cuModuleLoadData")?;
        }
        let (functions, is_lost) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { device, context, stream, module, functions, is_lost, facts })
    }

    pub(crate) fn stream(&self) -> sys::Handle {
        self.stream
    }

    /// Makes the context this thread's.
    pub(crate) fn bind(&self) -> Result<()> {
        // SAFETY: the context is held until `self` is dropped.
        check(unsafe { sys::cuCtxSetCurrent(self.context) }, "cuCtxSetCurrent")
    }

    /// Free and all bytes of the GPU's memory.
    pub(crate) fn memory(&self) -> Result<(usize, usize)> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: two places for two numbers.
        check(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }, "cuMemGetInfo")?;
        Ok((free, total))
    }

    /// Waits until all work of the stream is done. An error is one of that work, and such an error
    /// is the context's from then on: every later call has it as well.
    pub(crate) fn synchronize(&self) -> Result<()> {
        let wait = || {
            self.bind()?;
            // SAFETY: the stream is held until `self` is dropped.
            check(unsafe { sys::cuStreamSynchronize(self.stream) }, "cuStreamSynchronize")
        };
        wait().map_err(|error| {
            self.is_lost.store(true, Ordering::Relaxed);
            CudaError::Lost(Box::new(error))
        })
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// # Safety
    ///
    /// What `args` points to lies in allocations that live until the stream has done this, and is
    /// as long as the kernel reads and writes for this grid.
    pub(crate) unsafe fn launch<A: Args>(
        &self,
        name: &str,
        grid: [usize; 3],
        threads: usize,
        shared_bytes: usize,
        args: &A,
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        self.bind()?;
        let function = self.function(name, size_of::<A>())?;
        let grid = grid.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        let mut params = [std::ptr::from_ref(args).cast_mut().cast::<c_void>()];
        let mut early = sys::LaunchAttribute {
            id: sys::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: [0; 16],
        };
        early.value[0] = 1;
        let config = sys::LaunchConfig {
            grid,
            block: [threads as u32, 1, 1],
            shared_bytes: shared_bytes as u32,
            stream: self.stream,
            attributes: &early,
            num_attributes: u32::from(self.facts.major >= EARLY_LAUNCH_MAJOR),
        };
        // SAFETY: the one parameter has the size that the kernel takes, and every kernel of ours
        // waits for the one before by itself; the rest is the caller's.
        let result = unsafe {
            let params = params.as_mut_ptr();
            sys::cuLaunchKernelEx(&config, function.0, params, std::ptr::null_mut())
        };
        check(result, "cuLaunchKernelEx")
    }

    fn function(&self, name: &str, args_bytes: usize) -> Result<Function> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(*function);
        }
        let text = CString::new(name).expect("kernels' names hold no zero");
        let mut function = std::ptr::null_mut();
        let (mut offset, mut bytes) = (0, 0);
        // SAFETY: the module is loaded; each call gets places for its results.
        unsafe {
            let result = sys::cuModuleGetFunction(&mut function, self.module, text.as_ptr());
            check(result, "cuModuleGetFunction")?;
            let result = sys::cuFuncGetParamInfo(function, 0, &mut offset, &mut bytes);
            check(result, "cuFuncGetParamInfo")?;
        }
        if bytes != args_bytes {
            let (name, found) = (name.to_owned(), args_bytes);
            return Err(CudaError::Arguments { name, expected: bytes, found });
        }
        functions.insert(name.to_owned(), Function(function));
        Ok(Function(function))
    }

    /// From here on work is noted instead of done.
    pub(crate) fn begin_capture(&self) -> Result<()> {
        self.bind()?;
        let mode = sys::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is held until `self` is dropped.
        let result = unsafe { sys::cuStreamBeginCapture_v2(self.stream, mode) };
        check(result, "cuStreamBeginCapture")
    }

    /// What was noted.
    pub(crate) fn end_capture(self: &Arc<Self>) -> Result<Graph> {
        self.bind()?;
        let mut graph = std::ptr::null_mut();
        let mut executable = std::ptr::null_mut();
        // SAFETY: a capture runs; the graph is destroyed here, what is made of it by its owner.
        unsafe {
            check(sys::cuStreamEndCapture(self.stream, &mut graph), "cuStreamEndCapture")?;
            let result = sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0);
            let _ = sys::cuGraphDestroy(graph);
            check(result, "cuGraphInstantiate")?;
        }
        Ok(Graph { driver: Arc::clone(self), executable })
    }

    /// # Safety
    ///
    /// What the captured work reads and writes is allocated still.
    pub(crate) unsafe fn replay(&self, graph: &Graph) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's.
        check(unsafe { sys::cuGraphLaunch(graph.executable, self.stream) }, "cuGraphLaunch")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: all that was made by `open`, given back once; nobody uses it any more.
        unsafe {
            let _ = sys::cuCtxSetCurrent(self.context);
            let _ = sys::cuModuleUnload(self.module);
            let _ = sys::cuStreamDestroy_v2(self.stream);
            let _ = sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

fn find(ordinal: usize) -> Result<i32> {
    let (mut count, mut version, mut device) = (0, 0, 0);
    // SAFETY: the driver is loaded; each call gets a place for its result.
    unsafe {
        let result = sys::cuInit(0);
        if result == sys::CUDA_ERROR_NO_DEVICE {
            return Err(CudaError::NoGpu);
        }
        check(result, "cuInit")?;
        check(sys::cuDriverGetVersion(&mut version), "cuDriverGetVersion")?;
        check(sys::cuDeviceGetCount(&mut count), "cuDeviceGetCount")?;
    }
    if version < DRIVER_VERSION_MIN {
        return Err(CudaError::OldDriver { version });
    }
    let count = usize::try_from(count).unwrap_or(0);
    if count == 0 {
        return Err(CudaError::NoGpu);
    }
    if ordinal >= count {
        return Err(CudaError::NoSuchGpu { ordinal, count });
    }
    // SAFETY: as above.
    check(unsafe { sys::cuDeviceGet(&mut device, ordinal as i32) }, "cuDeviceGet")?;
    Ok(device)
}

fn facts(device: i32) -> Result<DeviceFacts> {
    let attribute = |attribute: i32| {
        let mut value = 0;
        // SAFETY: the driver is loaded; there is a place for the result.
        let result = unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) };
        check(result, "cuDeviceGetAttribute").map(|()| value)
    };
    let mut name = [0; 256];
    let mut total_bytes = 0;
    // SAFETY: as above; the name's length is given.
    unsafe {
        let len = name.len() as i32;
        check(sys::cuDeviceGetName(name.as_mut_ptr(), len, device), "cuDeviceGetName")?;
        check(sys::cuDeviceTotalMem_v2(&mut total_bytes, device), "cuDeviceTotalMem")?;
    }
    // SAFETY: the driver ends the name with a zero, and the last byte was one before.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    let multiprocessors = attribute(sys::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    Ok(DeviceFacts {
        name,
        major: attribute(sys::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        minor: attribute(sys::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        num_multiprocessors: usize::try_from(multiprocessors).unwrap_or(1),
        total_bytes,
    })
}
