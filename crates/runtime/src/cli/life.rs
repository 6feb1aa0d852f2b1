//! `start`, `state`, `kill`, `delete`, `pause`, `resume`, `list`.
use super::arguments::Arguments;
use super::container::Container;
use super::{Global, file_error, unknown};
use crate::{Error, Result, hooks};
use knarr_linux::process;
use knarr_oci::runtime::StateStatus;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);
const SIGKILL: i32 = 9;

/// The container that the rest of the command line names.
fn only(global: &Global, arguments: &mut Arguments<'_>) -> Result<Container> {
    if let Some((name, _)) = arguments.option()? {
        return Err(unknown(&name));
    }
    let container = Container::load(global, arguments.id()?)?;
    arguments.end()?;
    Ok(container)
}

fn wrong_state(container: &Container, wanted: &str) -> Error {
    let (id, status) = (&container.record.id, container.status());
    Error::Invalid { what: format!("cannot {wanted} container {id}: it is {status:?}").to_lowercase() }
}

pub(crate) fn start(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let container = only(global, arguments)?;
    if container.status() != StateStatus::Created {
        return Err(wrong_state(&container, "start"));
    }
    let fifo = container.fifo();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let written = options.open(&fifo).and_then(|mut file| file.write_all(b"0"));
    written.and_then(|()| std::fs::remove_file(&fifo)).map_err(file_error("start through", &fifo))?;
    if let Some(all) = &container.record.spec.hooks {
        hooks::run(&all.poststart, &container.state())?;
    }
    Ok(0)
}

pub(crate) fn state(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let state = only(global, arguments)?.state();
    let text = serde_json::to_string_pretty(&state).map_err(|e| Error::Invalid { what: e.to_string() })?;
    println!("{text}");
    Ok(0)
}

pub(crate) fn kill(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let mut all = false;
    while let Some((name, _)) = arguments.option()? {
        match name.as_str() {
            "all" | "a" => all = true,
            _ => return Err(unknown(&name)),
        }
    }
    let container = Container::load(global, arguments.id()?)?;
    let number = signal(arguments.word().unwrap_or("SIGTERM"))?;
    arguments.end()?;
    if all {
        container.cgroup()?.signal_all(number).map_err(|e| Error::Cgroup(e.to_string()))?;
        return Ok(0);
    }
    let pidfd = container.process().ok_or_else(|| wrong_state(&container, "kill"))?;
    process::pidfd_send_signal(pidfd.as_fd(), number).map_err(|errno| Error::Step {
        stage: "kill".to_owned(),
        path: None,
        errno: errno.raw_os_error(),
    })?;
    Ok(0)
}

/// A number, or a name with or without `SIG`.
fn signal(text: &str) -> Result<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().position(|&n| n == name).map(|n| n as i32 + 1);
    named
        .or_else(|| text.parse().ok().filter(|n| (0..=64).contains(n)))
        .ok_or_else(|| Error::Invalid { what: format!("signal {text:?}") })
}

pub(crate) fn delete(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let mut force = false;
    while let Some((name, _)) = arguments.option()? {
        match name.as_str() {
            "force" | "f" => force = true,
            _ => return Err(unknown(&name)),
        }
    }
    let id = arguments.id()?;
    arguments.end()?;
    let container = match Container::load(global, id) {
        Err(Error::NoContainer { .. }) if force => return Ok(0),
        found => found?,
    };
    match container.status() {
        StateStatus::Stopped => {}
        StateStatus::Created => stop(&container)?,
        _ if force => stop(&container)?,
        _ => return Err(wrong_state(&container, "delete")),
    }
    remove(&container)?;
    Ok(0)
}

fn stop(container: &Container) -> Result<()> {
    if let Some(pidfd) = container.process() {
        // It may end by itself meanwhile.
        let _ = process::pidfd_send_signal(pidfd.as_fd(), SIGKILL);
    }
    let deadline = Instant::now() + KILL_TIMEOUT;
    while container.process().is_some() {
        if Instant::now() >= deadline {
            return Err(wrong_state(container, "stop"));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// All that is left of a container whose first process has ended.
pub(crate) fn remove(container: &Container) -> Result<()> {
    let cgroup = container.cgroup()?;
    let gone = cgroup.kill_all().and_then(|()| cgroup.destroy());
    gone.map_err(|e| Error::Cgroup(e.to_string()))?;
    let hooks = container.record.spec.hooks.as_ref().map(|all| all.poststop.clone()).unwrap_or_default();
    let state = container.state();
    std::fs::remove_dir_all(&container.directory).map_err(file_error("remove", &container.directory))?;
    // The container is gone whatever they do.
    if let Err(error) = hooks::run(&hooks, &state) {
        eprintln!("warning: {error}");
    }
    Ok(())
}

pub(crate) fn pause(global: &Global, arguments: &mut Arguments<'_>, on: bool) -> Result<u8> {
    let container = only(global, arguments)?;
    let cgroup = container.cgroup()?;
    let done = match (container.status(), on) {
        (StateStatus::Running | StateStatus::Created, true) => cgroup.freeze(),
        (StateStatus::Paused, false) => cgroup.thaw(),
        _ => return Err(wrong_state(&container, if on { "pause" } else { "resume" })),
    };
    done.map_err(|e| Error::Cgroup(e.to_string()))?;
    Ok(0)
}

pub(crate) fn list(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let mut quiet = false;
    while let Some((name, _)) = arguments.option()? {
        match name.as_str() {
            "quiet" | "q" => quiet = true,
            _ => return Err(unknown(&name)),
        }
    }
    arguments.end()?;
    let entries = std::fs::read_dir(&global.root).into_iter().flatten().flatten();
    let mut ids: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    ids.sort();
    if !quiet {
        println!("{:<24} {:<10} {:<10} BUNDLE", "ID", "PID", "STATUS");
    }
    // One that is being made or removed just now is left out.
    for container in ids.iter().filter_map(|id| Container::load(global, id).ok()) {
        let state = container.state();
        if quiet {
            println!("{}", state.id);
        } else {
            let status = format!("{:?}", state.status).to_lowercase();
            println!(
                "{:<24} {:<10} {status:<10} {}",
                state.id,
                state.pid.unwrap_or(0),
                state.bundle.display()
            );
        }
    }
    Ok(0)
}
