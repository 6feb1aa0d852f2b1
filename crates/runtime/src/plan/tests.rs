//! Plans as text.
use super::*;
use knarr_cgroup::Hierarchies;
use knarr_linux::caps::CapSet;
use knarr_linux::user_namespace::Range;
use knarr_oci::runtime::Namespace;
use std::path::PathBuf;

const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1: &str = "\
34 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

fn spec(text: &str) -> Spec {
    serde_json::from_str(text).unwrap()
}

fn plan_on(spec: &Spec, mountinfo: &str, change: impl FnOnce(&mut Facts<'_>)) -> Result<Plan> {
    let hierarchies = Hierarchies::parse(mountinfo);
    let rootfs = RootfsMount::Overlay {
        lower: vec![PathBuf::from("/layers/b/fs"), PathBuf::from("/layers/a/fs")],
        upper: "/containers/x/upper".into(),
        work: "/containers/x/work".into(),
        volatile: false,
    };
    let mut facts = Facts {
        bundle: Path::new("/bundle"),
        rootfs: Some(&rootfs),
        netns_given: false,
        terminal: None,
        hierarchies: hierarchies.as_ref(),
        cgroup: Some("/knarr/x"),
        bounding: CapSet(u64::MAX >> 23),
        hard_limits: None,
        user: None,
        privileged: true,
        groups: true,
        apparmor: false,
        selinux: false,
        new_keyring: false,
    };
    change(&mut facts);
    container(spec, &facts)
}

const DOCKER: &str = r#"{
  "ociVersion": "1.2.0",
  "process": {
    "user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]},
    "args": ["sh", "-c", "true"],
    "env": ["PATH=/usr/local/bin:/bin:", "HOSTNAME=x"],
    "cwd": "/work",
    "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_CHOWN", "CAP_KILL"],
      "permitted": ["CAP_CHOWN", "CAP_KILL"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
    "oomScoreAdj": 0
  },
  "root": {"path": "ignored", "readonly": true},
  "hostname": "x",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
      "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]},
    {"destination": "/etc/hosts", "type": "bind", "source": "/containers/x/hosts", "options": ["rbind", "rprivate"]},
    {"destination": "/data/", "source": "relative", "options": ["bind", "ro", "noatime", "rnosuid"]}
  ],
  "linux": {
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}, {"type": "cgroup"}],
    "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"},
    "devices": [{"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 384, "uid": 1}],
    "maskedPaths": ["/proc/kcore"],
    "readonlyPaths": ["/proc/sys"]
  }
}"#;

#[test]
fn docker_on_cgroup_v2() {
    let plan = plan_on(&spec(DOCKER), V2, |_| {}).unwrap();
    assert_eq!(
        plan.clone_flags,
        flags::NEWNS | flags::NEWNET | flags::NEWUTS | flags::NEWPID | flags::NEWIPC
    );
    insta::assert_snapshot!(plan.text());
}

#[test]
fn docker_on_cgroup_v1_with_terminal_and_given_network() {
    let mut spec = spec(DOCKER);
    spec.process.as_mut().unwrap().no_new_privileges = true;
    let plan = plan_on(&spec, V1, |facts| {
        facts.netns_given = true;
        facts.terminal = Some((24, 80));
    });
    let plan = plan.unwrap();
    assert_eq!(plan.clone_flags & flags::NEWNET, 0);
    insta::assert_snapshot!(plan.text());
}

#[test]
fn host_namespaces_and_host_dev() {
    let mut spec = spec(DOCKER);
    let linux = spec.linux.as_mut().unwrap();
    linux.namespaces.retain(|n| n.kind == NamespaceType::Mount);
    linux.sysctl.clear();
    spec.hostname = None;
    spec.mounts = serde_json::from_str(
        r#"[{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rslave"]}]"#,
    )
    .unwrap();
    let plan = plan_on(&spec, V2, |_| {}).unwrap();
    assert_eq!(plan.clone_flags, flags::NEWNS);
    insta::assert_snapshot!(plan.text());
}

