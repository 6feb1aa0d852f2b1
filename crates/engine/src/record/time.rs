//! Points in time as stored: nanoseconds since the Unix epoch; 0: never.
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    pub const NEVER: Time = Time(0);

    pub fn now() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    pub fn is_never(self) -> bool {
        self.0 == 0
    }

    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Milliseconds from `earlier`; 0 when the clock went back.
    pub fn millis_since(self, earlier: Time) -> u64 {
        u64::try_from((self.0 - earlier.0) / 1_000_000).unwrap_or(0)
    }

    /// RFC 3339 with nanoseconds, as Go prints it: trailing zeros cut.
    pub fn rfc3339(self) -> String {
        if self.is_never() {
            return knarr_docker_types::time::ZERO.to_owned();
        }
        let second = jiff::Timestamp::from_second(self.seconds()).unwrap_or_default();
        let text = second.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        match self.0.rem_euclid(1_000_000_000) {
            0 => format!("{text}Z"),
            nanos => format!("{text}.{}Z", format!("{nanos:09}").trim_end_matches('0')),
        }
    }

    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default()
    }
}

impl From<jiff::Timestamp> for Time {
    fn from(at: jiff::Timestamp) -> Self {
        Self(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_prints() {
        assert_eq!(Time::NEVER.rfc3339(), "0001-01-01T00:00:00Z");
        assert_eq!(Time(1_700_000_000_000_000_000).rfc3339(), "2023-11-14T22:13:20Z");
        assert_eq!(Time(1_700_000_000_120_000_000).rfc3339(), "2023-11-14T22:13:20.12Z");
    }
}
