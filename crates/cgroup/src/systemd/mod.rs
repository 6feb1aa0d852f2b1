//! Groups that systemd makes: transient scope units, asked for over D-Bus.
//!
//! Standard: org.freedesktop.systemd1(5), systemd.scope(5), "Control Group APIs and Delegation". systemd owns the tree and
//! would remove or change what it did not make; a scope with `Delegate=yes` is ours below its directory. Invariant: systemd
//! is told of every limit that it knows, so that a reload of its own never takes one back, and everything is also written to
//! the group's files, as without systemd. No thread, no event loop: one blocking connection per request.
mod bus;
mod properties;
mod scope;
mod slice;
mod wire;

pub use scope::{Hold, Unit};

/// Whether the first process is systemd, which then owns the groups.
pub fn is_running() -> bool {
    // As sd_booted(3).
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// The group of a slice: `/a.slice/a-b.slice` for `a-b.slice`.
pub fn slice_path(name: &str) -> crate::Result<String> {
    slice::path(name)
}

/// Whether `name` can be the slice of a scope: a parent group for the systemd driver.
pub fn is_slice(name: &str) -> bool {
    slice::path(name).is_ok()
}
