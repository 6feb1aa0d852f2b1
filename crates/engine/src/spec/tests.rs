use super::*;
use crate::record::{MountKind, MountRow, Time};
use knarr_base::ContainerId;
use knarr_docker_types::container_config::Config;
use knarr_docker_types::host_config::HostConfig;
use knarr_docker_types::resources::{DeviceMapping, Ulimit};
use knarr_docker_types::{Map, StrSlice};
use knarr_oci::rootfs::RootfsMount;
use knarr_oci::runtime::{DeviceType, IdMapping, Namespace, NamespaceType};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) fn container() -> Container {
    Container {
        id_maps: None,
        labels: Default::default(),
        id: ContainerId::parse(&"ab".repeat(32)).unwrap(),
        name: "web".into(),
        created: Time(1),
        config: Config {
            cmd: StrSlice::from(vec!["sh".to_owned()]),
            image: "busybox".into(),
            ..Config::default()
        },
        host_config: HostConfig::default(),
        networks: Map::default(),
        off_mode_network: false,
        image: None,
        platform: "linux".into(),
        rootfs: RootfsMount::Directory { path: "/rootfs".into() },
        mounts: Vec::new(),
        log_driver: "json-file".into(),
        log_opts: Default::default(),
    }
}

fn facts() -> Facts {
    Facts {
        bounding: crate::capability::ALL.iter().map(|c| (*c).to_owned()).collect(),
        port_start_sysctl: true,
        ping_range_sysctl: true,
        mqueue: true,
        hostname: "host".into(),
        ..Facts::default()
    }
}

fn built(container: &Container, facts: &Facts, change: impl FnOnce(&mut Input)) -> Spec {
    let files = Files {
        hostname: Some("/d/hostname".into()),
        hosts: Some("/d/hosts".into()),
        resolv_conf: Some("/d/resolv.conf".into()),
    };
    let sources = BTreeMap::from([("/below".to_owned(), PathBuf::from("/proc/7/fd/9"))]);
    let (joined, user) = (Joined::default(), User { home: "/root".into(), ..User::default() });
    let labels = container.labels.clone();
    let mut input = Input {
        container,
        labels: &labels,
        user: &user,
        facts,
        joined: &joined,
        id_maps: None,
        files: &files,
        sources: &sources,
        cgroup_path: "/knarr-x/abab",
        init: None,
        default_ulimits: &[],
        default_shm_size: 64 << 20,
        no_new_privileges: false,
        private_cgroupns: true,
    };
    change(&mut input);
    build(&input)
}

#[test]
fn the_default_container() {
    insta::assert_json_snapshot!(built(&container(), &facts(), |_| {}));
}

