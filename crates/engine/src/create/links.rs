//! `--link`: another container under a name of one's own.
//!
//! On a user-defined network it is an alias of the endpoint. On the default bridge it is one of the container itself: lines in
//! its hosts file and variables in its environment, both written when it starts. The row keeps the other one's full id.
use crate::engine::Inner;
use crate::error::{Error, Result};
use knarr_docker_types::host_config::HostConfig;
use knarr_docker_types::network::EndpointSettings;
use knarr_docker_types::{List, Map};
use knarr_network::Link;

const HOST_MODE: &str = "conflicting options: host type networking can't be used with links. This would result in undefined behavior";

pub(super) fn adapt(
    engine: &Inner,
    host: &mut HostConfig,
    networks: &mut Map<EndpointSettings>,
) -> Result<()> {
    if host.links.is_empty() {
        return Ok(());
    }
    let links = std::mem::replace(&mut host.links, List::nil());
    match host.network_mode.as_str() {
        "bridge" | "none" => {}
        "host" => return Err(Error::Invalid(HOST_MODE.to_owned())),
        mode if mode.starts_with("container:") => {
            return Err(Error::Invalid("conflicting options: container type network can't be used with links. This would result in undefined behavior".to_owned()));
        }
        mode => {
            let settings = networks.entry(mode.to_owned()).or_default();
            for link in links.iter() {
                if !settings.links.contains(link) {
                    settings.links.push(link.clone());
                }
            }
            return Ok(());
        }
    }
    for text in links.iter() {
        let link =
            Link::parse(text).ok_or_else(|| Error::Invalid(format!("bad format for links: {text}")))?;
        let name = &link.name;
        let found = engine
            .containers
            .resolve(name)
            .map_err(|e| Error::Invalid(format!("could not get container for {name}: {e}")))?;
        if found.snapshot.container.host_config.network_mode == "host" {
            return Err(Error::Invalid(HOST_MODE.to_owned()));
        }
        host.links.push(format!("{}:{}", found.snapshot.id(), link.alias));
    }
    Ok(())
}
