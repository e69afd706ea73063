//! Products of 16-bit matrices, by cuBLASLt.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::Driver;
use crate::memory::Buffer;
use crate::{CudaError, Float, Result, sys};

/// What NVIDIA recommends for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;
/// CUDA 12.0's.
const VERSION_MIN: usize = 120_000;
/// Shapes whose plans are kept. A server sees few decode batches and as many prompts' lengths as
/// there are.
const PLANS_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct Blas {
    /// The handle is of its context.
    driver: Arc<Driver>,
    handle: sys::Handle,
    workspace: Buffer,
    /// `None` for what cuBLASLt has no algorithm for.
    plans: Mutex<HashMap<Shape, Option<Plan>>>,
}

// SAFETY: cuBLASLt's handles may be used from any thread.
unsafe impl Send for Blas {}
// SAFETY: as above; plans are locked.
unsafe impl Sync for Blas {}

/// `out[row, i] = x[row] . weights[i]`: weights `[n, k]`, `x` `[num_rows, k]`, both of `dtype`;
/// `out` of `f32`, `out_stride` elements from row to row. `bias`, unless it is 0, is `n` of `f32`
/// and added to each row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) weights: u64,
    pub(crate) x: u64,
    pub(crate) out: u64,
    pub(crate) bias: u64,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) num_rows: usize,
    pub(crate) out_stride: usize,
    pub(crate) dtype: Float,
}

impl Product {
    /// What an algorithm is chosen by.
    fn shape(&self) -> Shape {
        let has_bias = self.bias != 0;
        (self.n, self.k, self.num_rows, self.out_stride, self.dtype, has_bias)
    }
}

type Shape = (usize, usize, usize, usize, Float, bool);

#[derive(Debug)]
struct Plan {
    operation: sys::Handle,
    weights: sys::Handle,
    x: sys::Handle,
    out: sys::Handle,
    algorithm: sys::Algorithm,
}

fn check(status: i32, call: &'static str) -> Result<()> {
    match status {
        sys::CUBLAS_STATUS_SUCCESS => Ok(()),
        _ => Err(CudaError::Blas { call, status }),
    }
}

impl Blas {
    pub(crate) fn new(driver: &Arc<Driver>) -> Result<Self> {
        if !sys::has_blas() {
            return Err(CudaError::NoBlas);
        }
        // The library may be there under a name without a version; the calls below have been the
        // same since this one.
        // SAFETY: the library is loaded.
        let version = unsafe { sys::cublasLtGetVersion() };
        if version < VERSION_MIN {
            return Err(CudaError::OldBlas { version });
        }
        driver.bind()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: there is a place for the handle.
        check(unsafe { sys::cublasLtCreate(&mut handle) }, "cublasLtCreate")?;
        let workspace = Buffer::new(driver, WORKSPACE_BYTES)?;
        let driver = Arc::clone(driver);
        Ok(Self { driver, handle, workspace, plans: Mutex::default() })
    }

    /// False if cuBLASLt has no algorithm for it; then nothing was done.
    ///
    /// # Safety
    ///
    /// Matrices and bias have the sizes that are said, and live until the stream has done this.
    pub(crate) unsafe fn multiply(&self, product: &Product) -> Result<bool> {
        self.driver.bind()?;
        let shape = product.shape();
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if !plans.contains_key(&shape) {
            if plans.len() >= PLANS_MAX {
                plans.clear();
            }
            plans.insert(shape, self.plan(product)?);
        }
        let Some(plan) = &plans[&shape] else { return Ok(false) };
        if product.bias != 0 {
            plan.set(sys::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &product.bias)?;
        }
        let (one, zero) = (1f32, 0f32);
        // SAFETY: the plan is of these matrices; the rest is the caller's.
        let status = unsafe {
            sys::cublasLtMatmul(
                self.handle,
                plan.operation,
                std::ptr::from_ref(&one).cast(),
                product.weights as *const c_void,
                plan.weights,
                product.x as *const c_void,
                plan.x,
                std::ptr::from_ref(&zero).cast(),
                product.out as *const c_void,
                plan.out,
                product.out as *mut c_void,
                plan.out,
                &plan.algorithm,
                self.workspace.address() as *mut c_void,
                WORKSPACE_BYTES,
                self.driver.stream().cast(),
            )
        };
        check(status, "cublasLtMatmul").map(|()| true)
    }

