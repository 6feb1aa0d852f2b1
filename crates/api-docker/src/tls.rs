//! TLS of TCP listeners: the server's certificate, and the authority whose certificates clients must show.
use crate::config::TlsConfig;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why keys could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {what} {path}: {reason}")]
    Read { what: &'static str, path: PathBuf, reason: String },
    #[error("no certificate in {0}")]
    Empty(PathBuf),
    #[error("TLS configuration: {0}")]
    Config(String),
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let error = |reason: rustls_pki_types::pem::Error| Error::Read {
        what,
        path: path.into(),
        reason: reason.to_string(),
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(error)?.collect();
    let found = found.map_err(error)?;
    if found.is_empty() { Err(Error::Empty(path.into())) } else { Ok(found) }
}

/// The configuration of all TCP listeners.
pub fn server_config(config: &TlsConfig) -> Result<Arc<rustls::ServerConfig>, Error> {
    let chain = certificates("certificate", &config.cert)?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|reason| Error::Read {
        what: "key",
        path: config.key.clone(),
        reason: reason.to_string(),
    })?;
    let failed = |error: &dyn std::fmt::Display| Error::Config(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let builder = match &config.client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("CA certificate", path)? {
                roots.add(certificate).map_err(|error| failed(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| failed(&error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| failed(&error))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}
