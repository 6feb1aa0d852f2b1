//! `start`, `kill`, `delete`, `pause`, `resume`.
use super::arguments::Arguments;
use super::container::Container;
use super::{Global, cgroup_error, file_error, log, unknown};
use crate::{Error, Result, hooks};
use knarr_linux::{Errno, process};
use knarr_oci::runtime::{Hook, State, StateStatus};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_micros(200);
const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

/// The container that the rest of the command line names.
pub(crate) fn only(global: &Global, arguments: &mut Arguments<'_>) -> Result<Container> {
    if let Some((name, _)) = arguments.option()? {
        return Err(unknown(&name));
    }
    let container = Container::load(global, arguments.id()?)?;
    arguments.end()?;
    Ok(container)
}

fn wrong_state(container: &Container, wanted: &str) -> Error {
    let (id, status) = (&container.record.id, container.status());
    let status = format!("{status:?}").to_lowercase();
    Error::State { what: format!("cannot {wanted} container {id}: it is {status}") }
}

pub(crate) fn start(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let container = only(global, arguments)?;
    if container.process().is_none() || !container.fifo().exists() {
        return Err(wrong_state(&container, "start"));
    }
    open_gate(&container)?;
    if container.record.knarr.poststart
        && let Some(all) = container.spec()?.hooks
    {
        // Also when the program has ended meanwhile: what the hooks are told is that it was started.
        let status = StateStatus::Running;
        let pid = Some(container.record.shown_pid(status));
        run_each(global, "poststart", &all.poststart, &State { status, pid, ..container.state() });
    }
    Ok(0)
}

/// Of one that fails the specification wants a warning, and the others run.
fn run_each(global: &Global, kind: &str, hooks: &[Hook], state: &State) {
    for (number, hook) in hooks.iter().enumerate() {
        if let Err(error) = hooks::run_one(kind, number, hook, state) {
            log::warning(global, &error.to_string());
        }
    }
}

/// Let the process go on. Returns when it has executed its program, or ended.
fn open_gate(container: &Container) -> Result<()> {
    let path = container.fifo();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let opened = options.open(&path);
    // Whoever removes it starts the container; a second one finds nothing.
    let started = opened.and_then(|mut fifo| {
        std::fs::remove_file(&path)?;
        fifo.write_all(b"0").map(|()| fifo)
    });
    let nobody = [Errno::NOENT, Errno::NXIO, Errno::PIPE].map(|errno| Some(errno.raw_os_error()));
    match started {
        Err(error) if nobody.contains(&error.raw_os_error()) => Err(wrong_state(container, "start")),
        Err(error) => Err(file_error("start through", &path)(error)),
        Ok(fifo) => {
            // The other end is closed by execve.
            let mut closed = [PollFd::new(&fifo, PollFlags::empty())];
            while let Err(Errno::INTR) = poll(&mut closed, None) {}
            Ok(())
        }
    }
}

pub(crate) fn kill(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let mut all = false;
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "all" | "a" => all = arguments.flag(&name, value)?,
            _ => return Err(unknown(&name)),
        }
    }
    let container = Container::load(global, arguments.id()?)?;
    let number = signal(arguments.word().unwrap_or("SIGTERM"))?;
    arguments.end()?;
    let cgroup = container.cgroup();
    if all {
        cgroup?.signal_all(number).map_err(cgroup_error)?;
        return Ok(0);
    }
    // Without a PID namespace of its own the end of the first process is not the end of the others.
    if number == SIGKILL
        && !container.record.config.has_own_processes()
        && let Some(group) = container.own_cgroup()?
        && group.exists()
    {
        group.signal_all(number).map_err(cgroup_error)?;
        thaw(&container);
        return Ok(0);
    }
    let gone = || Error::State { what: format!("container not running: {}", container.record.id) };
    let pidfd = container.process().ok_or_else(gone)?;
    match process::pidfd_send_signal(pidfd.as_fd(), number) {
        Err(Errno::SRCH) => return Err(gone()),
        sent => sent.map_err(|errno| Error::Step {
            stage: "kill".to_owned(),
            path: None,
            errno: errno.raw_os_error(),
        })?,
    }
    // A frozen process would die when it is thawed.
    if number == SIGKILL {
        thaw(&container);
    }
    Ok(0)
}

