//! The client as a whole: configuration, and what was learned about servers.
use crate::challenge::Challenge;
use crate::config::RegistryConfig;
use crate::credentials::Credentials;
use crate::endpoint::{self, Endpoint};
use crate::error::Result;
use crate::mirror;
use crate::repository::{Access, Repository};
use crate::tls::HostFiles;
use crate::transport::Transport;
use knarr_oci::reference::Reference;
use reqwest::Url;
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
    transports: Mutex<HashMap<Key, Kept>>,
    /// Servers, by endpoint, that did what they were asked for, and how they ask who one is.
    met: Mutex<HashMap<Url, Vec<Challenge>>>,
}

/// Server, registry that led there, whether certificates are verified.
type Key = (String, String, bool);

/// Connections with the files that they were made with.
#[derive(Debug)]
struct Kept {
    files: HostFiles,
    transport: Transport,
}

impl Client {
    pub fn new(mut config: RegistryConfig) -> Result<Self> {
        config.proxies = config.proxies.or_environment(|name| std::env::var(name).ok());
        // What cannot be meant is an error at the start, not at the first pull.
        config.proxies.check()?;
        mirror::check(&config.prefix_mirrors)?;
        for mirror in &config.mirrors {
            mirror::parse(mirror)?;
        }
        Ok(Self { inner: Arc::new(Inner { config, transports: Mutex::default(), met: Mutex::default() }) })
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
        let (domain, path) = (reference.domain(), reference.path());
        let endpoints = endpoint::endpoints(domain, path, &self.inner.config, access == Access::Pull)?;
        Ok(Repository::new(self.clone(), reference, credentials, access, endpoints))
    }

    /// Connections to an endpoint's server.
    pub(crate) fn transport(&self, endpoint: &Endpoint) -> Result<Transport> {
        self.connect(&endpoint.base, endpoint.base.authority(), endpoint.verify)
    }

    /// Connections to the token server that an endpoint named. The registry's authorities may have signed for it too;
    /// that the registry itself is not verified does not mean that this one is not.
    pub(crate) fn token_transport(&self, endpoint: &Endpoint, realm: &Url) -> Result<Transport> {
        let (own, server) = (endpoint.base.authority(), realm.authority());
        let verify = if own == server { endpoint.verify } else { !self.inner.config.is_insecure(server) };
        self.connect(realm, own, verify)
    }

    /// What a server asked for when it was met, if it was.
    pub(crate) fn met(&self, endpoint: &Endpoint) -> Option<Vec<Challenge>> {
        self.inner.met.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint.base).cloned()
    }

    pub(crate) fn meet(&self, endpoint: &Endpoint, challenges: Vec<Challenge>) {
        let mut met = self.inner.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() >= MAX_TRANSPORTS {
            met.clear();
        }
        met.insert(endpoint.base.clone(), challenges);
    }

    pub(crate) fn forget(&self, endpoint: &Endpoint) {
        self.inner.met.lock().unwrap_or_else(PoisonError::into_inner).remove(&endpoint.base);
    }

    fn connect(&self, base: &Url, registry: &str, verify: bool) -> Result<Transport> {
        let authority = base.authority();
        let mut files = HostFiles::find(&self.inner.config.certs_dirs, authority)?;
        if registry != authority {
            let others = HostFiles::find(&self.inner.config.certs_dirs, registry)?;
            files = files.with_authorities_of(&others);
        }
        let key = (authority.to_owned(), registry.to_owned(), verify);
        let mut transports = self.inner.transports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = transports.get(&key).filter(|kept| kept.files == files) {
            return Ok(kept.transport.clone());
        }
        if transports.len() >= MAX_TRANSPORTS {
            transports.clear();
        }
        let transport = Transport::new(base, verify, &files, &self.inner.config)?;
        transports.insert(key, Kept { files, transport: transport.clone() });
        Ok(transport)
    }
}
