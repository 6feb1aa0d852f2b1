//! `--label name=value`.

pub fn check(value: &str) -> Result<(), String> {
    let name = value.split('=').next().unwrap_or_default().trim_start_matches([' ', '\t']);
    if name.is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    if name.contains([' ', '\t']) {
        return Err(format!("label '{name}' contains whitespaces"));
    }
    Ok(())
}
