//! Requests that create or update containers, upgraded to the newest version.
use crate::error::ApiError;
use crate::json;
use http::header::{HeaderMap, USER_AGENT};
use knarr_docker_types::container::{CreateRequest, UpdateRequest};
use knarr_docker_types::container_config::Config;
use knarr_docker_types::host_config::{HostConfig, PortBinding};
use knarr_docker_types::mount::Mount;
use knarr_docker_types::network::{EndpointSettings, NetworkingConfig};
use knarr_docker_types::{ApiVersion, List, api_struct};

/// A request in the newest version, and what to warn about.
#[derive(Debug)]
pub struct Upgraded {
    pub request: CreateRequest,
    pub warnings: Vec<String>,
}

api_struct! {
    /// Members that are no longer part of the API.
    pub struct Legacy {
        mac_address: String = "MacAddress",
        host_config: LegacyHostConfig = "HostConfig",
    }
    pub struct LegacyHostConfig {
        capabilities: List<String> = "Capabilities",
    }
}

/// The log driver that the client counts on. Docker's library for Python gives a container's output (`containers.run`) only with
/// `json-file` and `journald`, whatever the engine can read: without a choice of the user's, what it makes has the former.
pub fn log_driver(headers: &HeaderMap) -> Option<&'static str> {
    let agent = headers.get(USER_AGENT)?.as_bytes();
    agent.starts_with(b"docker-sdk-python/").then_some("json-file")
}

