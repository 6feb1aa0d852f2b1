//! The Docker Engine API over HTTP (<https://docs.docker.com/reference/api/engine/>), versions 1.24 to 1.55.
//!
//! A face: it translates requests into calls of [`knarr_engine::Engine`] and results into replies, and decides
//! nothing. [`serve`] is the entry for the daemon.
//!
//! Invariants: handlers speak the newest version, older ones live in [`compat`]; every endpoint is a row of
//! [`routes::ROUTES`]; every body that is held in memory is bounded; a client that goes away drops its reply, not
//! the work; a panic in a handler is a reply of status 500.
mod activity;
mod compat;
mod config;
mod connection;
mod context;
pub mod docs;
mod error;
mod hijack;
mod json;
mod json_syntax;
mod listen;
mod metrics;
mod prefixed;
mod query;
mod registry_auth;
mod reply;
mod request_body;
pub mod routes;
mod server;
mod stream;
mod tls;
mod transport;
mod websocket;

pub use activity::{Activity, Busy};
pub use config::{Listen, ServerConfig, TlsConfig};
pub use metrics::serve_metrics;
pub use server::{Error, serve};
