//! The applet table: which program this process is, decided from argv[0] and argv[1] alone.
//!
//! Invariant: choosing starts no thread and opens no file.
use std::{ffi::OsString, path::Path, process::ExitCode};

/// What this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applet {
    Client,
    Daemon,
    Spawner,
    Init,
    Runtime,
}

/// Names under which the binary is executed (argv[0]) and the applet behind each.
const BY_NAME: &[(&str, Applet)] = &[
    ("knarrd", Applet::Daemon),
    ("dockerd", Applet::Daemon),
    ("knarr-spawner", Applet::Spawner),
    ("knarr-init", Applet::Init),
    ("docker-init", Applet::Init),
    ("knarr-runtime", Applet::Runtime),
];

/// First arguments that choose an applet.
const BY_ARGUMENT: &[(&str, Applet)] = &[("daemon", Applet::Daemon), ("runtime", Applet::Runtime)];

/// Chooses; the second value is how many leading arguments the choice used up.
pub fn choose(args: &[OsString]) -> (Applet, usize) {
    let name =
        args.first().map(|a| Path::new(a).file_name().unwrap_or_default().to_owned()).unwrap_or_default();
    if let Some((_, applet)) = BY_NAME.iter().find(|(n, _)| name == *n) {
        return (*applet, 1);
    }
    let first = args.get(1);
    match BY_ARGUMENT.iter().find(|(a, _)| first.is_some_and(|f| f == *a)) {
        Some((_, applet)) => (*applet, 2),
        None => (Applet::Client, 1),
    }
}

/// The spawner's connection to its engine is its standard input.
const SPAWNER_SOCKET: i32 = 0;

/// Runs the chosen applet to its end.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let (applet, used) = choose(&args);
    let rest = args.get(used..).unwrap_or_default().to_vec();
    match applet {
        Applet::Client => crate::embedded::client(args),
        Applet::Daemon => crate::daemon::main(rest),
        Applet::Spawner => code(knarr_shim::spawner::main(SPAWNER_SOCKET)),
        Applet::Init => code(knarr_shim::init::main(rest)),
        Applet::Runtime => {
            let rest: Vec<String> = rest.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
            ExitCode::from(knarr_runtime::cli::main(&rest))
        }
    }
}

fn code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: &[&str]) -> (Applet, usize) {
        choose(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_name_comes_before_the_first_argument() {
        assert_eq!(chosen(&["/usr/bin/knarr", "run", "daemon"]), (Applet::Client, 1));
        assert_eq!(chosen(&["knarr", "daemon", "-D"]), (Applet::Daemon, 2));
        assert_eq!(chosen(&["knarrd", "-D"]), (Applet::Daemon, 1));
        assert_eq!(chosen(&["docker", "ps"]), (Applet::Client, 1));
        assert_eq!(chosen(&["/sbin/docker-init", "--", "daemon"]), (Applet::Init, 1));
        assert_eq!(chosen(&["knarr-spawner", "3"]), (Applet::Spawner, 1));
        assert_eq!(chosen(&["knarr", "runtime", "state", "x"]), (Applet::Runtime, 2));
        assert_eq!(chosen(&["knarr"]), (Applet::Client, 1));
        assert_eq!(chosen(&[]), (Applet::Client, 1));
    }
}
