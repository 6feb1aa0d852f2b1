//! Go's durations: `1h30m`, `10s`, `500ms`.

/// Nanoseconds; `None` when the text is no duration.
pub(crate) fn parse(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("\u{b5}s", 1e3),
        ("\u{3bc}s", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, nanos) = UNITS.iter().find(|(unit, _)| *unit == &rest[..unit_end])?;
        total += number * nanos;
        rest = &rest[unit_end..];
    }
    #[allow(clippy::cast_possible_truncation)]
    (total < 9e18).then_some(total as i64)
}

/// As Go prints it: `100ms`, `1m30s`.
pub(crate) fn go_text(duration: std::time::Duration) -> String {
    let nanos = duration.as_nanos();
    let fraction = |unit: u128, name: &str| {
        let (whole, rest) = (nanos / unit, nanos % unit);
        let digits = unit.ilog10() as usize;
        let rest = if rest == 0 { String::new() } else { format!(".{rest:0digits$}") };
        format!("{whole}{}{name}", if rest.is_empty() { "" } else { rest.trim_end_matches('0') })
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(1_000, "\u{b5}s"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        1_000_000_000.. => {
            let seconds = duration.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = duration - std::time::Duration::from_secs(seconds - seconds % 60);
            let tail = rest.as_secs_f64();
            match (hours, minutes) {
                (0, 0) => format!("{tail}s"),
                (0, _) => format!("{minutes}m{tail}s"),
                (_, _) => format!("{hours}h{minutes}m{tail}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{go_text, parse};
    use std::time::Duration;

    #[test]
    fn as_go_prints() {
        let texts =
            [(0, "0s"), (5, "5ns"), (1_500, "1.5\u{b5}s"), (100_000_000, "100ms"), (1_050_000, "1.05ms")];
        let long = [
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ];
        for (nanos, text) in texts.into_iter().chain(long) {
            assert_eq!(go_text(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn forms() {
        assert_eq!(parse("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse("500ms"), Some(500_000_000));
        assert_eq!(parse("1.5s"), Some(1_500_000_000));
        for bad in ["", "10", "s", "1x", "h1", "-1s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
