//! The `outcrop` binary: everything it does is in [`outcrop::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    outcrop::cli::run()
}
