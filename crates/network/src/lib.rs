//! Networks: drivers, address management, endpoints, published ports, firewall, hosts and resolv.conf.
//!
//! The shape of networks and endpoints is Docker's
//! ([networking](https://docs.docker.com/engine/network/)); everything in the kernel is made through `knarr_netlink`.
//! Planners are pure (`ipam`, `pools`, `plan`, `firewall::render`, `hosts_file`, `resolv_conf`); the appliers are small.
//!
//! Invariant: what is in the kernel (bridges, veths, the nftables table, port reservations) is a function of the rows
//! in the store. All names come from ids, so a crash at any moment is undone by `Networks::restore`.
pub mod config;
pub mod create;
pub mod endpoint;
pub mod error;
mod examine;
mod firewall;
mod forwarding;
mod gateway;
pub mod hosts_file;
mod ipam;
mod kernel;
pub mod mac;
pub mod names;
pub mod namespace;
mod neighbours;
pub mod network;
pub mod networks;
pub mod option;
mod parent;
mod pools;
pub mod port;
mod publish;
mod relay;
pub mod resolv_conf;
pub mod scope;
mod segment;

pub use config::{AddressPool, NetworkConfig};
pub use create::{AddressConfig, CreateNetwork};
pub use endpoint::{Connected, Endpoint, EndpointRequest, Link, Ports, Reach};
pub use error::{Error, Result};
pub use examine::examine;
pub use ipam::Usage;
pub use mac::MacAddr;
pub use names::Names;
pub use namespace::{InterfaceStats, Namespace, Visitor};
pub use network::{Attached, Driver, Network, Subnet};
pub use networks::Networks;
pub use port::{ExposedPort, PortBinding, PortRange, Protocol, PublishedPort};
pub use scope::Scope;
