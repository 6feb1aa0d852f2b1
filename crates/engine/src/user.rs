//! Who a container's program runs as: `user[:group]` looked up in the image's `/etc/passwd` and `/etc/group`.
//!
//! Standard: passwd(5), group(5). The files come from an untrusted image: they are read through `knarr_linux::path`, up to
//! a bound, only when they are regular, and a number that does not fit is an error, never wrapped (CVE-2024-40635).
use crate::error::{Error, Result};
use knarr_linux::path::Root;
use knarr_oci::runtime::User as OciUser;
use rustix::fs::FileType;
use std::fs::File;
use std::io::Read;

/// Most bytes of each file that are looked at.
const MAX_FILE: u64 = 8 << 20;
/// Longest line that counts.
const MAX_LINE: usize = 64 << 10;
/// Most supplementary groups (the kernel's limit).
const MAX_GROUPS: usize = 65_536;
/// Ids above are negative for the kernel's users.
const MAX_ID: u64 = i32::MAX as u64;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

impl Default for User {
    fn default() -> Self {
        Self { uid: 0, gid: 0, groups: Vec::new(), home: "/".to_owned() }
    }
}

impl User {
    pub fn oci(&self) -> OciUser {
        OciUser { uid: self.uid, gid: self.gid, umask: None, additional_gids: self.groups.clone() }
    }
}

/// Looks `user` up in a container's tree; `extra` are the groups of `--group-add`.
pub fn resolve(root: &Root, user: &str, extra: &[String]) -> Result<User> {
    let passwd = read(root, "etc/passwd")?;
    let group = read(root, "etc/group")?;
    lookup(user, extra, &passwd, &group)
}

/// Nothing there, or something that is no regular file, is an empty file.
fn read(root: &Root, path: &str) -> Result<String> {
    let Ok(fd) = root.open_file(path) else { return Ok(String::new()) };
    let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io(format!("read {path}"))(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    File::from(fd).take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Error::io(format!("read {path}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::Invalid(format!("the image's /{path} is larger than {MAX_FILE} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter(|line| line.len() <= MAX_LINE).filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let (_, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, home) = (fields.next(), fields.next().unwrap_or(""));
        Some(Entry { name, uid: id(uid)?, gid: id(gid)?, home })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter(|line| line.len() <= MAX_LINE).filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let (_, gid) = (fields.next()?, fields.next()?);
        Some((name, id(gid)?, fields.next().unwrap_or("")))
    })
}

fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse::<u64>().ok()).flatten()?;
    u32::try_from(number).ok().filter(|_| number <= MAX_ID)
}

/// A text of digits is a number, whatever it may also name; one that is too large is an error.
fn numeric(text: &str, what: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    id(text).map(Some).ok_or_else(|| {
        Error::Invalid(format!("{what} should be a non-negative number not larger than {MAX_ID}: {text}"))
    })
}

fn lookup(user: &str, extra: &[String], passwd: &str, group: &str) -> Result<User> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let mut found = User::default();
    let number = if name.is_empty() { Some(0) } else { numeric(name, "uids and gids")? };
    // A number is a number, as for Docker: an image that calls somebody else `1000` changes nothing.
    let entry = passwd_entries(passwd).find(|e| match number {
        Some(number) => e.uid == number,
        None => e.name == name,
    });
    let login = match (&entry, number) {
        (Some(e), _) => {
            (found.uid, found.gid) = (e.uid, e.gid);
            if !e.home.is_empty() {
                e.home.clone_into(&mut found.home);
            }
            e.name
        }
        (None, Some(n)) => {
            found.uid = n;
            ""
        }
        (None, None) => {
            return Err(Error::Invalid(format!(
                "unable to find user {name}: no matching entries in passwd file"
            )));
        }
    };
    match group_name {
        Some(text) if !text.is_empty() => found.gid = group_id(text, group)?,
        _ => found.groups = member_of(login, group),
    }
    for text in extra {
        let gid = group_id(text, group).map_err(|e| match e {
            Error::Invalid(_) => {
                Error::Invalid(format!("Unable to find group {text}: no matching entries in group file"))
            }
            other => other,
        })?;
        if !found.groups.contains(&gid) {
            found.groups.push(gid);
        }
    }
    // The own group is one of them, as after a login: what a file refuses to a group it refuses also to who has that group as
    // the first one and takes another (CVE-2022-36109).
    if !found.groups.contains(&found.gid) {
        found.groups.insert(0, found.gid);
    }
    Ok(found)
}

