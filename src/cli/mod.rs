//! The command line. Its `args` is the only reader of flags, environment and configuration files.

mod args;
mod bench;
mod chat;
mod eval;
mod guardrail;
mod keys;
mod load;
mod machine;
mod models;
mod panics;
mod progress;
mod report;
mod serve;

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command as Process, ExitCode},
};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use self::args::{Command, LogOptions, ServeCommand, Threads};
use crate::hub::Hub;

/// What a shell reports of a program that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Whole,
    /// By Ctrl-C.
    Interrupted,
}

/// Runs what the command line asks for. 0: done; 1: failed; 2: asked wrongly; 130: interrupted.
pub fn run() -> ExitCode {
    panics::hide_messages();
    let invocation = args::parse();
    if let Threads::Restart { count } = invocation.threads {
        return fail(&restart(count));
    }
    let hub = Hub::new(invocation.hub);
    let ended = start_log(&invocation.log).and_then(|()| execute(invocation.command, hub));
    match ended {
        Ok(Ended::Whole) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// A reader that has seen enough, as `head` does, is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn execute(command: Command, hub: Hub) -> anyhow::Result<Ended> {
    match command {
        Command::Serve(options) => serve(*options, hub).map(|()| Ended::Whole),
        Command::Chat(options) => chat::run(*options, &hub),
        Command::Bench(options) => bench::run(&options, &hub).map(|()| Ended::Whole),
        Command::GpuCheck(options) => bench::gpu_check::run(&options, &hub).map(|()| Ended::Whole),
        Command::Eval(options) => eval::run(&options.located(&hub)?).map(|()| Ended::Whole),
        Command::Models(command) => models::run(command, &hub).map(|()| Ended::Whole),
        Command::Keys(command) => keys::run(command).map(|()| Ended::Whole),
        Command::Guardrail(command) => guardrail::run(command).map(|()| Ended::Whole),
    }
}

fn serve(options: ServeCommand, hub: Hub) -> anyhow::Result<()> {
    let ServeCommand { server, models, engine } = options;
    serve::run(server, move |publish| load::load_all(&models, &engine, &hub, publish))
}

/// One line: what failed, and why down to the cause.
#[expect(clippy::print_stderr, reason = "the last words of a command are for the terminal")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("outcrop: {error:#}");
    ExitCode::FAILURE
}

/// Puts the same program with other pool sizes in this one's place. Returns only when it cannot:
/// the pools read their sizes from the environment, and a process may not safely change its own.
fn restart(count: usize) -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return anyhow::Error::new(error).context("cannot set the number of threads"),
    };
    let sizes = args::THREAD_VARIABLES.map(|name| (name, count.to_string()));
    let error = Process::new(program).args(args::own_arguments()).envs(sizes).exec();
    anyhow::Error::new(error).context("cannot set the number of threads")
}

fn start_log(options: &LogOptions) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.filter)
        .with_context(|| format!("--log `{}` is not a filter", options.filter))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match options.json {
        true => log.json().try_init(),
        false => log.with_target(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
