//! The OCI runtimes that containers may be run with: names, what they mean, and what a failing one's words become.
//!
//! Reference: <https://docs.docker.com/reference/cli/dockerd/#on-demand-runtimes>. `knarr` is the engine's own runtime. `runc` is
//! Docker's name for its default one, which clients and files carry around; so it means the engine's own, unless the
//! configuration says which program it is. It does not depend on what happens to be installed.
use crate::config::{EngineConfig, Runtime};
use crate::error::{Error, Result};
use knarr_docker_types::Map;
use knarr_docker_types::system::Runtime as Shown;
use knarr_shim_proto::{Failure, FailureKind, RuntimeProgram};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The engine's own runtime.
pub const OWN: &str = "knarr";
/// Names of Docker's default runtime: the second is its containerd shim's.
const DOCKERS: [&str; 2] = ["runc", "io.containerd.runc.v2"];

/// The program of a runtime; `None`: the engine's own.
pub(crate) fn program(config: &EngineConfig, name: &str) -> Result<Option<RuntimeProgram>> {
    if let Some(runtime) = config.runtimes.get(name) {
        return Ok(Some(RuntimeProgram { path: runtime.path.clone(), args: runtime.args.clone() }));
    }
    if name.is_empty() || name == OWN || DOCKERS.contains(&name) {
        return Ok(None);
    }
    Err(Error::Invalid(format!("unknown or invalid runtime name: {name}")))
}

/// Finds the programs once, so that a later change of the search path changes nothing. One that is not there is an error
/// only when it is used.
pub(crate) fn resolve(config: &mut EngineConfig) -> Result<()> {
    for name in config.runtimes.keys() {
        if name == OWN {
            return Err(Error::Invalid(format!("runtime name '{name}' is reserved")));
        }
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    for (name, runtime) in &mut config.runtimes {
        match find(&runtime.path, &search) {
            Some(found) => runtime.path = found,
            None => tracing::warn!(runtime = %name, path = %runtime.path.display(), "no such program"),
        }
    }
    let default = &config.default_runtime;
    program(config, default)
        .map(drop)
        .map_err(|_| Error::Invalid(format!("specified default runtime '{default}' does not exist")))
}

fn find(program: &Path, search: &std::ffi::OsStr) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.is_absolute() {
        return Some(program.to_owned()).filter(executable);
    }
    std::env::split_paths(search)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(executable)
}

/// As `info` shows them.
pub(crate) fn shown(config: &EngineConfig) -> Map<Shown> {
    let own = || Shown { path: "knarr-runtime".to_owned(), ..Shown::default() };
    let names = [OWN, DOCKERS[0]];
    let mut all: Map<Shown> = names.into_iter().map(|name| (name.to_owned(), own())).collect();
    for (name, Runtime { path, args }) in &config.runtimes {
        let path = path.to_string_lossy().into_owned();
        all.insert(name.clone(), Shown { path, args: args.clone().into(), ..Shown::default() });
    }
    all
}

/// What a runtime was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Create,
    Exec,
}

/// Docker's text around a runtime's words; its client looks for some of them to choose the exit code. A program brings its own
/// beginning.
pub(crate) fn failure_text(config: &EngineConfig, name: &str, doing: Doing, failure: &Failure) -> String {
    let foreign = matches!(program(config, name), Ok(Some(_)));
    let before = match (doing, foreign) {
        (Doing::Create, true) => "OCI runtime create failed: ",
        (Doing::Create, false) => {
            "OCI runtime create failed: knarr create failed: unable to start container process: "
        }
        (Doing::Exec, true) => "OCI runtime exec failed: ",
        (Doing::Exec, false) => "OCI runtime exec failed: exec failed: unable to start container process: ",
    };
    let whole = match doing {
        Doing::Create => "failed to create task for container: failed to create shim task: ",
        Doing::Exec => "",
    };
    let missing = if foreign { missing_words(failure) } else { "" };
    format!("{whole}{before}{missing}{failure}: unknown")
}

/// The words that Docker's client looks for, where a runtime says the same in others.
fn missing_words(failure: &Failure) -> &'static str {
    let says = |words: &str| failure.message.contains(words);
    match failure.kind {
        FailureKind::CommandNotFound
            if !says("executable file not found") && !says("no such file or directory") =>
        {
            "executable file not found: "
        }
        FailureKind::CommandNotExecutable if !says("permission denied") && !says("is a directory") => {
            "permission denied: "
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EngineConfig {
        let runtime = Runtime { path: "/usr/bin/crun".into(), args: vec!["--debug".into()] };
        EngineConfig { runtimes: [("crun".to_owned(), runtime)].into(), ..EngineConfig::default() }
    }

    #[test]
    fn names() {
        let mut config = config();
        for own in ["", "knarr", "runc", "io.containerd.runc.v2"] {
            assert_eq!(program(&config, own).unwrap(), None, "{own}");
        }
        assert_eq!(program(&config, "crun").unwrap().unwrap().args, ["--debug"]);
        let unknown = program(&config, "nope").unwrap_err();
        assert_eq!(unknown.to_string(), "unknown or invalid runtime name: nope");
        let runc = Runtime { path: "/usr/sbin/runc".into(), args: Vec::new() };
        config.runtimes.insert("runc".to_owned(), runc);
        assert!(program(&config, "runc").unwrap().is_some(), "the configuration decides what runc is");
        let shown = shown(&config);
        assert_eq!(shown["runc"].path, "/usr/sbin/runc");
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn the_words_that_clients_look_for_are_there() {
        let mut config = config();
        let text = |config: &EngineConfig, name: &str, kind, message: &str| {
            failure_text(config, name, Doing::Create, &Failure::new(kind, message))
        };
        let found = text(
            &config,
            "crun",
            FailureKind::CommandNotFound,
            "executable file `x` not found: No such file",
        );
        assert!(
            found.contains("OCI runtime create failed: executable file not found: executable file `x`"),
            "{found}"
        );
        let denied =
            text(&config, "crun", FailureKind::CommandNotExecutable, "open executable: Permission denied");
        assert!(denied.contains("permission denied: open executable"), "{denied}");
        config.runtimes.clear();
        let own = text(
            &config,
            "",
            FailureKind::CommandNotFound,
            r#"exec: "x": executable file not found in $PATH"#,
        );
        assert!(own.ends_with(
            r#"unable to start container process: exec: "x": executable file not found in $PATH: unknown"#
        ));
    }

    #[test]
    fn the_own_name_and_an_unknown_default_are_refused() {
        let own = Runtime { path: "/x".into(), args: Vec::new() };
        let mut taken = EngineConfig { runtimes: [(OWN.to_owned(), own)].into(), ..EngineConfig::default() };
        assert_eq!(resolve(&mut taken).unwrap_err().to_string(), "runtime name 'knarr' is reserved");
        let mut missing = EngineConfig { default_runtime: "youki".into(), ..config() };
        assert_eq!(
            resolve(&mut missing).unwrap_err().to_string(),
            "specified default runtime 'youki' does not exist"
        );
    }
}
