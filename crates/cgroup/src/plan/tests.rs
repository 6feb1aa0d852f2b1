use super::*;
use knarr_oci::runtime::Resources;

fn lines(writes: &[Write]) -> Vec<String> {
    writes.iter().map(|w| format!("{} {} = {}", w.controller, w.file, w.value)).collect()
}

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

const FULL: &str = r#"{
  "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
              {"allow": true, "type": "b", "major": 8, "access": "r"}],
  "memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "swappiness": 10, "disableOOMKiller": false},
  "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0"},
  "pids": {"limit": 32},
  "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}],
              "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 100}]},
  "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]
}"#;

#[test]
fn v1_full() {
    assert_eq!(
        lines(&v1::writes(&resources(FULL)).unwrap()),
        [
            "cpuset cpuset.cpus = 0-1",
            "cpuset cpuset.mems = 0",
            "cpu cpu.shares = 512",
            "cpu cpu.cfs_period_us = 100000",
            "cpu cpu.cfs_quota_us = 50000",
            "memory memory.limit_in_bytes = 67108864",
            "memory memory.memsw.limit_in_bytes = 134217728",
            "memory memory.soft_limit_in_bytes = 33554432",
            "memory memory.swappiness = 10",
            "memory memory.oom_control = 0",
            "pids pids.max = 32",
            "blkio blkio.weight = 500",
            "blkio blkio.throttle.read_bps_device = 8:0 1048576",
            "blkio blkio.throttle.write_iops_device = 8:0 100",
            "hugetlb hugetlb.2MB.limit_in_bytes = 4194304",
            "hugetlb hugetlb.2MB.rsvd.limit_in_bytes = 4194304",
        ]
    );
}

#[test]
fn v2_full() {
    assert_eq!(
        lines(&v2::writes(&resources(FULL)).unwrap()),
        [
            "cpuset cpuset.cpus = 0-1",
            "cpuset cpuset.mems = 0",
            "cpu cpu.weight = 59",
            "cpu cpu.max = 50000 100000",
            "memory memory.swap.max = 67108864",
            "memory memory.max = 67108864",
            "memory memory.low = 33554432",
            "pids pids.max = 32",
            "io io.weight = 4950",
            "io io.max = 8:0 rbps=1048576 wiops=100",
            "hugetlb hugetlb.2MB.max = 4194304",
            "hugetlb hugetlb.2MB.rsvd.max = 4194304",
        ]
    );
}

#[test]
fn shares_keep_their_ends_and_their_default() {
    assert_eq!([2, 1024, 262_144].map(v2::cpu_weight), [1, 100, 10_000]);
    assert_eq!(v2::cpu_weight(0), 0);
    assert!(
        (2..262_144)
            .step_by(97)
            .collect::<Vec<_>>()
            .windows(2)
            .all(|w| { v2::cpu_weight(w[0]) <= v2::cpu_weight(w[1]) })
    );
}

