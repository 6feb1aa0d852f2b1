//! The name under which this program runs: what it calls itself in usage and errors.
//!
//! Under the name `docker` everything that is printed is what Docker's client prints; the tables say `knarr` and `Knarr`.
use std::borrow::Cow;
use std::path::Path;

/// `docker` under that name, else `knarr`.
pub fn name() -> &'static str {
    let own = std::env::args_os().next().unwrap_or_default();
    if Path::new(&own).file_name().is_some_and(|name| name == "docker") { "docker" } else { "knarr" }
}

pub fn is_docker() -> bool {
    name() == "docker"
}

/// A text of a table in this program's name.
pub fn renamed(text: &str) -> Cow<'_, str> {
    if is_docker() && (text.contains("knarr") || text.contains("Knarr")) {
        return Cow::Owned(text.replace("knarr", "docker").replace("Knarr", "Docker"));
    }
    Cow::Borrowed(text)
}
