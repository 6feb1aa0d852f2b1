//! What once made a target fail: `regressions/<target>/*.hex`.
use std::path::Path;

/// The inputs that are kept for a target.
pub fn kept(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.map(|file| decode(&std::fs::read_to_string(file.path()).unwrap_or_default())).collect()
}

fn decode(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
    digits.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}
