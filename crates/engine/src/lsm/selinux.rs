//! SELinux: labels of a container's processes and files.
//!
//! Standard: selinux(8), and the container labels of a policy (`contexts/lxc_contexts`), as `container-selinux` has them. A container
//! gets a level of two categories that no other has, so that what belongs to one is closed to the others.
use crate::error::{Error, Result};
use std::path::Path;

const FILESYSTEM: &str = "/sys/fs/selinux";
const MAGIC: i64 = 0xf97c_ff8c;
const CONFIG: &str = "/etc/selinux/config";
/// Number of categories of a policy.
const CATEGORIES: u32 = 1024;
/// The categories of privileged containers' files.
const PRIVILEGED: &str = "s0:c1022,c1023";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selinux {
    process: Context,
    file: Context,
}

/// `user:role:type[:level]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Context {
    user: String,
    role: String,
    kind: String,
    level: Option<String>,
}

impl Context {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let (user, role, kind) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { user, role, kind, level: parts.next() })
    }

    fn text(&self) -> String {
        let level = self.level.as_ref().map(|level| format!(":{level}")).unwrap_or_default();
        format!("{}:{}:{}{level}", self.user, self.role, self.kind)
    }
}

impl Selinux {
    /// `None`, with a warning, where the kernel or the policy has nothing for containers.
    pub fn open() -> Option<Self> {
        let there = rustix::fs::statfs(FILESYSTEM).is_ok_and(|fs| fs.f_type == MAGIC);
        let config = std::fs::read_to_string(CONFIG).unwrap_or_default();
        let path = Path::new("/etc/selinux").join(policy(&config)).join("contexts/lxc_contexts");
        let found = there.then(|| std::fs::read_to_string(path).ok()).flatten();
        let selinux = found.and_then(|text| Self::of(&text));
        if selinux.is_none() {
            tracing::warn!("could not enable SELinux on the host system: containers are not labelled");
        }
        selinux
    }

    /// From the policy's labels of containers.
    fn of(contexts: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = contexts
                .lines()
                .find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
            line.and_then(|text| Context::parse(text.trim().trim_matches('"')))
        };
        Some(Self { process: value("process")?, file: value("file")? })
    }

    /// Labels of processes and files. `options` are those of `--security-opt label=`.
    pub fn labels(
        &self,
        options: &[&str],
        taken: &[String],
        shared: Option<&str>,
    ) -> Result<(String, String)> {
        let (mut process, mut file) = (self.process.clone(), self.file.clone());
        if process.level.is_some() {
            let level = match shared.and_then(Context::parse).and_then(|context| context.level) {
                Some(level) => level,
                None => free_level(taken)?,
            };
            process.level = Some(level.clone());
            file.level = Some(level);
        }
        for option in options {
            if *option == "disable" {
                if file.level.is_some() {
                    file.level = Some(PRIVILEGED.to_owned());
                }
                return Ok((String::new(), file.text()));
            }
            let bad = |text: &str| {
                Err(Error::Invalid(format!(
                    "bad label option {text:?}, valid options 'disable' or \n'user, role, level, type, filetype' followed by ':' and a value"
                )))
            };
            match option.split_once(':') {
                Some(("user", value)) => {
                    value.clone_into(&mut process.user);
                    value.clone_into(&mut file.user);
                }
                Some(("role", value)) => value.clone_into(&mut process.role),
                Some(("type", value)) => value.clone_into(&mut process.kind),
                Some(("filetype", value)) => value.clone_into(&mut file.kind),
                Some(("level", value)) => {
                    process.level = Some(value.to_owned());
                    file.level = Some(value.to_owned());
                }
                Some((key, _)) => return bad(key),
                None => return bad(option),
            }
        }
        Ok((process.text(), file.text()))
    }
}

/// `SELINUXTYPE` of the host's configuration.
fn policy(config: &str) -> &str {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("SELINUXTYPE=")).map(str::trim);
    line.filter(|name| !name.is_empty() && !name.contains('/')).unwrap_or("targeted")
}

/// A level of two categories that nobody has.
fn free_level(taken: &[String]) -> Result<String> {
    const MAX_TRIES: u32 = 10_000;
    for _ in 0..MAX_TRIES {
        let random = crate::create::random();
        let number = |at: usize| u32::from(random[at]) << 8 | u32::from(random[at + 1]);
        let (a, b) = (number(0) % CATEGORIES, number(2) % CATEGORIES);
        let level = format!("s0:c{},c{}", a.min(b), a.max(b));
        let used = |label: &String| Context::parse(label).is_some_and(|c| c.level.as_deref() == Some(&level));
        if a != b && level != PRIVILEGED && !taken.iter().any(used) {
            return Ok(level);
        }
    }
    Err(Error::Unavailable("no SELinux level is free for the container".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selinux() -> Selinux {
        let text = "process = \"system_u:system_r:container_t:s0\"\ncontent = \"x\"\nfile = \"system_u:object_r:container_file_t:s0\"\nro_file=\"system_u:object_r:container_ro_file_t:s0\"\n";
        Selinux::of(text).unwrap()
    }

    #[test]
    fn every_container_has_a_level_of_its_own() {
        let mut taken = Vec::new();
        for _ in 0..50 {
            let (process, file) = selinux().labels(&[], &taken, None).unwrap();
            let level = process.strip_prefix("system_u:system_r:container_t:").unwrap().to_owned();
            assert_eq!(file, format!("system_u:object_r:container_file_t:{level}"));
            assert!(level.starts_with("s0:c") && !taken.contains(&process), "{level}");
            taken.push(process);
        }
        let (again, _) = selinux().labels(&[], &taken, Some(&taken[3])).unwrap();
        assert_eq!(again, taken[3], "who shares processes or memory shares the level");
    }

    #[test]
    fn options() {
        let labels = |options: &[&str]| selinux().labels(options, &[], None);
        assert_eq!(
            labels(&["user:u", "role:r", "type:t", "level:s0:c1,c2", "filetype:f"]).unwrap(),
            ("u:r:t:s0:c1,c2".to_owned(), "u:object_r:f:s0:c1,c2".to_owned())
        );
        let (process, file) = labels(&["type:t", "disable"]).unwrap();
        assert_eq!(
            (process.as_str(), file.as_str()),
            ("", "system_u:object_r:container_file_t:s0:c1022,c1023")
        );
        assert!(labels(&["foo"]).unwrap_err().to_string().starts_with("bad label option \"foo\""));
        assert!(labels(&["foo:bar"]).is_err());
        assert_eq!((policy("# x\nSELINUXTYPE=mls\n"), policy("")), ("mls", "targeted"));
    }
}
