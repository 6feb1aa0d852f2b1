//! `-v [source:]target[:options]`.

/// What a `-v` means.
#[derive(Debug, PartialEq)]
pub enum Volume {
    /// Only a path in the container.
    Anonymous(String),
    /// For the engine's list of binds.
    Bind(String),
}

/// A source that starts with a dot is relative to the working directory.
pub fn absolute(source: &str) -> String {
    if !source.starts_with('.') {
        return source.to_owned();
    }
    match std::env::current_dir() {
        Ok(dir) => crate::spec::device::clean(&format!("{}/{source}", dir.display())),
        Err(_) => source.to_owned(),
    }
}

pub fn parse(text: &str) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    if text.len() <= 2 {
        return Ok(Volume::Anonymous(text.to_owned()));
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    if parts.len() > 3 {
        return Err(format!("invalid spec: {text}: too many colons"));
    }
    Ok(match text.split_once(':') {
        None => Volume::Anonymous(text.to_owned()),
        Some((source, rest)) => Volume::Bind(format!("{}:{rest}", absolute(source))),
    })
}
