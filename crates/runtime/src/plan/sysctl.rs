//! Settings of the kernel that a container may have of its own: pure.
//!
//! Standard: the runtime specification's `linux.sysctl`, sysctl(8), namespaces(7). Invariant: a setting that is not kept per
//! namespace, or whose namespace is not the container's own, would be the host's: it is refused (CVE-2022-0811).
use super::text;
use crate::{Error, Result};
use knarr_oci::runtime::{Linux, NamespaceType};
use std::ffi::CString;

/// What an IPC namespace has.
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Names of the host's own network namespace.
const HOST_NETWORK: [&str; 3] = ["/proc/1/ns/net", "/proc/self/ns/net", "/proc/thread-self/ns/net"];

/// `net.ipv4.ip_forward` as a path below `/proc/sys`; a name with slashes first is taken as it is, as sysctl(8) does.
pub(super) fn path(name: &str, linux: &Linux, netns_given: bool) -> Result<CString> {
    let slashes = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
    let path = if slashes {
        name.to_owned()
    } else {
        // A dot in a part, such as a VLAN's, is written as a slash then.
        let swap = |c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        name.chars().map(swap).collect()
    };
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(Error::Invalid { what: format!("sysctl {name:?}") });
    }
    own(name, &path, linux, netns_given)?;
    text(&path, "sysctl")
}

fn own(name: &str, path: &str, linux: &Linux, netns_given: bool) -> Result<()> {
    let refuse = |why: &str| Err(Error::Invalid { what: format!("sysctl {name:?} {why}") });
    let has = |kind| linux.namespace(kind).is_some();
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return if has(NamespaceType::Ipc) { Ok(()) } else { refuse("needs an IPC namespace") };
    }
    if path.starts_with("net/") {
        let given = linux.namespace(NamespaceType::Network).and_then(|n| n.path.as_deref());
        let host = given.is_some_and(|path| HOST_NETWORK.iter().any(|own| std::path::Path::new(own) == path));
        return match has(NamespaceType::Network) || netns_given {
            true if !host => Ok(()),
            _ => refuse("needs a network namespace that is not the host's"),
        };
    }
    match path {
        "kernel/domainname" if has(NamespaceType::Uts) => Ok(()),
        "kernel/domainname" => refuse("needs a UTS namespace"),
        "kernel/hostname" => refuse("is not allowed: hostname is a field of the configuration"),
        _ => refuse("is not in a separate kernel namespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, namespaces: &str) -> Result<String> {
        let linux: Linux = serde_json::from_str(&format!(r#"{{"namespaces": [{namespaces}]}}"#)).unwrap();
        path(name, &linux, false).map(|p| p.to_string_lossy().into_owned())
    }

    #[test]
    fn only_what_the_container_has_of_its_own() {
        let all = r#"{"type": "ipc"}, {"type": "network"}, {"type": "uts"}"#;
        for (name, path) in [
            ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced"),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.5/forwarding", "net/ipv4/conf/eth0.5/forwarding"),
            ("net.ipv4.conf.eth0/5.forwarding", "net/ipv4/conf/eth0.5/forwarding"),
            ("kernel.domainname", "kernel/domainname"),
        ] {
            assert_eq!(find(name, all).unwrap(), path);
            assert!(find(name, "").is_err(), "{name} on the host");
        }
        for name in [
            "kernel.core_pattern",
            "kernel/core_pattern",
            "kernel.hostname",
            "vm.overcommit_memory",
            "fs.file-max",
            "fs.mqueue",
            "user.max_user_namespaces",
            "../../etc/x",
            "net..ipv4",
            "net/../kernel/core_pattern",
            "kernel/../x",
            "/kernel/x",
            "",
        ] {
            assert!(find(name, all).is_err(), "{name}");
        }
        let host = r#"{"type": "network", "path": "/proc/1/ns/net"}"#;
        assert!(find("net.ipv4.ip_forward", host).is_err());
    }
}
