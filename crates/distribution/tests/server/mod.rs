//! A small HTTP/1.1 server on loopback that answers what a test wants, with TLS or without, and a proxy that leads names to it.
#![allow(dead_code, reason = "each test program uses a part of it")]
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub struct Request {
    pub method: String,
    pub path: String,
    headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// The client has shown a certificate.
    pub certified: bool,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), cut: None }
    }
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok("") }
    }
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    pub fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

/// A challenge for a token of a realm.
pub fn bearer(realm: &str) -> String {
    format!("Bearer realm=\"{realm}\",service=\"srv\",scope=\"repository:a/b:pull\"")
}

/// What a handler thinks of a request whose body has not been read.
pub enum Early {
    Read,
    /// Answer now and close the connection, after so many bytes of the body.
    Cut(usize, Reply),
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;
type EarlyHandler = dyn Fn(&Request) -> Early + Send + Sync;

/// One that a test started, until the test program ends.
pub struct Server {
    pub address: String,
    requests: Arc<AtomicUsize>,
    tls: Option<Tls>,
    failure: Arc<Mutex<Option<String>>>,
}

/// Certificates for `*.test` and loopback.
#[derive(Clone)]
pub struct Tls {
    config: Arc<rustls::ServerConfig>,
    certificate: String,
    /// What a client shows, and its key.
    client: (String, String),
}

impl Server {
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(None, |_| Early::Read, handler)
    }

    /// The same with TLS.
    pub fn start_tls(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Some(Tls::new()), |_| Early::Read, handler)
    }

    /// The same that looks at requests before their bodies have come.
    pub fn start_early(
        early: impl Fn(&Request) -> Early + Send + Sync + 'static,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::with(None, early, handler)
    }

    fn with(
        tls: Option<Tls>,
        early: impl Fn(&Request) -> Early + Send + Sync + 'static,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let failure = Arc::new(Mutex::new(None));
        let (count, failed) = (Arc::clone(&requests), Arc::clone(&failure));
        let (early, handler): (Arc<EarlyHandler>, Arc<Handler>) = (Arc::new(early), Arc::new(handler));
        let config = tls.as_ref().map(|tls| Arc::clone(&tls.config));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (early, handler, count) = (Arc::clone(&early), Arc::clone(&handler), Arc::clone(&count));
                let (config, failed) = (config.clone(), Arc::clone(&failed));
                std::thread::spawn(move || {
                    let work =
                        std::panic::AssertUnwindSafe(|| serve(stream, config, &*early, &*handler, &count));
                    if let Err(panic) = std::panic::catch_unwind(work) {
                        let text = panic.downcast_ref::<String>().cloned();
                        *failed.lock().unwrap() =
                            Some(text.unwrap_or_else(|| "a handler's assertion".to_owned()));
                    }
                });
            }
        });
        Self { address, requests, tls, failure }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }

    /// The authority of a server with TLS.
    pub fn certificate(&self) -> &str {
        &self.tls.as_ref().unwrap().certificate
    }

    pub fn client_certificate(&self) -> (&str, &str) {
        let (certificate, key) = &self.tls.as_ref().unwrap().client;
        (certificate, key)
    }
}

/// What a handler asserted in vain fails the test that owns the server.
impl Drop for Server {
    fn drop(&mut self) {
        let failure = self.failure.lock().unwrap().take();
        if let Some(failure) = failure
            && !std::thread::panicking()
        {
            panic!("the server at {}: {failure}", self.address);
        }
    }
}

