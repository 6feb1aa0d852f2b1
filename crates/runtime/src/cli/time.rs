//! Points in time as text.
//!
//! Standard: RFC 3339, in UTC.
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    seconds: u64,
    nanoseconds: u32,
}

impl Time {
    pub(crate) fn now() -> Self {
        // A clock before 1970 shows 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
    }

    /// With nine digits of a second.
    pub(crate) fn rfc3339(self) -> String {
        let (days, second) = (self.seconds / 86_400, self.seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", self.nanoseconds)
    }
}

/// Days since 1970 to year, month, day. Years begin in March here, so that the leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        let text = |seconds| Time { seconds, nanoseconds: 5 }.rfc3339();
        assert_eq!(text(0), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(text(1_700_000_000), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(text(951_782_400), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(text(1_709_251_199), "2024-02-29T23:59:59.000000005Z");
    }
}
