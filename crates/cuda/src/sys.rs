//! The calls of the driver and of cuBLASLt that are used, as their headers declare them.
//!
//! Codes are numbers here: a library may be newer than any list of them, and a Rust `enum` with a
//! value that it does not have is undefined behaviour. Libraries are looked for at the first call.
//! A call that a library does not have fails with a code of the library's own.

#![expect(
    non_snake_case,
    clippy::too_many_arguments,
    reason = "calls have the names and arguments that their libraries give them"
)]

use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::sync::OnceLock;

use libloading::Library;

/// What a library keeps behind a pointer.
pub(crate) type Handle = *mut c_void;
type Out<T> = *mut T;

pub(crate) const CUDA_SUCCESS: c_int = 0;
pub(crate) const CUDA_ERROR_OUT_OF_MEMORY: c_int = 2;
pub(crate) const CUDA_ERROR_NO_DEVICE: c_int = 100;
const CUDA_ERROR_NOT_FOUND: c_int = 500;

pub(crate) const CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: c_int = 16;
pub(crate) const CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: c_int = 75;
pub(crate) const CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: c_int = 76;
pub(crate) const CU_STREAM_NON_BLOCKING: c_uint = 1;
pub(crate) const CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: c_int = 1;
pub(crate) const CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION: c_int = 6;

pub(crate) const CUBLAS_STATUS_SUCCESS: c_int = 0;
pub(crate) const CUBLAS_STATUS_NOT_SUPPORTED: c_int = 15;
pub(crate) const CUBLAS_COMPUTE_32F: c_int = 68;
pub(crate) const CUDA_R_32F: c_int = 0;
pub(crate) const CUDA_R_16F: c_int = 2;
pub(crate) const CUDA_R_16BF: c_int = 14;
pub(crate) const CUBLASLT_MATMUL_DESC_TRANSA: c_int = 3;
pub(crate) const CUBLASLT_MATMUL_DESC_EPILOGUE: c_int = 7;
pub(crate) const CUBLASLT_MATMUL_DESC_BIAS_POINTER: c_int = 8;
pub(crate) const CUBLASLT_EPILOGUE_BIAS: u32 = 4;
pub(crate) const CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: c_int = 1;

/// `CUlaunchAttribute`
#[repr(C)]
pub(crate) struct LaunchAttribute {
    pub(crate) id: c_int,
    pub(crate) pad: [u8; 4],
    /// A union of 64 bytes, whose first word is what most attributes are.
    pub(crate) value: [c_int; 16],
}

/// `CUlaunchConfig`
#[repr(C)]
pub(crate) struct LaunchConfig {
    pub(crate) grid: [c_uint; 3],
    pub(crate) block: [c_uint; 3],
    pub(crate) shared_bytes: c_uint,
    pub(crate) stream: Handle,
    pub(crate) attributes: *const LaunchAttribute,
    pub(crate) num_attributes: c_uint,
}

/// `cublasLtMatmulAlgo_t`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Algorithm([u64; 8]);

/// `cublasLtMatmulHeuristicResult_t`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HeuristicResult {
    pub(crate) algorithm: Algorithm,
    workspace_bytes: usize,
    pub(crate) state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// A library by the first of its names that is there, and functions that call it.
macro_rules! library {
    ($library:ident, [$($name:literal),*], $missing:expr, $is_there:ident;
     $(fn $call:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        #[derive(Default)]
        struct $library {
            is_there: bool,
            $($call: Option<unsafe extern "C" fn($($type),*) -> $result>,)*
        }

        impl $library {
            fn get() -> &'static Self {
                static LOADED: OnceLock<$library> = OnceLock::new();
                LOADED.get_or_init(Self::load)
            }

            fn load() -> Self {
                // SAFETY: loading a library runs its initializers; these are NVIDIA's.
                let open = |name: &&str| unsafe { Library::new(*name) }.ok();
                let found = [$($name),*].iter().find_map(open);
                let Some(library) = found else { return Self::default() };
                let calls = Self {
                    is_there: true,
                    // SAFETY: the calls have had these types since the versions that are asked for.
                    $($call: unsafe { library.get(stringify!($call)) }.ok().map(|it| *it),)*
                };
                // Its calls stay for as long as the program.
                std::mem::forget(library);
                calls
            }
        }

        pub(crate) fn $is_there() -> bool {
            $library::get().is_there
        }

        $(
            /// # Safety
            ///
            /// As of the library's call.
            pub(crate) unsafe fn $call($($arg: $type),*) -> $result {
                match $library::get().$call {
                    // SAFETY: the caller's.
                    Some(call) => unsafe { call($($arg),*) },
                    None => $missing as $result,
                }
            }
        )*
    };
}