fn with_user(facts: &mut Facts<'_>) {
    let range = Range { inside: 0, outside: 100_000, count: 65536 };
    facts.user = Some(IdMaps { users: vec![range], groups: vec![range] });
}

const BINDS: &str = r#"[
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    {"destination": "/a", "type": "bind", "source": "/data/a", "options": ["rbind", "ro"]},
    {"destination": "/b", "type": "bind", "source": "/data/b", "options": ["bind", "idmap"]},
    {"destination": "/c", "type": "bind", "source": "/data/c", "options": ["rbind", "ridmap"],
      "uidMappings": [{"containerID": 1000, "hostID": 0, "size": 1}], "gidMappings": [{"containerID": 1000, "hostID": 0, "size": 1}]}
  ]"#;

/// What the container's root may not do is done before there is one.
#[test]
fn user_namespace() {
    let mut spec = spec(DOCKER);
    spec.mounts = serde_json::from_str(BINDS).unwrap();
    let linux = spec.linux.as_mut().unwrap();
    linux.namespaces.push(Namespace::new(NamespaceType::User));
    linux.namespaces.retain(|n| n.kind != NamespaceType::Cgroup);
    linux.namespaces.iter_mut().find(|n| n.kind == NamespaceType::Ipc).unwrap().path =
        Some("/proc/7/ns/ipc".into());
    let plan = plan_on(&spec, V2, |facts| {
        facts.netns_given = true;
        with_user(facts);
    });
    let plan = plan.unwrap();
    assert_eq!((plan.clone_flags, plan.spawns(), plan.cgroup_by_file), (0, true, true));
    assert_eq!((plan.limits.len(), plan.id_maps.len()), (1, 1));
    insta::assert_snapshot!(plan.text());
}

#[test]
fn user_namespace_of_a_user_without_privileges() {
    let mut spec = spec(DOCKER);
    spec.mounts = serde_json::from_str(BINDS).unwrap();
    spec.mounts.drain(2..);
    let ordinary = |facts: &mut Facts<'_>| {
        facts.rootfs = None;
        (facts.privileged, facts.groups) = (false, false);
        with_user(facts);
    };
    assert!(plan_on(&spec, V2, ordinary).unwrap_err().to_string().contains("additionalGids"));
    spec.process.as_mut().unwrap().user.additional_gids.clear();
    let plan = plan_on(&spec, V2, ordinary);
    insta::assert_snapshot!(plan.unwrap().text());
}

