//! `exec`.
use super::arguments::Arguments;
use super::container::Container;
use super::{Global, console, create, environment, file_error, log, unknown};
use crate::{CgroupOptions, Error, ExecOptions, Result, Stdio};
use knarr_linux::process;
use knarr_oci::runtime::{Process, Spec, User};
use std::os::fd::AsFd;
use std::path::PathBuf;

#[derive(Default)]
struct Options {
    process: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    tty: bool,
    detach: bool,
    ignore_paused: bool,
    preserve_fds: u32,
    cwd: Option<String>,
    env: Vec<String>,
    user: Option<String>,
    additional_gids: Vec<u32>,
    caps: Vec<String>,
    cgroup: Option<String>,
    apparmor: Option<String>,
    process_label: Option<String>,
    no_new_privileges: bool,
}

fn options(arguments: &mut Arguments<'_>) -> Result<Options> {
    let mut options = Options::default();
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "process" | "p" => options.process = Some(arguments.value(&name, value)?.into()),
            "console-socket" => options.console_socket = Some(arguments.value(&name, value)?.into()),
            "pid-file" => options.pid_file = Some(arguments.value(&name, value)?.into()),
            "tty" | "t" => options.tty = arguments.flag(&name, value)?,
            "detach" | "d" => options.detach = arguments.flag(&name, value)?,
            "ignore-paused" => options.ignore_paused = arguments.flag(&name, value)?,
            "preserve-fds" => options.preserve_fds = arguments.number(&name, value)?,
            "cwd" => options.cwd = Some(arguments.value(&name, value)?),
            "env" | "e" => options.env.push(arguments.value(&name, value)?),
            "user" | "u" => options.user = Some(arguments.value(&name, value)?),
            "additional-gids" | "g" => options.additional_gids.push(arguments.number(&name, value)?),
            "cap" | "c" => options.caps.push(arguments.value(&name, value)?),
            "cgroup" => options.cgroup = Some(arguments.value(&name, value)?),
            "apparmor" => options.apparmor = Some(arguments.value(&name, value)?),
            "process-label" => options.process_label = Some(arguments.value(&name, value)?),
            "no-new-privs" => options.no_new_privileges = arguments.flag(&name, value)?,
            "no-subreaper" => drop(arguments.flag(&name, value)?),
            "pidfd-socket" => options.pidfd_socket = Some(arguments.value(&name, value)?.into()),
            _ => return Err(unknown(&name)),
        }
    }
    Ok(options)
}

pub(crate) fn exec(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let options = options(arguments)?;
    global.check_given(options.preserve_fds)?;
    let container = Container::load(global, arguments.id()?)?;
    let spec = container.spec()?;
    let mut process = self::process(&options, &spec, arguments.rest())?;
    check_terminal(&options, process.terminal)?;
    let pidfd = container.process().ok_or_else(|| Error::State {
        what: format!("cannot exec in a stopped container: {}: container not running", container.record.id),
    })?;
    if !options.ignore_paused && container.cgroup().is_ok_and(|c| c.is_frozen().unwrap_or(false)) {
        let what = "cannot exec in a paused container (use --ignore-paused to override)".to_owned();
        return Err(Error::State { what });
    }
    let pid = container.record.init_process_pid;
    environment::complete(&mut process, std::path::Path::new(&format!("/proc/{pid}/root")));
    let cgroup = match &options.cgroup {
        Some(below) => below_group(container.cgroup()?.path(), below)?,
        None => container.record.knarr.cgroup.clone(),
    };
    let cache = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref()).map(|_| global.filter_cache());
    let size = process.console_size.unwrap_or_default();
    let terminal = Stdio::Terminal { rows: size.height, cols: size.width };
    let signals = if options.detach { None } else { Some(console::take_signals()?) };
    let mut created = crate::exec(ExecOptions {
        id: &container.record.id,
        bundle: &container.record.knarr.bundle,
        new_keyring: !container.record.knarr.no_new_keyring,
        stdio: if process.terminal { terminal } else { Stdio::Inherit },
        cgroup: if cgroup.is_empty() { CgroupOptions::Inherit } else { CgroupOptions::Path(&cgroup) },
        seccomp_cache: cache.as_deref(),
        preserve_fds: options.preserve_fds,
        ..ExecOptions::new(pid, pidfd.as_fd(), &spec, &process)
    })?;
    for warning in &created.warnings {
        log::warning(global, warning);
    }
    if let (Some(path), Some(master)) = (&options.console_socket, &created.console) {
        console::hand_over(master, path)?;
        created.console = None;
    }
    if let Some(path) = &options.pidfd_socket {
        console::hand_over_process(&created.pidfd, path)?;
    }
    if let Some(path) = &options.pid_file {
        create::write_pid(path, created.pid)?;
    }
    created.console.iter().for_each(console::leave_line_ends);
    if let Err(error) = created.start() {
        // It is ending: only its remains are collected.
        let _ = process::wait(created.pidfd.as_fd(), true);
        return Err(error);
    }
    match signals {
        None => Ok(0),
        Some(signals) => {
            let exit = console::attend(created.pidfd.as_fd(), created.console.as_ref(), &signals)?;
            Ok(exit.status() as u8)
        }
    }
}

