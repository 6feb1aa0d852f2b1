//! Go's durations: `1h2m3.5s`, `300ms`.

/// Nanoseconds.
pub fn parse(text: &str) -> Result<i64, String> {
    let quoted = || knarr_gotemplate::quote(text);
    let invalid = || format!("time: invalid duration {}", quoted());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {}", quoted())),
            unit => {
                let unit = knarr_gotemplate::quote(unit);
                return Err(format!("time: unknown unit {unit} in duration {}", quoted()));
            }
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total = whole.checked_mul(scale).and_then(|v| total.checked_add(v)).ok_or_else(invalid)?;
        let mut part = scale;
        for digit in fraction.bytes() {
            part /= 10;
            total += i128::from(digit - b'0') * part;
        }
        rest = next;
    }
    let nanos = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_as_in_go() {
        let p = super::parse;
        assert_eq!(
            (p("1h2m3.5s"), p("300ms"), p("0"), p("-1.5h")),
            (Ok(3_723_500_000_000), Ok(300_000_000), Ok(0), Ok(-5_400_000_000_000))
        );
        assert_eq!(p("5").unwrap_err(), "time: missing unit in duration \"5\"");
        assert_eq!(p("5x").unwrap_err(), "time: unknown unit \"x\" in duration \"5x\"");
        assert_eq!(p("").unwrap_err(), "time: invalid duration \"\"");
    }
}
