//! What the program may do: capabilities, no-new-privileges, masked and read-only paths, labels.
use super::{Draft, Facts, Input};
use crate::capability;
use knarr_oci::runtime::Capabilities;

const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn capabilities(input: &Input, draft: &mut Draft) {
    let host = &input.container.host_config;
    let set = capability::set(&host.cap_add, &host.cap_drop, host.privileged, &input.facts.bounding);
    draft.process.capabilities = Some(for_user(set, input.user.uid));
}

/// A user other than root starts without effective capabilities, as after execve(2).
pub(crate) fn for_user(set: Vec<String>, uid: u32) -> Capabilities {
    let held = if uid == 0 { set.clone() } else { Vec::new() };
    Capabilities { bounding: set, permitted: held.clone(), effective: held, ..Capabilities::default() }
}

pub(super) fn no_new_privileges(input: &Input, draft: &mut Draft) {
    let asked = option(&input.container.host_config.security_opt, "no-new-privileges");
    draft.process.no_new_privileges = match asked {
        Some(value) => !matches!(value, "false" | "0"),
        None => input.no_new_privileges,
    };
}

/// The value of `name=value` or `name:value`; a bare name is `true`. The last one counts.
pub(crate) fn option<'a>(options: &'a [String], name: &str) -> Option<&'a str> {
    options.iter().rev().find_map(|text| {
        let rest = text.strip_prefix(name)?;
        match rest.as_bytes().first() {
            None => Some("true"),
            Some(b'=' | b':') => Some(&rest[1..]),
            Some(_) => None,
        }
    })
}

pub(super) fn paths(input: &Input, draft: &mut Draft) {
    let host = &input.container.host_config;
    let unconfined = host
        .security_opt
        .iter()
        .any(|o| matches!(o.as_str(), "systempaths=unconfined" | "systempaths:unconfined"));
    if host.privileged || unconfined {
        return;
    }
    draft.linux.masked_paths =
        if host.masked_paths.is_nil() { masked_paths(input.facts) } else { host.masked_paths.to_vec() };
    draft.linux.readonly_paths =
        if host.readonly_paths.is_nil() { readonly_paths() } else { host.readonly_paths.to_vec() };
}

/// Docker's default, with what this host has beside it.
pub(crate) fn masked_paths(facts: &Facts) -> Vec<String> {
    let throttle =
        facts.throttled_cpus.iter().map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"));
    MASKED.iter().map(|path| (*path).to_owned()).chain(throttle).collect()
}

pub(crate) fn readonly_paths() -> Vec<String> {
    READ_ONLY.iter().map(|path| (*path).to_owned()).collect()
}

pub(super) fn labels(input: &Input, draft: &mut Draft) {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    draft.process.apparmor_profile = some(&input.labels.apparmor);
    draft.process.selinux_label = some(&input.labels.process);
    draft.linux.mount_label = some(&input.labels.mount);
}