library! {
    DriverCalls, ["libcuda.so.1", "libcuda.so"], CUDA_ERROR_NOT_FOUND, has_driver;
    fn cuInit(flags: c_uint) -> c_int;
    fn cuDriverGetVersion(version: Out<c_int>) -> c_int;
    fn cuGetErrorString(error: c_int, text: Out<*const c_char>) -> c_int;
    fn cuDeviceGetCount(count: Out<c_int>) -> c_int;
    fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) -> c_int;
    fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) -> c_int;
    fn cuDeviceGetName(name: Out<c_char>, len: c_int, device: c_int) -> c_int;
    fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) -> c_int;
    fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: c_int) -> c_int;
    fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> c_int;
    fn cuCtxSetCurrent(context: Handle) -> c_int;
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> c_int;
    fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) -> c_int;
    fn cuMemFree_v2(address: u64) -> c_int;
    fn cuMemHostAlloc(pointer: Out<Handle>, bytes: usize, flags: c_uint) -> c_int;
    fn cuMemFreeHost(pointer: Handle) -> c_int;
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) -> c_int;
    fn cuMemcpyDtoHAsync_v2(to: Handle, from: u64, bytes: usize, stream: Handle) -> c_int;
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) -> c_int;
    fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, stream: Handle) -> c_int;
    fn cuModuleLoadData(module: Out<Handle>, image: *const c_void) -> c_int;
    fn cuModuleUnload(module: Handle) -> c_int;
    fn cuModuleGetFunction(function: Out<Handle>, module: Handle, name: *const c_char) -> c_int;
    fn cuFuncGetParamInfo(
        function: Handle, index: usize, offset: Out<usize>, bytes: Out<usize>
    ) -> c_int;
    fn cuLaunchKernelEx(
        config: *const LaunchConfig, function: Handle, params: Out<Handle>, extra: Out<Handle>
    ) -> c_int;
    fn cuStreamCreate(stream: Out<Handle>, flags: c_uint) -> c_int;
    fn cuStreamDestroy_v2(stream: Handle) -> c_int;
    fn cuStreamSynchronize(stream: Handle) -> c_int;
    fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) -> c_int;
    fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) -> c_int;
    fn cuGraphInstantiateWithFlags(
        executable: Out<Handle>, graph: Handle, flags: c_ulonglong
    ) -> c_int;
    fn cuGraphDestroy(graph: Handle) -> c_int;
    fn cuGraphLaunch(executable: Handle, stream: Handle) -> c_int;
    fn cuGraphExecDestroy(executable: Handle) -> c_int;
}

library! {
    BlasCalls, ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"],
    CUBLAS_STATUS_NOT_SUPPORTED, has_blas;
    fn cublasLtGetVersion() -> usize;
    fn cublasLtCreate(handle: Out<Handle>) -> c_int;
    fn cublasLtDestroy(handle: Handle) -> c_int;
    fn cublasLtMatmulDescCreate(operation: Out<Handle>, compute: c_int, scale: c_int) -> c_int;
    fn cublasLtMatmulDescDestroy(operation: Handle) -> c_int;
    fn cublasLtMatmulDescSetAttribute(
        operation: Handle, attribute: c_int, value: *const c_void, bytes: usize
    ) -> c_int;
    fn cublasLtMatrixLayoutCreate(
        layout: Out<Handle>, element: c_int, rows: u64, columns: u64, stride: i64
    ) -> c_int;
    fn cublasLtMatrixLayoutDestroy(layout: Handle) -> c_int;
    fn cublasLtMatmulPreferenceCreate(preference: Out<Handle>) -> c_int;
    fn cublasLtMatmulPreferenceDestroy(preference: Handle) -> c_int;
    fn cublasLtMatmulPreferenceSetAttribute(
        preference: Handle, attribute: c_int, value: *const c_void, bytes: usize
    ) -> c_int;
    fn cublasLtMatmulAlgoGetHeuristic(
        handle: Handle, operation: Handle, a: Handle, b: Handle, c: Handle, d: Handle,
        preference: Handle, num_asked: c_int, found: Out<HeuristicResult>, num_found: Out<c_int>
    ) -> c_int;
    fn cublasLtMatmul(
        handle: Handle, operation: Handle, alpha: *const c_void, a: *const c_void, a_is: Handle,
        b: *const c_void, b_is: Handle, beta: *const c_void, c: *const c_void, c_is: Handle,
        d: Handle, d_is: Handle, algorithm: *const Algorithm, workspace: Handle,
        workspace_bytes: usize, stream: Handle
    ) -> c_int;
}
