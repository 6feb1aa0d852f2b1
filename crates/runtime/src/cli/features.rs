//! `features`: what this runtime does, for engines that ask before they use it.
//!
//! Standard: runtime-spec features.md and features-linux.md. Invariant: what the planner or the filter's compiler refuses is not
//! listed, because they are asked.
use super::arguments::Arguments;
use crate::plan::{self, Facts};
use crate::{Error, Result};
use knarr_linux::caps::{self, CapSet};
use knarr_oci::runtime::{
    IdMapping, Linux, Mount, Namespace, NamespaceType, Process, Root, Seccomp, SeccompAction, Spec, VERSION,
};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

const MOUNT_OPTIONS: [&str; 59] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];
pub(crate) fn features(arguments: &mut Arguments<'_>) -> Result<u8> {
    if let Some((name, _)) = arguments.option()? {
        return Err(super::unknown(&name));
    }
    arguments.end()?;
    let text = serde_json::to_string_pretty(&all()).map_err(|e| Error::Invalid { what: e.to_string() })?;
    // To a pipe whose reader may be gone.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(0)
}

fn all() -> Value {
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let capabilities: Vec<String> = caps::NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": hooks,
        "mountOptions": mount_options(),
        "linux": {
            "namespaces": namespaces(),
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true },
            "seccomp": seccomp(),
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": planned(|spec| linux(spec).intel_rdt = Some(Default::default())) },
            "mountExtensions": { "idmap": { "enabled": planned(id_mapped_mount) } },
        },
        "annotations": { "io.github.knarr.version": env!("CARGO_PKG_VERSION") },
    })
}

/// Whether a configuration with this change can be carried out.
fn planned(change: impl FnOnce(&mut Spec)) -> bool {
    let mut spec = Spec {
        process: Some(Process { args: vec!["/x".to_owned()], cwd: "/".to_owned(), ..Process::default() }),
        root: Some(Root { path: "/".into(), readonly: false }),
        linux: Some(Linux { namespaces: vec![Namespace::new(NamespaceType::Mount)], ..Linux::default() }),
        ..Spec::default()
    };
    change(&mut spec);
    let has_user = |linux: &Linux| linux.namespace(NamespaceType::User).is_some();
    let own_users = spec.linux.as_ref().filter(|linux| has_user(linux));
    let facts = Facts {
        bundle: Path::new("/"),
        rootfs: None,
        netns_given: false,
        terminal: None,
        hierarchies: None,
        cgroup: None,
        bounding: CapSet(u64::MAX),
        hard_limits: None,
        user: own_users.map(|linux| plan::id_maps(&linux.uid_mappings, &linux.gid_mappings)),
        privileged: true,
        groups: true,
        apparmor: true,
        selinux: true,
        new_keyring: true,
    };
    plan::container(&spec, &facts).is_ok()
}

fn linux(spec: &mut Spec) -> &mut Linux {
    spec.linux.get_or_insert_default()
}

fn id_map() -> Vec<IdMapping> {
    vec![IdMapping { container_id: 0, host_id: 100_000, size: 65_536 }]
}

fn id_mapped_mount(spec: &mut Spec) {
    add_user(spec);
    let mount = Mount::new("/x", "bind", "/x", &["rbind"]);
    spec.mounts.push(Mount { uid_mappings: id_map(), gid_mappings: id_map(), ..mount });
}

fn add_user(spec: &mut Spec) {
    let linux = linux(spec);
    linux.namespaces.push(Namespace::new(NamespaceType::User));
    (linux.uid_mappings, linux.gid_mappings) = (id_map(), id_map());
}

