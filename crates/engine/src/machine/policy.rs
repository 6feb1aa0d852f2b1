//! Restart policies and their back-off.
use knarr_docker_types::host_config::RestartPolicy;

/// First pause before a restart; it doubles each time.
pub const BACKOFF_MIN_MS: u64 = 100;
/// Longest pause before a restart.
pub const BACKOFF_MAX_MS: u64 = 60_000;
/// A container that ran this long starts with the first pause again.
pub const STABLE_AFTER_MS: u64 = 10_000;

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// After a failure; 0: any number of times.
    OnFailure {
        max: u32,
    },
}

impl Policy {
    /// Of a validated request; anything unknown is `No`.
    pub fn of(policy: &RestartPolicy) -> Self {
        match policy.name.as_str() {
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure { max: u32::try_from(policy.maximum_retry_count).unwrap_or(0) },
            _ => Self::No,
        }
    }

    /// After an exit with `code` that nobody asked for.
    pub fn restarts(self, code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure { max } => code != 0 && (max == 0 || restarts < max),
        }
    }

    /// Whether the engine may start it once more for a reason of its own: a number that was given bounds that, too.
    pub fn has_restarts_left(self, restarts: u32) -> bool {
        !matches!(self, Self::OnFailure { max } if max != 0 && restarts >= max)
    }

    /// When the engine starts and finds the container not running.
    pub fn restarts_at_boot(self, stopped_by_user: bool, code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::Always => true,
            Self::UnlessStopped => !stopped_by_user,
            Self::OnFailure { .. } => !stopped_by_user && self.restarts(code, restarts),
        }
    }
}

/// The pause after `previous`, for a container that ran for `ran_ms`.
pub(super) fn next_backoff(previous_ms: u64, ran_ms: u64) -> u64 {
    if previous_ms == 0 || ran_ms >= STABLE_AFTER_MS {
        BACKOFF_MIN_MS
    } else {
        (previous_ms * 2).min(BACKOFF_MAX_MS)
    }
}
