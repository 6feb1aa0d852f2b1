//! The mutable row of a container.
use super::Time;
use crate::machine::{Phase, Wishes};
use knarr_state::Record;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    pub phase: Phase,
    /// 0: no process.
    #[serde(default)]
    pub pid: i32,
    /// With the number it says which process; 0: not known.
    #[serde(default)]
    pub pid_start_time: u64,
    #[serde(default)]
    pub exit_code: i32,
    #[serde(default)]
    pub oom_killed: bool,
    /// Why it did not start or was lost.
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub started_at: Time,
    #[serde(default)]
    pub finished_at: Time,
    /// Restarts by the policy since the last start by a request.
    #[serde(default)]
    pub restarts: u32,
    /// Log messages of the last run that were lost.
    #[serde(default)]
    pub log_lost: u64,
    #[serde(default)]
    pub stopped_by_user: bool,
    /// What was asked for and not reached when this row was written.
    #[serde(default)]
    pub wishes: Wishes,
}

impl Record for Status {
    const TABLE: &'static str = "container_status";
}