pub fn upgrade(version: ApiVersion, body: &[u8]) -> Result<Upgraded, ApiError> {
    // `null` is nothing, as for Go's reader.
    let request: Option<CreateRequest> = json::decode(body)?;
    let mut request = request.unwrap_or_default();
    if request.config == Config::default() {
        return Err(ApiError::invalid("config cannot be empty in order to create a container"));
    }
    let host_config = request.host_config.get_or_insert_default();
    let networking = request.networking_config.get_or_insert_default();
    name_default_network(host_config, networking);
    let mut warnings = Vec::new();
    upgrade_mounts(version, host_config)?;
    upgrade_host_config(version, host_config);
    if version.before(44) {
        if let Some(healthcheck) = &mut request.config.healthcheck {
            healthcheck.start_interval_ns = 0;
        }
        if networking.endpoints_config.len() > 1 {
            let names: Vec<&str> = networking.endpoints_config.keys().map(String::as_str).collect();
            return Err(ApiError::invalid(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
    }
    if version.before(48) {
        networking.endpoints_config.values_mut().for_each(|endpoint| endpoint.gw_priority = 0);
    } else {
        warnings.extend(volume_driver_warning(host_config));
    }
    if version.before(52) {
        let legacy: Legacy = json::decode(body)?;
        if version == ApiVersion::new(1, 40) && !legacy.host_config.capabilities.is_empty() {
            return Err(ApiError::invalid(
                "the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set \
                 capabilities",
            ));
        }
        warnings.extend(move_mac_address(version, legacy.mac_address, host_config, networking)?);
    }
    warnings.extend(fill_empty_port_bindings(version, host_config));
    Ok(Upgraded { request, warnings })
}

/// `default` is the way to say `bridge` without saying which system.
fn name_default_network(host_config: &mut HostConfig, networking: &mut NetworkingConfig) {
    const DEFAULT: &str = "default";
    const BRIDGE: &str = "bridge";
    if host_config.network_mode.is_empty() || host_config.network_mode == DEFAULT {
        host_config.network_mode = BRIDGE.to_owned();
        if let Some(endpoint) = networking.endpoints_config.remove(DEFAULT) {
            networking.endpoints_config.insert(BRIDGE.to_owned(), endpoint);
        }
    }
}

fn upgrade_host_config(version: ApiVersion, host_config: &mut HostConfig) {
    if version.before(40) && host_config.ipc_mode.is_empty() {
        host_config.ipc_mode = "shareable".to_owned();
    }
    if version.before(42) {
        host_config.console_size = [0, 0];
    }
    if version.before(43) {
        host_config.annotations = knarr_docker_types::Map::nil();
    }
    if host_config.resources.pids_limit.is_some_and(|limit| limit <= 0) {
        host_config.resources.pids_limit = None;
    }
}

fn upgrade_mounts(version: ApiVersion, host_config: &mut HostConfig) -> Result<(), ApiError> {
    if host_config.mounts.is_empty() {
        return Ok(());
    }
    for mount in host_config.mounts.iter_mut() {
        if version.before(42) {
            forget_unchecked_options(version, mount);
        } else {
            check_options(mount)?;
        }
        let needs =
            |what: &str, minor: u16| Err(ApiError::invalid(format!("{what} needs API v1.{minor} or newer")));
        if version.before(44)
            && mount.kind == "bind"
            && let Some(options) = &mut mount.bind_options
        {
            if options.read_only_force_recursive {
                return needs("BindOptions.ReadOnlyForceRecursive", 44);
            }
            options.read_only_non_recursive = mount.read_only;
        }
        if version.before(45) && mount.volume_options.as_ref().is_some_and(|o| !o.subpath.is_empty()) {
            return needs("VolumeOptions.Subpath", 45);
        }
        if version.before(48) && mount.kind == "image" {
            return needs("Mount type \"Image\"", 48);
        }
    }
    Ok(())
}

/// Before 1.42 options of another type of mount were ignored.
fn forget_unchecked_options(version: ApiVersion, mount: &mut Mount) {
    if let Some(options) = &mut mount.bind_options {
        options.create_mountpoint = false;
        options.non_recursive &= !version.before(40);
    }
    if mount.kind != "volume" {
        mount.volume_options = None;
    }
    if mount.kind != "tmpfs" {
        mount.tmpfs_options = None;
    }
}

fn check_options(mount: &Mount) -> Result<(), ApiError> {
    let given = [
        ("VolumeOptions", "volume", mount.volume_options.is_some()),
        ("BindOptions", "bind", mount.bind_options.is_some()),
        ("TmpfsOptions", "tmpfs", mount.tmpfs_options.is_some()),
    ];
    match given.iter().find(|(_, kind, given)| *given && mount.kind != *kind) {
        Some((name, ..)) => {
            Err(ApiError::invalid(format!("{name} must not be specified on mount type {:?}", mount.kind)))
        }
        None => Ok(()),
    }
}

fn volume_driver_warning(host_config: &HostConfig) -> Option<String> {
    let has_driver = |mount: &Mount| {
        let driver = mount.volume_options.as_ref().and_then(|options| options.driver_config.as_ref());
        driver.is_some_and(|driver| !driver.name.is_empty())
    };
    let ignored = !host_config.volume_driver.is_empty()
        && host_config.mounts.iter().any(|mount| mount.kind == "volume" && !has_driver(mount));
    ignored.then(|| {
        "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use \
         '--mount type=volume,volume-driver=...' instead"
            .to_owned()
    })
}

/// The container-wide MAC address became one of the endpoint's settings in 1.44.
fn move_mac_address(
    version: ApiVersion,
    address: String,
    host_config: &HostConfig,
    networking: &mut NetworkingConfig,
) -> Result<Option<String>, ApiError> {
    if version.before(44) {
        networking.endpoints_config.values_mut().for_each(|endpoint| endpoint.mac_address.clear());
    }
    if address.is_empty() {
        return Ok(None);
    }
    let mode = host_config.network_mode.as_str();
    let joins_network = !matches!(mode, "host" | "none") && !mode.starts_with("container:");
    if joins_network {
        let endpoint = main_endpoint(version, mode, networking)?;
        if endpoint.mac_address.is_empty() {
            endpoint.mac_address = address;
        } else if endpoint.mac_address != address {
            return Err(ApiError::invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or \
                 be left empty",
            ));
        }
    } else if version.before(44) {
        return Err(ApiError::invalid("conflicting options: mac-address and the network mode"));
    }
    let warning = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.";
    Ok((!version.before(44)).then(|| warning.to_owned()))
}

fn main_endpoint<'a>(
    version: ApiVersion,
    mode: &str,
    networking: &'a mut NetworkingConfig,
) -> Result<&'a mut EndpointSettings, ApiError> {
    let endpoints = &mut networking.endpoints_config;
    if endpoints.is_empty() {
        return Ok(endpoints.entry(mode.to_owned()).or_default());
    }
    let key = if version.before(44) { endpoints.keys().next().cloned() } else { Some(mode.to_owned()) };
    key.and_then(|key| endpoints.get_mut(&key)).ok_or_else(|| {
        ApiError::invalid(
            "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks",
        )
    })
}