#[test]
fn a_container_with_a_user_namespace_and_labels() {
    let map = |host_id| vec![IdMapping { container_id: 0, host_id, size: 65536 }];
    let maps: &IdMaps = Box::leak(Box::new(IdMaps { users: map(100_000), groups: map(200_000) }));
    let mut container = container();
    container.labels =
        Labels { apparmor: "p".into(), process: "u:r:t:s0:c1,c2".into(), mount: "u:o:f:s0:c1,c2".into() };
    let volume = MountRow { source: "/v".into(), ..MountRow::new(MountKind::Volume, "/volume") };
    let bind = MountRow { source: "/b".into(), ..MountRow::new(MountKind::Bind, "/bind") };
    let mapped = MountRow { id_map: true, destination: "/mapped".into(), ..bind.clone() };
    container.mounts = vec![volume, bind, mapped];
    container.host_config.resources.devices.push(DeviceMapping {
        path_on_host: "/dev/fuse".into(),
        path_in_container: "/dev/other".into(),
        ..DeviceMapping::default()
    });
    let mut facts = facts();
    let node = DeviceNode {
        path: "/dev/fuse".into(),
        kind: DeviceType::Char,
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    facts.devices.insert("/dev/fuse".to_owned(), vec![node]);
    let spec = built(&container, &facts, |input| input.id_maps = Some(maps));
    let linux = spec.linux.unwrap();
    assert_eq!((linux.uid_mappings, linux.gid_mappings), (maps.users.clone(), maps.groups.clone()));
    assert!(linux.namespaces.contains(&Namespace::new(NamespaceType::User)));
    assert_eq!(linux.sysctl["net.ipv4.ping_group_range"], "0 65535");
    assert_eq!(linux.mount_label.as_deref(), Some("u:o:f:s0:c1,c2"));
    let process = spec.process.unwrap();
    assert_eq!(process.apparmor_profile.as_deref(), Some("p"));
    assert_eq!(process.selinux_label.as_deref(), Some("u:r:t:s0:c1,c2"));
    assert!(linux.devices.is_empty(), "a node of another name is bound");
    let bound: Vec<_> = spec.mounts.iter().filter(|m| m.options.iter().any(|o| o == "idmap")).collect();
    let bound: Vec<&str> = bound.iter().map(|m| m.destination.as_str()).collect();
    assert_eq!(bound, ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/volume", "/mapped"]);
    assert!(
        spec.mounts.iter().any(|m| m.destination == "/dev/other" && m.source.as_deref() == Some("/dev/fuse"))
    );
}

#[test]
fn a_privileged_container() {
    let mut c = container();
    c.host_config.privileged = true;
    let spec = built(&c, &facts(), |_| {});
    let linux = spec.linux.unwrap();
    assert!(linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
    assert_eq!(spec.process.unwrap().capabilities.unwrap().effective.len(), crate::capability::ALL.len());
    let sys = spec.mounts.iter().find(|m| m.destination == "/sys").unwrap();
    assert!(sys.options.contains(&"rw".to_owned()) && !sys.options.contains(&"ro".to_owned()));
    assert!(linux.resources.unwrap().devices[0].allow);
}

#[test]
fn limits_devices_and_ulimits() {
    let mut c = container();
    let r = &mut c.host_config.resources;
    (r.memory, r.memory_swap, r.nano_cpus, r.pids_limit) = (100 << 20, 200 << 20, 1_500_000_000, Some(50));
    (r.cpu_shares, r.cpuset_cpus) = (512, "0-1".into());
    r.ulimits.push(Ulimit { name: "nofile".into(), soft: 1024, hard: 2048 });
    r.devices.push(DeviceMapping {
        path_on_host: "/dev/fuse".into(),
        path_in_container: "/dev/f".into(),
        cgroup_permissions: "rw".into(),
    });
    r.device_cgroup_rules.push("c 42:* rmw".into());
    let mut facts = facts();
    let fuse = DeviceNode {
        path: "/dev/fuse".into(),
        kind: knarr_oci::runtime::DeviceType::Char,
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    facts.devices.insert("/dev/fuse".into(), vec![fuse]);
    let spec = built(&c, &facts, |input| {
        input.default_ulimits = Box::leak(Box::new([("core".to_owned(), 0, -1), ("nofile".to_owned(), 1, 1)]))
    });
    let linux = spec.linux.unwrap();
    insta::assert_json_snapshot!((linux.resources, linux.devices, spec.process.unwrap().rlimits));
}

#[test]
fn modes_of_sharing() {
    let mut c = container();
    c.host_config.network_mode = "host".into();
    c.host_config.pid_mode = "container:x".into();
    c.host_config.ipc_mode = "host".into();
    c.host_config.uts_mode = "host".into();
    let joined = Joined { pid: Some(42), ipc: None };
    let spec = built(&c, &facts(), |input| {
        input.joined = Box::leak(Box::new(joined));
        input.private_cgroupns = false;
    });
    let linux = spec.linux.unwrap();
    assert_eq!(spec.hostname, None);
    assert!(linux.sysctl.is_empty(), "sysctls of a shared namespace are the host's");
    insta::assert_json_snapshot!((linux.namespaces, spec.process.unwrap().env));
}

#[test]
fn mounts_init_and_a_read_only_root() {
    let mut c = container();
    c.host_config.readonly_rootfs = true;
    c.mounts = vec![
        MountRow { source: "/src".into(), rw: false, ..MountRow::new(MountKind::Bind, "/dst") },
        MountRow { source: "/v/_data".into(), ..MountRow::new(MountKind::Volume, "/vol") },
        MountRow {
            options: vec!["size=1m".into(), "exec".into()],
            ..MountRow::new(MountKind::Tmpfs, "/dev/shm")
        },
        MountRow { source: "/my/hosts".into(), ..MountRow::new(MountKind::Bind, "/etc/hosts") },
    ];
    let spec = built(&c, &facts(), |input| input.init = Some("/usr/bin/knarr".into()));
    assert!(spec.root.unwrap().readonly);
    insta::assert_json_snapshot!((spec.mounts, spec.process.unwrap().args));
}

#[test]
fn an_entry_without_a_value_unsets_and_a_user_has_no_effective_capabilities() {
    let mut c = container();
    c.config.env = ["A=1".to_owned(), "HOSTNAME".into(), "PATH=/x".into(), "A=2".into()].into();
    let user = User { uid: 5, ..User::default() };
    let spec = built(&c, &facts(), |input| input.user = Box::leak(Box::new(user)));
    let process = spec.process.unwrap();
    assert_eq!(process.env, ["PATH=/x", "A=2", "HOME=/"]);
    let capabilities = process.capabilities.unwrap();
    assert!(
        capabilities.effective.is_empty() && capabilities.bounding.len() == crate::capability::DEFAULT.len()
    );
}

/// A directory below a volume is mounted by the descriptor that it was opened with.
#[test]
fn sources_that_were_opened_are_used() {
    let rows = ["/below", "/other"].map(|destination| MountRow {
        source: "/volumes/v/_data/a".into(),
        ..MountRow::new(MountKind::Volume, destination)
    });
    let container = Container { mounts: rows.into(), ..container() };
    let spec = built(&container, &facts(), |_| {});
    let of = |destination: &str| {
        let found = spec.mounts.iter().find(|mount| mount.destination == destination);
        found.unwrap().source.clone().unwrap()
    };
    assert_eq!(of("/below"), "/proc/7/fd/9");
    assert_eq!(of("/other"), "/volumes/v/_data/a");
}
