//! OCI distribution client: registries, authentication, transfer.
//!
//! Standard: <https://github.com/opencontainers/distribution-spec>, with Docker's token authentication
//! (<https://distribution.github.io/distribution/spec/auth/token/>) and Docker's rules for `docker.io`, mirrors and insecure
//! registries. [`Client`] knows the configuration; [`Repository`] is one repository and one user's part in it.
//!
//! Invariants: bytes are hashed while they arrive and are worth nothing before; credentials go to the host that they are
//! for and never along a redirect to another, nor to a mirror; every document, wait and retry has a bound.
mod auth;
mod challenge;
mod client;
mod config;
mod credentials;
mod dns;
mod download;
mod endpoint;
mod error;
mod login;
mod manifest;
mod mirror;
mod proxy;
mod ranges;
mod rate_limit;
mod repository;
mod retry;
mod search;
mod tags;
mod tls;
mod transport;
mod upload;
mod upload_plan;

pub use client::Client;
pub use config::RegistryConfig;
pub use credentials::Credentials;
pub use dns::lookup;
pub use error::{Error, RegistryError, Result};
pub use login::Login;
pub use manifest::{Fetched, Select};
pub use proxy::Proxies;
pub use repository::{Access, Repository};
pub use search::{Found, Search};
pub use upload::Uploaded;

/// Called with the bytes that are there and the bytes that there will be.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);
