//! The command line: a client of the Engine API like any other, with Docker's commands, flags, outputs and exit
//! codes (<https://docs.docker.com/reference/cli/docker/>).
//!
//! A command is a row of a constant table (`cmd`), so nothing is built before it is known which command runs.
//!
//! Invariant: this crate reaches an engine only through `knarr-docker-client`; registries directly, for `manifest` alone.
mod arguments;
mod cli;
mod cmd;
mod command;
mod config_file;
mod connection;
mod context_store;
mod credentials;
mod failure;
mod flag;
mod format;
mod help;
mod manifest_store;
mod plugin;
mod program;
mod spec;
mod term;

pub use cli::{EngineStarter, StartError};
pub use knarr_docker_types::upkeep::DoctorReport;

use std::ffi::OsString;

/// Runs the command line `args` (the first is the program's name) and gives the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>, starter: Option<Box<dyn EngineStarter>>) -> i32 {
    let mut texts = Vec::new();
    for arg in args {
        match arg.into_string() {
            Ok(text) => texts.push(text),
            Err(arg) => {
                eprintln!("knarr: argument is not valid UTF-8: {}", arg.to_string_lossy());
                return failure::EXIT_USAGE;
            }
        }
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("knarr: could not start: {error}");
            return 1;
        }
    };
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, command::dispatch(texts.get(1..).unwrap_or_default(), starter));
    // a thread may still be reading standard input: nobody waits for it
    runtime.shutdown_background();
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                term::output::complain(&failure.message);
            }
            failure.code
        }
    }
}
