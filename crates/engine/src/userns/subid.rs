//! Ranges of ids that the host gives to its users.
//!
//! Standard: subuid(5), subgid(5), passwd(5). Files only: this program has no name service, and where it has one the ranges are
//! in the files all the same.
use super::ranges::{IdSet, Pool, Span};
use crate::error::{Error, Result};
use crate::record::IdMaps;
use knarr_oci::runtime::IdMapping;

/// Whose ranges `userns-remap: default` means.
pub(super) const DEFAULT_USER: &str = "dockremap";
/// Whose ranges `auto` takes from, as podman has it.
const POOL_USER: &str = "containers";
/// Ids that no convention gives to anybody (systemd's table of user ids), for hosts that say nothing.
const DEFAULT_POOL: (u32, u32) = (0x7000_0000, 4000 << 16);

/// The host's files, as texts.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub passwd: String,
    pub group: String,
    pub subuid: String,
    pub subgid: String,
}

impl Files {
    /// A file that is not there is empty.
    pub fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
            subuid: read("/etc/subuid"),
            subgid: read("/etc/subgid"),
        }
    }

    /// `user[:group]`, names or numbers. `None`: root, which is itself already.
    pub fn remap(&self, text: &str) -> Result<Option<IdMaps>> {
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        let (user, group) = (self.user_name(user)?, group_name(&self.group, group));
        if user == "root" {
            tracing::warn!("User namespaces: root cannot be remapped with itself; user namespaces are OFF");
            return Ok(None);
        }
        let group = if text.contains(':') { group } else { user.clone() };
        let missing = |kind: &str, of: &str, name: &str| {
            Error::Invalid(format!("Can't create ID mappings: no {kind} ranges found for {of} \"{name}\""))
        };
        let users = self.users(&user);
        let groups = self.groups(&group);
        if users.is_empty() {
            return Err(missing("subuid", "user", &user));
        }
        if groups.is_empty() {
            return Err(missing("subgid", "group", &group));
        }
        Ok(Some(IdMaps { users, groups }))
    }

    /// The ranges of a user and a group; `None` unless both have some.
    pub fn maps(&self, user: &str, group: &str) -> Option<IdMaps> {
        let maps = IdMaps { users: self.users(user), groups: self.groups(group) };
        (!maps.users.is_empty() && !maps.groups.is_empty()).then_some(maps)
    }

    /// Where `auto` takes from: `START:COUNT`, or the ranges of a user.
    pub fn pool(&self, configured: Option<&str>) -> Result<Pool> {
        if let Some(text) = configured {
            if let Some((start, count)) = text.split_once(':')
                && let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>())
            {
                let fits = start > 0 && count > 0 && start.checked_add(count).is_some();
                let set = IdSet::of([Span::new(start, count)]);
                let pool = Pool::of(set.clone(), set);
                return fits
                    .then_some(pool)
                    .ok_or_else(|| Error::Invalid(format!("invalid userns-pool: {text}")));
            }
            let maps = self.maps(text, text);
            let maps = maps.ok_or_else(|| {
                Error::Invalid(format!("userns-pool: no subuid and subgid ranges found for {text:?}"))
            })?;
            return Ok(pool_of(&maps));
        }
        if let Some(maps) = self.maps(POOL_USER, POOL_USER) {
            return Ok(pool_of(&maps));
        }
        let whole = || IdSet::of([Span::new(DEFAULT_POOL.0, DEFAULT_POOL.1)]);
        let mut pool = Pool::of(whole(), whole());
        entries(&self.subuid).for_each(|(_, span)| pool.users.remove(span));
        entries(&self.subgid).for_each(|(_, span)| pool.groups.remove(span));
        Ok(pool)
    }

    fn users(&self, name: &str) -> Vec<IdMapping> {
        ranges(&self.subuid, name, number_of(&self.passwd, name))
    }

    fn groups(&self, name: &str) -> Vec<IdMapping> {
        ranges(&self.subgid, name, number_of(&self.group, name))
    }

    /// A number is a user that exists.
    fn user_name(&self, user: &str) -> Result<String> {
        if user.is_empty() || !user.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(user.to_owned());
        }
        name_of(&self.passwd, user)
            .ok_or_else(|| Error::Invalid(format!("Uid {user} has no entry in /etc/passwd")))
    }
}

fn group_name(file: &str, group: &str) -> String {
    name_of(file, group).unwrap_or_else(|| group.to_owned())
}

/// Of passwd(5) and group(5): the first and third fields are name and number.
fn name_of(file: &str, number: &str) -> Option<String> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    };
    file.lines().find_map(line)
}

fn number_of<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = file.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| if fields.next()? == name { fields.nth(1) } else { None })
}

/// `name:start:count`; other lines are passed over.
fn entries(file: &str) -> impl Iterator<Item = (&str, Span)> {
    file.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, start, count) = (fields.next()?, fields.next()?, fields.next()?);
        let (start, count) = (start.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
        (count > 0 && start.checked_add(count).is_some()).then(|| (name, Span::new(start, count)))
    })
}

/// The ranges of a name or its number, in order, one after the other from id 0 on.
fn ranges(file: &str, name: &str, number: Option<&str>) -> Vec<IdMapping> {
    let owned = |owner: &str| owner == name || number.is_some_and(|number| owner == number);
    let mut spans: Vec<Span> =
        entries(file).filter(|(owner, _)| owned(owner)).map(|(_, span)| span).collect();
    spans.sort_unstable();
    let mut next = 0u32;
    let mut maps = Vec::new();
    for span in spans {
        let (Ok(start), Ok(size)) = (u32::try_from(span.start), u32::try_from(span.end - span.start)) else {
            continue;
        };
        let Some(end) = next.checked_add(size) else { break };
        maps.push(IdMapping { container_id: next, host_id: start, size });
        next = end;
    }
    maps
}

fn pool_of(maps: &IdMaps) -> Pool {
    let set = |side: &[IdMapping]| IdSet::of(side.iter().map(|map| Span::new(map.host_id, map.size)));
    Pool::of(set(&maps.users), set(&maps.groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools() {
        let subuid = "containers:700000:1000\nann:1879048192:65536\nbroken\n".to_owned();
        let files = Files { subgid: subuid.clone(), subuid, ..Files::default() };
        assert_eq!(files.pool(None).unwrap().users.first(1000), Some(700_000));
        assert_eq!(files.pool(Some("5000:10")).unwrap().groups.first(10), Some(5000));
        assert_eq!(files.pool(Some("ann")).unwrap().users.first(1), Some(1_879_048_192));
        for bad in ["0:10", "5:0", "4294967295:2", "eve"] {
            assert!(files.pool(Some(bad)).is_err(), "{bad}");
        }
        let subuid = "ann:1879048192:65536\n".to_owned();
        let files = Files { subgid: String::new(), subuid, ..Files::default() };
        let pool = files.pool(None).unwrap();
        assert_eq!(pool.users.first(1), Some(1_879_048_192 + 65536), "what is somebody's is not taken");
        assert_eq!(pool.groups.first(1), Some(1_879_048_192));
    }
}
