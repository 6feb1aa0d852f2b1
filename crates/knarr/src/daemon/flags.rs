//! The flags of `knarr daemon`: those of `dockerd`, with its names, so that unit files and scripts need no change.
//!
//! Reference: <https://docs.docker.com/reference/cli/dockerd/>. What was typed is kept apart from what is meant:
//! `config` merges these with the configuration file.
use clap::Parser;
use std::path::PathBuf;

/// The container engine: serves the Docker Engine API.
#[derive(Parser, Debug, Default, Clone)]
#[command(name = "knarr daemon", version, disable_help_subcommand = true, args_override_self = true)]
pub struct Flags {
    /// Daemon socket(s) to connect to (unix://, tcp://, fd://)
    #[arg(short = 'H', long = "host", value_name = "URL")]
    pub hosts: Vec<String>,
    /// Root directory of persistent state
    #[arg(long, alias = "graph", value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Root directory of execution state files
    #[arg(long, value_name = "DIR")]
    pub exec_root: Option<PathBuf>,
    /// Path to use for the daemon's PID file
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Daemon configuration file
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Validate the configuration and exit
    #[arg(long)]
    pub validate: bool,
    /// Group of the unix socket
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Enable debug mode
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub debug: bool,
    /// Logging level (debug, info, warn, error, fatal)
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Logging format (text, json)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Use TLS; implied by --tlsverify
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub tls: bool,
    /// Use TLS and verify the remote
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub tlsverify: bool,
    /// Trust certs signed only by this CA
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// Path to TLS key file
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Serve plain TCP without TLS on loopback addresses (anyone on this machine becomes root)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub insecure_loopback_tcp: bool,

    /// Preferred registry mirror
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub registry_mirrors: Vec<String>,
    /// Registry that may be spoken to without verified TLS
    #[arg(long = "insecure-registry", value_name = "HOST")]
    pub insecure_registries: Vec<String>,
    /// HTTP proxy URL to use for outgoing traffic
    #[arg(long, value_name = "URL")]
    pub http_proxy: Option<String>,
    /// HTTPS proxy URL to use for outgoing traffic
    #[arg(long, value_name = "URL")]
    pub https_proxy: Option<String>,
    /// Comma-separated list of hosts or IP addresses for which the proxy is skipped
    #[arg(long, value_name = "LIST")]
    pub no_proxy: Option<String>,
    /// Max concurrent downloads
    #[arg(long, value_name = "N")]
    pub max_concurrent_downloads: Option<u32>,
    /// Max concurrent uploads
    #[arg(long, value_name = "N")]
    pub max_concurrent_uploads: Option<u32>,

    /// Name of the default bridge
    #[arg(short = 'b', long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// Address of the default bridge, in CIDR form
    #[arg(long, value_name = "CIDR")]
    pub bip: Option<String>,
    /// IPv4 subnet for fixed IPs
    #[arg(long, value_name = "CIDR")]
    pub fixed_cidr: Option<String>,
    /// Address and prefix of the default bridge for IPv6
    #[arg(long, value_name = "CIDR")]
    pub bip6: Option<String>,
    /// Part of the default bridge's IPv6 subnet that containers get addresses from
    #[arg(long = "fixed-cidr-v6", value_name = "CIDR")]
    pub fixed_cidr_v6: Option<String>,
    /// Gateway of containers on the default bridge, when it is not the bridge
    #[arg(long, value_name = "IP")]
    pub default_gateway: Option<String>,
    /// The same for IPv6
    #[arg(long = "default-gateway-v6", value_name = "IP")]
    pub default_gateway_v6: Option<String>,
    /// IPv6 on the default bridge
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub ipv6: Option<bool>,
    /// Option of networks that do not say otherwise: DRIVER=OPTION=VALUE
    #[arg(long = "default-network-opt", value_name = "OPTION")]
    pub default_network_opts: Vec<String>,
    /// Do not keep the host's other interfaces apart when forwarding is turned on
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub ip_forward_no_drop: Option<bool>,
    /// Manage the firewall for IPv6
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub ip6tables: Option<bool>,
    /// Let published ports be reached by the containers' own addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub allow_direct_routing: Option<bool>,
    /// Accepted: the firewall is a table of nftables, whatever this says
    #[arg(long, value_name = "NAME")]
    pub firewall_backend: Option<String>,
    /// Accepted: there is no proxy
    #[arg(long, value_name = "PATH")]
    pub userland_proxy_path: Option<PathBuf>,
    /// Who reaches published ports that do not say: any, loopback, or a network (repeat it for several)
    #[arg(long, value_name = "SCOPE")]
    pub publish_scope: Vec<String>,
    /// Default address pool for networks, e.g. base=172.80.0.0/16,size=24
    #[arg(long = "default-address-pool", value_name = "POOL")]
    pub default_address_pools: Vec<String>,
    /// Containers' MTU
    #[arg(long, value_name = "N")]
    pub mtu: Option<u32>,
    /// Host address that published ports bind to by default
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// Let containers of one network reach each other (default true)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub icc: Option<bool>,
    /// Turn on forwarding (default true)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub ip_forward: Option<bool>,
    /// Masquerade what containers send out (default true)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub ip_masq: Option<bool>,
    /// Let the engine keep its nftables table (default true)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub iptables: Option<bool>,
    /// Relay published ports where the kernel cannot forward them: IPv6 to containers without it (default true)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub userland_proxy: Option<bool>,
    /// DNS server for containers
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,
    /// DNS option for containers
    #[arg(long = "dns-opt", value_name = "OPTION")]
    pub dns_opts: Vec<String>,
    /// DNS search domain for containers
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// What `host-gateway` of `--add-host` means (default: the default bridge's addresses)
    #[arg(long = "host-gateway-ip", value_name = "IP")]
    pub host_gateway_ips: Vec<String>,

