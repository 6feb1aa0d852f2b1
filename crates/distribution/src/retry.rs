//! Trying again, a little later each time, as long as it makes sense.
use crate::error::{Error, Result};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Attempts without any progress, the first included.
pub const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A pause is longer by up to this part of it, so that those who failed together do not come back together.
const JITTER_PERCENT: u32 = 25;

/// How long to wait after failure number `failures` (from 1), or the error when it makes no sense any more.
pub fn pause(error: Error, failures: u32) -> Result<Duration> {
    let chance = u32::try_from(RandomState::new().hash_one(failures) % 101).unwrap_or(0);
    planned(error, failures, chance)
}

/// The same with a chance from 0 to 100.
fn planned(error: Error, failures: u32, chance: u32) -> Result<Duration> {
    if !error.is_temporary() || failures >= ATTEMPTS {
        return Err(error);
    }
    let own = FIRST_PAUSE * 2u32.pow(failures.saturating_sub(1));
    let own = own + own * (JITTER_PERCENT * chance.min(100)) / 10_000;
    let asked = error.retry_after().unwrap_or_default();
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
        let pauses = |chance| -> Vec<u128> {
            (1..ATTEMPTS).map(|n| planned(temporary(), n, chance).unwrap().as_millis()).collect()
        };
        assert_eq!(pauses(0), [500, 1000, 2000, 4000]);
        assert_eq!(pauses(100), [625, 1250, 2500, 5000]);
        assert!(pause(temporary(), ATTEMPTS).is_err());
        assert!(pause(Error::Cancelled, 1).is_err());
        let limited = |secs| Error::TooManyRequests {
            message: String::new(),
            retry_after: Some(Duration::from_secs(secs)),
        };
        assert_eq!(pause(limited(7), 1).unwrap(), Duration::from_secs(7));
        assert!(pause(limited(3600), 1).is_err());
        let unsaid = Error::TooManyRequests { message: String::new(), retry_after: None };
        assert!(pause(unsaid, 1).is_err());
    }
}
