//! `exec`.
use super::arguments::Arguments;
use super::container::Container;
use super::{Global, console, create, file_error, unknown};
use crate::{CgroupOptions, Error, ExecOptions, Result, Stdio};
use knarr_linux::process;
use knarr_oci::runtime::{Process, User};
use std::os::fd::AsFd;
use std::path::PathBuf;

#[derive(Default)]
struct Options {
    process: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    tty: bool,
    detach: bool,
    cwd: Option<String>,
    env: Vec<String>,
    user: Option<String>,
    caps: Vec<String>,
    no_new_privileges: bool,
}

fn options(arguments: &mut Arguments<'_>) -> Result<Options> {
    let mut options = Options::default();
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "process" | "p" => options.process = Some(arguments.value(&name, value)?.into()),
            "console-socket" => options.console_socket = Some(arguments.value(&name, value)?.into()),
            "pid-file" => options.pid_file = Some(arguments.value(&name, value)?.into()),
            "tty" | "t" => options.tty = value.as_deref() != Some("false"),
            "detach" | "d" => options.detach = true,
            "cwd" => options.cwd = Some(arguments.value(&name, value)?),
            "env" | "e" => options.env.push(arguments.value(&name, value)?),
            "user" | "u" => options.user = Some(arguments.value(&name, value)?),
            "cap" | "c" => options.caps.push(arguments.value(&name, value)?),
            "no-new-privs" => options.no_new_privileges = true,
            _ => return Err(unknown(&name)),
        }
    }
    Ok(options)
}

pub(crate) fn exec(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let options = options(arguments)?;
    let container = Container::load(global, arguments.id()?)?;
    let process = self::process(&options, &container, arguments.rest())?;
    let pidfd = container.process().ok_or_else(|| Error::Invalid {
        what: format!("container {} is not running", container.record.id),
    })?;
    let size = process.console_size.unwrap_or_default();
    let terminal = Stdio::Terminal { rows: size.height, cols: size.width };
    let mut created = crate::exec(ExecOptions {
        stdio: if process.terminal { terminal } else { Stdio::Inherit },
        cgroup: CgroupOptions::Path(&container.record.cgroup),
        ..ExecOptions::new(container.record.pid, pidfd.as_fd(), &container.record.spec, &process)
    })?;
    for warning in &created.warnings {
        eprintln!("warning: {warning}");
    }
    if let (Some(path), Some(master)) = (&options.console_socket, &created.console) {
        console::hand_over(master, path)?;
        created.console = None;
    }
    if let Some(path) = &options.pid_file {
        create::write_pid(path, created.pid)?;
    }
    let started = created.start();
    if options.detach && started.is_ok() {
        return Ok(0);
    }
    let exit = match (&started, &created.console) {
        (Ok(()), Some(master)) => console::relay(master, created.pidfd.as_fd()).ok(),
        _ => process::wait(created.pidfd.as_fd(), true).ok().flatten(),
    };
    started?;
    Ok(exit.map_or(1, |exit| exit.status() as u8))
}

/// As the container's first process, but for what was asked.
fn process(options: &Options, container: &Container, args: &[String]) -> Result<Process> {
    if let Some(path) = &options.process {
        let bytes = std::fs::read(path).map_err(file_error("read", path))?;
        return serde_json::from_slice(&bytes)
            .map_err(|e| Error::Invalid { what: format!("{}: {e}", path.display()) });
    }
    let mut process = container.record.spec.process.clone().unwrap_or_default();
    process.args = args.to_vec();
    process.terminal = options.tty;
    process.env.extend(options.env.iter().cloned());
    process.no_new_privileges |= options.no_new_privileges;
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(user) = &options.user {
        process.user = User { umask: process.user.umask, ..parse_user(user)? };
    }
    if let Some(sets) = &mut process.capabilities {
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(options.caps.iter().cloned());
        }
    }
    Ok(process)
}

/// `uid[:gid]`, decimal digits only: no signs, no spaces, nothing that wraps around (CVE-2024-40635, CVE-2026-30892).
fn parse_user(text: &str) -> Result<User> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let value = part.parse::<u32>().ok().filter(|n| digits && i32::try_from(*n).is_ok());
        value.ok_or_else(|| Error::Invalid { what: format!("user {text:?}") })
    };
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    Ok(User { uid: number(uid)?, gid: number(gid)?, ..User::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_that_exist() {
        let user = parse_user("1000:50").unwrap();
        assert_eq!((user.uid, user.gid), (1000, 50));
        assert_eq!(parse_user("7").unwrap().gid, 0);
        for bad in [
            "",
            ":",
            "+1",
            "-1",
            " 1",
            "1:",
            ":1",
            "4294967296",
            "4294967295",
            "2147483648",
            "١",
            "1:1:1",
            "0x1",
        ] {
            assert!(parse_user(bad).is_err(), "{bad:?}");
        }
    }
}