#[test]
fn layers_without_a_common_directory() {
    let spec = spec(DOCKER);
    let rootfs = RootfsMount::Overlay {
        lower: vec![PathBuf::from("/a/x/fs"), PathBuf::from("/b/fs")],
        upper: "/c/upper".into(),
        work: "/c/work".into(),
        volatile: false,
    };
    let plan = plan_on(&spec, V2, |facts| {
        facts.rootfs = Some(Box::leak(Box::new(rootfs)));
        with_user(facts);
    });
    let text = plan.unwrap().text();
    assert!(text.contains(r#"mapped at "/" and "/c" for 100000:100000"#), "{text}");
    let none = plan_on(&spec, V2, |facts| facts.user = Some(IdMaps::default()));
    assert!(none.unwrap_err().to_string().contains("no user 0"));
}

/// A path into another process's root is not for the new process to open.
#[test]
fn bind_from_another_process() {
    let mut spec = spec(DOCKER);
    let bind = |source: &str| {
        let text = format!(
            r#"{{"destination": "/dev/shm", "type": "bind", "source": "{source}", "options": ["bind", "rprivate"]}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    let sources = ["/proc/42/root/dev/shm", "/proc/self/root/dev", "/proc/x/root/dev", "/proc/7/root/a"];
    spec.mounts = sources.map(bind).into();
    let text = plan_on(&spec, V2, |_| {}).unwrap().text();
    let binds: Vec<&str> = text.lines().filter(|line| line.contains("bind")).collect();
    assert_eq!(
        binds,
        [
            r#"bind "dev/shm" of process 42 at "/dev/shm" Private recursive"#,
            r#"bind "/proc/self/root/dev" at "/dev/shm" Private recursive"#,
            r#"bind "/proc/x/root/dev" at "/dev/shm" Private recursive"#,
            r#"bind "a" of process 7 at "/dev/shm" Private recursive"#,
        ]
    );
    spec.mounts = (0..=MAX_FOREIGN).map(|_| bind("/proc/42/root/dev/shm")).collect();
    assert!(plan_on(&spec, V2, |_| {}).is_err());
}

#[test]
fn another_process() {
    let spec = spec(DOCKER);
    let hierarchies = Hierarchies::parse(V2);
    let facts = Facts {
        bundle: Path::new("/"),
        rootfs: None,
        netns_given: false,
        terminal: Some((0, 0)),
        hierarchies: hierarchies.as_ref(),
        cgroup: Some("/knarr/x"),
        bounding: CapSet(u64::MAX >> 23),
        hard_limits: None,
        user: None,
        privileged: true,
        groups: true,
        apparmor: false,
        selinux: false,
        new_keyring: false,
    };
    let plan = exec(spec.process.as_ref().unwrap(), spec.linux.as_ref().unwrap(), &facts).unwrap();
    insta::assert_snapshot!(plan.text());
}

#[test]
fn limits_that_cannot_be_raised_are_lowered_with_a_warning() {
    let plan = plan_on(&spec(DOCKER), V2, |facts| facts.hard_limits = Some([2048; 16])).unwrap();
    assert!(plan.text().contains("rlimit 7 1024 2048"));
    assert_eq!(plan.warnings, ["RLIMIT_NOFILE: hard limit 4096 lowered to 2048, which cannot be raised"]);
}

#[test]
fn nonsense_is_refused() {
    let refused = |change: fn(&mut Spec)| {
        let mut spec = spec(DOCKER);
        change(&mut spec);
        plan_on(&spec, V2, |_| {}).unwrap_err().to_string()
    };
    assert!(refused(|s| s.process.as_mut().unwrap().args.clear()).contains("args"));
    assert!(refused(|s| s.process.as_mut().unwrap().cwd = "relative".into()).contains("absolute"));
    assert!(refused(|s| s.process.as_mut().unwrap().env.push("PATH=/a\0b".into())).contains("zero byte"));
    assert!(refused(|s| s.linux.as_mut().unwrap().rootfs_propagation = Some("odd".into())).contains("odd"));
    assert!(refused(|s| s.mounts[0].kind = None).contains("type"));
    assert!(refused(|s| s.mounts[5].source = None).contains("source"));
    assert!(
        refused(|s| s.linux.as_mut().unwrap().namespaces.push(Namespace::new(NamespaceType::Pid)))
            .contains("twice")
    );
    assert!(refused(|s| s.linux.as_mut().unwrap().masked_paths.push("x".into())).contains("absolute"));
}

#[test]
fn a_bind_of_the_hosts_root_is_none_of_the_containers() {
    let mut spec = spec(DOCKER);
    spec.mounts.push(knarr_oci::runtime::Mount::new("/host", "bind", "//", &["rbind", "ro"]));
    let plan = plan_on(&spec, V2, |_| {}).unwrap();
    let lines: Vec<String> = plan.text().lines().map(str::to_owned).collect();
    let at = |line: &str| lines.iter().position(|l| l.starts_with(line)).unwrap();
    assert!(at("source 0 recursive") < at("attach the root"), "{}", plan.text());
    assert!(lines.iter().any(|line| line.starts_with("bind source 0 at \"/host\" +1")), "{}", plan.text());
}
