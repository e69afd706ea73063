//! Compiles the kernels into one fat binary, with nvcc.
//!
//! `CUDA_COMPUTE_CAP` lists the compute capabilities to compile for, by default `75,80,90`; the
//! last one's PTX is kept as well, for GPUs that come after it. `none` compiles no kernels: such a
//! program runs on the stand-in only, which brings its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Turing, Ampere (and with it Ada), Hopper.
const CAPABILITIES: &str = "75,80,90";

fn main() {
    for variable in ["CUDA_COMPUTE_CAP", "CUDA_HOME", "NVCC", "PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=kernels");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("kernels.fatbin");
    let capabilities = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| CAPABILITIES.to_owned());
    if capabilities == "none" {
        fs::write(&out, []).expect("the build folder can be written");
        return;
    }
    let nvcc = env::var_os("NVCC").map_or_else(nvcc_of_toolkit, PathBuf::from);
    let mut command = Command::new(&nvcc);
    command.args(["-std=c++17", "-O3", "-fatbin", "--threads", "0"]);
    let mut last = "";
    for capability in capabilities.split(',').map(str::trim) {
        let code = format!("arch=compute_{capability},code=sm_{capability}");
        command.arg("-gencode").arg(code);
        last = capability;
    }
    command.arg("-gencode").arg(format!("arch=compute_{last},code=compute_{last}"));
    command.arg("-o").arg(&out).arg(Path::new("kernels").join("all.cu"));
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("nvcc could not compile the kernels for {capabilities}: {status}"),
        Err(error) => panic!(
            "the feature `cuda` needs nvcc of CUDA 13, and {} cannot be started: {error}. Set \
             CUDA_HOME or NVCC to where it is; CUDA_COMPUTE_CAP=none builds without kernels.",
            nvcc.display()
        ),
    }
}

fn nvcc_of_toolkit() -> PathBuf {
    match env::var_os("CUDA_HOME") {
        Some(home) => Path::new(&home).join("bin/nvcc"),
        None => PathBuf::from("nvcc"),
    }
}
