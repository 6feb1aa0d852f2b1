//! The engine process: configuration, log, single instance, then the parts put together (`assemble`).
//!
//! Invariant: one engine per data root and per exec root; stopping it leaves every container running.
mod assemble;
pub mod config;
mod flags;
pub mod log_file;
mod notify;
mod pidfile;
mod reload;

use clap::Parser;
use config::Config;
use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// What an engine that was started on demand writes to standard output when it serves.
pub const READY: &str = "ready";

/// Entry of `knarr daemon`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let flags = match flags::Flags::try_parse_from([OsString::from("knarr daemon")].into_iter().chain(args)) {
        Ok(flags) => flags,
        Err(e) => {
            // Help and version go to standard output with 0, mistakes to standard error.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 125 } else { 0 });
        }
    };
    let config = match read_config(flags.clone()) {
        Ok(config) => config,
        Err(e) => return fail(&e),
    };
    if let Err(e) = assemble::engine_config(&config) {
        return fail(&format!("{e:#}"));
    }
    if flags.validate {
        // As dockerd: on standard error.
        let _ = writeln!(std::io::stderr(), "configuration OK");
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        return fail(&"the engine needs root for now: use sudo");
    }
    let level = start_log(&config);
    match assemble::run(config, flags, level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(&format!("{e:#}")),
    }
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "failed to start the engine: {why}");
    ExitCode::FAILURE
}

fn read_config(flags: flags::Flags) -> Result<Config, config::ConfigError> {
    let (path, chosen): (PathBuf, bool) = match &flags.config_file {
        Some(path) => (path.clone(), true),
        None => (config::DEFAULT_CONFIG_FILE.into(), false),
    };
    let file = match std::fs::read_to_string(&path) {
        Ok(text) => config::parse_file(&path, &text, &config::given(&flags))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !chosen => config::File::default(),
        Err(e) => return Err(config::ConfigError::File { file: path, why: e.to_string() }),
    };
    config::merge(flags, file)
}

/// What is logged; can be changed.
pub struct LogLevel(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl LogLevel {
    pub fn set(&self, config: &Config) {
        (self.0)(filter(config));
    }
}

fn filter(config: &Config) -> EnvFilter {
    let level = match config.log_level.as_str() {
        "fatal" | "panic" => "error",
        other => other,
    };
    EnvFilter::new(
        std::env::var("KNARR_LOG")
            .unwrap_or_else(|_| format!("{level},hyper=warn,reqwest=warn,rustls=warn,h2=warn")),
    )
}

fn start_log(config: &Config) -> LogLevel {
    let log = log_file::Log::to_standard_error(&config.exec_root);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(config))
        .with_writer(move || log.clone())
        .with_ansi(false);
    if config.log_json {
        let builder = builder.json().with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        LogLevel(Box::new(move |filter| drop(handle.reload(filter))))
    } else {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        LogLevel(Box::new(move |filter| drop(handle.reload(filter))))
    }
}