fn thaw(container: &Container) {
    if let Ok(cgroup) = container.cgroup()
        && cgroup.is_frozen().unwrap_or(false)
    {
        // It dies at the next `resume` otherwise.
        let _ = cgroup.thaw();
    }
}

/// A number, or a name with or without `SIG`.
pub(crate) fn signal(text: &str) -> Result<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("POLL", 29), ("CLD", 17), ("UNUSED", 31)];
    const REAL_TIME: (i32, i32) = (34, 64);
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = || {
        let (base, sign, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) => (REAL_TIME.0, '+', rest),
            (_, Some(rest)) => (REAL_TIME.1, '-', rest),
            _ => return None,
        };
        let offset: i32 = match rest.strip_prefix(sign) {
            Some(digits) => digits.parse().ok().filter(|n| (0..=30).contains(n))?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        Some(if sign == '+' { base + offset } else { base - offset })
    };
    let named = NAMES.iter().position(|&n| n == name).map(|n| n as i32 + 1);
    named
        .or_else(|| ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number))
        .or_else(real_time)
        .or_else(|| text.parse().ok().filter(|n| (0..=REAL_TIME.1).contains(n)))
        .ok_or_else(|| Error::Invalid { what: format!("signal {text:?}") })
}

pub(crate) fn delete(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let mut force = false;
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "force" | "f" => force = arguments.flag(&name, value)?,
            _ => return Err(unknown(&name)),
        }
    }
    let id = arguments.id()?;
    arguments.end()?;
    let container = match Container::load(global, id) {
        Err(Error::NoContainer { .. }) if force => {
            // Of a creation that was killed half-way the directory may be left.
            return super::container::abandon(global, id).map(|()| 0);
        }
        found => found?,
    };
    if let Some(pidfd) = container.process() {
        // As in runc, what was created and never started may go; engines rely on it.
        if !force && !container.fifo().exists() {
            return Err(wrong_state(&container, "delete"));
        }
        stop(&container, pidfd.as_fd())?;
    }
    remove(global, &container)?;
    Ok(0)
}

fn stop(container: &Container, pidfd: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    // It may end by itself meanwhile.
    let _ = process::pidfd_send_signal(pidfd, SIGKILL);
    let _ = process::pidfd_send_signal(pidfd, SIGCONT);
    thaw(container);
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
pub(crate) fn remove(global: &Global, container: &Container) -> Result<()> {
    if container.record.knarr.made_group
        && let Some(cgroup) = container.own_cgroup()?
        && cgroup.destroy().is_err()
    {
        // Processes are left in it.
        cgroup.kill_all().and_then(|()| cgroup.destroy()).map_err(cgroup_error)?;
    }
    if let Some(rdt) = &container.record.knarr.intel_rdt {
        crate::rdt::remove(rdt, &container.record.id)?;
    }
    let hooks = match container.record.knarr.poststop {
        true => container.spec()?.hooks.map(|all| all.poststop).unwrap_or_default(),
        false => Vec::new(),
    };
    super::container::erase(&container.directory)?;
    run_each(global, "poststop", &hooks, &container.state());
    Ok(())
}

pub(crate) fn pause(global: &Global, arguments: &mut Arguments<'_>, on: bool) -> Result<u8> {
    let container = only(global, arguments)?;
    let cgroup = container.cgroup()?;
    let done = match (container.status(), on) {
        (StateStatus::Running | StateStatus::Created, true) => cgroup.freeze(),
        (StateStatus::Paused, false) => cgroup.thaw(),
        (StateStatus::Stopped, _) => {
            return Err(Error::State { what: format!("container not running: {}", container.record.id) });
        }
        _ => return Err(wrong_state(&container, if on { "pause" } else { "resume" })),
    };
    done.map_err(cgroup_error)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        let known = [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("sigusr1", 10),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGRTMAX", 64),
            ("POLL", 29),
            ("SIGSYS", 31),
        ];
        for (text, number) in known {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for bad in ["", "65", "-1", "SIG", "RTMIN+31", "RTMAX+1", "NOTHING", "1.5"] {
            assert!(signal(bad).is_err(), "{bad:?}");
        }
    }
}
