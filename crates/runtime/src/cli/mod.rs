//! The command line of an OCI runtime, as other engines and people call it: runc's commands, flags, output and exit codes.
//!
//! Standard: <https://github.com/opencontainers/runtime-tools/blob/master/docs/command-line-interface.md> and runc(8).
//! Invariant: between commands everything is in `<root>/<id>/`; whether a container runs is asked of the kernel.
mod arguments;
mod console;
mod container;
mod create;
mod environment;
mod events;
mod exec;
mod features;
mod group;
mod life;
mod list;
mod log;
mod record;
mod spec;
mod time;
mod update;

use crate::{Error, Result};
use arguments::Arguments;
use log::Log;
use std::path::PathBuf;

/// Where containers are remembered, unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/knarr-runtime";
/// Below the root, and no container's id.
const FILTERS: &str = "@seccomp";

const USAGE: &str = "\
usage: knarr runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--systemd-cgroup] COMMAND

  create   [--bundle DIR] [--console-socket PATH] [--pid-file FILE] [--pidfd-socket PATH] [--preserve-fds N] ID
  start    ID
  run      [--bundle DIR] [--console-socket PATH] [--pid-file FILE] [--pidfd-socket PATH] [--preserve-fds N]
           [--detach] [--keep] ID
  exec     [--process FILE] [--tty] [--console-socket PATH] [--cwd DIR] [--env K=V] [--user UID[:GID]]
           [--additional-gids GID] [--cap CAP] [--cgroup PATH] [--apparmor PROFILE] [--process-label LABEL]
           [--no-new-privs] [--preserve-fds N] [--ignore-paused] [--pid-file FILE] [--pidfd-socket PATH] [--detach] ID [COMMAND...]
  state    ID
  kill     [--all] ID [SIGNAL]
  delete   [--force] ID
  pause ID, resume ID
  update   [--resources FILE|-] [--memory N] [--memory-reservation N] [--memory-swap N] [--pids-limit N]
           [--cpu-period N] [--cpu-quota N] [--cpu-burst N] [--cpu-share N] [--cpu-idle N] [--cpu-rt-period N]
           [--cpu-rt-runtime N] [--cpuset-cpus LIST] [--cpuset-mems LIST] [--blkio-weight N] ID
  events   [--stats] [--interval DURATION] ID
  ps       [--format table|json] ID [PS OPTION...]
  list     [--format table|json] [--quiet]
  spec     [--bundle DIR] [--rootless]
  features
";

const COMMANDS: [&str; 17] = [
    "create",
    "start",
    "run",
    "exec",
    "state",
    "kill",
    "delete",
    "pause",
    "resume",
    "update",
    "events",
    "ps",
    "list",
    "spec",
    "features",
    "checkpoint",
    "restore",
];

/// Options before the command.
#[derive(Debug)]
pub(crate) struct Global {
    pub root: PathBuf,
    pub log: Log,
    /// Groups are scopes that systemd makes, and paths are `slice:prefix:name`.
    pub systemd_cgroup: bool,
    /// Containers stay in the caller's groups, without limits.
    pub without_cgroup: bool,
    /// Descriptors that the caller passed, from the first behind the standard streams on without a gap.
    pub given_fds: u32,
}

impl Global {
    fn is_default_root(&self) -> bool {
        self.root == default_root()
    }

    /// Whether that many descriptors were passed to this process.
    fn check_given(&self, count: u32) -> Result<()> {
        if count <= self.given_fds {
            return Ok(());
        }
        Err(Error::Invalid { what: format!("of {count} descriptors to be preserved some are not open") })
    }

    /// Where compiled system call filters are kept. Made if it is not there; without it they are compiled again.
    fn filter_cache(&self) -> PathBuf {
        use std::os::unix::fs::DirBuilderExt;
        let path = self.root.join(FILTERS);
        let _ = std::fs::DirBuilder::new().mode(0o700).create(&path);
        path
    }
}

