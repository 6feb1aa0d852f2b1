//! Limits as properties of a unit: pure.
//!
//! Standard: systemd.resource-control(5). Invariant: the numbers are those that the files get, in systemd's units.
use super::wire::Value;
use crate::plan::v2;
use crate::{Error, Result, Version};
use knarr_oci::runtime::{Cpu, DeviceRule, DeviceType, Resources};

pub(super) type Property = (&'static str, Value);

const DEFAULT_PERIOD: u64 = 100_000;
/// systemd keeps quotas in hundredths of a processor.
const QUOTA_STEP: u64 = 10_000;
/// No kernel has more processors or memory nodes.
const MAX_SET: usize = 8192;

/// What every scope has.
pub(super) fn of_scope(slice: &str, name: &str, version: Version) -> Vec<Property> {
    let io = match version {
        Version::V1 => "BlockIOAccounting",
        Version::V2 => "IOAccounting",
    };
    let mut all = vec![
        ("Description", Value::Str(format!("container {}", name.trim_end_matches(".scope")))),
        ("Slice", Value::Str(slice.to_owned())),
        ("DefaultDependencies", Value::Bool(false)),
        ("CollectMode", Value::Str("inactive-or-failed".to_owned())),
        ("Delegate", Value::Bool(true)),
    ];
    let accounts = ["CPUAccounting", "MemoryAccounting", "TasksAccounting", io];
    all.extend(accounts.map(|name| (name, Value::Bool(true))));
    all
}

/// The limits that systemd knows too.
pub(super) fn of_limits(version: Version, resources: &Resources) -> Result<Vec<Property>> {
    let mut out = Vec::new();
    match version {
        Version::V1 => v1(resources, &mut out),
        Version::V2 => v2(resources, &mut out)?,
    }
    if let Some(pids) = &resources.pids {
        out.push(("TasksMax", Value::U64(if pids.limit > 0 { pids.limit.unsigned_abs() } else { u64::MAX })));
    }
    Ok(out)
}

fn v1(resources: &Resources, out: &mut Vec<Property>) {
    if let Some(limit) = resources.memory.as_ref().and_then(|m| m.limit).filter(|&l| l != 0) {
        out.push(("MemoryLimit", size(limit)));
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(shares) = cpu.shares.filter(|&s| s != 0) {
            out.push(("CPUShares", Value::U64(shares)));
        }
        quota(cpu, out);
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| io.weight).filter(|&w| w != 0) {
        out.push(("BlockIOWeight", Value::U64(weight.into())));
    }
    if !resources.devices.is_empty() {
        devices(&resources.devices, out);
    }
}

fn v2(resources: &Resources, out: &mut Vec<Property>) -> Result<()> {
    if let Some(memory) = &resources.memory {
        if let Some(limit) = memory.limit.filter(|&l| l != 0) {
            out.push(("MemoryMax", size(limit)));
        }
        if let Some(reservation) = memory.reservation.filter(|&r| r != 0) {
            out.push(("MemoryLow", size(reservation)));
        }
        if let Some(swap) = v2::swap_max(memory)? {
            out.push(("MemorySwapMax", size(swap)));
        }
    }
    if let Some(cpu) = &resources.cpu {
        match (cpu.idle, cpu.shares.filter(|&s| s != 0)) {
            // 0 is systemd's word for an idle group.
            (Some(1), _) => out.push(("CPUWeight", Value::U64(0))),
            (_, Some(shares)) => out.push(("CPUWeight", Value::U64(v2::cpu_weight(shares)))),
            _ => {}
        }
        quota(cpu, out);
        for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            if let Some(list) = list.as_deref().filter(|l| !l.is_empty()) {
                out.push((name, Value::Bytes(bit_mask(list)?)));
            }
        }
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| io.weight).filter(|&w| w != 0) {
        out.push(("IOWeight", Value::U64(v2::io_weight(weight))));
    }
    unified(resources, out)
}

/// Files of v2 that systemd has a property for; its own value would come back at its next change.
fn unified(resources: &Resources, out: &mut Vec<Property>) -> Result<()> {
    for (file, value) in &resources.unified {
        let name = match file.as_str() {
            "memory.max" => "MemoryMax",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            "cpuset.cpus" | "cpuset.mems" => {
                let name = if file.ends_with("cpus") { "AllowedCPUs" } else { "AllowedMemoryNodes" };
                out.push((name, Value::Bytes(bit_mask(value)?)));
                continue;
            }
            _ => continue,
        };
        let invalid = || Error::Invalid { what: format!("unified resource {file:?}: {value:?}") };
        let number = match value.trim() {
            "max" => u64::MAX,
            digits => digits.parse().map_err(|_| invalid())?,
        };
        out.push((name, Value::U64(number)));
    }
    Ok(())
}

