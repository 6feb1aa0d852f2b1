//! Control group limits and devices.
use super::facts::{DeviceNode, Facts};
use super::{Draft, Input};
use knarr_docker_types::resources::{DeviceMapping, Resources as Asked, ThrottleDevice as AskedThrottle};
use knarr_oci::runtime::{
    BlockIo, Cpu, Device, DeviceRule, DeviceType, Memory, Mount, Pids, Resources, ThrottleDevice,
    WeightDevice,
};

/// Period of `--cpus`, in microseconds.
const CPU_PERIOD: u64 = 100_000;

pub(super) fn cgroup(input: &Input, draft: &mut Draft) {
    draft.linux.cgroups_path = Some(input.cgroup_path.to_owned());
    draft.linux.resources = Some(resources(&input.container.host_config.resources, input.facts));
}

/// Limits as OCI has them; the devices are added elsewhere.
pub(crate) fn resources(asked: &Asked, facts: &Facts) -> Resources {
    Resources {
        memory: memory(asked),
        cpu: cpu(asked),
        pids: pids(asked),
        block_io: block_io(asked, facts),
        ..Resources::default()
    }
}

fn positive(value: i64) -> Option<i64> {
    (value > 0).then_some(value)
}

fn memory(asked: &Asked) -> Option<Memory> {
    let memory = Memory {
        limit: positive(asked.memory),
        reservation: positive(asked.memory_reservation),
        swap: (asked.memory_swap != 0).then_some(asked.memory_swap),
        swappiness: asked.memory_swappiness.and_then(|s| u64::try_from(s).ok()),
        disable_oom_killer: asked.oom_kill_disable.filter(|off| *off),
        ..Memory::default()
    };
    (memory != Memory::default()).then_some(memory)
}

fn cpu(asked: &Asked) -> Option<Cpu> {
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    let mut cpu = Cpu {
        shares: u64::try_from(asked.cpu_shares).ok().filter(|n| *n > 0),
        quota: (asked.cpu_quota != 0).then_some(asked.cpu_quota),
        period: u64::try_from(asked.cpu_period).ok().filter(|n| *n > 0),
        realtime_runtime: positive(asked.cpu_realtime_runtime),
        realtime_period: u64::try_from(asked.cpu_realtime_period).ok().filter(|n| *n > 0),
        cpus: text(&asked.cpuset_cpus),
        mems: text(&asked.cpuset_mems),
        ..Cpu::default()
    };
    if asked.nano_cpus > 0 {
        cpu.period = Some(CPU_PERIOD);
        cpu.quota = Some(
            i64::try_from(i128::from(asked.nano_cpus) * i128::from(CPU_PERIOD) / 1_000_000_000).unwrap_or(-1),
        );
    }
    (cpu != Cpu::default()).then_some(cpu)
}

/// -1 and 0 mean no limit.
fn pids(asked: &Asked) -> Option<Pids> {
    match asked.pids_limit {
        None | Some(0) => None,
        Some(limit) => Some(Pids { limit: limit.max(-1) }),
    }
}

fn block_io(asked: &Asked, facts: &Facts) -> Option<BlockIo> {
    let throttle = |list: &[AskedThrottle]| -> Vec<ThrottleDevice> {
        let found = |asked: &AskedThrottle| {
            let (major, minor) = *facts.block_devices.get(&asked.path)?;
            Some(ThrottleDevice { major, minor, rate: asked.rate })
        };
        list.iter().filter_map(found).collect()
    };
    let weights = asked.blkio_weight_device.iter().filter_map(|asked| {
        let (major, minor) = *facts.block_devices.get(&asked.path)?;
        Some(WeightDevice { major, minor, weight: Some(asked.weight), leaf_weight: None })
    });
    let io = BlockIo {
        weight: (asked.blkio_weight > 0).then_some(asked.blkio_weight),
        weight_device: weights.collect(),
        throttle_read_bps_device: throttle(&asked.blkio_device_read_bps),
        throttle_write_bps_device: throttle(&asked.blkio_device_write_bps),
        throttle_read_iops_device: throttle(&asked.blkio_device_read_iops),
        throttle_write_iops_device: throttle(&asked.blkio_device_write_iops),
        ..BlockIo::default()
    };
    (io != BlockIo::default()).then_some(io)
}

