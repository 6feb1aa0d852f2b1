//! Trying again, a little later each time, as long as it makes sense.
use crate::error::{Error, Result};
use std::time::Duration;

/// Attempts without any progress, the first included.
pub const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long to wait after failure number `failures` (from 1), or the error when it makes no sense any more.
pub fn pause(error: Error, failures: u32) -> Result<Duration> {
    if !error.is_temporary() || failures >= ATTEMPTS {
        return Err(error);
    }
    let own = FIRST_PAUSE * 2u32.pow(failures.saturating_sub(1));
    let asked = match &error {
        Error::TooManyRequests { retry_after, .. } => retry_after.unwrap_or_default(),
        _ => Duration::ZERO,
    };
    if asked > LONGEST_PAUSE { Err(error) } else { Ok(own.max(asked).min(LONGEST_PAUSE)) }
}

/// Runs `work` until it succeeds or fails for good.
pub async fn retry<T, F: Future<Output = Result<T>>>(mut work: impl FnMut() -> F) -> Result<T> {
    let mut failures = 0;
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(error) => {
                failures += 1;
                let text = error.to_string();
                let pause = pause(error, failures)?;
                tracing::debug!(error = text, ?pause, "registry request failed, will be repeated");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> Error {
        Error::Timeout { url: String::new(), limit: Duration::ZERO }
    }

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<u64> =
            (1..ATTEMPTS).map(|n| pause(temporary(), n).unwrap().as_millis() as u64).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000]);
        assert!(pause(temporary(), ATTEMPTS).is_err());
        assert!(pause(Error::Cancelled, 1).is_err());
        let limited = |secs| Error::TooManyRequests {
            message: String::new(),
            retry_after: Some(Duration::from_secs(secs)),
        };
        assert_eq!(pause(limited(7), 1).unwrap(), Duration::from_secs(7));
        assert!(pause(limited(3600), 1).is_err());
    }
}
