//! Whom to trust: the system's authorities, or Mozilla's where the system has none, and those of `certs.d`.
//!
//! Standard: Docker's `/etc/docker/certs.d/<host>/`: `*.crt` are authorities, `<name>.cert` with `<name>.key` the client's
//! own certificate.
use crate::error::{Error, Result};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// Most files of one host's directory that are read.
const MAX_FILES: usize = 64;

/// The files of one host, with the times of their last changes: when they differ, connections are made anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFiles(Vec<(PathBuf, Option<SystemTime>)>);

impl HostFiles {
    /// Looks into `<directory>/<authority>` of each directory.
    pub fn find(directories: &[PathBuf], authority: &str) -> Result<Self> {
        let mut found = Vec::new();
        for directory in directories.iter().filter(|_| is_plain_name(authority)) {
            for file in list(&directory.join(authority))? {
                let changed = std::fs::metadata(&file).and_then(|meta| meta.modified()).ok();
                found.push((file, changed));
            }
        }
        Ok(Self(found))
    }

    /// Both hosts' authorities, and the second one's own certificate.
    pub fn with_authorities_of(mut self, other: &Self) -> Self {
        let authorities = other.0.iter().filter(|(file, _)| has_extension(file, "crt"));
        self.0.extend(authorities.cloned());
        self
    }

    /// Without what proves who we are.
    pub fn authorities(&self) -> Self {
        Self::default().with_authorities_of(self)
    }

    pub fn has_identity(&self) -> bool {
        self.with_extension("cert").next().is_some()
    }

    fn with_extension(&self, extension: &str) -> impl Iterator<Item = &Path> {
        let extension = extension.to_owned();
        self.0.iter().map(|(file, _)| file.as_path()).filter(move |file| has_extension(file, &extension))
    }
}

/// What one connection trusts and shows.
pub fn config(files: &HostFiles, verify: bool) -> Result<(ClientConfig, Arc<NoIdentity>)> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config(error.to_string()))?;
    let builder = if verify {
        builder.with_root_certificates(roots(files)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    };
    let nobody = Arc::new(NoIdentity::default());
    let mut config = match identity(files)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| Error::Config(format!("client certificate: {error}")))?,
        None => builder.with_client_cert_resolver(Arc::clone(&nobody) as Arc<dyn ResolvesClientCert>),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, nobody))
}

fn roots(files: &HostFiles) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for file in files.with_extension("crt") {
        for certificate in chain(file)? {
            roots.add(certificate).map_err(|error| bad(file, &error))?;
        }
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(files: &HostFiles) -> Result<Option<Identity>> {
    for key in files.with_extension("key") {
        let certificate = key.with_extension("cert");
        if !certificate.exists() {
            let (key, certificate) = (key.display(), certificate.display());
            return Err(Error::Config(format!("missing client certificate {certificate} for key {key}")));
        }
    }
    let Some(certificate) = files.with_extension("cert").next() else { return Ok(None) };
    let key = certificate.with_extension("key");
    if !key.exists() {
        return Err(Error::Config(format!(
            "missing key {} for client certificate {}. CA certificates must use the extension .crt",
            key.display(),
            certificate.display()
        )));
    }
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| bad(&key, &error))?;
    Ok(Some((chain(certificate)?, key)))
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| bad(file, &error))?;
    certificates.collect::<std::result::Result<_, _>>().map_err(|error| bad(file, &error))
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => {
            let mut files: Vec<PathBuf> =
                entries.filter_map(|entry| Some(entry.ok()?.path())).take(MAX_FILES).collect();
            files.sort();
            Ok(files)
        }
        // A user's client may not be allowed to look where the engine is.
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(bad(directory, &error)),
    }
}

/// Usable as the name of a directory.
fn is_plain_name(authority: &str) -> bool {
    !authority.is_empty() && !authority.starts_with('.') && !authority.contains('/')
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}

fn bad(file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Config(format!("{}: {error}", file.display()))
}

/// Has no certificate to show, and remembers whether one was asked for: what a server that wants one says about it comes
/// after the handshake, and is lost between the layers.
#[derive(Debug, Default)]
pub struct NoIdentity(AtomicBool);

impl NoIdentity {
    pub fn was_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for NoIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// For registries that the configuration names as insecure: encrypted, but with anybody.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
