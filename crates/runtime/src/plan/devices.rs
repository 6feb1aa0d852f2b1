//! What `/dev` holds besides mounts.
use super::{Device, Step, inside};
use crate::{Error, Result};
use knarr_oci::runtime::{DeviceType, Linux};
use rustix::fs::FileType;

/// The devices that every container has: path, major, minor.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

pub(super) fn plan(linux: &Linux, steps: &mut Vec<Step>) -> Result<()> {
    for (path, major, minor) in DEFAULT {
        if linux.devices.iter().any(|device| device.path == path) {
            continue;
        }
        let kind = FileType::CharacterDevice;
        steps.push(Step::Device(Device {
            path: inside(path)?,
            kind,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        }));
    }
    for device in &linux.devices {
        let kind = match device.kind {
            DeviceType::Block => FileType::BlockDevice,
            DeviceType::Char => FileType::CharacterDevice,
            DeviceType::Fifo => FileType::Fifo,
            DeviceType::All => {
                return Err(Error::Invalid { what: format!("device {} has no type", device.path) });
            }
        };
        let number = |n: i64| {
            u32::try_from(n)
                .map_err(|_| Error::Invalid { what: format!("number {n} of device {}", device.path) })
        };
        let (major, minor) =
            if kind == FileType::Fifo { (0, 0) } else { (number(device.major)?, number(device.minor)?) };
        steps.push(Step::Device(Device {
            path: inside(&device.path)?,
            kind,
            major,
            minor,
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            uid: device.uid.unwrap_or(0),
            gid: device.gid.unwrap_or(0),
        }));
    }
    for (path, target) in LINKS {
        steps.push(Step::Link { path: inside(path)?, target: super::text(target, "link")? });
    }
    Ok(())
}
