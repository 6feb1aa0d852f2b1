//! The engine as a whole: information, disk usage, events.
use crate::engine::Engine;
use crate::error::Result;
use crate::system;
use knarr_docker_types::event::Message;
use knarr_docker_types::options::{DiskUsageOf, Events};
use knarr_docker_types::registry::{AuthConfig, AuthResponse};
use knarr_docker_types::system::{DiskUsage, Info, Version};
use tokio::sync::mpsc;

impl Engine {
    pub async fn system_info(&self) -> Result<Info> {
        let inner = self.inner.clone();
        self.inner.pool.run(move || system::info(&inner)).await?
    }
    pub async fn system_version(&self) -> Result<Version> {
        Ok(system::version(&self.inner))
    }
    pub async fn system_df(&self, of: DiskUsageOf) -> Result<DiskUsage> {
        self.blocking(move |engine| crate::disk_usage::usage(engine, of)).await
    }
    /// An error when the engine cannot serve.
    pub async fn system_ping(&self) -> Result<()> {
        Ok(())
    }
    /// Checks credentials with their registry.
    pub async fn system_auth(&self, auth: AuthConfig) -> Result<AuthResponse> {
        let server = auth.server_address.clone();
        let credentials = crate::registry_auth::credentials(Some(auth)).unwrap_or_default();
        let login = self
            .inner
            .images
            .registries()
            .login(&server, credentials)
            .await
            .map_err(knarr_image::Error::from)?;
        Ok(AuthResponse {
            identity_token: login.identity_token.unwrap_or_default(),
            status: "Login Succeeded".to_owned(),
        })
    }
    /// Ends at `until`; without it, when the receiver is dropped.
    pub async fn events(&self, options: Events) -> Result<mpsc::Receiver<Message>> {
        crate::events::stream(&self.inner, &options).await
    }
}
