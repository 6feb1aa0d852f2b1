//! Which security modules the kernel enforces labels of.
use std::path::Path;

const SELINUX_MAGIC: i64 = 0xf97c_ff8c;

/// SELinux is there when its filesystem is mounted, as its own library sees it.
pub fn has_selinux() -> bool {
    rustix::fs::statfs(c"/sys/fs/selinux").is_ok_and(|fs| fs.f_type == SELINUX_MAGIC)
}

pub(crate) fn has_apparmor() -> bool {
    let enabled = std::fs::read(Path::new("/sys/module/apparmor/parameters/enabled"));
    enabled.is_ok_and(|text| text.starts_with(b"Y"))
}
