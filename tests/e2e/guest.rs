//! cgroup v2: a virtual machine with Debian's kernel, the real binary and busybox, and limits that must bind.

use knarr_e2e::{guest, workspace};

#[test]
fn guest_cgroup_v2_limits_bind() {
    if workspace::peer().is_some() || std::env::var_os("KNARR_NO_GUEST").is_some_and(|v| v == "1") {
        eprintln!("no virtual machine wanted (KNARR_NO_GUEST=1)");
        return;
    }
    let checks = guest::run();
    let failed: Vec<_> = checks.iter().filter(|c| !c.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for name in ["boot", "run", "memory", "pids", "cpu", "pause", "stats", "clean"] {
        assert!(checks.iter().any(|c| c.name == name), "{name} was not checked: {checks:?}");
    }
}