fn namespaces() -> Vec<&'static str> {
    use NamespaceType::{Cgroup, Ipc, Network, Pid, Time, Uts};
    let with = |kind| move |spec: &mut Spec| linux(spec).namespaces.push(Namespace::new(kind));
    let others =
        [("cgroup", Cgroup), ("ipc", Ipc), ("network", Network), ("pid", Pid), ("time", Time), ("uts", Uts)];
    let mut found: Vec<&str> =
        others.into_iter().filter(|(_, k)| planned(with(*k))).map(|(n, _)| n).collect();
    found.push("mount");
    if planned(add_user) {
        found.push("user");
    }
    found.sort_unstable();
    found
}

fn mount_options() -> Vec<&'static str> {
    let with = |option: &'static str| {
        move |spec: &mut Spec| {
            let mount = match option {
                "idmap" | "ridmap" => {
                    add_user(spec);
                    let mount = Mount::new("/x", "bind", "/x", &["rbind", option]);
                    Mount { uid_mappings: id_map(), gid_mappings: id_map(), ..mount }
                }
                option => Mount::new("/x", "tmpfs", "tmpfs", &[option]),
            };
            spec.mounts.push(mount);
        }
    };
    MOUNT_OPTIONS.into_iter().filter(|option| planned(with(option))).collect()
}

fn seccomp() -> Value {
    const ACTIONS: [(SeccompAction, &str); 8] = [
        (SeccompAction::Allow, "SCMP_ACT_ALLOW"),
        (SeccompAction::Errno, "SCMP_ACT_ERRNO"),
        (SeccompAction::KillThread, "SCMP_ACT_KILL"),
        (SeccompAction::KillProcess, "SCMP_ACT_KILL_PROCESS"),
        (SeccompAction::KillThread, "SCMP_ACT_KILL_THREAD"),
        (SeccompAction::Log, "SCMP_ACT_LOG"),
        (SeccompAction::Notify, "SCMP_ACT_NOTIFY"),
        (SeccompAction::Trap, "SCMP_ACT_TRAP"),
    ];
    const ARCHITECTURES: [&str; 5] =
        ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"];
    const FLAGS: [&str; 4] = [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ];
    let compiles = |profile: Seccomp| crate::seccomp::filter(&profile, None).is_ok();
    let action = |&(action, _): &(SeccompAction, &str)| {
        let rule =
            knarr_oci::runtime::Syscall { names: vec!["mount".to_owned()], action, ..Default::default() };
        compiles(Seccomp { default_action: SeccompAction::Allow, syscalls: vec![rule], ..Seccomp::default() })
    };
    let machine =
        |name: &&str| compiles(Seccomp { architectures: vec![(*name).to_owned()], ..Seccomp::default() });
    let flag = |name: &&str| compiles(Seccomp { flags: vec![(*name).to_owned()], ..Seccomp::default() });
    json!({
        "enabled": true,
        "actions": ACTIONS.iter().filter(|a| action(a)).map(|(_, name)| *name).collect::<Vec<_>>(),
        "operators": [
            "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
        ],
        "archs": ARCHITECTURES.into_iter().filter(machine).collect::<Vec<_>>(),
        "knownFlags": FLAGS,
        "supportedFlags": FLAGS.into_iter().filter(flag).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_done_is_listed() {
        let all = all();
        let has = |pointer: &str, word: &str| {
            all.pointer(pointer).and_then(Value::as_array).is_some_and(|list| list.iter().any(|w| w == word))
        };
        for option in ["bind", "rbind", "ro", "rro", "nosuid", "rslave", "tmpcopyup", "strictatime"] {
            assert!(has("/mountOptions", option), "{option}");
        }
        assert!(!has("/mountOptions", "remount"));
        for namespace in ["cgroup", "ipc", "mount", "network", "pid", "uts"] {
            assert!(has("/linux/namespaces", namespace), "{namespace}");
        }
        for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
            assert!(has("/linux/seccomp/actions", action), "{action}");
        }
        assert!(has("/linux/seccomp/archs", "SCMP_ARCH_X86_64"));
        assert!(has("/linux/capabilities", "CAP_CHECKPOINT_RESTORE"));
        assert_eq!(all["ociVersionMax"], VERSION);
    }
}
