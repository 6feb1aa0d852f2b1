//! What a supervisor has to know about its container beside the OCI runtime configuration.
//!
//! Invariant: everything in it is a fact or a path; nothing has to be looked up in the engine's database.
use knarr_oci::rootfs::RootfsMount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// One supervisor's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimConfig {
    /// The container's id, 64 hexadecimal digits.
    pub id: String,
    /// The container's run directory: `config.json` is there, and the supervisor's own files go there.
    pub dir: PathBuf,
    /// How the root file system is put together; `None`: `root.path` of `config.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<RootfsMount>,
    pub log: LogConfig,
    /// The container's standard input is a pipe (or the terminal's input is passed on); otherwise `/dev/null`.
    #[serde(default)]
    pub open_stdin: bool,
    /// Standard input is closed when the first attached client that brought input closes its own.
    #[serde(default)]
    pub stdin_once: bool,
    /// First size of the terminal, when `process.terminal` is set.
    #[serde(default)]
    pub rows: u16,
    #[serde(default)]
    pub cols: u16,
    pub cgroup: CgroupConfig,
    /// The program that makes the container; `None`: this engine's own runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeProgram>,
    /// Directory of compiled seccomp filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_cache: Option<PathBuf>,
}

/// An OCI runtime that is a program of its own, with runc's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeProgram {
    /// Absolute.
    pub path: PathBuf,
    /// Given before the command, as `--debug`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// Where the container's control group is and who makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupConfig {
    /// Path below each hierarchy's mount point, as in `linux.cgroupsPath` (`/<parent>/<id>`).
    pub path: String,
    /// Ask systemd for a scope instead of making the directory.
    #[serde(default)]
    pub systemd: bool,
}

/// In which form a container's log lies in files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// [`crate::json_log`].
    #[default]
    JsonFile,
    /// [`crate::local_log`].
    Local,
    /// No files.
    None,
}

/// Where and how output is logged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    pub driver: LogDriver,
    /// The newest log file; older ones are `<path>.1`, `<path>.2`, ...
    #[serde(default)]
    pub path: PathBuf,
    /// Size in bytes at which the file is rotated; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Number of files kept, the newest included; 0 and 1 both mean one.
    #[serde(default)]
    pub max_file: u32,
    /// Older files become `<path>.1.gz`, ...
    #[serde(default)]
    pub compress: bool,
    /// Extra attributes of every line (`--log-opt labels`, `env`, `tag`), under `attrs`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
    /// Somewhere else that it goes to; the files are then what `logs` reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteLog>,
}

/// A log that others keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteLog {
    pub target: LogTarget,
    /// Lose messages at once when the target is slow, instead of letting the container wait a moment.
    #[serde(default)]
    pub non_blocking: bool,
    /// Most bytes of messages that wait for the target.
    pub buffer: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogTarget {
    /// systemd's journal, by its native protocol.
    Journald {
        socket: PathBuf,
        /// Of every entry, beside what a message has of its own.
        fields: BTreeMap<String, String>,
    },
    Syslog {
        transport: SyslogTransport,
        /// Its number times eight.
        facility: u8,
        format: SyslogFormat,
        tag: String,
        hostname: String,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogFormat {
    /// What programs send to a syslog server of their own machine.
    #[default]
    Unix,
    Rfc3164,
    Rfc5424,
    Rfc5424Micro,
}

/// How a syslog server is reached. Names were looked up by the engine: the addresses are tried in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogTransport {
    /// The machine's own, at one of the usual paths.
    Own,
    Unix(PathBuf),
    Unixgram(PathBuf),
    Udp(Vec<SocketAddr>),
    Tcp(Vec<SocketAddr>),
    Tls {
        addresses: Vec<SocketAddr>,
        server: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca: Option<PathBuf>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cert: Option<PathBuf>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<PathBuf>,
        #[serde(default)]
        skip_verify: bool,
    },
}
