//! Names of slices as paths: a dash in the name is a level of the tree.
//!
//! Standard: systemd.slice(5).
use crate::{Error, Result};

const SUFFIX: &str = ".slice";

/// `a-b.slice` is `/a.slice/a-b.slice`; `-.slice` is the root, an empty path.
pub(super) fn path(name: &str) -> Result<String> {
    let invalid = || Error::Path { path: name.to_owned() };
    let stem = name.strip_suffix(SUFFIX).filter(|stem| !stem.is_empty()).ok_or_else(invalid)?;
    if stem == "-" {
        return Ok(String::new());
    }
    if !super::scope::is_unit_name(stem) || stem.split('-').any(str::is_empty) {
        return Err(invalid());
    }
    let mut path = String::new();
    for (end, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        path.push('/');
        path.push_str(&stem[..end]);
        path.push_str(SUFFIX);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_are_levels() {
        assert_eq!(path("system.slice").unwrap(), "/system.slice");
        assert_eq!(path("a-b-c.slice").unwrap(), "/a.slice/a-b.slice/a-b-c.slice");
        assert_eq!(path("-.slice").unwrap(), "");
        for bad in ["", ".slice", "system", "a--b.slice", "-a.slice", "a-.slice", "a/b.slice", "../x.slice"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