    /// cuBLASLt counts columns first: its `out`, `[n, num_rows]`, is ours turned, and so are the
    /// operands; only the weights have to be turned by it.
    fn plan(&self, product: &Product) -> Result<Option<Plan>> {
        let element = match product.dtype {
            Float::F32 => sys::CUDA_R_32F,
            Float::F16 => sys::CUDA_R_16F,
            Float::Bf16 => sys::CUDA_R_16BF,
        };
        let (n, k, num_rows) = (product.n as u64, product.k as u64, product.num_rows as u64);
        let float = sys::CUDA_R_32F;
        let mut plan = Plan {
            operation: std::ptr::null_mut(),
            weights: layout(element, k, n, product.k)?,
            x: layout(element, k, num_rows, product.k)?,
            out: layout(float, n, num_rows, product.out_stride)?,
            algorithm: sys::Algorithm::default(),
        };
        let compute = sys::CUBLAS_COMPUTE_32F;
        let turned = 1u32;
        let mut preference = std::ptr::null_mut();
        let mut found = sys::HeuristicResult::default();
        let mut num_found = 0;
        // SAFETY: every call gets places for its results, and attributes with their sizes.
        unsafe {
            let status = sys::cublasLtMatmulDescCreate(&mut plan.operation, compute, float);
            check(status, "cublasLtMatmulDescCreate")?;
            plan.set(sys::CUBLASLT_MATMUL_DESC_TRANSA, &turned)?;
            if product.bias != 0 {
                let epilogue = sys::CUBLASLT_EPILOGUE_BIAS;
                plan.set(sys::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
                plan.set(sys::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &product.bias)?;
            }
            let status = sys::cublasLtMatmulPreferenceCreate(&mut preference);
            check(status, "cublasLtMatmulPreferenceCreate")?;
            let status = sys::cublasLtMatmulPreferenceSetAttribute(
                preference,
                sys::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                std::ptr::from_ref(&WORKSPACE_BYTES).cast(),
                size_of::<usize>(),
            );
            check(status, "cublasLtMatmulPreferenceSetAttribute")?;
            let status = sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                plan.operation,
                plan.weights,
                plan.x,
                plan.out,
                plan.out,
                preference,
                1,
                &mut found,
                &mut num_found,
            );
            let _ = sys::cublasLtMatmulPreferenceDestroy(preference);
            match status {
                sys::CUBLAS_STATUS_NOT_SUPPORTED => return Ok(None),
                _ => check(status, "cublasLtMatmulAlgoGetHeuristic")?,
            }
        }
        if num_found == 0 || found.state != sys::CUBLAS_STATUS_SUCCESS {
            return Ok(None);
        }
        plan.algorithm = found.algorithm;
        Ok(Some(plan))
    }
}

impl Plan {
    /// `value` is a word of the size that the attribute has.
    fn set<T: Copy>(&self, attribute: i32, value: &T) -> Result<()> {
        // SAFETY: the operation was made; the value is copied, and its size compared, by the call.
        let status = unsafe {
            sys::cublasLtMatmulDescSetAttribute(
                self.operation,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        };
        check(status, "cublasLtMatmulDescSetAttribute")
    }
}

fn layout(element: i32, rows: u64, columns: u64, stride: usize) -> Result<sys::Handle> {
    let mut layout = std::ptr::null_mut();
    // SAFETY: there is a place for the layout.
    let status = unsafe {
        sys::cublasLtMatrixLayoutCreate(&mut layout, element, rows, columns, stride as i64)
    };
    check(status, "cublasLtMatrixLayoutCreate")?;
    Ok(layout)
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `plan`, or null, which is left alone; nobody else has them.
        unsafe {
            if !self.operation.is_null() {
                let _ = sys::cublasLtMatmulDescDestroy(self.operation);
            }
            for layout in [self.weights, self.x, self.out] {
                let _ = sys::cublasLtMatrixLayoutDestroy(layout);
            }
        }
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        if self.driver.bind().is_ok() {
            // SAFETY: made by `new`.
            let _ = unsafe { sys::cublasLtDestroy(self.handle) };
        }
    }
}