    /// Label of the daemon
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Default log driver (local, json-file, journald, syslog, none)
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// Default log driver option
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub log_opts: Vec<String>,
    /// Parent cgroup of all containers
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Runtime execution option (native.cgroupdriver=cgroupfs or systemd)
    #[arg(long = "exec-opt", value_name = "KEY=VALUE")]
    pub exec_opts: Vec<String>,
    /// Register an additional OCI compatible runtime
    #[arg(long = "add-runtime", value_name = "NAME=PATH")]
    pub add_runtimes: Vec<String>,
    /// Default OCI runtime for containers (default knarr)
    #[arg(long, value_name = "NAME")]
    pub default_runtime: Option<String>,
    /// User/Group setting for user namespaces (default, user, user:group)
    #[arg(long, value_name = "USER[:GROUP]")]
    pub userns_remap: Option<String>,
    /// Ids for containers with --userns=auto (START:COUNT, or a user of /etc/subuid)
    #[arg(long, value_name = "POOL")]
    pub userns_pool: Option<String>,
    /// First pause before a container is restarted by its policy; it doubles each time
    #[arg(long, value_name = "DURATION")]
    pub restart_delay: Option<String>,
    /// Longest pause before a container is restarted by its policy
    #[arg(long, value_name = "DURATION")]
    pub restart_max_delay: Option<String>,
    /// Enable selinux support
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub selinux_enabled: bool,
    /// Default mode for containers cgroup namespace (host, private)
    #[arg(long, value_name = "MODE")]
    pub default_cgroupns_mode: Option<String>,
    /// Default ulimit of containers
    #[arg(long = "default-ulimit", value_name = "TYPE=SOFT:HARD")]
    pub default_ulimits: Vec<String>,
    /// Default size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub default_shm_size: Option<String>,
    /// Run an init in containers that forwards signals and reaps processes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub init: bool,
    /// Set no_new_privs for new containers by default
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub no_new_privileges: bool,
    /// Path to the default seccomp profile, or "builtin" or "unconfined"
    #[arg(long, value_name = "PROFILE")]
    pub seccomp_profile: Option<String>,
    /// Storage driver (overlay2, btrfs, vfs); default: what works here, in this order
    #[arg(short = 's', long, value_name = "DRIVER")]
    pub storage_driver: Option<String>,
    /// Storage driver option
    #[arg(long = "storage-opt", value_name = "KEY=VALUE")]
    pub storage_opts: Vec<String>,
    /// Accepted for compatibility: containers always outlive the engine
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub live_restore: bool,
    /// Seconds that the engine waits for requests to end when it stops
    #[arg(long, value_name = "SECONDS")]
    pub shutdown_timeout: Option<u64>,
    /// Seconds after which a container that does not stop is killed
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub default_stop_timeout: Option<i64>,
    /// Default mode for containers ipc (shareable, private)
    #[arg(long, value_name = "MODE")]
    pub default_ipc_mode: Option<String>,
    /// Address to serve metrics for Prometheus on (127.0.0.1:9323)
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_addr: Option<String>,
    /// Accepted for compatibility: always 5
    #[arg(long, value_name = "N")]
    pub max_download_attempts: Option<u32>,
    /// Accepted: there is no containerd, the engine makes containers itself
    #[arg(long, value_name = "ADDRESS")]
    pub containerd: Option<String>,
    /// Accepted: there is no containerd
    #[arg(long, value_name = "NAME")]
    pub containerd_namespace: Option<String>,
    /// Accepted: there is no containerd
    #[arg(long, value_name = "NAME")]
    pub containerd_plugins_namespace: Option<String>,
    /// Accepted for compatibility: there are no experimental features
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub experimental: bool,
    /// Accepted for compatibility: the log never has colours
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, hide_default_value = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub raw_logs: bool,
    /// Remove images by themselves: high-watermark=85%, low-watermark=75%, unused-for=720h, keep=FILTER,FILTER, interval=1m
    #[arg(long, value_name = "KEY=VALUE")]
    pub clean_up: Vec<String>,

    /// End when nothing runs and nobody asked anything for this many seconds
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub exit_when_idle: Option<u64>,
}