fn size(bytes: i64) -> Value {
    Value::U64(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn quota(cpu: &Cpu, out: &mut Vec<Property>) {
    let (quota, period) = (cpu.quota.filter(|&q| q != 0), cpu.period.filter(|&p| p != 0));
    if let Some(period) = period {
        out.push(("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if quota.is_none() && period.is_none() {
        return;
    }
    let per_second = match quota.and_then(|q| u64::try_from(q).ok()) {
        Some(quota) => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(DEFAULT_PERIOD));
            u64::try_from(exact).unwrap_or(u64::MAX).checked_next_multiple_of(QUOTA_STEP).unwrap_or(u64::MAX)
        }
        None => u64::MAX,
    };
    out.push(("CPUQuotaPerSecUSec", Value::U64(per_second)));
}

/// `0-2,8` as bits, the lowest number in the lowest bit of the first byte.
fn bit_mask(list: &str) -> Result<Vec<u8>> {
    let invalid = || Error::Invalid { what: format!("list of processors or memory nodes {list:?}") };
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|&n| n < MAX_SET).ok_or_else(invalid);
    let mut mask = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number(from)?, number(to)?);
        if from > to {
            return Err(invalid());
        }
        mask.resize(mask.len().max(to / 8 + 1), 0u8);
        for bit in from..=to {
            mask[bit / 8] |= 1 << (bit % 8);
        }
    }
    Ok(mask)
}

/// On v1 systemd writes the device list itself, so it has to know all of it. It knows devices by their paths below `/dev`
/// and drivers by their names; all numbers of a kind are `char-*` and `block-*`.
fn devices(rules: &[DeviceRule], out: &mut Vec<Property>) {
    if rules.iter().any(|rule| rule.allow && rule.kind == DeviceType::All) {
        out.push(("DevicePolicy", Value::Str("auto".to_owned())));
        out.push(("DeviceAllow", Value::Pairs(Vec::new())));
        return;
    }
    let mut allowed = Vec::new();
    for rule in rules.iter().filter(|rule| rule.allow) {
        let kind = if rule.kind == DeviceType::Block { "block" } else { "char" };
        let known = |n: Option<i64>| n.filter(|&n| n >= 0);
        let path = match (known(rule.major), known(rule.minor)) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(136), None) if kind == "char" => "char-pts".to_owned(),
            (None, None) => format!("{kind}-*"),
            // A driver's name would be needed; the file has the rule until systemd writes it again.
            _ => continue,
        };
        let access = if rule.access.is_empty() { "rwm" } else { &rule.access };
        allowed.push((path, access.to_owned()));
    }
    out.push(("DevicePolicy", Value::Str("strict".to_owned())));
    out.push(("DeviceAllow", Value::Pairs(allowed)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(version: Version, json: &str) -> Vec<String> {
        let resources = serde_json::from_str(json).unwrap();
        of_limits(version, &resources)
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect()
    }

    #[test]
    fn v2_limits() {
        let json = r#"{"memory": {"limit": 1000, "swap": 3000, "reservation": 500}, "pids": {"limit": 9},
            "cpu": {"shares": 1024, "quota": 25001, "period": 50000, "cpus": "0,9-10", "mems": "0"}, "blockIO": {"weight": 500},
            "unified": {"memory.high": "900", "cpu.idle": "0"}}"#;
        assert_eq!(
            lines(Version::V2, json),
            [
                "MemoryMax=U64(1000)",
                "MemoryLow=U64(500)",
                "MemorySwapMax=U64(2000)",
                "CPUWeight=U64(100)",
                "CPUQuotaPeriodUSec=U64(50000)",
                "CPUQuotaPerSecUSec=U64(510000)",
                "AllowedCPUs=Bytes([1, 6])",
                "AllowedMemoryNodes=Bytes([1])",
                "IOWeight=U64(4950)",
                "MemoryHigh=U64(900)",
                "TasksMax=U64(9)",
            ]
        );
        let none = r#"{"memory": {"limit": -1}, "cpu": {"quota": -1, "idle": 1}, "pids": {"limit": -1}}"#;
        let max = u64::MAX;
        let wanted = ["MemoryMax", "MemorySwapMax"].map(|n| format!("{n}=U64({max})"));
        assert_eq!(lines(Version::V2, none)[..2], wanted);
        assert_eq!(lines(Version::V2, none)[2], "CPUWeight=U64(0)");
    }

    #[test]
    fn v1_devices() {
        let json = r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "access": "m"},
            {"allow": true, "type": "c", "major": 1, "minor": 3}, {"allow": true, "type": "c", "major": 136, "access": "rw"}]}"#;
        assert_eq!(
            lines(Version::V1, json),
            [
                r#"DevicePolicy=Str("strict")"#,
                r#"DeviceAllow=Pairs([("char-*", "m"), ("/dev/char/1:3", "rwm"), ("char-pts", "rw")])"#
            ]
        );
    }

    #[test]
    fn lists_of_processors() {
        assert_eq!(bit_mask("0-3,8").unwrap(), [15, 1]);
        assert!(bit_mask("3-1").is_err() && bit_mask("x").is_err() && bit_mask("0-99999999").is_err());
    }
}
