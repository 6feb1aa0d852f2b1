//! Query parameters of the endpoints as data: what a client asks beside the body. Plain structs; how they are
//! written in a query is the business of `api-docker` and `docker-client`.
use crate::Filters;
use crate::platform::Platform;
use crate::registry::AuthConfig;

/// `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerList {
    pub all: bool,
    /// 0 or less: no limit.
    pub limit: i64,
    pub size: bool,
    pub filters: Filters,
}

/// `POST /containers/create`, beside the body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerCreate {
    pub name: Option<String>,
    pub platform: Option<Platform>,
    /// The client's choice where neither the request nor the configuration names a log driver.
    pub log_driver: Option<&'static str>,
}

/// `POST /containers/{id}/stop` and `/restart`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerStop {
    pub signal: Option<String>,
    /// Seconds; `None`: the container's own; negative: for ever.
    pub timeout_s: Option<i64>,
}

/// `DELETE /containers/{id}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerRemove {
    pub volumes: bool,
    pub link: bool,
    pub force: bool,
}

/// `GET /containers/{id}/logs`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerLogs {
    pub stdout: bool,
    pub stderr: bool,
    pub follow: bool,
    pub timestamps: bool,
    pub details: bool,
    /// As the client wrote it: seconds since the epoch with a fraction. Empty: from the start.
    pub since: String,
    pub until: String,
    /// `all`, empty, or a number of lines.
    pub tail: String,
}

/// `POST /containers/{id}/attach`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerAttach {
    pub stream: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub logs: bool,
    /// Empty: the default, `ctrl-p,ctrl-q`.
    pub detach_keys: String,
}

/// `POST /containers/{id}/wait`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Returns at once when it does not run.
    #[default]
    NotRunning,
    NextExit,
    Removed,
}

impl WaitCondition {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "not-running" => Some(Self::NotRunning),
            "next-exit" => Some(Self::NextExit),
            "removed" => Some(Self::Removed),
            _ => None,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRunning => "not-running",
            Self::NextExit => "next-exit",
            Self::Removed => "removed",
        }
    }
}

/// `GET /containers/{id}/stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerStats {
    pub stream: bool,
    /// Only with `stream: false`: do not wait for a second sample.
    pub one_shot: bool,
}

/// `PUT /containers/{id}/archive`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchivePut {
    pub path: String,
    pub no_overwrite_dir_non_dir: bool,
    pub copy_uid_gid: bool,
}

/// `POST /commit`, beside the body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    pub container: String,
    pub repo: String,
    pub tag: String,
    pub comment: String,
    pub author: String,
    pub pause: bool,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
}

/// `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageList {
    pub all: bool,
    pub shared_size: bool,
    pub manifests: bool,
    pub filters: Filters,
}

/// `DELETE /images/{name}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageRemove {
    pub force: bool,
    pub no_prune: bool,
}

/// `POST /images/create?fromImage=`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImagePull {
    /// Joined as Docker joins `fromImage` and `tag`.
    pub reference: String,
    /// Every tag of the repository (`docker pull -a`).
    pub all_tags: bool,
    pub platform: Option<Platform>,
    pub auth: Option<AuthConfig>,
}

/// `POST /images/create?fromSrc=`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageImport {
    /// `-`: the request's body. Otherwise a URL.
    pub source: String,
    pub repo: String,
    pub tag: String,
    pub message: String,
    pub changes: Vec<String>,
    pub platform: Option<Platform>,
}

/// `POST /images/{name}/push`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImagePush {
    pub name: String,
    /// Empty: all tags.
    pub tag: String,
    pub platform: Option<Platform>,
    pub auth: Option<AuthConfig>,
}

/// `GET /images/search`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageSearch {
    pub term: String,
    pub limit: i64,
    pub filters: Filters,
    pub auth: Option<AuthConfig>,
}

/// `GET /events`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Events {
    /// As the client wrote it: seconds since the epoch with a fraction. Empty: from now.
    pub since: String,
    pub until: String,
    pub filters: Filters,
}

/// `GET /system/df`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsageOf {
    pub containers: bool,
    pub images: bool,
    pub volumes: bool,
    pub build_cache: bool,
}

impl Default for DiskUsageOf {
    fn default() -> Self {
        Self { containers: true, images: true, volumes: true, build_cache: true }
    }
}
