//! Groups of this machine's kernel, v1 or v2: limits of a running process are changed in every order, devices come and go,
//! processes are frozen and killed. Needs root and the controllers that are asked for; what the kernel lacks is left out.
use knarr_cgroup::{Cgroup, Error, Version};
use knarr_oci::runtime::Resources;
use std::fs;
use std::process::{Child, Command, Stdio};

/// A group of its own with a sleeping process in it; gone afterwards.
struct Group {
    cgroup: Cgroup,
    child: Child,
}

impl Group {
    fn new(name: &str) -> Self {
        let path = format!("/knarr-cgroup-test/{}-{name}", std::process::id());
        let cgroup = Cgroup::new(&path).unwrap();
        drop(cgroup.create().unwrap());
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        cgroup.add(child.id() as i32).unwrap();
        Self { cgroup, child }
    }

    fn apply(&self, json: &str) -> Result<(), Error> {
        self.cgroup.apply(&serde_json::from_str::<Resources>(json).unwrap())
    }

    fn is_v1(&self) -> bool {
        self.cgroup.hierarchies().version() == Version::V1
    }

    /// A file of v1 or v2, trimmed.
    fn read(&self, controller: &str, v1: &str, v2: &str) -> String {
        let file = self.cgroup.directory(controller).unwrap().join(if self.is_v1() { v1 } else { v2 });
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_owned()
    }

    fn has(&self, controller: &str, v1: &str, v2: &str) -> bool {
        self.cgroup.supports(controller, if self.is_v1() { v1 } else { v2 })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        let _ = self.child.wait();
        let _ = self.cgroup.destroy();
        let _ = Cgroup::new("/knarr-cgroup-test").and_then(|parent| parent.remove_if_empty());
    }
}

#[test]
fn memory_goes_up_and_down() {
    let group = Group::new("memory");
    if !group.has("memory", "memory.limit_in_bytes", "memory.max") {
        return;
    }
    let limit = || group.read("memory", "memory.limit_in_bytes", "memory.max");
    let swap = group.has("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    for mib in [64i64, 512, 16, 256] {
        let bytes = mib << 20;
        let both = if swap { format!(r#", "swap": {}"#, bytes * 2) } else { String::new() };
        group.apply(&format!(r#"{{"memory": {{"limit": {bytes}{both}}}}}"#)).unwrap();
        assert_eq!(limit(), bytes.to_string());
    }
    group.apply(r#"{"memory": {"limit": -1, "reservation": 8388608}}"#).unwrap();
    assert_ne!(limit(), (256i64 << 20).to_string());
    assert_eq!(group.read("memory", "memory.soft_limit_in_bytes", "memory.low"), "8388608");
    let error = group.apply(r#"{"memory": {"limit": 1, "checkBeforeUpdate": true}}"#);
    let used = group.cgroup.stats().unwrap().memory.usage > 0;
    assert!(!used || matches!(error, Err(Error::InUse { .. })), "{error:?}");
}

#[test]
fn processor_time_in_every_order() {
    let group = Group::new("cpu");
    if !group.has("cpu", "cpu.cfs_quota_us", "cpu.max") {
        return;
    }
    for (quota, period) in [(50_000, 100_000), (900_000, 1_000_000), (2_000, 2_000), (200_000, 100_000)] {
        group.apply(&format!(r#"{{"cpu": {{"quota": {quota}, "period": {period}}}}}"#)).unwrap();
        let got = match group.is_v1() {
            true => format!(
                "{} {}",
                group.read("cpu", "cpu.cfs_quota_us", ""),
                group.read("cpu", "cpu.cfs_period_us", "")
            ),
            false => group.read("cpu", "", "cpu.max"),
        };
        assert_eq!(got, format!("{quota} {period}"));
    }
    if group.has("cpu", "cpu.cfs_burst_us", "cpu.max.burst") {
        for (quota, burst) in [(10_000, 10_000), (50_000, 40_000), (20_000, 5_000)] {
            group.apply(&format!(r#"{{"cpu": {{"quota": {quota}, "burst": {burst}}}}}"#)).unwrap();
            assert_eq!(group.read("cpu", "cpu.cfs_burst_us", "cpu.max.burst"), burst.to_string());
        }
    }
    if group.has("cpu", "cpu.idle", "cpu.idle") {
        let shares = |n: u64| format!(r#"{{"cpu": {{"shares": 512, "idle": {n}}}}}"#);
        for idle in [1, 0] {
            group.apply(&shares(idle)).unwrap();
            assert_eq!(group.read("cpu", "cpu.idle", "cpu.idle"), idle.to_string());
        }
    }
    group.apply(r#"{"cpu": {"quota": -1}}"#).unwrap();
    // What no order makes acceptable is an error with file, value and errno.
    let error = group.apply(r#"{"cpu": {"period": 7}}"#).unwrap_err().to_string();
    assert!(error.contains('7') && error.contains("cpu.") && error.contains("nvalid"), "{error}");
}

#[test]
fn devices_of_a_running_group_come_and_go() {
    let group = Group::new("devices");
    if !group.is_v1() || !group.has("devices", "devices.list", "") {
        return;
    }
    let list = || {
        let text = group.read("devices", "devices.list", "");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(list(), ["a *:* rwm"]);
    group.apply(r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}, {"allow": true, "type": "c", "access": "m"}]}"#).unwrap();
    assert_eq!(list(), ["c *:* m", "c 1:3 rwm"]);
    group.apply(r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}, {"allow": true, "type": "b", "major": 7, "access": "rw"}]}"#).unwrap();
    assert_eq!(list(), ["b 7:* rw", "c 1:3 r"]);
    group.apply(r#"{"devices": [{"allow": true, "type": "a", "access": "rwm"}]}"#).unwrap();
    assert_eq!(list(), ["a *:* rwm"]);
    group
        .apply(r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 5, "minor": 0}]}"#)
        .unwrap();
    assert_eq!(list(), ["c 5:0 rwm"]);
}

#[test]
fn frozen_processes_are_killed_and_strangers_are_not() {
    let mut group = Group::new("kill");
    let mut stranger = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    if group.cgroup.freeze().is_ok() {
        assert!(group.cgroup.is_frozen().unwrap());
    }
    group.cgroup.kill_all().unwrap();
    assert!(group.cgroup.all_pids().unwrap().is_empty());
    assert!(!group.child.wait().unwrap().success());
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    group.cgroup.destroy().unwrap();
    assert!(!group.cgroup.exists());
    group.cgroup.destroy().unwrap();
}

#[test]
fn limits_without_a_controller_are_errors() {
    let group = Group::new("missing");
    let missing = |json: &str| group.apply(json).unwrap_err();
    if group.is_v1() {
        assert!(matches!(missing(r#"{"unified": {"memory.high": "1"}}"#), Error::Invalid { .. }));
    } else {
        assert!(matches!(missing(r#"{"unified": {"nothing.max": "1"}}"#), Error::NoController { .. }));
    }
    if !group.has("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max") {
        let error = missing(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}"#);
        assert!(matches!(error, Error::NoController { .. }), "{error}");
    }
    let error = missing(r#"{"cpu": {"cpus": "4000"}}"#);
    assert!(error.to_string().contains("4000") || matches!(error, Error::NoController { .. }), "{error}");
}
