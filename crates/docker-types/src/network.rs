//! Networks and endpoints. Addresses are text: empty when absent.
use crate::{List, Map};

api_struct! {
    /// `GET /networks` (a row) and, embedded, `GET /networks/{id}`.
    pub struct Network {
        name: String = "Name",
        id: String = "Id",
        created: String = "Created",
        scope: String = "Scope",
        driver: String = "Driver",
        enable_ipv4: bool = "EnableIPv4",
        enable_ipv6: bool = "EnableIPv6",
        ipam: Ipam = "IPAM",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_from: ConfigReference = "ConfigFrom",
        config_only: bool = "ConfigOnly",
        options: Map<String> = "Options",
        labels: Map<String> = "Labels",
        peers: List<PeerInfo> = "Peers" omitempty,
    }

    /// `GET /networks/{id}`.
    pub struct Inspect {
        network: Network = flatten,
        /// By container id.
        containers: Map<EndpointResource> = "Containers",
        status: Option<Status> = "Status" omitempty,
    }

    pub struct EndpointResource {
        name: String = "Name",
        endpoint_id: String = "EndpointID",
        mac_address: String = "MacAddress",
        /// With the prefix length.
        ipv4_address: String = "IPv4Address",
        ipv6_address: String = "IPv6Address",
    }

    pub struct Ipam {
        driver: String = "Driver",
        options: Map<String> = "Options",
        config: List<IpamConfig> = "Config",
    }

    pub struct IpamConfig {
        subnet: String = "Subnet" omitempty,
        ip_range: String = "IPRange" omitempty,
        gateway: String = "Gateway" omitempty,
        aux_address: Map<String> = "AuxiliaryAddresses" omitempty,
    }

    pub struct Status {
        ipam: IpamStatus = "IPAM",
    }
    pub struct IpamStatus {
        subnets: Map<SubnetStatus> = "Subnets" omitempty,
    }
    pub struct SubnetStatus {
        ips_in_use: u64 = "IPsInUse",
        dynamic_ips_available: u64 = "DynamicIPsAvailable",
    }

    pub struct ConfigReference {
        network: String = "Network",
    }
    pub struct PeerInfo {
        name: String = "Name",
        ip: String = "IP",
    }

    /// A container's place in a network: as requested and as reported.
    pub struct EndpointSettings {
        ipam_config: Option<EndpointIpamConfig> = "IPAMConfig",
        links: List<String> = "Links",
        aliases: List<String> = "Aliases",
        driver_opts: Map<String> = "DriverOpts",
        gw_priority: i64 = "GwPriority",
        network_id: String = "NetworkID",
        endpoint_id: String = "EndpointID",
        gateway: String = "Gateway",
        ip_address: String = "IPAddress",
        mac_address: String = "MacAddress",
        ip_prefix_len: i64 = "IPPrefixLen",
        ipv6_gateway: String = "IPv6Gateway",
        global_ipv6_address: String = "GlobalIPv6Address",
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
        dns_names: List<String> = "DNSNames",
    }

    pub struct EndpointIpamConfig {
        ipv4_address: String = "IPv4Address" omitempty,
        ipv6_address: String = "IPv6Address" omitempty,
        link_local_ips: List<String> = "LinkLocalIPs" omitempty,
    }

    /// Part of `POST /containers/create`.
    pub struct NetworkingConfig {
        endpoints_config: Map<EndpointSettings> = "EndpointsConfig",
    }

    /// `POST /networks/create`.
    pub struct CreateRequest {
        name: String = "Name",
        check_duplicate: bool = "CheckDuplicate" omitempty,
        driver: String = "Driver",
        scope: String = "Scope",
        enable_ipv4: Option<bool> = "EnableIPv4" omitempty,
        enable_ipv6: Option<bool> = "EnableIPv6" omitempty,
        ipam: Option<Ipam> = "IPAM",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_only: bool = "ConfigOnly",
        config_from: Option<ConfigReference> = "ConfigFrom",
        options: Map<String> = "Options",
        labels: Map<String> = "Labels",
    }

    pub struct CreateResponse {
        id: String = "Id",
        warning: String = "Warning",
    }

    pub struct ConnectRequest {
        container: String = "Container",
        endpoint_config: Option<EndpointSettings> = "EndpointConfig" omitempty,
    }

    pub struct DisconnectRequest {
        container: String = "Container",
        force: bool = "Force",
    }

    pub struct PruneReport {
        networks_deleted: List<String> = "NetworksDeleted",
    }
}
