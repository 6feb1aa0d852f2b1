//! What the engine asks of the spawner, over a stream socket pair.
//!
//! One request is one frame ([`crate::frame`]); its descriptors ride on the frame's first byte. The reply is one frame.
use crate::config::ShimConfig;
use crate::control::Failure;
use serde::{Deserialize, Serialize};

/// Most descriptors that come with one request.
pub const MAX_FDS: usize = 8;

/// Fork one supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnRequest {
    pub number: u64,
    pub config: ShimConfig,
    /// What the descriptors are, in the order in which they are passed. `Control` is required.
    pub fds: Vec<FdRole>,
}

/// The purpose of a passed descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FdRole {
    /// The supervisor's end of its first control connection.
    Control,
    /// The network namespace that the container joins.
    NetworkNamespace,
    /// The user namespace that the container joins; its maps are written.
    UserNamespace,
    /// Nothing of the container's: kept open for the engine, see [`crate::Call::Kept`].
    Keep,
}

/// The spawner's answer: the supervisor's process id. What becomes of the container is said on the control connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnReply {
    pub number: u64,
    pub result: Result<i32, Failure>,
}
