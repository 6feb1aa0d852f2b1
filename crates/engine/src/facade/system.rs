//! The engine as a whole: information, disk usage, events.
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::system;
use knarr_docker_types::event::Message;
use knarr_docker_types::options::{DiskUsageOf, Events};
use knarr_docker_types::registry::{AuthConfig, AuthResponse};
use knarr_docker_types::system::{DiskUsage, Info, Version};
use tokio::sync::mpsc;

fn pending<T>(what: &str) -> Result<T> {
    Err(Error::NotImplemented(what.to_owned()))
}

impl Engine {
    pub async fn system_info(&self) -> Result<Info> {
        let inner = self.inner.clone();
        self.inner.pool.run(move || system::info(&inner)).await?
    }
    pub async fn system_version(&self) -> Result<Version> {
        Ok(system::version(&self.inner))
    }
    pub async fn system_df(&self, _of: DiskUsageOf) -> Result<DiskUsage> {
        pending("disk usage")
    }
    /// An error when the engine cannot serve.
    pub async fn system_ping(&self) -> Result<()> {
        Ok(())
    }
    pub async fn system_auth(&self, _auth: AuthConfig) -> Result<AuthResponse> {
        pending("auth")
    }
    /// Ends at `until`; without it, when the receiver is dropped.
    pub async fn events(&self, options: Events) -> Result<mpsc::Receiver<Message>> {
        crate::events::stream(&self.inner, &options).await
    }
}
