//! Programs of the configuration that run at fixed points. Each gets the container's state on standard input.
//!
//! Standard: runtime-spec config.md, POSIX-platform hooks. `prestart` and `createRuntime` run in the parent, `createContainer`
//! and `startContainer` in init, `poststart` and `poststop` in the parent.
use crate::{Error, Result};
use knarr_linux::memfd;
use knarr_oci::runtime::{Hook, Spec, State, StateStatus};
use std::io::{Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What init needs for the hooks that it runs.
#[derive(Debug)]
pub(crate) struct ForInit {
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    /// Of the program: what `startContainer` hooks have without one of their own, as in runc.
    pub environment: Vec<String>,
    state: State,
}

impl ForInit {
    pub(crate) fn new(spec: &Spec, id: &str, bundle: &Path) -> Option<Self> {
        let hooks = spec.hooks.as_ref()?;
        Some(Self {
            create_container: hooks.create_container.clone(),
            start_container: hooks.start_container.clone(),
            environment: spec.process.as_ref().map(|process| process.env.clone()).unwrap_or_default(),
            state: state(spec, id, bundle, StateStatus::Created, None),
        })
    }
    /// As seen by the container, where these hooks run.
    pub(crate) fn state(&self) -> State {
        State { pid: Some(rustix::process::getpid().as_raw_pid()), ..self.state.clone() }
    }
}

/// The state that is shown to hooks.
pub fn state(spec: &Spec, id: &str, bundle: &Path, status: StateStatus, pid: Option<i32>) -> State {
    State {
        oci_version: knarr_oci::runtime::VERSION.to_owned(),
        id: id.to_owned(),
        status,
        pid,
        bundle: bundle.to_owned(),
        annotations: spec.annotations.clone(),
    }
}

const POLL: Duration = Duration::from_millis(2);

/// Why a hook failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its exit code.
    Ended(i32),
    /// The signal that ended it.
    Killed(i32),
    /// It could not be run: an error number.
    NotRun(i32),
    TimedOut,
}

impl Why {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Ended(code) => format!("exit status {code}"),
            // As Go's programs say it.
            Self::Killed(signal) => match signal {
                6 => "signal: aborted".to_owned(),
                9 => "signal: killed".to_owned(),
                11 => "signal: segmentation fault".to_owned(),
                15 => "signal: terminated".to_owned(),
                31 => "signal: bad system call".to_owned(),
                other => format!("signal {other}"),
            },
            Self::NotRun(errno) => crate::created::text_of(errno),
            Self::TimedOut => "timed out".to_owned(),
        }
    }
}

impl From<std::io::Error> for Why {
    fn from(error: std::io::Error) -> Self {
        Self::NotRun(error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()))
    }
}

/// Run hooks of a kind one after the other; the first that fails ends it.
pub fn run(kind: &str, hooks: &[Hook], state: &State) -> Result<()> {
    hooks.iter().enumerate().try_for_each(|(number, hook)| run_one(kind, number, hook, state))
}

pub fn run_one(kind: &str, number: usize, hook: &Hook, state: &State) -> Result<()> {
    execute(hook, &text(state)?, None).map_err(|why| failed(kind, number, Some(&hook.path), why))
}

pub(crate) fn failed(kind: &str, number: usize, path: Option<&Path>, why: Why) -> Error {
    let path = path.map(|path| format!("{}: ", path.display())).unwrap_or_default();
    Error::Hook { kind: kind.to_owned(), number, what: format!("{path}{}", why.text()) }
}

/// The same in init, where no text can be told: the number of the hook that failed. Without an environment of its own a hook has this one.
pub(crate) fn run_in_init(
    hooks: &[Hook],
    state: &State,
    environment: Option<&[String]>,
) -> std::result::Result<(), (usize, Why)> {
    let text = text(state).map_err(|_| (0, Why::NotRun(rustix::io::Errno::INVAL.raw_os_error())))?;
    hooks
        .iter()
        .enumerate()
        .try_for_each(|(number, hook)| execute(hook, &text, environment).map_err(|why| (number, why)))
}

fn text(state: &State) -> Result<Vec<u8>> {
    serde_json::to_vec(state).map_err(|e| Error::Invalid { what: e.to_string() })
}

/// A file and no pipe: a hook that does not read its input is no failure, and nobody waits for it or dies of SIGPIPE.
fn input(state: &[u8]) -> std::io::Result<std::fs::File> {
    let mut file = std::fs::File::from(memfd::create(c"state", false)?);
    file.write_all(state)?;
    file.rewind()?;
    memfd::seal(&file)?;
    Ok(file)
}

fn execute(hook: &Hook, state: &[u8], environment: Option<&[String]>) -> std::result::Result<(), Why> {
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name);
        command.args(rest);
    }
    // Without an environment of its own it has the runtime's, as in runc and crun: PATH is there.
    let own = Some(hook.env.as_slice()).filter(|env| !env.is_empty()).or(environment);
    if let Some(own) = own {
        command.env_clear().envs(own.iter().filter_map(|e| e.split_once('=')));
    }
    command.stdin(input(state)?).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut child = command.spawn()?;
    let deadline =
        hook.timeout.and_then(|s| u64::try_from(s).ok()).map(|s| Instant::now() + Duration::from_secs(s));
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let ended = Why::Ended(status.code().unwrap_or(-1));
                return Err(status.signal().map_or(ended, Why::Killed));
            }
            None if deadline.is_some_and(|d| Instant::now() >= d) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Why::TimedOut);
            }
            None => std::thread::sleep(POLL),
        }
    }
}
