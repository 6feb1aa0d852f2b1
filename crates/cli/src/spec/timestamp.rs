//! `--since 10m`, `--since 2026-01-02T15:04:05`: what the API takes, seconds with a fraction.
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A point in time as the engine reads it. An empty text stays empty; what is neither a duration nor a date is
/// taken as seconds.
pub fn parse(text: &str, now: Timestamp) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    // 0 is a point in time, though it is a duration as well
    if let (true, Ok(nanos)) = (text != "0", crate::spec::duration::parse(text)) {
        let at = now.as_nanosecond() - i128::from(nanos);
        return Ok(seconds(at));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(seconds(at.as_nanosecond()));
    }
    if let Ok(at) = text.parse::<Zoned>() {
        return Ok(seconds(at.timestamp().as_nanosecond()));
    }
    if text.contains('-') {
        return match local(text) {
            Some(at) => Ok(seconds(at.as_nanosecond())),
            None => Err(format!(
                "parsing time {} as \"2006-01-02T15:04:05\": cannot parse {} as a date",
                knarr_gotemplate::quote(text),
                knarr_gotemplate::quote(text)
            )),
        };
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(format!("failed to parse value as time or duration: {}", knarr_gotemplate::quote(text)));
    }
    Ok(text.to_owned())
}

/// A date without a zone is local time.
fn local(text: &str) -> Option<Timestamp> {
    let (plain, utc) = match text.strip_suffix('Z') {
        Some(plain) => (plain, true),
        None => (text, false),
    };
    let plain = if plain.len() == 13 { format!("{plain}:00") } else { plain.to_owned() };
    let date: DateTime = plain.parse().ok()?;
    let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
    Some(date.to_zoned(zone).ok()?.timestamp())
}

fn seconds(nanos: i128) -> String {
    format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_dates_and_seconds() {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let p = |t| super::parse(t, now).unwrap();
        assert_eq!(p("10s"), "999990.000000000");
        assert_eq!(p("1970-01-01T00:00:01Z"), "1.000000000");
        assert_eq!(p("1970-01-01T00:00:01.5+00:00"), "1.500000000");
        assert_eq!(
            (p("123"), p("123.5"), p(""), p("0")),
            ("123".into(), "123.5".into(), "".into(), "0".into())
        );
        assert!(super::parse("nope", now).is_err());
    }
}
