//! A profile for one container on one host.
use super::profile::{Conditions, Profile, Rule};
use crate::runtime::{Seccomp, Syscall};
use knarr_base::{ErrorKind, Kind};

/// Why a profile makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("use either 'architectures' or 'archMap'")]
    BothArchitectures,
    #[error("use either 'name' or 'names'")]
    BothNames,
    #[error("invalid kernel version {0:?}: expected <kernel>.<major>")]
    KernelVersion(String),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// A machine by both of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// As conditions name it: `amd64`.
    pub name: &'static str,
    /// As filters name it: `SCMP_ARCH_X86_64`.
    pub architecture: &'static str,
}

impl Machine {
    pub const X86_64: Self = Self { name: "amd64", architecture: "SCMP_ARCH_X86_64" };
    pub const AARCH64: Self = Self { name: "arm64", architecture: "SCMP_ARCH_AARCH64" };

    /// That this program was built for.
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::AARCH64 } else { Self::X86_64 }
    }
}

/// The first two numbers of a kernel's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// From `6.1`, `6.1.0-13-amd64` and the like.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let digits = |part: Option<&str>| {
            let part = part?;
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().ok()
        };
        Some(Self(digits(parts.next())?, digits(parts.next())?))
    }
}

/// What rules may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub machine: Machine,
    pub kernel: KernelVersion,
    /// The container's bounding set: `CAP_SYS_ADMIN`.
    pub caps: &'a [String],
}

impl Profile {
    /// The rules that hold for a container with these facts.
    pub fn resolve(&self, facts: &Facts<'_>) -> Result<Seccomp, Error> {
        if !self.architectures.is_empty() && !self.arch_map.is_empty() {
            return Err(Error::BothArchitectures);
        }
        let mut architectures = self.architectures.clone();
        if let Some(map) = self.arch_map.iter().find(|map| map.architecture == facts.machine.architecture) {
            architectures.push(map.architecture.clone());
            architectures.extend(map.sub_architectures.iter().cloned());
        }
        let mut syscalls = Vec::new();
        for rule in &self.syscalls {
            if let Some(call) = rule.resolve(facts)? {
                syscalls.push(call);
            }
        }
        Ok(Seccomp {
            default_action: self.default_action,
            default_errno_ret: self.default_errno_ret,
            architectures,
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls,
        })
    }
}

impl Rule {
    fn resolve(&self, facts: &Facts<'_>) -> Result<Option<Syscall>, Error> {
        if self.name.is_some() && !self.names.is_empty() {
            return Err(Error::BothNames);
        }
        if self.excludes.any(facts)? || !self.includes.all(facts)? {
            return Ok(None);
        }
        let names = self.name.iter().chain(&self.names).cloned().collect();
        Ok(Some(Syscall { names, action: self.action, errno_ret: self.errno_ret, args: self.args.clone() }))
    }
}

impl Conditions {
    fn machine(&self, facts: &Facts<'_>) -> bool {
        self.arches.iter().any(|arch| arch == facts.machine.name)
    }
    fn has(facts: &Facts<'_>, cap: &str) -> bool {
        facts.caps.iter().any(|held| held == cap)
    }
    fn kernel(&self, facts: &Facts<'_>) -> Result<Option<bool>, Error> {
        let Some(text) = &self.min_kernel else { return Ok(None) };
        let wanted = KernelVersion::parse(text).ok_or_else(|| Error::KernelVersion(text.clone()))?;
        Ok(Some(facts.kernel >= wanted))
    }
    /// For what excludes: one is enough.
    fn any(&self, facts: &Facts<'_>) -> Result<bool, Error> {
        let kernel = self.kernel(facts)?.unwrap_or(false);
        Ok(kernel || self.machine(facts) || self.caps.iter().any(|cap| Self::has(facts, cap)))
    }
    /// For what includes: one of the machines, each of the capabilities, the kernel.
    fn all(&self, facts: &Facts<'_>) -> Result<bool, Error> {
        let machine = self.arches.is_empty() || self.machine(facts);
        let kernel = self.kernel(facts)?.unwrap_or(true);
        Ok(machine && kernel && self.caps.iter().all(|cap| Self::has(facts, cap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(json: &str, caps: &[&str]) -> Result<Vec<String>, Error> {
        let profile: Profile = serde_json::from_str(json).unwrap();
        let caps: Vec<String> = caps.iter().map(|&c| c.to_owned()).collect();
        let facts = Facts { machine: Machine::X86_64, kernel: KernelVersion(6, 1), caps: &caps };
        Ok(profile.resolve(&facts)?.syscalls.into_iter().flat_map(|s| s.names).collect())
    }

    #[test]
    fn conditions() {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": null, "syscalls": [
            {"names": ["a"], "action": "SCMP_ACT_ALLOW"},
            {"name": "b", "action": "SCMP_ACT_ALLOW", "args": null, "includes": {"caps": ["CAP_BPF"]}},
            {"names": ["c"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_BPF"]}},
            {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["e"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["f"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.10"}},
            {"names": ["g"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}}
        ]}"#;
        assert_eq!(resolve(json, &[]).unwrap(), ["a", "c", "e"]);
        assert_eq!(resolve(json, &["CAP_BPF"]).unwrap(), ["a", "b", "e"]);
    }

    #[test]
    fn contradictions_are_refused() {
        let both = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#;
        assert_eq!(resolve(both, &[]), Err(Error::BothArchitectures));
        let names = r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}]}"#;
        assert_eq!(resolve(names, &[]), Err(Error::BothNames));
        let version = r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]}"#;
        assert!(matches!(resolve(version, &[]), Err(Error::KernelVersion(_))));
        assert!(serde_json::from_str::<Profile>(r#"{"defaultAction": "SCMP_ACT_FLY"}"#).is_err());
    }

    #[test]
    fn kernel_versions() {
        assert_eq!(KernelVersion::parse("6.1.0-13-amd64"), Some(KernelVersion(6, 1)));
        assert_eq!(KernelVersion::parse("5.10+"), Some(KernelVersion(5, 10)));
        assert_eq!(KernelVersion::parse("6"), None);
        assert!(KernelVersion(6, 10) > KernelVersion(6, 9));
    }
}
