//! User namespaces of containers: which one a container gets, and which ids of the host it has.
//!
//! Standard: user_namespaces(7), subuid(5); Docker's `userns-remap` and podman's `--userns auto`. Invariants: what a container has
//! is decided when it is created and kept in its row; containers with `auto` never have an id of the host in common, with
//! each other or with the remapped range. On disk everything keeps the container's ids, whatever the namespace: the runtime
//! shows layers and volumes through id-mapped mounts.
mod auto;
mod mode;
mod ranges;
mod subid;

pub(crate) use auto::maps as auto_maps;
pub(crate) use mode::Mode;

use crate::config::EngineConfig;
use crate::error::{Error, Result};
use crate::record::IdMaps;
use knarr_docker_types::host_config::HostConfig;
use ranges::Pool;
use subid::Files;

/// Ids of a container with `auto` and of the remapped range when nothing else is said.
pub(crate) const SIZE: u32 = 1 << 16;

/// What the configuration says of user namespaces.
#[derive(Debug)]
pub(crate) struct Userns {
    /// For containers that say nothing.
    remap: Option<IdMaps>,
    /// Where `auto` takes from.
    pool: Pool,
}

impl Userns {
    /// Reads the host's files once, so that a later change holds from the next start of the engine on.
    pub fn open(config: &EngineConfig) -> Result<Self> {
        Self::of(config, &Files::read())
    }

    fn of(config: &EngineConfig, files: &Files) -> Result<Self> {
        let mut pool = files.pool(config.userns_pool.as_deref())?;
        let remap = match config.userns_remap.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some("default") => Some(match files.maps(subid::DEFAULT_USER, subid::DEFAULT_USER) {
                Some(maps) => maps,
                // Docker makes a user for it; the kernel needs none, only ids that nobody else has.
                None => auto::maps(&pool, &mode::Auto::default(), &[])?,
            }),
            Some(text) => files.remap(text)?,
        };
        if let Some(maps) = &remap {
            pool.remove(maps);
        }
        Ok(Self { remap, pool })
    }

    /// Containers have a user namespace unless they ask for the host's.
    pub fn is_default(&self) -> bool {
        self.remap.is_some()
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The maps of a container that takes none out of the pool.
    pub fn maps(&self, mode: &Mode) -> Option<IdMaps> {
        match mode {
            Mode::Default => self.remap.clone(),
            Mode::Host | Mode::Auto(_) => None,
        }
    }

    /// What cannot be had together with a user namespace, in Docker's words.
    pub fn check(&self, host: &HostConfig, mode: &Mode, foreign: bool) -> Result<()> {
        let own = matches!(mode, Mode::Auto(_));
        if !own && (self.remap.is_none() || *mode == Mode::Host) {
            return Ok(());
        }
        let refuse = |text: &str| Err(Error::Invalid(text.to_owned()));
        if host.privileged {
            return refuse(
                "privileged mode is incompatible with user namespaces.  You must run the container in the host \
                 namespace when running privileged mode",
            );
        }
        if host.network_mode == "host" {
            return refuse("cannot share the host's network namespace when user namespaces are enabled");
        }
        if host.pid_mode == "host" {
            return refuse("cannot share the host PID namespace when user namespaces are enabled");
        }
        let joins = [&host.network_mode, &host.pid_mode, &host.ipc_mode];
        if own && joins.iter().any(|mode| mode.starts_with("container:")) {
            return refuse("a container that joins another's namespaces cannot have ids of its own");
        }
        if foreign {
            return Err(Error::NotImplemented(
                "a user namespace with a runtime other than the engine's own".into(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn userns(remap: &str, passwd: &str, subuid: &str) -> Result<Userns> {
        let files = Files {
            passwd: passwd.into(),
            group: passwd.into(),
            subuid: subuid.into(),
            subgid: subuid.into(),
        };
        let remap = Some(remap.to_owned());
        Userns::of(&EngineConfig { userns_remap: remap, ..EngineConfig::default() }, &files)
    }

    fn shown(maps: Option<IdMaps>) -> String {
        let side = |side: &[knarr_oci::runtime::IdMapping]| {
            let one =
                |m: &knarr_oci::runtime::IdMapping| format!("{}:{}:{}", m.container_id, m.host_id, m.size);
            side.iter().map(one).collect::<Vec<_>>().join(",")
        };
        maps.map_or_else(|| "none".to_owned(), |m| format!("{} {}", side(&m.users), side(&m.groups)))
    }

    #[test]
    fn remapped_users() {
        let passwd = "root:x:0:0::/:\nann:x:1000:1000::/:\n";
        let subuid = "ann:300000:10\n1000:100000:65536\nbob:200000:65536\n";
        let of = |remap: &str| match userns(remap, passwd, subuid) {
            Ok(found) => shown(found.remap),
            Err(error) => error.to_string(),
        };
        assert_eq!(of("ann"), "0:100000:65536,65536:300000:10 0:100000:65536,65536:300000:10");
        assert_eq!(of("1000:bob"), "0:100000:65536,65536:300000:10 0:200000:65536");
        assert_eq!(of("eve"), "Can't create ID mappings: no subuid ranges found for user \"eve\"");
        assert_eq!(of("ann:eve"), "Can't create ID mappings: no subgid ranges found for group \"eve\"");
        assert_eq!(of("1234"), "Uid 1234 has no entry in /etc/passwd");
        assert_eq!(of("root"), "none", "root cannot be remapped with itself");
        assert_eq!(of(""), "none");
    }

    #[test]
    fn the_default_needs_no_user() {
        let found = userns("default", "", "").unwrap();
        let first = found.remap.clone().unwrap().users[0];
        assert_eq!((first.container_id, first.size), (0, SIZE));
        let next = auto_maps(found.pool(), &mode::Auto::default(), &[]).unwrap();
        assert_eq!(next.users[0].host_id, first.host_id + SIZE, "the pool has the rest");
        let found = userns("default", "", "dockremap:500000:65536\n").unwrap();
        assert_eq!(shown(found.remap), "0:500000:65536 0:500000:65536");
    }

    #[test]
    fn what_user_namespaces_exclude() {
        let remapped = userns("default", "", "").unwrap();
        let plain = userns("", "", "").unwrap();
        let auto = Mode::parse("auto").unwrap();
        let check = |change: fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            plain.check(&host, &Mode::Default, true).unwrap();
            remapped.check(&host, &Mode::Host, true).unwrap();
            plain.check(&host, &auto, false).unwrap_err();
            remapped.check(&host, &Mode::Default, false).map_or_else(|e| e.to_string(), |()| "fine".into())
        };
        assert!(check(|h| h.privileged = true).starts_with("privileged mode is incompatible"));
        assert!(check(|h| h.network_mode = "host".into()).starts_with("cannot share the host's network"));
        assert!(check(|h| h.pid_mode = "host".into()).starts_with("cannot share the host PID"));
        assert_eq!(check(|h| h.ipc_mode = "container:x".into()), "fine");
        assert!(remapped.check(&HostConfig::default(), &Mode::Default, true).is_err());
        assert!(plain.check(&HostConfig::default(), &auto, false).is_ok());
    }
}
