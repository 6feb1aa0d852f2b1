//! The command line of an OCI runtime, as other engines and people call it: `create`, `start`, `state`, `kill`, `delete`,
//! `run`, `exec`, `list`, `pause`, `resume`, `spec`.
//!
//! Standard: <https://github.com/opencontainers/runtime-tools/blob/master/docs/command-line-interface.md> and runc's flags.
//! Invariant: between commands everything is in `<root>/<id>/state.json`; whether a container runs is asked of the kernel.
mod arguments;
mod console;
mod container;
mod create;
mod exec;
mod life;
mod spec;

use crate::{Error, Result};
use arguments::Arguments;
use std::io::Write;
use std::path::PathBuf;

/// Where containers are remembered, unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/knarr-runtime";

const USAGE: &str = "\
usage: knarr runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND

  create [--bundle DIR] [--console-socket PATH] [--pid-file FILE] ID
  start ID
  run    [--bundle DIR] [--console-socket PATH] [--pid-file FILE] [--detach] [--keep] ID
  exec   [--process FILE] [--tty] [--console-socket PATH] [--cwd DIR] [--env K=V] [--user UID[:GID]] [--cap CAP]
         [--pid-file FILE] [--detach] ID [COMMAND...]
  state ID
  kill   [--all] ID [SIGNAL]
  delete [--force] ID
  pause ID, resume ID
  list   [--quiet]
  spec   [--bundle DIR]
";

/// Options before the command.
pub(crate) struct Global {
    pub root: PathBuf,
    log: Option<PathBuf>,
    json: bool,
    /// Groups are scopes that systemd makes, and paths are `slice:prefix:name`.
    pub systemd_cgroup: bool,
}

/// Runs one command. `args` are without the program's name and without `runtime`.
pub fn main(args: &[String]) -> u8 {
    let mut arguments = Arguments::new(args);
    let global = match global(&mut arguments) {
        Ok(global) => global,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    match command(&global, &mut arguments) {
        Ok(code) => code,
        Err(error) => {
            report(&global, &error);
            1
        }
    }
}

fn global(arguments: &mut Arguments<'_>) -> Result<Global> {
    let mut global = Global { root: DEFAULT_ROOT.into(), log: None, json: false, systemd_cgroup: false };
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "root" => global.root = arguments.value(&name, value)?.into(),
            "log" => global.log = Some(arguments.value(&name, value)?.into()),
            "log-format" => global.json = arguments.value(&name, value)? == "json",
            "debug" => {}
            "systemd-cgroup" => {
                global.systemd_cgroup = value.as_deref() != Some("false");
            }
            "version" | "v" => {
                println!(
                    "knarr-runtime version {}\nspec: {}",
                    env!("CARGO_PKG_VERSION"),
                    knarr_oci::runtime::VERSION
                );
                knarr_linux::process::exit(0);
            }
            "help" | "h" => {
                print!("{USAGE}");
                knarr_linux::process::exit(0);
            }
            _ => return Err(unknown(&name)),
        }
    }
    Ok(global)
}

fn unknown(name: &str) -> Error {
    Error::Invalid { what: format!("unknown option --{name}") }
}

fn command(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let Some(command) = arguments.word() else {
        print!("{USAGE}");
        return Ok(1);
    };
    // What comes near a container runs from a file that cannot be written (CVE-2019-5736).
    if ["create", "run", "exec"].contains(&command) {
        protect()?;
    }
    match command {
        "create" => create::create(global, arguments),
        "run" => create::run(global, arguments),
        "exec" => exec::exec(global, arguments),
        "start" => life::start(global, arguments),
        "state" => life::state(global, arguments),
        "kill" => life::kill(global, arguments),
        "delete" => life::delete(global, arguments),
        "pause" => life::pause(global, arguments, true),
        "resume" => life::pause(global, arguments, false),
        "list" => life::list(global, arguments),
        "spec" => spec::spec(arguments),
        "help" => {
            print!("{USAGE}");
            Ok(0)
        }
        other => Err(Error::Invalid { what: format!("unknown command {other:?}") }),
    }
}

/// Execute again through a mount that cannot be written. Where that is not possible the command fails.
fn protect() -> Result<()> {
    use knarr_linux::{prctl, protected};
    // Nor may anybody in the container look into this process or trace it while it is between both.
    let step = |stage: &str, errno: rustix::io::Errno| Error::Step {
        stage: stage.to_owned(),
        path: None,
        errno: errno.raw_os_error(),
    };
    if !protected::is_protected() {
        return Err(step("execute a protected copy of this program", protected::execute()));
    }
    if rustix::process::geteuid().is_root() {
        prctl::set_dumpable(false).map_err(|errno| step("hide this process", errno))?;
    }
    Ok(())
}

fn report(global: &Global, error: &Error) {
    eprintln!("{error}");
    let Some(path) = &global.log else { return };
    let line = if global.json {
        serde_json::json!({ "level": "error", "msg": error.to_string() }).to_string()
    } else {
        format!("level=error msg={:?}", error.to_string())
    };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // The error was printed; a log that cannot be written changes nothing about it.
    let _ = file.and_then(|mut file| writeln!(file, "{line}"));
}

/// An error of a file of ours.
pub(crate) fn file_error(
    stage: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Step {
        stage: stage.to_owned(),
        path: Some(path),
        errno: error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()),
    }
}
