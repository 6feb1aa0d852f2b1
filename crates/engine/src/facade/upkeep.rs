//! Knarr's own: checks and clean-up.
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::upkeep;
use knarr_docker_types::upkeep::{CheckReport, CleanReport, DoctorReport};
use knarr_image::{CheckOptions, CleanPolicy};
use std::collections::BTreeMap;

impl Engine {
    /// Verifies all that is on the disk; with `repair` makes whole what can be.
    pub async fn system_check(&self, deep: bool, repair: bool) -> Result<CheckReport> {
        let options = CheckOptions { deep, repair };
        let report = self.blocking(move |engine| upkeep::check_images(engine, options)).await?;
        // Whoever makes a container or a volume makes its directory before its row.
        let _creating = self.inner.image_use.write().await;
        self.blocking(move |engine| upkeep::check_directories(engine, repair, report)).await
    }

    /// What this host lacks.
    pub async fn system_doctor(&self) -> Result<DoctorReport> {
        self.blocking(|engine| Ok(crate::doctor::examine(&engine.config()))).await
    }

    /// Clean-up by the configured policy, changed by `options`.
    pub async fn system_clean(
        &self,
        options: BTreeMap<String, String>,
        dry_run: bool,
    ) -> Result<CleanReport> {
        let policy = match &self.inner.config().clean_up {
            Some(configured) if options.is_empty() => configured.clone(),
            _ => CleanPolicy::parse(&options)
                .map_err(|why| Error::Invalid(format!("clean-up policy: {why}")))?,
        };
        if policy.is_empty() {
            return Err(Error::Invalid(
                "there is no clean-up policy: name one in daemon.json (clean-up) or with --policy, for example \
                 --policy unused-for=720h or --policy high-watermark=85%"
                    .to_owned(),
            ));
        }
        self.blocking(move |engine| upkeep::clean(engine, &policy, dry_run)).await
    }
}
