//! The command line. Its `args` is the only reader of flags, environment and configuration files.

pub mod eval;
pub mod serve;

use std::process::ExitCode;

pub fn run() -> ExitCode {
    unimplemented!()
}
