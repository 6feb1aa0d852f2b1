//! TLS on a connection that does not wait, for syslog over `tcp+tls`.
//!
//! Options are those of Docker's `syslog` driver: a certificate authority beside those of the system, a certificate of our
//! own, and no verification at all (`syslog-tls-skip-verify`).
use crate::error::{Error, Result};
use knarr_shim_proto::SyslogTransport;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

pub struct Tls {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    connection: Option<ClientConnection>,
    /// Why the last connection failed.
    pub failure: Option<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Tls {
    pub fn of(transport: &SyslogTransport) -> Result<Option<Self>> {
        let SyslogTransport::Tls { server, ca, cert, key, skip_verify, .. } = transport else {
            return Ok(None);
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(invalid("choose TLS versions"))?;
        let builder = if *skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        } else {
            builder.with_root_certificates(roots(ca.as_deref())?)
        };
        let config = match (cert, key) {
            (Some(cert), Some(key)) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(invalid("read syslog-tls-key"))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, private)
                    .map_err(invalid("use syslog-tls-cert"))?
            }
            _ => builder.with_no_client_auth(),
        };
        let server = ServerName::try_from(server.clone()).map_err(invalid("name of the syslog server"))?;
        Ok(Some(Self { config: Arc::new(config), server, connection: None, failure: None }))
    }

    /// A new connection: everything from the start.
    pub fn begin(&mut self) {
        self.connection = ClientConnection::new(Arc::clone(&self.config), self.server.clone()).ok();
        self.failure = None;
    }

    /// Everything that was taken is on its way.
    pub fn is_flushed(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| !connection.wants_write())
    }

    /// The server is to speak next.
    pub fn waits_for_server(&self) -> bool {
        self.connection.as_ref().is_some_and(|c| !c.wants_write() && c.is_handshaking())
    }

    /// Takes bytes to send, as many as fit; `AGAIN`: not now.
    pub fn write(&mut self, fd: BorrowedFd<'_>, bytes: &[u8]) -> std::result::Result<usize, Errno> {
        let Some(connection) = &mut self.connection else { return Err(Errno::NOTCONN) };
        let mut socket = Socket(fd);
        loop {
            match connection.read_tls(&mut socket) {
                Ok(0) => return Err(Errno::CONNRESET),
                Ok(_) => {
                    if let Err(error) = connection.process_new_packets() {
                        self.failure = Some(error.to_string());
                        // The server learns why.
                        let _ = connection.write_tls(&mut socket);
                        return Err(Errno::PROTO);
                    }
                    // A syslog server has nothing to say.
                    let _ = io::copy(&mut connection.reader(), &mut io::sink());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            }
        }
        flush(connection, &mut socket)?;
        if connection.is_handshaking() {
            return Err(Errno::AGAIN);
        }
        let taken = connection.writer().write(bytes).map_err(|_| Errno::IO)?;
        match flush(connection, &mut socket) {
            // Taken all the same.
            Err(Errno::AGAIN) if taken > 0 => Ok(taken),
            Err(errno) => Err(errno),
            Ok(()) => Ok(taken),
        }
    }
}

fn flush(connection: &mut ClientConnection, socket: &mut Socket<'_>) -> std::result::Result<(), Errno> {
    while connection.wants_write() {
        if let Err(error) = connection.write_tls(socket) {
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
    }
    Ok(())
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca) = ca {
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(invalid("use syslog-tls-ca-cert"))?;
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = "read certificates of syslog";
    let read = CertificateDer::pem_file_iter(path).map_err(invalid(what))?;
    read.collect::<std::result::Result<_, _>>().map_err(invalid(what))
}

fn invalid<E: std::fmt::Display>(action: &'static str) -> impl Fn(E) -> Error {
    move |why| Error::LogTarget { action, why: why.to_string() }
}

struct Socket<'a>(BorrowedFd<'a>);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(count)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Believes any server; asked for by an option.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
