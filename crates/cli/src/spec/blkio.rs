//! `--device-read-bps /dev/sda:1mb`, `--blkio-weight-device /dev/sda:100`.
use crate::spec::size;
use knarr_docker_types::resources::{ThrottleDevice, WeightDevice};

fn device(value: &str) -> Result<(&str, &str), String> {
    match value.split_once(':') {
        None | Some(("", _)) => Err(format!("bad format: {value}")),
        Some((path, _)) if !path.starts_with("/dev/") => Err(format!("bad format for device path: {value}")),
        Some(parts) => Ok(parts),
    }
}

pub fn bytes_per_second(value: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device(value)?;
    let rate = size::memory(rate).ok().and_then(|r| u64::try_from(r).ok());
    match rate {
        Some(rate) => Ok(ThrottleDevice { path: path.to_owned(), rate }),
        None => Err(format!(
            "invalid rate for device: {value}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )),
    }
}

pub fn operations_per_second(value: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device(value)?;
    match rate.parse() {
        Ok(rate) => Ok(ThrottleDevice { path: path.to_owned(), rate }),
        Err(_) => Err(format!(
            "invalid rate for device: {value}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )),
    }
}

pub fn weight(value: &str) -> Result<WeightDevice, String> {
    let (path, weight) = device(value)?;
    match weight.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => {
            Ok(WeightDevice { path: path.to_owned(), weight })
        }
        _ => Err(format!("invalid weight for device: {value}")),
    }
}
