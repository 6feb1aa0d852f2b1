//! Whether the kernel killed processes of the container because of its memory limit.
//!
//! Invariant: the counter decides; the notification only says when to look. A host without the memory controller has no
//! such limit, and then nothing was killed by it.
use knarr_cgroup::{Cgroup, OomWatch};
use knarr_shim_proto::ShimConfig;
use std::os::fd::{AsFd, BorrowedFd};

#[derive(Debug)]
pub struct Watch {
    cgroup: Option<Cgroup>,
    watch: Option<OomWatch>,
    kills: u64,
}

impl Watch {
    /// For a container whose group exists.
    pub fn new(config: &ShimConfig) -> Self {
        let cgroup = Some(&config.cgroup.path).filter(|path| !path.is_empty());
        let cgroup = cgroup.and_then(|path| Cgroup::new(path).ok());
        let watch = cgroup.as_ref().and_then(|cgroup| cgroup.watch_oom().ok().flatten());
        Self { cgroup, watch, kills: 0 }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Whether something was killed since the last look.
    pub fn check(&mut self) -> bool {
        let kills = match (&self.cgroup, &self.watch) {
            (Some(cgroup), Some(watch)) => watch.kills(cgroup, self.kills),
            (Some(cgroup), None) => cgroup.oom_kills().unwrap_or(self.kills),
            (None, _) => self.kills,
        };
        std::mem::replace(&mut self.kills, kills) < kills
    }

    pub fn killed(&self) -> bool {
        self.kills > 0
    }
}
