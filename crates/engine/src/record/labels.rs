//! What the kernel's security modules know a container by.
use serde::{Deserialize, Serialize};

/// Decided at creation; empty: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// AppArmor profile.
    #[serde(default)]
    pub apparmor: String,
    /// SELinux label of its processes.
    #[serde(default)]
    pub process: String,
    /// SELinux label of its files.
    #[serde(default)]
    pub mount: String,
}
