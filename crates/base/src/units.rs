//! Sizes as people write them: `512m`, `1.5GiB`, `100`.
//!
//! Standard: go-units, which Docker's client and daemon read sizes with (<https://pkg.go.dev/github.com/docker/go-units>).

/// What one `k` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// 1000, whatever the unit is called.
    Decimal,
    /// 1024.
    Binary,
}

/// Bytes, as many as an `i64` has. Units are b, k, m, g, t, p, with `b` or `ib` after them, in any case, behind one space at
/// most. The error is Docker's text.
pub fn size(text: &str, base: Base) -> Result<u64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, unit) = text.split_at(end + 1);
    let number = number.strip_suffix(' ').filter(|_| !unit.is_empty()).unwrap_or(number);
    let unit = unit.to_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(format!("invalid suffix: '{unit}'")),
    };
    let factor = match base {
        Base::Decimal => 1000_u64,
        Base::Binary => 1024,
    }
    .pow(power);
    bytes(number, factor).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(invalid)
}

fn bytes(number: &str, factor: u64) -> Option<u64> {
    let number = number.strip_prefix('+').unwrap_or(number);
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    #[expect(clippy::cast_precision_loss, reason = "a fraction of a unit")]
    let value = number.parse::<f64>().ok()? * factor as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; what is too large is the largest"
    )]
    Some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let binary = |text: &str| size(text, Base::Binary);
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("32", 32),
            ("0", 0),
            ("1.5KiB", 1536),
            ("2 GB", 2 << 30),
            (".5k", 512),
            ("1P", 1 << 50),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(binary(text), Ok(bytes), "{text}");
        }
        assert_eq!(size("20MB", Base::Decimal), Ok(20_000_000));
        assert_eq!(size("2 GiB", Base::Decimal), Ok(2_000_000_000));
        assert_eq!(binary("5x").unwrap_err(), "invalid suffix: 'x'");
        assert_eq!(binary("5kbb").unwrap_err(), "invalid suffix: 'kbb'");
        for bad in ["", "m", "xx", "-5", "1e3", "1..5k", "1  k", "99999999999999999999g", "9000p"] {
            assert_eq!(binary(bad).unwrap_err(), format!("invalid size: '{bad}'"), "{bad}");
        }
    }
}
