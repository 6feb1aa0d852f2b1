//! Restart policies and their back-off.
use knarr_docker_types::host_config::RestartPolicy;

/// Pauses before restarts: the first one, which doubles each time, and the longest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub min_ms: u64,
    pub max_ms: u64,
}

/// As Docker has it.
impl Default for Backoff {
    fn default() -> Self {
        Self { min_ms: 100, max_ms: 60_000 }
    }
}

/// Annotations of a container that say otherwise: Go's durations.
pub const DELAY: &str = "io.knarr.restart.delay";
pub const MAX_DELAY: &str = "io.knarr.restart.max-delay";
/// Longest pause that may be asked for: a day.
const LONGEST_MS: u64 = 24 * 3600 * 1000;

impl Backoff {
    /// These pauses, or else those of `default`. A first pause that is longer than the longest one is that one, too.
    pub fn parse(delay: Option<&str>, max_delay: Option<&str>, default: Self) -> Result<Self, String> {
        let ms = |text: &str| {
            let nanos = crate::duration::parse(text).and_then(|nanos| u64::try_from(nanos).ok());
            let ms = nanos.map(|nanos| nanos.div_ceil(1_000_000)).filter(|ms| (1..=LONGEST_MS).contains(ms));
            ms.ok_or_else(|| format!("{text:?} is no duration from 1ms to 24h, such as 5s"))
        };
        let (min, max) = (delay.map(ms).transpose()?, max_delay.map(ms).transpose()?);
        let min_ms = min.unwrap_or_else(|| default.min_ms.min(max.unwrap_or(u64::MAX)));
        let max_ms = max.unwrap_or_else(|| default.max_ms.max(min_ms));
        match min_ms <= max_ms {
            true => Ok(Self { min_ms, max_ms }),
            false => Err(format!("the first pause, {min_ms}ms, is longer than the longest one, {max_ms}ms")),
        }
    }
}
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
pub(super) fn next_backoff(backoff: Backoff, previous_ms: u64, ran_ms: u64) -> u64 {
    if previous_ms == 0 || ran_ms >= STABLE_AFTER_MS {
        backoff.min_ms
    } else {
        previous_ms.saturating_mul(2).clamp(backoff.min_ms, backoff.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_between_their_bounds() {
        let parse = |delay: &str, max: &str| {
            let some = |text: &'static str| (!text.is_empty()).then_some(text);
            let (delay, max): (&'static str, &'static str) = (delay.to_owned().leak(), max.to_owned().leak());
            Backoff::parse(some(delay), some(max), Backoff::default())
        };
        assert_eq!(parse("", ""), Ok(Backoff { min_ms: 100, max_ms: 60_000 }));
        assert_eq!(parse("1s", "3s"), Ok(Backoff { min_ms: 1000, max_ms: 3000 }));
        assert_eq!(parse("2m", ""), Ok(Backoff { min_ms: 120_000, max_ms: 120_000 }));
        assert_eq!(parse("", "50ms"), Ok(Backoff { min_ms: 50, max_ms: 50 }));
        for (delay, max) in [("0s", ""), ("x", ""), ("", "25h"), ("-1s", ""), ("5s", "1s")] {
            assert!(parse(delay, max).is_err(), "{delay} {max}");
        }
        let backoff = Backoff { min_ms: 1000, max_ms: 3000 };
        let mut pauses = vec![next_backoff(backoff, 0, 0)];
        for _ in 0..3 {
            pauses.push(next_backoff(backoff, pauses[pauses.len() - 1], 5));
        }
        assert_eq!(pauses, [1000, 2000, 3000, 3000]);
        assert_eq!(next_backoff(backoff, 3000, STABLE_AFTER_MS), 1000);
    }
}
