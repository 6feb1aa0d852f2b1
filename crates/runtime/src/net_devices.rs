//! Interfaces of the host that a container gets.
//!
//! Standard: runtime-spec config-linux.md, Network Devices. An interface loses its addresses on the way; those that are meant to
//! stay (permanent, global) are given to it again. Invariant: this process is in its own network namespace afterwards.
use crate::created::step_error;
use crate::{Error, Result};
use knarr_linux::namespace;
use knarr_linux::process::flags;
use knarr_netlink::Rtnetlink;
use knarr_netlink::address::{self, Address};
use knarr_netlink::link::{self, Link};
use knarr_oci::runtime::NetDevice;
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// What has to be done for one of them when it is there.
struct Moved {
    host_name: String,
    /// In the container, if it is not the kernel's choice.
    name: Option<String>,
    addresses: Vec<Address>,
}

/// Move interfaces to the network namespace of a process.
pub(crate) fn give(devices: &BTreeMap<String, NetDevice>, pid: i32) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let open = |path: String| {
        rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(step_error("open the network namespace"))
    };
    let (own, theirs) = (open("/proc/self/ns/net".to_owned())?, open(format!("/proc/{pid}/ns/net"))?);
    let same = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    if same(&own) == same(&theirs) {
        return Err(Error::Invalid { what: "netDevices need a network namespace".to_owned() });
    }
    let mut host = Rtnetlink::open().map_err(fail)?;
    namespace::join(theirs.as_fd(), flags::NEWNET).map_err(step_error("join the network namespace"))?;
    let inside = Rtnetlink::open();
    namespace::join(own.as_fd(), flags::NEWNET).map_err(step_error("return to the own network namespace"))?;
    let mut inside = inside.map_err(fail)?;
    devices.iter().try_for_each(|(name, device)| {
        let before = inside.links().map_err(fail)?;
        let moved = move_one(&mut host, &theirs, name, device, &before)?;
        set_up(&mut inside, &moved, &before)
    })
}

fn move_one(
    host: &mut Rtnetlink,
    theirs: &OwnedFd,
    name: &str,
    device: &NetDevice,
    there: &[Link],
) -> Result<Moved> {
    let wanted = if device.name.is_empty() { name } else { device.name.as_str() };
    let by_kernel = wanted.contains('%');
    if !by_kernel && there.iter().any(|link| link.name == wanted) {
        return Err(Error::Invalid { what: format!("netDevices: the container has an interface {wanted}") });
    }
    let found = host.link(name).map_err(fail)?;
    let found = found.ok_or_else(|| Error::Invalid { what: format!("netDevices: no interface {name}") })?;
    let stays = |address: &Address| address.link == found.index && address.permanent && address.global;
    let addresses = host.addresses().map_err(fail)?.into_iter().filter(stays).collect();
    host.change(vec![link::move_to(found.index, theirs.as_fd(), wanted)]).map_err(fail)?;
    Ok(Moved { host_name: name.to_owned(), name: (!by_kernel).then(|| wanted.to_owned()), addresses })
}

fn set_up(inside: &mut Rtnetlink, moved: &Moved, before: &[Link]) -> Result<()> {
    let is_new = |link: &Link| before.iter().all(|old| old.name != link.name);
    let is_it = |link: &Link| moved.name.as_ref().map_or_else(|| is_new(link), |name| link.name == *name);
    let found = inside.links().map_err(fail)?.into_iter().find(is_it);
    let found =
        found.ok_or_else(|| Error::Invalid { what: format!("netDevices: {} was lost", moved.host_name) })?;
    let mut changes: Vec<_> =
        moved.addresses.iter().map(|address| address::add(found.index, address.net)).collect();
    changes.push(link::set_up(found.index));
    inside.change(changes).map_err(fail)
}

fn fail(error: knarr_netlink::Error) -> Error {
    Error::Network(error.to_string())
}
