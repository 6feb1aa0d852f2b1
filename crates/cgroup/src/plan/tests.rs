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
        lines(&v1::writes(&resources(FULL))),
        [
            "devices devices.deny = a",
            "devices devices.allow = c 1:3 rwm",
            "devices devices.allow = b 8:* r",
            "cpuset cpuset.cpus = 0-1",
            "cpuset cpuset.mems = 0",
            "cpu cpu.shares = 512",
            "cpu cpu.cfs_period_us = 100000",
            "cpu cpu.cfs_quota_us = 50000",
            "memory memory.limit_in_bytes = 67108864",
            "memory memory.memsw.limit_in_bytes = 134217728",
            "memory memory.soft_limit_in_bytes = 33554432",
            "memory memory.swappiness = 10",
            "pids pids.max = 32",
            "blkio blkio.weight = 500",
            "blkio blkio.throttle.read_bps_device = 8:0 1048576",
            "blkio blkio.throttle.write_iops_device = 8:0 100",
            "hugetlb hugetlb.2MB.limit_in_bytes = 4194304",
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
    assert!(v1::writes(&Resources::default()).is_empty());
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