pub(super) fn devices(input: &Input, draft: &mut Draft) {
    let host = &input.container.host_config;
    let mut rules = Vec::new();
    if host.privileged {
        rules.push(rule(DeviceType::All, None, None, "rwm"));
        draft.linux.devices =
            input.facts.all_devices.iter().map(|node| device(node, node_path(node))).collect();
    } else {
        rules.extend(default_rules());
        for mapping in &host.resources.devices {
            map(mapping, input.facts, &mut draft.linux.devices, &mut rules);
            if input.id_maps.is_some() {
                bind_renamed(mapping, input.facts, draft);
            }
        }
        rules.extend(host.resources.device_cgroup_rules.iter().filter_map(|text| parse_rule(text)));
    }
    draft.linux.resources.get_or_insert_default().devices = rules;
}

fn rule(kind: DeviceType, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
    DeviceRule { allow: true, kind, major, minor, access: access.to_owned() }
}

/// Nothing but: any node may be made, and the pseudo devices and terminals used.
fn default_rules() -> Vec<DeviceRule> {
    let deny = DeviceRule {
        allow: false,
        kind: DeviceType::All,
        major: None,
        minor: None,
        access: "rwm".to_owned(),
    };
    let mut rules = vec![
        deny,
        rule(DeviceType::Char, None, None, "m"),
        rule(DeviceType::Block, None, None, "m"),
        rule(DeviceType::Char, Some(136), None, "rwm"),
    ];
    // null, zero, full, random, urandom, tty, console, ptmx
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(DeviceType::Char, Some(major), Some(minor), "rwm"));
    }
    rules
}

fn node_path(node: &DeviceNode) -> String {
    node.path.to_string_lossy().into_owned()
}

fn device(node: &DeviceNode, path: String) -> Device {
    Device {
        kind: node.kind,
        path,
        major: node.major,
        minor: node.minor,
        file_mode: Some(node.mode),
        uid: Some(node.uid),
        gid: Some(node.gid),
    }
}

/// In a user namespace no node can be made: the host's is bound, which a runtime looks for under the name that it has inside.
fn bind_renamed(mapping: &DeviceMapping, facts: &Facts, draft: &mut Draft) {
    if mapping.path_in_container.is_empty() || mapping.path_in_container == mapping.path_on_host {
        return;
    }
    for node in facts.devices.get(&mapping.path_on_host).into_iter().flatten() {
        let below = node.path.strip_prefix(&mapping.path_on_host).unwrap_or(&node.path).to_string_lossy();
        let inside = if below.is_empty() {
            mapping.path_in_container.clone()
        } else {
            format!("{}/{below}", mapping.path_in_container)
        };
        draft.linux.devices.retain(|device| device.path != inside);
        draft.spec.mounts.push(Mount::new(&inside, "bind", &node_path(node), &["bind", "rprivate"]));
    }
}

/// `--device host[:inside[:rwm]]`; a directory brings all that is below it.
fn map(mapping: &DeviceMapping, facts: &Facts, devices: &mut Vec<Device>, rules: &mut Vec<DeviceRule>) {
    let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
    let inside =
        if mapping.path_in_container.is_empty() { &mapping.path_on_host } else { &mapping.path_in_container };
    for node in facts.devices.get(&mapping.path_on_host).into_iter().flatten() {
        let below = node
            .path
            .strip_prefix(&mapping.path_on_host)
            .unwrap_or(&node.path)
            .to_string_lossy()
            .into_owned();
        let path = if below.is_empty() { inside.clone() } else { format!("{inside}/{below}") };
        devices.push(device(node, path));
        rules.push(rule(node.kind, Some(node.major), Some(node.minor), access));
    }
}

/// `c 1:3 rwm`, `a *:* rwm`.
pub(crate) fn parse_rule(text: &str) -> Option<DeviceRule> {
    let mut words = text.split_whitespace();
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let kind = match kind {
        "a" => DeviceType::All,
        "b" => DeviceType::Block,
        "c" => DeviceType::Char,
        _ => return None,
    };
    let number = |t: &str| if t == "*" { Some(None) } else { t.parse::<i64>().ok().map(Some) };
    let (major, minor) = numbers.split_once(':')?;
    let known = !access.is_empty() && access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'));
    (known && words.next().is_none()).then_some(rule(kind, number(major)?, number(minor)?, access))
}
