//! `--cpus 1.5`: an exact decimal in billionths.

const NANO_DIGITS: usize = 9;

pub fn nano_cpus(value: &str) -> Result<i64, String> {
    let failed = || format!("failed to parse {value} as a rational number");
    if let Some((top, bottom)) = value.split_once('/') {
        let (top, bottom): (i128, i128) =
            (top.parse().map_err(|_| failed())?, bottom.parse().map_err(|_| failed())?);
        let nano = top.checked_mul(1_000_000_000).ok_or_else(failed)?;
        return match nano.checked_rem(bottom) {
            None => Err(failed()),
            Some(0) => i64::try_from(nano / bottom).map_err(|_| failed()),
            Some(_) => Err("value is too precise".into()),
        };
    }
    let (negative, digits) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !numeric(whole) || !numeric(fraction) {
        return Err(failed());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > NANO_DIGITS {
        return Err("value is too precise".into());
    }
    let nano: i64 = format!("{whole}{fraction:0<NANO_DIGITS$}").parse().map_err(|_| failed())?;
    Ok(if negative { -nano } else { nano })
}

#[cfg(test)]
mod tests {
    #[test]
    fn decimals_are_exact() {
        let n = super::nano_cpus;
        assert_eq!(
            (n("1.5"), n(".1"), n("2"), n("1/4")),
            (Ok(1_500_000_000), Ok(100_000_000), Ok(2_000_000_000), Ok(250_000_000))
        );
        assert_eq!(n("0.0000000001").unwrap_err(), "value is too precise");
        assert_eq!(n("x").unwrap_err(), "failed to parse x as a rational number");
    }
}
