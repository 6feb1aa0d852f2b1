//! Capabilities: names, Docker's default set, and what `--cap-add` and `--cap-drop` make of it (capabilities(7)). Pure.

/// All names, in the kernel's order.
pub const ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when nothing is said.
pub const DEFAULT: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// `sys_admin` is `CAP_SYS_ADMIN`; `ALL` stays; `None` when there is no such capability.
pub fn normal(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Some(upper);
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    ALL.contains(&full.as_str()).then_some(full)
}

/// The bounding set of a container. `bounding` is the engine's own: nothing else can be given.
pub fn set(add: &[String], drop: &[String], privileged: bool, bounding: &[String]) -> Vec<String> {
    let every = || bounding.to_vec();
    if privileged {
        return every();
    }
    let add: Vec<String> = add.iter().filter_map(|name| normal(name)).collect();
    let drop: Vec<String> = drop.iter().filter_map(|name| normal(name)).collect();
    let (add_all, drop_all) = (add.iter().any(|c| c == "ALL"), drop.iter().any(|c| c == "ALL"));
    let base: Vec<String> = match (add_all, drop_all) {
        (true, _) => every(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT.iter().map(|c| (*c).to_owned()).collect(),
    };
    let mut result: Vec<String> = base.into_iter().filter(|c| !drop.contains(c)).collect();
    for name in add {
        if name != "ALL" && !result.contains(&name) {
            result.push(name);
        }
    }
    result.retain(|c| bounding.contains(c));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tweaks() {
        let own = |list: &[&str]| list.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let all = own(ALL);
        assert_eq!(set(&[], &[], false, &all), own(DEFAULT));
        assert_eq!(set(&own(&["sys_admin"]), &own(&["ALL"]), false, &all), ["CAP_SYS_ADMIN"]);
        let most = set(&own(&["ALL"]), &own(&["CAP_SYS_ADMIN"]), false, &all);
        assert_eq!(most.len(), ALL.len() - 1);
        assert!(!set(&[], &own(&["NET_RAW"]), false, &all).contains(&"CAP_NET_RAW".to_owned()));
        assert_eq!(set(&[], &own(&["ALL"]), true, &own(&["CAP_KILL"])), ["CAP_KILL"]);
        assert_eq!(normal("nonsense"), None);
    }
}
