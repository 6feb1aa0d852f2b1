//! Programs of the configuration that run at fixed points. Each gets the container's state on standard input.
//!
//! Standard: runtime-spec config.md, POSIX-platform hooks. `prestart` and `createRuntime` run in the parent, `createContainer`
//! and `startContainer` in init, `poststart` and `poststop` in the parent.
use crate::{Error, Result};
use knarr_linux::memfd;
use knarr_oci::runtime::{Hook, Spec, State, StateStatus};
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What init needs for the hooks that it runs.
#[derive(Debug)]
pub(crate) struct ForInit {
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    state: State,
}

impl ForInit {
    pub(crate) fn new(spec: &Spec, id: &str, bundle: &Path) -> Option<Self> {
        let hooks = spec.hooks.as_ref()?;
        Some(Self {
            create_container: hooks.create_container.clone(),
            start_container: hooks.start_container.clone(),
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

/// Run hooks one after the other; the first that fails ends it.
pub fn run(hooks: &[Hook], state: &State) -> Result<()> {
    let text = serde_json::to_vec(state).map_err(|e| Error::Invalid { what: e.to_string() })?;
    hooks.iter().try_for_each(|hook| run_one(hook, &text))
}

/// A file and no pipe: a hook that does not read its input is no failure, and nobody waits for it or dies of SIGPIPE.
fn input(state: &[u8]) -> std::io::Result<std::fs::File> {
    let mut file = std::fs::File::from(memfd::create(c"state", false)?);
    file.write_all(state)?;
    file.rewind()?;
    memfd::seal(&file)?;
    Ok(file)
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<()> {
    let fail = |what: String| Error::Hook { path: hook.path.clone(), what };
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(rest);
    }
    // Without an environment of its own it has the runtime's, as in runc and crun: PATH is there.
    if !hook.env.is_empty() {
        command.env_clear().envs(hook.env.iter().filter_map(|e| e.split_once('=')));
    }
    let input = input(state).map_err(|e| fail(e.to_string()))?;
    command.stdin(input).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|e| fail(e.to_string()))?;
    let deadline =
        hook.timeout.and_then(|s| u64::try_from(s).ok()).map(|s| Instant::now() + Duration::from_secs(s));
    loop {
        match child.try_wait().map_err(|e| fail(e.to_string()))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(fail(status.to_string())),
            None if deadline.is_some_and(|d| Instant::now() >= d) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(fail("timed out".to_owned()));
            }
            None => std::thread::sleep(POLL),
        }
    }
}
