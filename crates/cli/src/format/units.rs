//! Sizes and ages in Docker's words.
use jiff::Timestamp;
use jiff::tz::TimeZone;

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

fn scaled(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// C's `%.Ng`.
fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{:.*e}", digits - 1, value);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let limit = i32::try_from(digits).unwrap_or(i32::MAX);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= limit {
        let mantissa = scientific.split_once('e').map_or(scientific.as_str(), |(m, _)| m);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{:.*}", usize::try_from(limit - 1 - exponent).unwrap_or(0), value))
}

/// `4.5MB`, four digits.
#[allow(clippy::cast_precision_loss)]
pub fn size(bytes: i64) -> String {
    scaled(bytes as f64, 1000.0, &DECIMAL, 4)
}
/// `4.5MB`, three digits, as listings show it.
#[allow(clippy::cast_precision_loss)]
pub fn size_short(bytes: i64) -> String {
    size_of(bytes as f64)
}
/// `4.5MB`, three digits, of a measure that may have a fraction.
pub fn size_of(bytes: f64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}
/// `4.5MiB`.
pub fn binary(bytes: f64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

/// `About a minute`, `3 weeks`.
pub fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    let hours = (seconds as f64 / 3600.0 + 0.5) as i64;
    match seconds {
        ..1 => return "Less than a second".into(),
        1 => return "1 second".into(),
        2..60 => return format!("{seconds} seconds"),
        _ => {}
    }
    match minutes {
        1 => return "About a minute".into(),
        2..60 => return format!("{minutes} minutes"),
        _ => {}
    }
    match hours {
        ..=1 => "About an hour".into(),
        2..48 => format!("{hours} hours"),
        48..336 => format!("{} days", hours / 24),
        336..1440 => format!("{} weeks", hours / 24 / 7),
        1440..17520 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Go's `time.Time.String()` in local time.
pub fn local_time(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(at) => at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        Err(_) => String::new(),
    }
}

/// RFC 3339 in local time.
pub fn rfc3339(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(at) => {
            let local = at.to_zoned(TimeZone::system());
            let text = local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
            text.strip_suffix("+00:00").map_or(text.clone(), |utc| format!("{utc}Z"))
        }
        Err(_) => String::new(),
    }
}

pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The first twelve digits of an id, without `sha256:`.
pub fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

/// At most `length` characters; the last one becomes an ellipsis when something is cut.
pub fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let cut: String = text.chars().take(length.saturating_sub(1)).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_dockers_words() {
        assert_eq!(
            (size(0), size(4_500_000), size(1_234_567)),
            ("0B".into(), "4.5MB".into(), "1.235MB".into())
        );
        assert_eq!((size_short(2_306_000), size_short(999_999)), ("2.31MB".into(), "1e+03kB".into()));
        assert_eq!(
            (binary(1536.0), binary(0.0), binary(25_260_195_840.0)),
            ("1.5KiB".into(), "0B".into(), "23.53GiB".into())
        );
    }

    #[test]
    fn ages_in_dockers_words() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7000, "2 hours"),
            (3 * 86400, "3 days"),
            (20 * 86400, "2 weeks"),
            (100 * 86400, "3 months"),
            (800 * 86400, "2 years"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
        assert_eq!(ellipsis("sleep 1000000000000000", 20), "sleep 1000000000000…");
    }
}
