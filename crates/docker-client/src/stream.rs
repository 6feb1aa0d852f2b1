//! One connection to an engine, whatever it runs over.
use crate::CONNECT_TIMEOUT;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::tls::{self, TlsFiles};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

pub enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) async fn connect(endpoint: &Endpoint, tls: Option<&TlsFiles>) -> Result<Self, Error> {
        let failed = |source: io::Error| {
            let host = endpoint.to_string();
            match source.kind() {
                io::ErrorKind::PermissionDenied => Error::PermissionDenied { host, source },
                _ => Error::Connect { host, source },
            }
        };
        match endpoint {
            Endpoint::Unix(path) => UnixStream::connect(path).await.map(Self::Unix).map_err(failed),
            Endpoint::Ssh(remote) => {
                let stream = remote.connect().map_err(failed)?;
                Ok(Self::Unix(UnixStream::from_std(stream).map_err(failed)?))
            }
            Endpoint::Tcp { host, port, tls: secure, .. } => {
                let connecting = TcpStream::connect((host.as_str(), *port));
                let tcp = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
                    .await
                    .map_err(|_| failed(io::Error::from(io::ErrorKind::TimedOut)))?
                    .map_err(failed)?;
                tcp.set_nodelay(true)?;
                if !secure {
                    return Ok(Self::Tcp(tcp));
                }
                let fallback = TlsFiles { ca: None, cert: None, key: None, verify: true, server_name: None };
                let files = tls.unwrap_or(&fallback);
                let connector = tokio_rustls::TlsConnector::from(tls::client_config(files)?);
                let name = tls::server_name(files, host)?;
                let stream = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, tcp))
                    .await
                    .map_err(|_| failed(io::Error::from(io::ErrorKind::TimedOut)))?
                    .map_err(|e| Error::Tls(e.to_string()))?;
                Ok(Self::Tls(Box::new(stream)))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(s) => Pin::new(s).poll_flush(cx),
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
