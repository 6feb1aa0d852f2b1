//! What is known about a container's health: the row beside its status, with the last results of its check.
use super::Time;
use knarr_docker_types::container::{Health as Shown, HealthcheckResult};
use knarr_state::Record;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Of a container that has a health check and was started once. Written when its status changes, shown after each result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    pub status: HealthStatus,
    /// When the run began that it is about.
    #[serde(default)]
    pub run: Time,
    /// Failures one after the other.
    #[serde(default)]
    pub streak: u32,
    /// The last results, oldest first.
    #[serde(default)]
    pub log: Vec<ProbeResult>,
}

/// How one run of the check ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProbeResult {
    pub start: Time,
    pub end: Time,
    /// 0: healthy; -1: it did not come to an end.
    pub exit_code: i32,
    pub output: String,
}

impl Record for Health {
    const TABLE: &'static str = "container_health";
}

impl Health {
    /// As `inspect` shows it.
    pub fn shown(&self) -> Shown {
        let result = |result: &ProbeResult| HealthcheckResult {
            start: result.start.rfc3339(),
            end: result.end.rfc3339(),
            exit_code: i64::from(result.exit_code),
            output: result.output.clone(),
        };
        Shown {
            status: self.status.as_str().to_owned(),
            failing_streak: i64::from(self.streak),
            log: self.log.iter().map(result).collect::<Vec<_>>().into(),
        }
    }
}