#[test]
fn unlimited_and_nothing() {
    let unlimited =
        resources(r#"{"memory": {"limit": -1, "swap": -1}, "pids": {"limit": 0}, "cpu": {"quota": -1}}"#);
    assert_eq!(
        lines(&v2::writes(&unlimited).unwrap()),
        [
            "cpu cpu.max = max 100000",
            "memory memory.swap.max = max",
            "memory memory.max = max",
            "pids pids.max = max"
        ]
    );
    assert!(v1::writes(&Resources::default()).unwrap().is_empty());
    assert!(v2::writes(&Resources::default()).unwrap().is_empty());
}

#[test]
fn swap_needs_memory() {
    assert!(v2::writes(&resources(r#"{"memory": {"swap": 1000}}"#)).is_err());
    assert!(v2::writes(&resources(r#"{"memory": {"limit": 2000, "swap": 1000}}"#)).is_err());
    let same = resources(r#"{"memory": {"limit": 2000, "swap": 2000}}"#);
    assert_eq!(lines(&v2::writes(&same).unwrap())[0], "memory memory.swap.max = 0");
    assert!(v2::writes(&resources(r#"{"unified": {"../x": "1"}}"#)).is_err());
}

#[test]
fn no_memory_limit_means_no_limit_of_both() {
    let none = resources(r#"{"memory": {"limit": -1}}"#);
    assert_eq!(
        lines(&v2::writes(&none).unwrap()),
        ["memory memory.swap.max = max", "memory memory.max = max"]
    );
    assert_eq!(
        lines(&v1::writes(&none).unwrap()),
        ["memory memory.limit_in_bytes = -1", "memory memory.memsw.limit_in_bytes = -1"]
    );
}

#[test]
fn idle_goes_first_off_and_last_on() {
    let on = resources(r#"{"cpu": {"shares": 2, "idle": 1}}"#);
    assert_eq!(lines(&v2::writes(&on).unwrap()), ["cpu cpu.weight = 1", "cpu cpu.idle = 1"]);
    assert_eq!(lines(&v1::writes(&on).unwrap()), ["cpu cpu.shares = 2", "cpu cpu.idle = 1"]);
    let off = resources(r#"{"cpu": {"shares": 2, "idle": 0}}"#);
    assert_eq!(lines(&v2::writes(&off).unwrap()), ["cpu cpu.idle = 0", "cpu cpu.weight = 1"]);
}

#[test]
fn what_only_one_version_has() {
    assert!(v1::writes(&resources(r#"{"unified": {"memory.high": "1"}}"#)).is_err());
    assert!(v2::writes(&resources(r#"{"network": {"classID": 7}}"#)).is_err());
    let network = r#"{"network": {"classID": 7, "priorities": [{"name": "eth0", "priority": 2}]}}"#;
    assert_eq!(
        lines(&v1::writes(&resources(network)).unwrap()),
        ["net_cls net_cls.classid = 7", "net_prio net_prio.ifpriomap = eth0 2"]
    );
    let realtime = resources(r#"{"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 950000}}"#);
    assert_eq!(
        lines(&v1::writes(&realtime).unwrap()),
        ["cpu cpu.rt_period_us = 1000000", "cpu cpu.rt_runtime_us = 950000"]
    );
    assert!(v2::writes(&realtime).is_err());
}

#[test]
fn values_that_are_no_values() {
    for bad in
        [r#"{"memory": {"swappiness": 101}}"#, r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#]
    {
        assert!(v1::writes(&resources(bad)).is_err(), "{bad}");
    }
    let unlimited = resources(r#"{"memory": {"swappiness": 18446744073709551615}}"#);
    assert!(v1::writes(&unlimited).unwrap().is_empty());
}

#[test]
fn weights_and_throttles() {
    let io = resources(
        r#"{"blockIO": {"weight": 10, "leafWeight": 20, "weightDevice": [{"major": 8, "minor": 0, "weight": 1000, "leafWeight": 30}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 0}]}}"#,
    );
    assert_eq!(
        lines(&v2::writes(&io).unwrap()),
        ["io io.weight = 1", "io io.weight = 8:0 10000", "io io.max = 8:16 rbps=max"]
    );
    assert_eq!(
        lines(&v1::writes(&io).unwrap()),
        [
            "blkio blkio.weight = 10",
            "blkio blkio.leaf_weight = 20",
            "blkio blkio.weight_device = 8:0 1000",
            "blkio blkio.leaf_weight_device = 8:0 30",
            "blkio blkio.throttle.read_bps_device = 8:16 0",
        ]
    );
    assert_eq!(v2::bfq_weight("8:0 10000"), "8:0 1000");
    assert_eq!(v2::bfq_weight("1"), "10");
}

fn policy(json: &str) -> crate::Result<devices::Policy> {
    devices::Policy::of_rules(&serde_json::from_str::<Vec<_>>(json).unwrap())
}

#[test]
fn device_rules_as_lists() {
    let docker = r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "access": "m"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]"#;
    let first = policy(docker).unwrap();
    let all =
        ["devices devices.deny = a", "devices devices.allow = c *:* m", "devices devices.allow = c 1:3 rwm"];
    assert_eq!(lines(&first.writes(devices::Policy::of_list("a *:* rwm\n").as_ref())), all);
    let listed = devices::Policy::of_list("c *:* m\nc 1:3 rwm\n").unwrap();
    assert_eq!(listed, first);
    // The order of the rules is kept.
    let order = r#"[{"allow": false}, {"allow": true, "type": "c", "major": 10, "minor": 229}, {"allow": true, "type": "b", "access": "m"}]"#;
    let order = policy(order).unwrap();
    let wanted = [
        "devices devices.deny = a",
        "devices devices.allow = c 10:229 rwm",
        "devices devices.allow = b *:* m",
    ];
    assert_eq!(lines(&order.writes(None)), wanted);
    assert!(first.writes(Some(&listed)).is_empty());
    // Another device comes, the mode of one changes, one goes: nothing that stays is touched.
    let second = r#"[{"allow": false}, {"allow": true, "type": "c", "access": "m"}, {"allow": true, "type": "b", "major": 8, "access": "rw"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}]"#;
    assert_eq!(
        lines(&policy(second).unwrap().writes(Some(&listed))),
        ["devices devices.allow = b 8:* rw", "devices devices.deny = c 1:3 wm"]
    );
    // Privileged, and back.
    let open = policy(r#"[{"allow": false}, {"allow": true, "access": "rwm"}]"#).unwrap();
    assert_eq!(lines(&open.writes(Some(&listed))), ["devices devices.allow = a"]);
    assert_eq!(lines(&first.writes(Some(&open))), all);
}

#[test]
fn later_device_rules_win_or_are_refused() {
    let narrow_then_wide = policy(
        r#"[{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "access": "w"}]"#,
    );
    assert_eq!(
        lines(&narrow_then_wide.unwrap().writes(None)),
        ["devices devices.deny = a", "devices devices.allow = c 1:3 rm"]
    );
    let hole = r#"[{"allow": true, "type": "c", "access": "m"}, {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "m"}]"#;
    assert!(policy(hole).is_err());
    assert!(policy(r#"[{"allow": true, "type": "c", "access": "x"}]"#).is_err());
}

#[test]
fn quota_and_period_are_read() {
    assert_eq!(v2::cpu_max("max 100000\n"), Some((-1, 100_000)));
    assert_eq!(v2::cpu_max("5000 20000\n"), Some((5000, 20_000)));
    assert_eq!(v2::cpu_max("max"), None);
}