fn check_terminal(options: &Options, terminal: bool) -> Result<()> {
    let what = match (options.detach, terminal, options.console_socket.is_some()) {
        (true, true, false) => "a terminal whose user goes away needs --console-socket",
        (_, false, true) => "--console-socket without a terminal",
        _ => return Ok(()),
    };
    Err(Error::Invalid { what: what.to_owned() })
}

/// A group below the container's own, which has to be there.
fn below_group(own: &str, below: &str) -> Result<String> {
    if below.contains(':') {
        return Err(Error::Unsupported { what: format!("--cgroup {below:?} for single controllers") });
    }
    if below.split('/').any(|part| part == "..") {
        return Err(Error::Invalid {
            what: format!("bad sub cgroup path: --cgroup {below:?} is not below the container's cgroup"),
        });
    }
    let path = format!("{own}/{below}");
    let exists = knarr_cgroup::Cgroup::new(&path).is_ok_and(|cgroup| cgroup.exists());
    if exists { Ok(path) } else { Err(Error::Cgroup(format!("{path} does not exist"))) }
}

/// As the container's first process, but for what was asked.
fn process(options: &Options, spec: &Spec, args: &[String]) -> Result<Process> {
    if let Some(path) = &options.process {
        let bytes = std::fs::read(path).map_err(file_error("read", path))?;
        let process = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Invalid { what: format!("{}: {e}", path.display()) })?;
        return Ok(match &spec.process {
            Some(first) => completed(process, first),
            None => process,
        });
    }
    if args.is_empty() {
        return Err(Error::Invalid { what: "the command is missing".to_owned() });
    }
    let mut process = spec.process.clone().unwrap_or_default();
    process.args = args.to_vec();
    process.terminal = options.tty;
    for entry in &options.env {
        process.env.push(entry.clone());
    }
    process.no_new_privileges |= options.no_new_privileges;
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(user) = &options.user {
        process.user = User {
            umask: process.user.umask,
            additional_gids: process.user.additional_gids.clone(),
            ..parse_user(user, process.user.gid)?
        };
    }
    process.user.additional_gids.extend(&options.additional_gids);
    if options.apparmor.is_some() {
        process.apparmor_profile.clone_from(&options.apparmor);
    }
    if options.process_label.is_some() {
        process.selinux_label.clone_from(&options.process_label);
    }
    if !options.caps.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(options.caps.iter().cloned());
        }
        // Those that are not inheritable could not be ambient.
        if !sets.inheritable.is_empty() {
            sets.ambient.extend(options.caps.iter().cloned());
        }
    }
    Ok(process)
}

/// What confines the container's first process confines one that says nothing about it, as in runc and crun.
fn completed(process: Process, first: &Process) -> Process {
    let text = |own: Option<String>, first: &Option<String>| {
        own.filter(|text| !text.is_empty()).or_else(|| first.clone())
    };
    Process {
        capabilities: process.capabilities.or_else(|| first.capabilities.clone()),
        apparmor_profile: text(process.apparmor_profile, &first.apparmor_profile),
        selinux_label: text(process.selinux_label, &first.selinux_label),
        rlimits: if process.rlimits.is_empty() { first.rlimits.clone() } else { process.rlimits },
        io_priority: process.io_priority.or_else(|| first.io_priority.clone()),
        scheduler: process.scheduler.or_else(|| first.scheduler.clone()),
        exec_cpu_affinity: process.exec_cpu_affinity.or_else(|| first.exec_cpu_affinity.clone()),
        ..process
    }
}

/// `uid[:gid]`, decimal digits only: no signs, no spaces, nothing that wraps around (CVE-2024-40635, CVE-2026-30892).
fn parse_user(text: &str, default_gid: u32) -> Result<User> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let value = part.parse::<u32>().ok().filter(|n| digits && i32::try_from(*n).is_ok());
        value.ok_or_else(|| Error::Invalid { what: format!("user {text:?}") })
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok(User { uid: number(uid)?, gid: number(gid)?, ..User::default() }),
        None => Ok(User { uid: number(text)?, gid: default_gid, ..User::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_that_exist() {
        let user = parse_user("1000:50", 3).unwrap();
        assert_eq!((user.uid, user.gid), (1000, 50));
        assert_eq!(parse_user("7", 3).unwrap().gid, 3);
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
            assert!(parse_user(bad, 0).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_process_does_not_say_is_as_for_the_first() {
        let first = r#"{"capabilities": {"bounding": ["CAP_CHOWN"]}, "apparmorProfile": "a", "selinuxLabel": "s",
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}], "oomScoreAdj": 5, "env": ["A=b"]}"#;
        let first: Process = serde_json::from_str(first).unwrap();
        let process =
            completed(Process { apparmor_profile: Some(String::new()), ..Process::default() }, &first);
        assert_eq!(process, Process { oom_score_adj: None, env: Vec::new(), ..first.clone() });
        let own = Process { capabilities: Some(Default::default()), ..Process::default() };
        assert_eq!(completed(own.clone(), &first).capabilities, own.capabilities);
    }

    #[test]
    fn only_groups_below_the_container() {
        for bad in ["../x", "a/../../b", "cpu:x"] {
            assert!(below_group("/knarr-test/nothing", bad).is_err(), "{bad}");
        }
    }
}