/// An empty list of bindings means one binding to any address and port.
fn fill_empty_port_bindings(version: ApiVersion, host_config: &mut HostConfig) -> Option<String> {
    let empty: Vec<String> = host_config
        .port_bindings
        .iter()
        .filter(|(_, bindings)| bindings.is_empty())
        .map(|(port, _)| port.clone())
        .collect();
    if empty.is_empty() {
        return None;
    }
    for port in &empty {
        host_config.port_bindings.insert(port.clone(), List::from(vec![PortBinding::default()]));
    }
    (!version.before(52)).then(|| {
        format!(
            "Following container port(s) have an empty list of port-bindings: {}. Such bindings will be discarded in a \
             future version.",
            empty.join(", ")
        )
    })
}

pub fn upgrade_update(version: ApiVersion, mut request: UpdateRequest) -> UpdateRequest {
    let resources = &mut request.resources;
    if version.before(40) {
        resources.pids_limit = None;
    }
    if version.before(55) {
        resources.blkio_weight_device = List::nil();
        resources.blkio_device_read_bps = List::nil();
        resources.blkio_device_write_bps = List::nil();
        resources.blkio_device_read_iops = List::nil();
        resources.blkio_device_write_iops = List::nil();
    }
    if resources.pids_limit.is_some_and(|limit| limit < 0) {
        resources.pids_limit = Some(0);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(minor: u16, body: &str) -> Result<Upgraded, String> {
        upgrade(ApiVersion::new(1, minor), body.as_bytes()).map_err(|error| error.message)
    }

    #[test]
    fn the_default_network_gets_its_name() {
        let body = r#"{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"default":{"Links":["x"]}}}}"#;
        let request = create(55, body).unwrap().request;
        assert_eq!(request.host_config.unwrap().network_mode, "bridge");
        assert_eq!(request.networking_config.unwrap().endpoints_config["bridge"].links.len(), 1);
    }

    #[test]
    fn the_mac_address_moves_to_the_endpoint() {
        let body = r#"{"Image":"a","MacAddress":"02:42:ac:11:00:09"}"#;
        let mac = |minor| {
            let upgraded = create(minor, body).unwrap();
            let endpoints = upgraded.request.networking_config.unwrap().endpoints_config;
            (endpoints.get("bridge").map(|e| e.mac_address.clone()), upgraded.warnings.len())
        };
        let address = Some("02:42:ac:11:00:09".to_owned());
        assert_eq!(mac(43), (address.clone(), 0));
        assert_eq!(mac(51), (address, 1));
        assert_eq!(mac(52), (None, 0));
    }

    #[test]
    fn several_networks_need_1_44() {
        let body = r#"{"Image":"a","NetworkingConfig":{"EndpointsConfig":{"a":{},"b":null}}}"#;
        assert!(create(43, body).unwrap_err().contains("multiple network endpoints: a, b"));
        assert_eq!(create(44, body).unwrap().request.networking_config.unwrap().endpoints_config.len(), 2);
    }

    #[test]
    fn options_of_other_mount_types() {
        let body =
            r#"{"Image":"a","HostConfig":{"Mounts":[{"Type":"bind","Target":"/x","VolumeOptions":{}}]}}"#;
        assert_eq!(
            create(42, body).unwrap_err(),
            "VolumeOptions must not be specified on mount type \"bind\""
        );
        assert_eq!(create(41, body).unwrap().request.host_config.unwrap().mounts[0].volume_options, None);
    }

    #[test]
    fn empty_bindings_and_limits() {
        let body = r#"{"Image":"a","HostConfig":{"PortBindings":{"80/tcp":null,"81/tcp":[{"HostPort":"1"}]},"PidsLimit":-1}}"#;
        let upgraded = create(52, body).unwrap();
        let host_config = upgraded.request.host_config.unwrap();
        assert_eq!(host_config.port_bindings["80/tcp"], vec![PortBinding::default()]);
        assert_eq!(host_config.resources.pids_limit, None);
        assert!(upgraded.warnings[0].contains(": 80/tcp."), "{:?}", upgraded.warnings);
        assert!(create(51, body).unwrap().warnings.is_empty());
    }

    #[test]
    fn an_empty_config_is_refused() {
        assert!(create(55, r#"{"HostConfig":{}}"#).unwrap_err().starts_with("config cannot be empty"));
    }

    #[test]
    fn no_mounts_stay_nil() {
        assert!(create(55, r#"{"Image":"a"}"#).unwrap().request.host_config.unwrap().mounts.is_nil());
    }
}
