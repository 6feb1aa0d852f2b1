//! `-e NAME=value`, `-e NAME` (the value is the client's own).

pub fn check(value: &str) -> Result<(), String> {
    match value.split('=').next() {
        None | Some("") => Err(format!("invalid environment variable: {value}")),
        Some(_) => Ok(()),
    }
}

/// A variable given without a value takes the client's; one that the client does not have is sent bare.
pub fn resolve(value: &str, own: impl Fn(&str) -> Option<String>) -> String {
    if value.contains('=') {
        return value.to_owned();
    }
    match own(value) {
        Some(text) => format!("{value}={text}"),
        None => value.to_owned(),
    }
}
