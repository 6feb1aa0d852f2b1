//! Client of the Docker Engine API: unix sockets, TCP, TLS, ssh, hijacked streams.
//!
//! Standard: <https://docs.docker.com/reference/api/engine/>. One HTTP/1.1 connection is kept and used again;
//! a second request at the same time opens its own.
//!
//! Invariant: this crate does no work before the first request, and every body that it reads into memory has a bound.
mod client;
mod endpoint;
mod error;
mod hijack;
mod request;
mod response;
mod ssh;
mod stream;
mod tls;

pub use client::{Client, Ping};
pub use endpoint::Endpoint;
pub use error::Error;
pub use hijack::{HijackReader, HijackWriter, Hijacked};
pub use http::Method;
pub use request::{Request, RequestBody, registry_auth};
pub use response::{JsonLines, Response};
pub use stream::Stream;
pub use tls::TlsFiles;

/// Longest JSON reply that is read into memory.
pub const MAX_JSON_BYTES: usize = 256 << 20;
/// Longest line of a stream of JSON documents.
pub const MAX_LINE_BYTES: usize = 16 << 20;
/// Longest error reply that is read.
pub const MAX_ERROR_BYTES: usize = 1 << 20;
/// How long a TCP connection may take.
pub const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
