//! `--link container[:alias]`.

pub fn check(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("empty string specified for links".into());
    }
    if value.matches(':').count() > 1 { Err(format!("bad format for links: {value}")) } else { Ok(()) }
}
