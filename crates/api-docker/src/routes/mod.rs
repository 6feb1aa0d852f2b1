//! The endpoints as a table: method, path, since which version, what answers.
//!
//! Invariant: the first row that matches wins, so a fixed path stands before a pattern that covers it; the list in
//! `docs/api.md` is generated from this table.
mod absent;
mod container;
mod container_archive;
mod container_stream;
mod exec;
mod image;
mod image_transfer;
mod network;
mod system;
mod table;
mod upkeep;
mod volume;

use crate::connection::App;
use crate::context::Context;
use crate::reply::Answer;
use http::Method;
use knarr_docker_types::ApiVersion;
use knarr_engine::Engine;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use table::ROUTES;

/// [`ApiVersion::CURRENT`] as text.
pub const CURRENT_VERSION: &str = "1.55";

pub type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;
pub type Handler = fn(Context) -> Pending;

/// How an endpoint is answered; shown in `docs/api.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Served,
    /// As an engine that is not part of a swarm answers.
    NotInSwarm,
    /// As an engine without plugins answers.
    NoPlugins,
    /// Status 501 and a message, and so the others.
    NoSwarm,
    PluginsAbsent,
    BuildAbsent,
    CheckpointsAbsent,
    AttestationsAbsent,
}

impl Status {
    /// Done, or why not.
    pub fn words(self) -> &'static str {
        match self {
            Self::Served => "done",
            Self::NotInSwarm => "done as on an engine that is in no swarm: 503",
            Self::NoPlugins => "done as on an engine without plugins",
            Self::NoSwarm => "501: this engine has no swarm mode",
            Self::PluginsAbsent => "501: this engine has no plugins; its drivers are built in",
            Self::BuildAbsent => "501: images are not built here yet",
            Self::CheckpointsAbsent => {
                "501: checkpoints need CRIU, which this engine does not drive (experimental in Docker too)"
            }
            Self::AttestationsAbsent => "501: attestations come with the builder",
        }
    }
}

/// One endpoint.
pub struct Route {
    pub method: Method,
    /// At most one `{}`, which stands for one or more segments.
    pub path: &'static str,
    /// First minor version that has it.
    pub since: u16,
    pub status: Status,
    pub handler: Handler,
}

impl Route {
    /// What stands for `{}`; empty for a fixed path.
    fn matches<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.path.split_once("{}") {
            None => (path == self.path).then_some(""),
            Some((before, after)) => {
                let name = path.strip_prefix(before)?.strip_suffix(after)?.trim_start_matches('/');
                (!name.is_empty()).then_some(name)
            }
        }
    }
}

/// The endpoint of a request, and the name in its path.
pub fn find(method: &Method, path: &str, version: ApiVersion) -> Option<(&'static Route, String)> {
    // The one path that Docker knows with a slash at its end, too.
    let path = if path == "/networks/" { "/networks" } else { path };
    ROUTES.iter().filter(|route| route.method == *method && !version.before(route.since)).find_map(|route| {
        let name = route.matches(path)?;
        Some((route, name.to_owned()))
    })
}

/// The whole API on one engine.
pub(crate) fn app(engine: Engine) -> App {
    Arc::new(move |call| {
        let (route, name) = find(&call.method, &call.path, call.version)?;
        Some((route.path, (route.handler)(Context::new(engine.clone(), name, call))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str, minor: u16) -> String {
        match find(&method, path, ApiVersion::new(1, minor)) {
            Some((route, name)) => format!("{} [{name}]", route.path),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn fixed_paths_win_and_names_may_have_slashes() {
        for (method, path, expected) in [
            (Method::GET, "/containers/json", "/containers/json []"),
            (Method::GET, "/containers/abc/json", "/containers/{}/json [abc]"),
            (Method::GET, "/containers//abc/json", "/containers/{}/json [abc]"),
            (Method::GET, "/containers/a/attach/ws", "/containers/{}/attach/ws [a]"),
            (Method::POST, "/containers/create", "/containers/create []"),
            (Method::GET, "/images/a/b/c:d/json", "/images/{}/json [a/b/c:d]"),
            (Method::GET, "/images/get", "/images/get []"),
            (Method::GET, "/images/x/get", "/images/{}/get [x]"),
            (Method::DELETE, "/images/localhost:5000/a", "/images/{} [localhost:5000/a]"),
            (Method::GET, "/networks/", "/networks []"),
            (Method::GET, "/nope", "none"),
            (Method::POST, "/containers/json", "none"),
            (Method::DELETE, "/containers/", "none"),
            (Method::GET, "/containers//json", "none"),
        ] {
            assert_eq!(found(method, path, 55), expected, "{path}");
        }
    }

    #[test]
    fn endpoints_appear_with_their_version() {
        assert_eq!(found(Method::POST, "/containers/prune", 24), "none");
        assert_eq!(found(Method::POST, "/containers/prune", 25), "/containers/prune []");
    }

    #[test]
    fn no_row_is_hidden_by_an_earlier_one() {
        for (index, route) in ROUTES.iter().enumerate() {
            let example = route.path.replace("{}", "name");
            let first = ROUTES.iter().position(|r| r.method == route.method && r.matches(&example).is_some());
            assert_eq!(first, Some(index), "{} {}", route.method, route.path);
        }
        assert_eq!(ApiVersion::CURRENT.to_string(), CURRENT_VERSION);
    }
}