impl Tls {
    fn new() -> Self {
        let names = ["a.test", "b.test", "localhost", "127.0.0.1"].map(str::to_owned);
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let client = rcgen::generate_simple_self_signed(["client.test".to_owned()]).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(client.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        );
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(vec![own.cert.der().clone()], key.into())
            .unwrap();
        let client = (client.cert.pem(), client.signing_key.serialize_pem());
        Self { config: Arc::new(config), certificate: own.cert.pem(), client }
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    early: &EarlyHandler,
    handler: &Handler,
    count: &AtomicUsize,
) {
    let socket = stream.try_clone().unwrap();
    let mut certified = false;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let mut stream = stream;
            let mut connection = rustls::ServerConnection::new(config).unwrap();
            while connection.is_handshaking() {
                if connection.complete_io(&mut stream).is_err() {
                    return;
                }
            }
            certified = connection.peer_certificates().is_some_and(|chain| !chain.is_empty());
            Box::new(rustls::StreamOwned::new(connection, stream))
        }
    };
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read_head(&mut stream) {
        request.certified = certified;
        count.fetch_add(1, Ordering::SeqCst);
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let (length, reply) = match early(&request) {
            Early::Read => (length, None),
            Early::Cut(length, reply) => (length, Some(reply)),
        };
        request.body = vec![0; length];
        if stream.read_exact(&mut request.body).is_err() {
            return;
        }
        let last = reply.is_some();
        let reply = reply.unwrap_or_else(|| handler(&request));
        let mut head = format!("HTTP/1.1 {} x\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let body = if request.method == "HEAD" { &[] } else { &reply.body[..] };
        let end = reply.cut.unwrap_or(body.len()).min(body.len());
        let writer = stream.get_mut();
        let written = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body[..end]));
        if written.and_then(|()| writer.flush()).is_err() {
            return;
        }
        if reply.cut.is_some() || last {
            let _ = socket.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
    // What was no HTTP is answered as Go's server answers it, and read to its end, so that the answer is not lost.
    let _ = stream.get_mut().write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    let _ = socket.shutdown(std::net::Shutdown::Write);
    let _ = socket.set_read_timeout(Some(std::time::Duration::from_secs(5)));
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

fn read_head(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    // Not HTTP: a client that tries TLS first.
    let mut words = line.split_whitespace();
    let (method, path, version) = (words.next()?.to_owned(), words.next()?.to_owned(), words.next()?);
    if !version.starts_with("HTTP/") {
        return None;
    }
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers, body: Vec::new(), certified: false })
}

/// A proxy for TLS (`CONNECT`) that leads every name to loopback, with the port that was asked for.
pub struct Proxy {
    pub address: String,
    /// First lines of the requests, with what they prove themselves by.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || tunnel(stream, &all));
            }
        });
        Self { address, seen }
    }

    /// The same that speaks SOCKS5 (RFC 1928), without a password.
    pub fn start_socks() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || socks(stream, &all));
            }
        });
        Self { address, seen }
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn socks(mut stream: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    stream.read_exact(&mut vec![0; usize::from(head[1])]).ok()?;
    stream.write_all(&[5, 0]).ok()?;
    let mut request = [0; 5];
    stream.read_exact(&mut request).ok()?;
    assert_eq!(request[..4], [5, 1, 0, 3], "a connection to a name");
    let mut name = vec![0; usize::from(request[4])];
    let mut port = [0; 2];
    stream.read_exact(&mut name).and_then(|()| stream.read_exact(&mut port)).ok()?;
    let port = u16::from_be_bytes(port);
    seen.lock().unwrap().push(format!("SOCKS {}:{port}", String::from_utf8_lossy(&name)));
    let server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    let reader = BufReader::new(stream.try_clone().ok()?);
    join(reader, stream, server)
}

/// Bytes in both directions until both have ended.
fn join(mut reader: BufReader<TcpStream>, mut stream: TcpStream, mut server: TcpStream) -> Option<()> {
    let mut up = server.try_clone().ok()?;
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut reader, &mut up);
        let _ = up.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut stream);
    let _ = stream.shutdown(std::net::Shutdown::Both);
    Some(())
}

fn tunnel(mut stream: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let request = read_head(&mut reader)?;
    let proof = request.header("proxy-authorization").unwrap_or_default();
    seen.lock().unwrap().push(format!("{} {} {proof}", request.method, request.path).trim_end().to_owned());
    let port = request.path.rsplit(':').next()?;
    if request.method != "CONNECT" {
        return stream.write_all(b"HTTP/1.1 502 x\r\nContent-Length: 0\r\n\r\n").ok();
    }
    let server = TcpStream::connect(format!("127.0.0.1:{port}")).ok()?;
    stream.write_all(b"HTTP/1.1 200 x\r\n\r\n").ok()?;
    join(reader, stream, server)
}
