//! SIGHUP: the configuration file is read again, and what can change while the engine runs is put in force.
//!
//! What is wrong with the file is logged, and everything stays as it was. systemd hears of it (`RELOADING=1`, `READY=1`).
use super::{LogLevel, config::Config, flags::Flags, notify};
use anyhow::Context;
use knarr_engine::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// To be asked for before the engine can be reached: without it the signal ends the process.
pub fn hangups() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("cannot watch for SIGHUP")
}

pub async fn on_hangup(mut hangups: Signal, engine: Engine, flags: Flags, level: LogLevel) {
    while hangups.recv().await.is_some() {
        notify::send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
        match reload(&engine, &flags, &level).await {
            Ok(config) => tracing::info!(debug = config.debug, "configuration reloaded"),
            Err(why) => {
                tracing::error!(error = format!("{why:#}"), "configuration not reloaded; all stays as it was")
            }
        }
        notify::send("READY=1");
    }
}

async fn reload(engine: &Engine, flags: &Flags, level: &LogLevel) -> anyhow::Result<Config> {
    let config = super::read_config(flags.clone())?;
    engine.reload(super::assemble::engine_config(&config)?).await?;
    level.set(&config);
    Ok(config)
}

fn monotonic_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}
