//! What registries say about how much may be asked of them.
//!
//! Standard: RFC 9110 `Retry-After`; Docker Hub's `RateLimit-Limit` and `RateLimit-Remaining` (`100;w=21600`),
//! <https://docs.docker.com/docker-hub/usage/pulls/>.
use http::{HeaderMap, HeaderValue};
use reqwest::Url;
use std::time::Duration;

/// Below this part of what is allowed, one is told.
const LOW_PERCENT: u64 = 10;

/// How long to wait: seconds, or a date. `now` is in seconds since the epoch.
pub fn retry_after(value: &HeaderValue, now: i64) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
    Some(Duration::from_secs(u64::try_from(at.saturating_sub(now)).unwrap_or(0)))
}

/// Tells when little is left.
pub fn warn(url: &Url, headers: &HeaderMap) {
    if let Some((remaining, limit)) = low(headers) {
        let registry = url.authority();
        tracing::warn!(registry, remaining, limit, "few requests are left at this registry");
    }
}

/// What is left of what is allowed, when that is little.
fn low(headers: &HeaderMap) -> Option<(u64, u64)> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.split(';').next()?.trim().parse::<u64>().ok();
    let (remaining, limit) = (number("ratelimit-remaining")?, number("ratelimit-limit")?);
    (remaining.saturating_mul(100) <= limit.saturating_mul(LOW_PERCENT)).then_some((remaining, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_dates() {
        let wait = |text: &'static str| retry_after(&HeaderValue::from_static(text), 1_445_412_470);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(wait("Tue, 21 Oct 2014 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn little_is_a_tenth() {
        let of = |remaining: &'static str, limit: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit-remaining", HeaderValue::from_static(remaining));
            headers.insert("ratelimit-limit", HeaderValue::from_static(limit));
            low(&headers)
        };
        assert_eq!(of("10;w=21600", "100;w=21600"), Some((10, 100)));
        assert_eq!(of("11;w=21600", "100;w=21600"), None);
        assert_eq!(of("x", "100"), None);
        assert_eq!(of("18446744073709551615", "1"), None);
        assert_eq!(low(&HeaderMap::new()), None);
    }
}
