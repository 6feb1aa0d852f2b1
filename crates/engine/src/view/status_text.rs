//! `Up 2 minutes`, `Exited (0) 3 seconds ago`: the column STATUS, as Docker words it.
use crate::machine::Phase;
use crate::record::{HealthStatus, Status, Time};

/// The text at `now`.
pub(super) fn text(status: &Status, health: Option<HealthStatus>, now: Time) -> String {
    let ago = |at: Time| duration(now.millis_since(at) / 1000);
    match status.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running => match health {
            None => format!("Up {}", ago(status.started_at)),
            Some(HealthStatus::Starting) => format!("Up {} (health: starting)", ago(status.started_at)),
            Some(health) => format!("Up {} ({})", ago(status.started_at), health.as_str()),
        },
        Phase::Paused => format!("Up {} (Paused)", ago(status.started_at)),
        Phase::Restarting => format!("Restarting ({}) {} ago", status.exit_code, ago(status.finished_at)),
        Phase::Exited if status.finished_at.is_never() => "Created".to_owned(),
        Phase::Exited => format!("Exited ({}) {} ago", status.exit_code, ago(status.finished_at)),
        Phase::Removing => "Removal In Progress".to_owned(),
        Phase::Dead => "Dead".to_owned(),
    }
}

/// go-units' `HumanDuration`.
pub(crate) fn duration(seconds: u64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded to the nearest.
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (s, ..) if s < 60 => format!("{s} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, m, _) if m < 60 => format!("{m} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, h) if h < 48 => format!("{h} hours"),
        (_, _, h) if h < 24 * 7 * 2 => format!("{} days", h / 24),
        (_, _, h) if h < 24 * 30 * 2 => format!("{} weeks", h / 24 / 7),
        (_, _, h) if h < 24 * 365 * 2 => format!("{} months", h / 24 / 30),
        (_, _, h) => format!("{} years", h / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let texts = [
            0, 1, 59, 60, 119, 120, 3599, 3600, 5399, 5400, 86_400, 172_800, 1_209_600, 6_000_000, 70_000_000,
        ];
        let texts: Vec<_> = texts.iter().map(|s| format!("{s}: {}", duration(*s))).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }
}
