//! The client as a whole: configuration, and what was learned about servers.
use crate::config::RegistryConfig;
use crate::credentials::Credentials;
use crate::endpoint::{self, Endpoint};
use crate::error::Result;
use crate::repository::{Access, Repository};
use crate::transport::Transport;
use knarr_oci::reference::Reference;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most servers whose connections are kept.
const MAX_TRANSPORTS: usize = 256;

/// Talks to registries. Copies share connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RegistryConfig,
    transports: Mutex<HashMap<(String, bool), Transport>>,
}

impl Client {
    pub fn new(config: RegistryConfig) -> Result<Self> {
        // A bad mirror is an error at the start, not at the first pull.
        endpoint::endpoints(knarr_oci::reference::DEFAULT_DOMAIN, &config, true)?;
        Ok(Self { inner: Arc::new(Inner { config, transports: Mutex::default() }) })
    }

    pub fn config(&self) -> &RegistryConfig {
        &self.inner.config
    }

    /// A repository; nothing is sent yet.
    pub fn repository(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
        access: Access,
    ) -> Result<Repository> {
        let endpoints = endpoint::endpoints(reference.domain(), &self.inner.config, access == Access::Pull)?;
        Ok(Repository::new(self.clone(), reference, credentials, access, endpoints))
    }

    /// Connections to an endpoint's server.
    pub(crate) fn transport(&self, endpoint: &Endpoint) -> Result<Transport> {
        let key = (endpoint.base.authority().to_owned(), endpoint.verify);
        let mut transports = self.inner.transports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(transport) = transports.get(&key) {
            return Ok(transport.clone());
        }
        if transports.len() >= MAX_TRANSPORTS {
            transports.clear();
        }
        let transport = Transport::new(&endpoint.base, endpoint.verify, &self.inner.config)?;
        transports.insert(key, transport.clone());
        Ok(transport)
    }
}
