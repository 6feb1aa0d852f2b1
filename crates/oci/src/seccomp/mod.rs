//! System call filters in the format of Docker's profiles, and the profile that containers get by default.
//!
//! Standard: the JSON of `--security-opt seccomp=<file>`, as <https://docs.docker.com/engine/security/seccomp/> describes
//! it. Rules may depend on capabilities, machine and kernel; [`Profile::resolve`] turns a profile into the runtime
//! specification's form, in which nothing is conditional. Invariant: pure; what the host is comes in as [`Facts`].
mod default;
mod profile;
mod resolve;

pub use default::default_profile;
pub use profile::{ArchMap, Conditions, Profile, Rule};
pub use resolve::{Error, Facts, KernelVersion, Machine};
