//! `--userns`: nothing, `host`, `auto[:size=N,uidmapping=C:H:N,gidmapping=C:H:N]`. Pure.
//!
//! Reference: <https://docs.podman.io/en/latest/markdown/podman-run.1.html#userns-mode>.
use crate::error::{Error, Result};
use knarr_oci::runtime::IdMapping;

/// Most ranges of a map: what the kernel takes (user_namespaces(7)).
const MAX_RANGES: usize = 340;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As the engine is configured.
    Default,
    Host,
    /// Ids of its own.
    Auto(Auto),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Auto {
    /// How many ids.
    pub size: Option<u32>,
    /// Ids that are what they are asked to be, out of no pool.
    pub users: Vec<IdMapping>,
    pub groups: Vec<IdMapping>,
}

impl Mode {
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::Invalid(format!("invalid user namespace mode: {text}"));
        let options = match text.split_once(':') {
            None => match text {
                "" => return Ok(Self::Default),
                "host" => return Ok(Self::Host),
                "auto" => return Ok(Self::Auto(Auto::default())),
                _ => return Err(invalid()),
            },
            Some(("auto", options)) => options,
            Some(_) => return Err(invalid()),
        };
        let mut auto = Auto::default();
        for option in options.split(',') {
            match option.split_once('=').ok_or_else(invalid)? {
                ("size", size) => {
                    auto.size = Some(size.parse().ok().filter(|size| *size > 0).ok_or_else(invalid)?);
                }
                ("uidmapping", map) => auto.users.push(mapping(map).ok_or_else(invalid)?),
                ("gidmapping", map) => auto.groups.push(mapping(map).ok_or_else(invalid)?),
                _ => return Err(invalid()),
            }
        }
        if auto.users.len().max(auto.groups.len()) > MAX_RANGES / 2 {
            return Err(invalid());
        }
        Ok(Self::Auto(auto))
    }
}

/// `container:host:size`.
fn mapping(text: &str) -> Option<IdMapping> {
    let mut numbers = text.split(':').map(|number| number.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let map = IdMapping { container_id: next()?, host_id: next()?, size: next()? };
    let fits = map.size > 0
        && map.container_id.checked_add(map.size).is_some()
        && map.host_id.checked_add(map.size).is_some();
    (fits && text.split(':').count() == 3).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(Mode::parse("").unwrap(), Mode::Default);
        assert_eq!(Mode::parse("host").unwrap(), Mode::Host);
        let Mode::Auto(auto) = Mode::parse("auto:size=5,uidmapping=0:1000:1,gidmapping=3:4:5").unwrap()
        else {
            panic!()
        };
        assert_eq!(auto.size, Some(5));
        assert_eq!(auto.users, [IdMapping { container_id: 0, host_id: 1000, size: 1 }]);
        assert_eq!(auto.groups, [IdMapping { container_id: 3, host_id: 4, size: 5 }]);
        for text in [
            "bogus",
            "private",
            "keep-id",
            "container:x",
            "auto:",
            "auto:size=0",
            "auto:size=x",
            "auto:uidmapping=1:2",
            "auto:uidmapping=1:2:3:4",
            "auto:uidmapping=1:4294967295:3",
            "auto:other=1",
            "host:x",
        ] {
            let error = Mode::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid user namespace mode: {text}"));
        }
    }
}
