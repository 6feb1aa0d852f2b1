//! `create` and `run`.
use super::arguments::Arguments;
use super::container::{self, Container, Record};
use super::{Global, console, file_error, life, unknown};
use crate::parent::create_with;
use crate::{CgroupOptions, CreateOptions, Created, Error, Result, Stdio};
use knarr_linux::process;
use knarr_oci::runtime::Spec;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

pub(crate) struct Options {
    bundle: PathBuf,
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    detach: bool,
    keep: bool,
    id: String,
}

fn options(arguments: &mut Arguments<'_>) -> Result<Options> {
    let mut options = Options {
        bundle: ".".into(),
        console_socket: None,
        pid_file: None,
        detach: false,
        keep: false,
        id: String::new(),
    };
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "bundle" | "b" => options.bundle = arguments.value(&name, value)?.into(),
            "console-socket" => options.console_socket = Some(arguments.value(&name, value)?.into()),
            "pid-file" => options.pid_file = Some(arguments.value(&name, value)?.into()),
            "detach" | "d" => options.detach = true,
            "keep" => options.keep = true,
            // The session keyring is never joined, and the sealed copy leaves nothing for the others to choose.
            "no-new-keyring" | "no-pivot" | "no-subreaper" => {}
            "preserve-fds" => {
                if arguments.value(&name, value)? != "0" {
                    return Err(Error::Unsupported { what: "--preserve-fds".to_owned() });
                }
            }
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
    let options = options(arguments)?;
    make(global, &options, true).map(|_| 0)
}

pub(crate) fn run(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let options = options(arguments)?;
    let (container, mut created) = make(global, &options, false)?;
    let started = created.start();
    if options.detach && started.is_ok() {
        return Ok(0);
    }
    let exit = match (&started, &created.console) {
        (Ok(()), Some(master)) => console::relay(master, created.pidfd.as_fd()).ok(),
        _ => process::wait(created.pidfd.as_fd(), true).ok().flatten(),
    };
    if !options.keep {
        life::remove(&container)?;
    }
    started?;
    Ok(exit.map_or(1, |exit| exit.status() as u8))
}

/// The container's process, waiting; remembered in its directory.
fn make(global: &Global, options: &Options, by_fifo: bool) -> Result<(Container, Created)> {
    let spec = container::read_spec(&options.bundle)?;
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    if terminal != options.console_socket.is_some() && (by_fifo || options.detach) {
        let what = "a terminal without its user needs --console-socket, and nothing else does".to_owned();
        return Err(Error::Invalid { what });
    }
    let directory = container::claim(global, &options.id)?;
    let made = make_in(global, options, &directory, spec, by_fifo);
    if made.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_dir_all(&directory);
    }
    made
}

fn make_in(
    global: &Global,
    options: &Options,
    directory: &Path,
    spec: Spec,
    by_fifo: bool,
) -> Result<(Container, Created)> {
    let cgroup = cgroup(global, &spec, &options.id)?;
    let (id, bundle) = (options.id.clone(), options.bundle.clone());
    let record = Record { id, bundle, pid: 0, start_time: 0, cgroup, spec };
    let mut container = Container { directory: directory.to_owned(), record };
    let fifo = if by_fifo { Some(fifo(&container.fifo())?) } else { None };
    let spec = &container.record.spec;
    let size = spec.process.as_ref().and_then(|p| p.console_size).unwrap_or_default();
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    let mut created = create_with(
        CreateOptions {
            stdio: if terminal {
                Stdio::Terminal { rows: size.height, cols: size.width }
            } else {
                Stdio::Inherit
            },
            cgroup: CgroupOptions::Path(&container.record.cgroup),
            ..CreateOptions::new(&options.id, spec, &options.bundle)
        },
        fifo.as_ref().map(AsFd::as_fd),
    )?;
    let finished = finish(options, &mut container, &mut created);
    if finished.is_err() {
        let _ = process::pidfd_send_signal(created.pidfd.as_fd(), 9);
        let _ = process::wait(created.pidfd.as_fd(), true);
        let _ = container.cgroup().map(|c| c.destroy());
    }
    finished.map(|()| (container, created))
}

/// The path of the configuration, or one of the id.
fn cgroup(global: &Global, spec: &Spec, id: &str) -> Result<String> {
    use knarr_cgroup::systemd::Unit;
    let given = spec.linux.as_ref().and_then(|l| l.cgroups_path.as_deref()).filter(|p| !p.is_empty());
    match given {
        Some(path) if global.systemd_cgroup && !Unit::is_name(path) => Err(Error::Invalid {
            what: format!("cgroupsPath {path:?}: with --systemd-cgroup it is \"slice:prefix:name\""),
        }),
        Some(path) => Ok(path.to_owned()),
        None if global.systemd_cgroup => Ok(format!(":knarr:{id}")),
        None => Ok(format!("/{id}")),
    }
}

fn finish(options: &Options, container: &mut Container, created: &mut Created) -> Result<()> {
    for warning in &created.warnings {
        eprintln!("warning: {warning}");
    }
    container.record.pid = created.pid;
    container.record.start_time = container::stat(created.pid).map_or(0, |(start, _)| start);
    container.save()?;
    if let (Some(path), Some(master)) = (&options.console_socket, &created.console) {
        console::hand_over(master, path)?;
        created.console = None;
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
