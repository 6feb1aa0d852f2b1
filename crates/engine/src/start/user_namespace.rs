//! The user namespace of one run, and the network namespace that it owns.
//!
//! Standard: user_namespaces(7). A namespace of another kind that does not belong to the user namespace cannot be administered
//! from inside, and its `/sys` cannot be mounted: so the network namespace is made together with it, and a container that joins
//! another's namespaces joins its user namespace too.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::record::{Container, IdMaps};
use crate::registry::Snapshot;
use knarr_linux::user_namespace::{self, Writer};
use knarr_oci::runtime::IdMapping;
use rustix::fs::OFlags;
use std::os::fd::{AsFd, OwnedFd};

pub(super) struct UserNamespace {
    pub fd: OwnedFd,
    /// New, and owned by it; nothing when another container's network is joined.
    pub network: Option<OwnedFd>,
    pub maps: IdMaps,
}

/// `None`: the host's.
pub(super) fn open(engine: &Inner, container: &Container) -> Result<Option<UserNamespace>> {
    let Some(maps) = &container.id_maps else { return Ok(None) };
    if let Some(joined) = joined(engine, container)? {
        return Ok(Some(joined));
    }
    let failed =
        |errno: knarr_linux::Errno| Error::io("make a user namespace for the container")(errno.into());
    let (fd, network) =
        user_namespace::create_with_network(&maps.kernel(), &Writer::Privileged).map_err(failed)?;
    Ok(Some(UserNamespace { fd, network: Some(network), maps: maps.clone() }))
}

/// Of the containers whose namespaces are joined: it has to be one and the same.
fn joined(engine: &Inner, container: &Container) -> Result<Option<UserNamespace>> {
    let host = &container.host_config;
    let mut found: Option<(u64, UserNamespace)> = None;
    for mode in [&host.network_mode, &host.ipc_mode, &host.pid_mode] {
        let Some(other) = mode.strip_prefix("container:") else { continue };
        let snapshot = engine.containers.resolve(other)?.snapshot;
        if !snapshot.is_live() {
            // Who joins it says so.
            continue;
        }
        let process = Process::init(&snapshot.status)?;
        let fd = process.open_below("ns/user", OFlags::RDONLY)?;
        let apart = |text: &str| Err(Error::Conflict(format!("cannot join {}: {text}", snapshot.id())));
        let failed = |errno: knarr_linux::Errno| Error::io("look at a user namespace")(errno.into());
        if user_namespace::is_own(fd.as_fd()).map_err(failed)? {
            return apart(
                "it is in the host's user namespace, and this container is not (see --userns=host)",
            );
        }
        let number = rustix::fs::fstat(&fd).map_err(failed)?.st_ino;
        if found.as_ref().is_some_and(|(before, _)| *before != number) {
            return apart("it is in another user namespace than the other container that is joined");
        }
        let maps = recorded(&user_namespace::maps_of(process.pid()).map_err(failed)?);
        if !process.is_there() {
            return apart("it has ended");
        }
        found = Some((number, UserNamespace { fd, network: None, maps }));
    }
    let Some((_, mut joined)) = found else { return Ok(None) };
    if !host.network_mode.starts_with("container:") {
        let made = user_namespace::network_in(joined.fd.as_fd());
        joined.network = Some(made.map_err(|errno| Error::io("make a network namespace")(errno.into()))?);
    }
    Ok(Some(joined))
}

/// The maps of a container that runs in a user namespace of its own.
pub(crate) fn live(snapshot: &Snapshot) -> Result<Option<user_namespace::IdMaps>> {
    if snapshot.container.id_maps.is_none() {
        return Ok(None);
    }
    let process = Process::init(&snapshot.status)?;
    let maps = user_namespace::maps_of(process.pid())
        .map_err(|errno| Error::io("look at a user namespace")(errno.into()))?;
    match process.is_there() {
        true => Ok(Some(maps)),
        false => Err(Error::Conflict("the container is not running any more".to_owned())),
    }
}

fn recorded(maps: &user_namespace::IdMaps) -> IdMaps {
    let side = |ranges: &[user_namespace::Range]| {
        let map = |r: &user_namespace::Range| IdMapping {
            container_id: r.inside,
            host_id: r.outside,
            size: r.count,
        };
        ranges.iter().map(map).collect()
    };
    IdMaps { users: side(&maps.users), groups: side(&maps.groups) }
}
