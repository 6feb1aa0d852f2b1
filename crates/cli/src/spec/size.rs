//! `-m 512m`: bytes with binary units.

/// Bytes. Units: b, k, m, g, t, p, with `b` or `ib` after them, in any case.
pub fn memory(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, unit) = text.split_at(end + 1);
    // one space may stand before the unit
    let number = if unit.is_empty() { number } else { number.strip_suffix(' ').unwrap_or(number) };
    let value: f64 = number.parse().map_err(|_| invalid())?;
    if value < 0.0 || !number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'+')) {
        return Err(invalid());
    }
    let power = match unit.to_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(format!("invalid suffix: '{}'", unit.to_lowercase())),
    };
    #[allow(clippy::cast_possible_truncation)]
    let bytes = (value * 1024f64.powi(power)) as i64;
    Ok(bytes)
}

/// As memory; -1 is "no limit".
pub fn memory_swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { memory(text) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_have_binary_units() {
        let m = super::memory;
        assert_eq!(
            (m("512m"), m("1g"), m("32"), m("1.5KiB"), m("2 GB")),
            (Ok(512 << 20), Ok(1 << 30), Ok(32), Ok(1536), Ok(2 << 30))
        );
        assert_eq!(m("xx").unwrap_err(), "invalid size: 'xx'");
        assert_eq!(m("5x").unwrap_err(), "invalid suffix: 'x'");
        assert_eq!(super::memory_swap("-1"), Ok(-1));
    }
}