fn group_id(text: &str, group: &str) -> Result<u32> {
    if let Some(number) = numeric(text, "uids and gids")? {
        return Ok(number);
    }
    let entry = group_entries(group).find(|(name, ..)| *name == text);
    entry.map(|(_, gid, _)| gid).ok_or_else(|| {
        Error::Invalid(format!("unable to find group {text}: no matching entries in group file"))
    })
}

fn member_of(login: &str, group: &str) -> Vec<u32> {
    if login.is_empty() {
        return Vec::new();
    }
    let mut groups = Vec::new();
    for (_, gid, members) in group_entries(group) {
        if members.split(',').any(|member| member == login) && groups.len() < MAX_GROUPS - 1 {
            groups.push(gid);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbin:x:1:1::/bin:\napp:x:1000:1001::/home/app:/bin/sh\n\
        7:x:77:77::/seven:/bin/sh\nbroken\nhuge:x:4294967296:0::/:\nneg:x:-1:0::/:\n";
    const GROUP: &str = "root:x:0:root\nadm:x:4:root,app\nstaff:x:50:app\nempty:x:60:\n";

    fn find(user: &str, extra: &[&str]) -> Result<User> {
        let extra: Vec<String> = extra.iter().map(|e| (*e).to_owned()).collect();
        lookup(user, &extra, PASSWD, GROUP)
    }

    #[test]
    fn forms() {
        let user = |uid, gid, groups: &[u32], home: &str| User {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.into(),
        };
        assert_eq!(find("", &[]).unwrap(), user(0, 0, &[0, 4], "/root"));
        assert_eq!(find("app", &[]).unwrap(), user(1000, 1001, &[1001, 4, 50], "/home/app"));
        assert_eq!(find("1000", &[]).unwrap(), user(1000, 1001, &[1001, 4, 50], "/home/app"));
        assert_eq!(find("1234", &[]).unwrap(), user(1234, 0, &[0], "/"));
        assert_eq!(find("app:staff", &[]).unwrap(), user(1000, 50, &[50], "/home/app"));
        assert_eq!(find("app:7777", &[]).unwrap(), user(1000, 7777, &[7777], "/home/app"));
        assert_eq!(find("7", &[]).unwrap(), user(7, 0, &[0], "/"), "a number is no name");
        assert_eq!(find("1234", &["staff", "99"]).unwrap(), user(1234, 0, &[0, 50, 99], "/"));
    }

    #[test]
    fn what_is_no_user() {
        let text = |user: &str| find(user, &[]).unwrap_err().to_string();
        assert_eq!(text("nobody"), "unable to find user nobody: no matching entries in passwd file");
        assert_eq!(text("app:none"), "unable to find group none: no matching entries in group file");
        for number in ["4294967296", "4294967295", "2147483648", "-1", "99999999999999999999", "0:4294967296"]
        {
            assert!(text(number).contains("non-negative number"), "{number}: {}", text(number));
        }
        assert!(find("huge", &[]).is_err(), "an entry whose number does not fit is no entry");
        assert!(find("0", &["nogroup"]).is_err());
    }

    #[test]
    fn files_that_are_traps() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::os::unix::fs::symlink("/proc/self/environ", etc.join("passwd")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(resolve(&root, "", &[]).unwrap().uid, 0);
        assert!(resolve(&root, "root", &[]).is_err(), "links stay inside of the container");
    }
}
