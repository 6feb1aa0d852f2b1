//! What can go wrong, with the texts that Docker's clients know.
use knarr_base::{ErrorKind, Kind};
use std::io;
use std::net::IpAddr;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] knarr_state::Error),
    #[error(transparent)]
    Kernel(#[from] knarr_netlink::Error),
    #[error("{action}: {source}")]
    Io { action: String, source: io::Error },
    #[error("network {0} not found")]
    NotFound(String),
    #[error("network {0} is ambiguous ({1} matches found on name)")]
    Ambiguous(String, usize),
    #[error("network with name {0} already exists")]
    NameTaken(String),
    #[error("operation is not permitted on predefined {0} network ")]
    Predefined(String),
    #[error("{0} is a pre-defined network and cannot be removed")]
    CannotRemove(String),
    #[error("only one instance of \"{0}\" network is allowed")]
    OnlyOne(String),
    #[error(
        "cannot create network {id} ({bridge}): conflicts with network {other} ({bridge}): networks have same bridge name"
    )]
    SameBridge { id: String, other: String, bridge: String },
    #[error("error while removing network: network {name} has active endpoints ({endpoints})")]
    InUse { name: String, endpoints: String },
    #[error("plugin \"{0}\" not found")]
    UnknownDriver(String),
    #[error("invalid name: {0}")]
    InvalidName(String),
    #[error("invalid network config:\n{0}")]
    InvalidNetwork(String),
    #[error("failed to parse {option} value: {value} ({reason})")]
    InvalidOption { option: &'static str, value: String, reason: String },
    #[error("invalid endpoint settings:\n{0}")]
    InvalidEndpoint(String),
    #[error("invalid config for network {network}: {source}")]
    InvalidConfig { network: String, source: Box<Error> },
    #[error("IPv4 or IPv6 must be enabled")]
    NoFamily,
    #[error("configuration network {0:?} does not exist")]
    NoConfiguration(String),
    #[error("cannot create endpoint on configuration-only network")]
    ConfigurationOnly,
    #[error("error while removing network: configuration network {name:?} is in use by {users}")]
    ConfigurationInUse { name: String, users: String },
    #[error("{0} driver doesn't support multiple subnets")]
    MultipleSubnets(&'static str),
    #[error("the kernel has no {kind} interfaces: {source}")]
    NoSuchKind { kind: &'static str, source: knarr_netlink::Error },
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    PoolOverlap,
    #[error("all predefined address pools have been fully subnetted")]
    PoolsExhausted,
    #[error("no available {family} addresses on this network's address pools: {range}")]
    AddressesExhausted { family: &'static str, range: String },
    #[error("Address already in use")]
    AddressInUse(IpAddr),
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected { container: String, network: String },
    #[error("container {container} is not connected to network {network}")]
    NotConnected { container: String, network: String },
    #[error("network {network}: exchange full: a bridge takes at most 1023 containers")]
    BridgeFull { network: String },
    #[error("bridge {name} is not a bridge or belongs to another engine; choose another with --bridge")]
    BridgeTaken { name: String },
    #[error("driver failed programming external connectivity on endpoint {name} ({endpoint}): {source}")]
    Publish { name: String, endpoint: String, source: Box<PublishError> },
    #[error("failpoint {0}")]
    Failpoint(&'static str),
}

/// Why a port could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("Bind for {address}:{port} failed: port is already allocated")]
    Allocated { address: IpAddr, port: u16 },
    #[error("failed to bind host port for {host}:{container}/{protocol}: {reason}")]
    Bind { host: String, container: String, protocol: &'static str, reason: String, errno: Option<i32> },
    #[error("all ports are allocated in the range {begin}-{end}")]
    RangeExhausted { begin: u16, end: u16 },
    #[error("{0}")]
    Unsupported(String),
    #[error("too many published ports: {count}, at most {max}")]
    TooMany { count: usize, max: usize },
    #[error("{0}")]
    Firewall(String),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Store(e) => e.kind(),
            Error::NotFound(_)
            | Error::NotConnected { .. }
            | Error::UnknownDriver(_)
            | Error::NoConfiguration(_) => ErrorKind::NotFound,
            Error::NameTaken(_) | Error::Ambiguous(..) => ErrorKind::Conflict,
            Error::CannotRemove(_)
            | Error::OnlyOne(_)
            | Error::SameBridge { .. }
            | Error::ConfigurationOnly
            | Error::MultipleSubnets(_)
            | Error::ConfigurationInUse { .. }
            | Error::AddressInUse(_) => ErrorKind::Forbidden,
            Error::Predefined(_) | Error::InUse { .. } | Error::PoolOverlap => ErrorKind::Forbidden,
            Error::AlreadyConnected { .. } => ErrorKind::Forbidden,
            Error::InvalidName(_)
            | Error::InvalidNetwork(_)
            | Error::InvalidOption { .. }
            | Error::InvalidEndpoint(_)
            | Error::InvalidConfig { .. }
            | Error::NoFamily
            | Error::Invalid(_) => ErrorKind::InvalidArgument,
            Error::Unsupported(_) | Error::NoSuchKind { .. } => ErrorKind::NotImplemented,
            Error::Unavailable(_)
            | Error::Kernel(_)
            | Error::Io { .. }
            | Error::PoolsExhausted
            | Error::AddressesExhausted { .. }
            | Error::BridgeFull { .. }
            | Error::BridgeTaken { .. }
            | Error::Publish { .. }
            | Error::Failpoint(_) => ErrorKind::Internal,
        }
    }
}

impl Error {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Error::Io { action, source }
    }
}
