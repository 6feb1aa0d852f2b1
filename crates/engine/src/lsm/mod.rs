//! The kernel's security modules, as far as containers are concerned: AppArmor profiles and SELinux labels.
//!
//! Standard: LSM, <https://docs.kernel.org/admin-guide/LSM/index.html>. Invariant: what `info` and `inspect` say is what is in force; a
//! module that the kernel has not is nothing that fails.
mod apparmor;
mod relabel;
mod selinux;

pub(crate) use relabel::relabel;

use crate::config::EngineConfig;
use crate::create::security_opt::SecurityOptions;
use crate::error::Result;
use crate::record::Labels;
use apparmor::AppArmor;
use knarr_docker_types::host_config::HostConfig;
use selinux::Selinux;

#[derive(Debug)]
pub(crate) struct Lsm {
    pub apparmor: AppArmor,
    /// `None`: not there, or not wanted.
    pub selinux: Option<Selinux>,
}

impl Lsm {
    pub fn open(config: &EngineConfig) -> Self {
        Self { apparmor: AppArmor::open(), selinux: config.selinux_enabled.then(Selinux::open).flatten() }
    }

    /// Decided at creation. `taken` are the SELinux labels of other containers, `shared` that of one whose processes or memory
    /// it uses.
    pub fn labels(
        &self,
        host: &HostConfig,
        options: &SecurityOptions<'_>,
        taken: &[String],
        shared: Option<&str>,
    ) -> Result<Labels> {
        let (process, mount) = match &self.selinux {
            Some(selinux) => selinux.labels(&options.labels, taken, shared)?,
            None => Default::default(),
        };
        let apparmor = self.apparmor.profile_of(host.privileged, options.apparmor);
        Ok(Labels { apparmor: apparmor.unwrap_or_default(), process, mount })
    }

    /// As `info` shows them.
    pub fn names(&self) -> Vec<&'static str> {
        let apparmor = self.apparmor.is_in_force().then_some("name=apparmor");
        let selinux = self.selinux.as_ref().map(|_| "name=selinux");
        apparmor.into_iter().chain(selinux).collect()
    }

    pub fn warnings(&self) -> Vec<String> {
        self.apparmor.warning().into_iter().map(str::to_owned).collect()
    }
}
