//! cgroup v2: a virtual machine with Debian's kernel, the real binary and busybox, and limits that must bind; once without and
//! once with systemd as the owner of the groups.

use knarr_e2e::guest::{self, Init};
use knarr_e2e::workspace;

fn wanted() -> bool {
    let off = workspace::peer().is_some() || std::env::var_os("KNARR_NO_GUEST").is_some_and(|v| v == "1");
    if off {
        eprintln!("no virtual machine wanted (KNARR_NO_GUEST=1)");
    }
    !off
}

fn all_pass(init: Init, names: &[&str]) {
    if !wanted() {
        return;
    }
    let checks = guest::run(init);
    let failed: Vec<_> = checks.iter().filter(|c| !c.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for name in names {
        assert!(checks.iter().any(|c| c.name == *name), "{name} was not checked: {checks:?}");
    }
}

#[test]
fn guest_cgroup_v2_limits_bind() {
    let names = [
        "boot",
        "run",
        "memory",
        "pids",
        "cpu",
        "pause",
        "stats",
        "io",
        "io-weight",
        "io-throttle",
        "kill",
        "delegation",
        "runtime-cpu",
        "runtime-memory",
        "hugetlb",
        "device-refused",
        "error-text",
        "update-order",
        "clean",
    ];
    all_pass(Init::Busybox, &names);
}

#[test]
fn guest_systemd_makes_the_groups() {
    let names = [
        "boot",
        "driver",
        "scope",
        "unit",
        "memory",
        "tasks",
        "cpuset",
        "alone",
        "update",
        "reload",
        "pause",
        "survival",
        "removed",
        "parent-refused",
        "oom",
        "bus",
        "runtime-unit",
        "runtime-removed",
        "failed-units",
    ];
    all_pass(Init::Systemd, &names);
}

/// Kernels of build machines often lack them; Debian's has them.
#[test]
fn guest_interfaces_of_the_host_are_shared_in_every_mode() {
    if !wanted() {
        return;
    }
    let checks = guest::run_script("guest-network-checks");
    let failed: Vec<_> = checks.iter().filter(|c| !c.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let modes = "macvlan-bridge macvlan-private macvlan-vepa macvlan-passthru macvlan-vlan ipvlan-vlan ipvlan-vlan-gone ipvlan-l2-bridge \
                 ipvlan-l2-private ipvlan-l2-vepa ipvlan-l3 ipvlan-l3s ipvlan-l3s-route macvlan-alone ipvlan-alone clean";
    for name in modes.split_whitespace() {
        assert!(checks.iter().any(|c| c.name == name), "{name} was not checked: {checks:?}");
    }
}

#[test]
fn guest_volumes_have_a_size() {
    if !wanted() {
        return;
    }
    let dir = std::env::temp_dir().join(format!("knarr-e2e-quota-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let checks = guest::quotas(&dir.join("disk"));
    std::fs::remove_dir_all(&dir).unwrap();
    let failed: Vec<_> = checks.iter().filter(|c| !c.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for name in ["create", "fits", "full", "apart", "free", "restart", "again"] {
        assert!(checks.iter().any(|c| c.name == name), "{name} was not checked: {checks:?}");
    }
}

#[test]
fn guest_power_cuts_leave_images_whole_or_absent() {
    const CUTS: usize = 3;
    if !wanted() {
        return;
    }
    let dir = std::env::temp_dir().join(format!("knarr-e2e-power-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let looks = guest::power_cuts(&dir.join("disk"), CUTS);
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(looks.len(), CUTS + 1);
    for (number, checks) in looks.iter().enumerate() {
        let failed: Vec<_> = checks.iter().filter(|c| !c.passed).collect();
        assert!(failed.is_empty(), "after {number} cuts: {failed:#?}");
        assert!(checks.iter().any(|c| c.name == "whole"), "{number}: {checks:?}");
    }
    assert!(looks.iter().flatten().any(|c| c.name == "runs"), "no image was ever there: {looks:?}");
}
