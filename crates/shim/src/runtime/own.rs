//! Our own runtime, called as functions of this process.
use super::{ContainerRuntime, CreateRequest, ExecRequest, NewProcess};
use crate::error::{Error, Result};
use knarr_linux::process;
use knarr_runtime::seccomp::Filter;
use knarr_runtime::{CgroupOptions, CreateOptions, Created, ExecOptions};
use knarr_shim_proto::ShimConfig;
use rustix::process::Signal;
use std::os::fd::AsFd;

#[derive(Debug, Default)]
pub struct Own {
    /// Until the start.
    waiting: Option<Created>,
    /// Of commands, from the first one on.
    filter: Option<Filter>,
}

impl ContainerRuntime for Own {
    fn create(&mut self, request: CreateRequest<'_>) -> Result<NewProcess> {
        let CreateRequest { config, spec, netns, userns, stdio } = request;
        let mut created = knarr_runtime::create(CreateOptions {
            rootfs: config.rootfs.as_ref(),
            netns,
            userns,
            stdio,
            cgroup: cgroup(config),
            seccomp_cache: config.seccomp_cache.as_deref(),
            ..CreateOptions::new(&config.id, spec, &config.dir)
        })?;
        let made = taken(&mut created)?;
        self.waiting = Some(created);
        Ok(made)
    }

    fn start(&mut self) -> Result<()> {
        match self.waiting.take() {
            Some(mut created) => Ok(created.start()?),
            None => Err(Error::Process(serde::de::Error::custom("already started"))),
        }
    }

    fn exec(&mut self, request: ExecRequest<'_>) -> Result<NewProcess> {
        let ExecRequest { config, spec, init, process, stdio } = request;
        let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
        if let (None, Some(profile)) =
            (&self.filter, profile.filter(|profile| profile.listener_path.is_none()))
        {
            self.filter = Some(knarr_runtime::seccomp::filter(profile, config.seccomp_cache.as_deref())?);
        }
        let mut created = knarr_runtime::exec(ExecOptions {
            stdio,
            cgroup: cgroup(config),
            seccomp_cache: config.seccomp_cache.as_deref(),
            filter: self.filter.as_ref(),
            ..ExecOptions::new(init.pid, init.pidfd.as_fd(), spec, process)
        })?;
        let made = taken(&mut created)?;
        match created.start() {
            Ok(()) => Ok(made),
            Err(error) => {
                let _ = made.signal(Signal::KILL.as_raw());
                let _ = process::wait(made.pidfd.as_fd(), true);
                Err(error.into())
            }
        }
    }

    fn kill(&mut self, init: &NewProcess, signal: i32) -> Result<()> {
        init.signal(signal)
    }

    /// The kernel has nothing left but the control group, which the engine removes.
    fn delete(&mut self) {}

    fn is_subreaper(&self) -> bool {
        false
    }

    fn adopts_orphans(&self) -> bool {
        false
    }
}

fn taken(created: &mut Created) -> Result<NewProcess> {
    let pidfd = created.pidfd.try_clone().map_err(|source| Error::System { action: "copy pidfd", source })?;
    Ok(NewProcess { pid: created.pid, pidfd, console: created.console.take() })
}

fn cgroup(config: &ShimConfig) -> CgroupOptions<'_> {
    if config.cgroup.path.is_empty() {
        CgroupOptions::FromSpec
    } else {
        CgroupOptions::Path(&config.cgroup.path)
    }
}
