//! `create` and `run`.
use super::arguments::Arguments;
use super::container::{self, Config, Container};
use super::record::Record;
use super::{Global, console, environment, file_error, group, life, log, unknown};
use crate::parent::create_with;
use crate::{CgroupOptions, CreateOptions, Created, Error, Result, Stdio};
use knarr_linux::process;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

#[derive(Default, Clone)]
pub(crate) struct Options {
    bundle: PathBuf,
    /// Of the configuration, in the bundle.
    config: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    preserve_fds: u32,
    detach: bool,
    keep: bool,
    no_new_keyring: bool,
    id: String,
}

fn options(arguments: &mut Arguments<'_>) -> Result<Options> {
    let mut options = Options { bundle: ".".into(), ..Options::default() };
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "bundle" | "b" => options.bundle = arguments.value(&name, value)?.into(),
            // crun's.
            "config" | "f" => options.config = Some(arguments.value(&name, value)?.into()),
            "console-socket" => options.console_socket = Some(arguments.value(&name, value)?.into()),
            "pid-file" => options.pid_file = Some(arguments.value(&name, value)?.into()),
            "preserve-fds" => options.preserve_fds = arguments.number(&name, value)?,
            "detach" | "d" => options.detach = arguments.flag(&name, value)?,
            "keep" => options.keep = arguments.flag(&name, value)?,
            "no-new-keyring" => options.no_new_keyring = arguments.flag(&name, value)?,
            // The root is always changed by pivot_root, and nobody is adopted.
            "no-pivot" | "no-subreaper" => drop(arguments.flag(&name, value)?),
            "pidfd-socket" => options.pidfd_socket = Some(arguments.value(&name, value)?.into()),
            _ => return Err(unknown(&name)),
        }
    }
    options.id = arguments.id()?.to_owned();
    arguments.end()?;
    options.bundle =
        std::fs::canonicalize(&options.bundle).map_err(file_error("find bundle", &options.bundle))?;
    Ok(options)
}

pub(crate) fn create(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let options = Options { detach: true, ..options(arguments)? };
    make(global, &options, true).map(|_| 0)
}

pub(crate) fn run(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let options = options(arguments)?;
    let signals = if options.detach { None } else { Some(console::take_signals()?) };
    let (container, mut created) = make(global, &options, false)?;
    created.console.iter().for_each(console::leave_line_ends);
    let started = created.start();
    if let (Ok(()), None) = (&started, &signals) {
        return Ok(0);
    }
    let exit = match (&started, &signals) {
        (Ok(()), Some(signals)) => console::attend(created.pidfd.as_fd(), created.console.as_ref(), signals)?,
        _ => {
            let exit = process::wait(created.pidfd.as_fd(), true);
            // A hook may have said there why it failed.
            created.console.iter().for_each(console::drain);
            exit.ok().flatten().unwrap_or(process::Exit::Code(1))
        }
    };
    if !options.keep {
        life::remove(global, &container)?;
    }
    started?;
    Ok(exit.status() as u8)
}

/// The container's process, waiting; remembered in its directory.
fn make(global: &Global, options: &Options, by_fifo: bool) -> Result<(Container, Created)> {
    let mut config = Config::of_bundle(&options.bundle, options.config.as_deref())?;
    let terminal = config.spec.process.as_ref().is_some_and(|p| p.terminal);
    check_terminal(options, terminal)?;
    let mut preserve_fds = options.preserve_fds;
    if let (Some(process), Some(root)) = (&mut config.spec.process, &config.spec.root) {
        environment::complete(process, &options.bundle.join(&root.path));
        preserve_fds = preserve_fds.saturating_add(environment::pass_sockets(process));
    }
    global.check_given(preserve_fds)?;
    let options = &Options { preserve_fds, ..options.clone() };
    let directory = container::claim(global, &options.id)?;
    let made = make_in(global, options, &directory, &config, by_fifo);
    if made.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_dir_all(&directory);
    }
    made
}

fn check_terminal(options: &Options, terminal: bool) -> Result<()> {
    let what = match (options.detach, terminal, options.console_socket.is_some()) {
        (true, true, false) => "a terminal whose user goes away needs --console-socket",
        (true, false, true) => "--console-socket without a terminal in the configuration",
        (false, _, true) => "--console-socket without --detach",
        _ => return Ok(()),
    };
    Err(Error::Invalid { what: what.to_owned() })
}

fn make_in(
    global: &Global,
    options: &Options,
    directory: &Path,
    config: &Config,
    by_fifo: bool,
) -> Result<(Container, Created)> {
    let spec = &config.spec;
    let cgroup = group::path(global, spec, &options.id)?;
    let was_there = group::is_there(global, &cgroup)?;
    let mut record = Record::new(&options.id, &options.bundle, spec, cgroup);
    record.knarr.no_new_keyring = options.no_new_keyring;
    let mut container = Container { directory: directory.to_owned(), record };
    let fifo = if by_fifo { Some(fifo(&container.fifo())?) } else { None };
    let cache = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref()).map(|_| global.filter_cache());
    let size = spec.process.as_ref().and_then(|p| p.console_size).unwrap_or_default();
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    let mut created = create_with(
        CreateOptions {
            stdio: match terminal {
                true => Stdio::Terminal { rows: size.height, cols: size.width },
                false => Stdio::Inherit,
            },
            cgroup: match container.record.knarr.cgroup.as_str() {
                "" => CgroupOptions::Inherit,
                path => CgroupOptions::Path(path),
            },
            seccomp_cache: cache.as_deref(),
            preserve_fds: options.preserve_fds,
            new_keyring: !options.no_new_keyring,
            ..CreateOptions::new(&options.id, spec, &options.bundle)
        },
        fifo.as_ref().map(AsFd::as_fd),
    )?;
    // Without the right to make one there is none.
    container.record.knarr.made_group =
        !was_there && container.own_cgroup()?.is_some_and(|group| group.exists());
    let finished = finish(global, options, &mut container, config, &mut created);
    if finished.is_err() {
        let _ = process::pidfd_send_signal(created.pidfd.as_fd(), 9);
        let _ = process::wait(created.pidfd.as_fd(), true);
        if container.record.knarr.made_group {
            let _ = container.cgroup().map(|c| c.destroy());
        }
    }
    finished.map(|()| (container, created))
}

fn finish(
    global: &Global,
    options: &Options,
    container: &mut Container,
    config: &Config,
    created: &mut Created,
) -> Result<()> {
    for warning in &created.warnings {
        log::warning(global, warning);
    }
    let start = container::stat(created.pid).map_or(0, |(start, _)| start);
    let cgroup = container.own_cgroup()?;
    container.record.set_process(created.pid, start, cgroup.as_ref());
    container.save(&config.bytes)?;
    if let (Some(path), Some(master)) = (&options.console_socket, &created.console) {
        console::hand_over(master, path)?;
        created.console = None;
    }
    if let Some(path) = &options.pidfd_socket {
        console::hand_over_process(&created.pidfd, path)?;
    }
    if let Some(path) = &options.pid_file {
        write_pid(path, created.pid)?;
    }
    Ok(())
}

/// Complete when it appears.
pub(crate) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    std::fs::write(&new, pid.to_string())
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(file_error("write", path))
}

fn fifo(path: &Path) -> Result<std::os::fd::OwnedFd> {
    let made = rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0);
    made.map_err(|errno| file_error("make", path)(errno.into()))?;
    // For both, so that neither end waits for the other.
    rustix::fs::openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| file_error("open", path)(errno.into()))
}
