//! `update`: other limits for a running container.
//!
//! Flags: runc's; with `--resources` the limits are read from a file or standard input (`-`), as the `linux.resources` of a
//! configuration, and the other flags are not looked at.
use super::arguments::Arguments;
use super::container::Container;
use super::{Global, cgroup_error, file_error, unknown};
use crate::{Error, Result};
use knarr_base::units;
use knarr_oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};
use std::io::Read;
use std::path::PathBuf;

const MAX_FILE: u64 = 4 << 20;

pub(crate) fn update(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let (mut resources, mut file) = (Resources::default(), None);
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "resources" | "r" => file = Some(PathBuf::from(arguments.value(&name, value)?)),
            _ => set(&mut resources, &name, value, arguments)?,
        }
    }
    let container = Container::load(global, arguments.id()?)?;
    arguments.end()?;
    let mut resources = match file {
        Some(path) => read(&path)?,
        None => resources,
    };
    // Rules of devices are the creation's.
    resources.devices.clear();
    if container.process().is_none() {
        return Err(Error::State { what: format!("container not running: {}", container.record.id) });
    }
    container.cgroup()?.apply(&resources).map_err(cgroup_error)?;
    Ok(0)
}

fn read(path: &std::path::Path) -> Result<Resources> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_FILE).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
    };
    read.map_err(file_error("read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Invalid { what: format!("{}: {e}", path.display()) })
}

fn set(
    resources: &mut Resources,
    name: &str,
    value: Option<String>,
    arguments: &mut Arguments<'_>,
) -> Result<()> {
    let value = arguments.value(name, value)?;
    let bad = || Error::Invalid { what: format!("invalid value for {name}: {value:?}") };
    let signed = || value.parse::<i64>().map_err(|_| bad());
    let unsigned = || value.parse::<u64>().map_err(|_| bad());
    let bytes = || size(&value).ok_or_else(bad);
    let cpu = resources.cpu.get_or_insert_with(Cpu::default);
    let memory = resources.memory.get_or_insert_with(Memory::default);
    match name {
        "cpu-period" => cpu.period = Some(unsigned()?),
        "cpu-quota" => cpu.quota = Some(signed()?),
        "cpu-burst" => cpu.burst = Some(unsigned()?),
        "cpu-share" => cpu.shares = Some(unsigned()?),
        "cpu-rt-period" => cpu.realtime_period = Some(unsigned()?),
        "cpu-rt-runtime" => cpu.realtime_runtime = Some(signed()?),
        "cpu-idle" => cpu.idle = Some(signed()?),
        "cpuset-cpus" => cpu.cpus = Some(value.clone()),
        "cpuset-mems" => cpu.mems = Some(value.clone()),
        "memory" => memory.limit = Some(bytes()?),
        "memory-reservation" => memory.reservation = Some(bytes()?),
        "memory-swap" => memory.swap = Some(bytes()?),
        // Obsolete: the kernel no longer has these limits.
        "kernel-memory" | "kernel-memory-tcp" => drop(bytes()?),
        "blkio-weight" => {
            let weight = Some(value.parse().map_err(|_| bad())?);
            resources.block_io = Some(BlockIo { weight, ..BlockIo::default() });
        }
        "pids-limit" => resources.pids = Some(Pids { limit: signed()? }),
        "l3-cache-schema" | "mem-bw-schema" => {
            return Err(Error::Unsupported { what: format!("--{name}") });
        }
        _ => return Err(unknown(name)),
    }
    Ok(())
}

/// `-1`, a number of bytes, or one with a unit of 1024 (`512m`, `1GB`, `2GiB`).
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    i64::try_from(units::size(text, units::Base::Binary).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("-1", -1), ("0", 0), ("512m", 512 << 20), ("1GB", 1 << 30), ("2 KiB", 2048)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "-2", "1x", "9223372036854775807k"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn flags_become_resources() {
        let words = ["--memory", "1g", "--cpu-quota=-1", "--pids-limit", "5", "id"].map(str::to_owned);
        let mut arguments = Arguments::new(&words);
        let mut resources = Resources::default();
        while let Some((name, value)) = arguments.option().unwrap() {
            set(&mut resources, &name, value, &mut arguments).unwrap();
        }
        assert_eq!(arguments.id().unwrap(), "id");
        assert_eq!(resources.memory.unwrap().limit, Some(1 << 30));
        assert_eq!(resources.cpu.unwrap().quota, Some(-1));
        assert_eq!(resources.pids.unwrap().limit, 5);
    }
}
