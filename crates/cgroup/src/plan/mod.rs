//! From limits to writes: pure.
pub mod devices;
pub mod v1;
pub mod v2;

use crate::{Error, Result};
use knarr_oci::runtime::{DeviceRule, DeviceType, Memory, Resources};

/// One value for one file of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub controller: String,
    pub file: String,
    pub value: String,
}

impl Write {
    pub(crate) fn new(controller: &str, file: &str, value: impl ToString) -> Self {
        Self { controller: controller.to_owned(), file: file.to_owned(), value: value.to_string() }
    }
}

/// The rules that every container gets after its own: nodes may be made, and the devices of every `/dev` be used. A
/// configuration without rules stays without.
pub fn with_default_devices(resources: &Resources) -> Resources {
    const CHAR: DeviceType = DeviceType::Char;
    let all = [
        (CHAR, None, None, "m"),
        (DeviceType::Block, None, None, "m"),
        (CHAR, Some(1), Some(3), "rwm"),
        (CHAR, Some(1), Some(5), "rwm"),
        (CHAR, Some(1), Some(7), "rwm"),
        (CHAR, Some(1), Some(8), "rwm"),
        (CHAR, Some(1), Some(9), "rwm"),
        (CHAR, Some(5), Some(0), "rwm"),
        (CHAR, Some(5), Some(2), "rwm"),
        (CHAR, Some(136), None, "rwm"),
    ];
    let mut resources = resources.clone();
    if !resources.devices.is_empty() {
        let rule = |(kind, major, minor, access): (_, _, _, &str)| DeviceRule {
            allow: true,
            kind,
            major,
            minor,
            access: access.to_owned(),
        };
        resources.devices.extend(all.map(rule));
    }
    resources
}

/// `u64::MAX` is how a missing value of -1 is written.
fn swappiness(memory: &Memory) -> Result<Option<u64>> {
    match memory.swappiness {
        None | Some(u64::MAX) => Ok(None),
        Some(value @ 0..=100) => Ok(Some(value)),
        Some(value) => Err(Error::Invalid { what: format!("memory swappiness {value}: it is 0 to 100") }),
    }
}

/// The page size comes from the configuration: it must not lead to another file.
fn hugetlb_file(page_size: &str, file: &str) -> Result<String> {
    if page_size.is_empty() || !page_size.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Error::Invalid { what: format!("huge page size {page_size:?}") });
    }
    Ok(format!("hugetlb.{page_size}.{file}"))
}

#[cfg(test)]
mod tests;