/// Runs one command. `args` are without the program's name and without `runtime`.
pub fn main(args: &[String]) -> u8 {
    // Before anything is opened here: a container never gets a descriptor of ours for one that was to be passed on.
    let given_fds = knarr_linux::fds::inherited_from(crate::init::FIRST_PRESERVED);
    let mut arguments = Arguments::new(args);
    let global = match global(&mut arguments) {
        Ok(Some(global)) => Global { given_fds, ..global },
        Ok(None) => return 0,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    if let Err(error) = global.log.check() {
        eprintln!("{error}");
        return 1;
    }
    let Some(command) = arguments.word() else {
        print!("{USAGE}");
        return 0;
    };
    match self::command(&global, command, &mut arguments) {
        Ok(code) => code,
        Err(error) => {
            log::error(&global, &error.to_string());
            // As runc: the status of a command that could not be executed is none of the command's own.
            if command == "exec" { 255 } else { 1 }
        }
    }
}

/// `None`: the question was answered.
fn global(arguments: &mut Arguments<'_>) -> Result<Option<Global>> {
    let mut global = Global {
        root: default_root(),
        log: Log::default(),
        systemd_cgroup: false,
        without_cgroup: false,
        given_fds: 0,
    };
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "root" => global.root = arguments.value(&name, value)?.into(),
            "log" => {
                global.log.file =
                    Some(arguments.value(&name, value)?).filter(|f| !f.is_empty()).map(Into::into)
            }
            "log-format" => global.log.json = log_format(&arguments.value(&name, value)?)?,
            "debug" => global.log.debug = arguments.flag(&name, value)?,
            // What a user without privileges may not do is found out, and containers are not checkpointed.
            "rootless" | "criu" => drop(arguments.value(&name, value)?),
            "systemd-cgroup" => global.systemd_cgroup = arguments.flag(&name, value)?,
            // crun's.
            "cgroup-manager" => match arguments.value(&name, value)?.as_str() {
                "cgroupfs" => global.systemd_cgroup = false,
                "systemd" => global.systemd_cgroup = true,
                "disabled" => global.without_cgroup = true,
                other => return Err(Error::Invalid { what: format!("--cgroup-manager {other:?}") }),
            },
            "version" | "v" => {
                let spec = knarr_oci::runtime::VERSION;
                let version = env!("CARGO_PKG_VERSION");
                // Engines show the second line; a release is known by its tag.
                let commit = option_env!("KNARR_COMMIT").unwrap_or(concat!("v", env!("CARGO_PKG_VERSION")));
                println!("knarr-runtime version {version}\ncommit: {commit}\nspec: {spec}");
                return Ok(None);
            }
            "help" | "h" => {
                print!("{USAGE}");
                return Ok(None);
            }
            _ => return Err(unknown(&name)),
        }
    }
    Ok(Some(global))
}

fn log_format(text: &str) -> Result<bool> {
    match text {
        "json" => Ok(true),
        "text" | "" => Ok(false),
        other => Err(Error::Invalid { what: format!("unknown log-format {other:?}") }),
    }
}

/// Of an ordinary user it is in the directory that is the user's alone.
fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !rustix::process::geteuid().is_root());
    own.map_or(DEFAULT_ROOT.into(), |directory| PathBuf::from(directory).join("knarr-runtime"))
}

pub(crate) fn unknown(name: &str) -> Error {
    Error::Invalid { what: format!("unknown option --{name}") }
}

fn command(global: &Global, command: &str, arguments: &mut Arguments<'_>) -> Result<u8> {
    if COMMANDS.contains(&command) && arguments.asks_for_help() {
        print!("{USAGE}");
        return Ok(0);
    }
    // Those of `exec` and `ps` are other programs' behind the id.
    if !["exec", "ps"].contains(&command) {
        arguments.take_options_anywhere();
    }
    // What comes near a container runs from a file that cannot be written (CVE-2019-5736).
    if ["create", "run", "exec"].contains(&command) {
        protect()?;
    }
    log::debug(global, &format!("command {command}"));
    match command {
        "create" => create::create(global, arguments),
        "run" => create::run(global, arguments),
        "exec" => exec::exec(global, arguments),
        "start" => life::start(global, arguments),
        "state" => list::state(global, arguments),
        "kill" => life::kill(global, arguments),
        "delete" => life::delete(global, arguments),
        "pause" => life::pause(global, arguments, true),
        "resume" => life::pause(global, arguments, false),
        "update" => update::update(global, arguments),
        "events" => events::events(global, arguments),
        "ps" => list::ps(global, arguments),
        "list" => list::list(global, arguments),
        "spec" => spec::spec(arguments),
        "features" => features::features(arguments),
        "checkpoint" | "restore" => {
            Err(Error::Unsupported { what: format!("{command}: containers are not checkpointed") })
        }
        "help" | "h" => {
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

pub(crate) use crate::parent::cgroup_error;

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
