//! The server from outside: raw bytes on sockets, TLS, hijacked connections, panics, shutdown.
use super::*;
use crate::activity::Activity;
use crate::config::{Listen, TlsConfig};
use crate::connection::Call;
use crate::error::ApiError;
use crate::hijack;
use crate::reply::{self, RAW_STREAM};
use crate::routes::Pending;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longest time that any of these may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Endpoints for these tests.
fn test_app() -> App {
    Arc::new(|call: Call| {
        let path = call.path.clone();
        let work: Pending = match path.as_str() {
            "/ok" => Box::pin(async { reply::json(&"ok") }),
            "/panic" => Box::pin(async { panic!("on purpose") }),
            "/same" => Box::pin(async { Err(ApiError::new(knarr_base::ErrorKind::NotModified, "same")) }),
            "/never" => Box::pin(std::future::pending()),
            "/stream" => Box::pin(async {
                let items = futures_util::stream::iter([Ok(bytes::Bytes::from_static(b"first\n"))]);
                let endless = futures_util::StreamExt::chain(items, futures_util::stream::pending());
                Ok(reply::stream(reply::JSON, endless))
            }),
            "/cat" => Box::pin(async { Ok(cat(call)) }),
            _ => return None,
        };
        Some(("test", work))
    })
}

/// Reads all of stdin, then writes it back: right only if each direction closes on its own.
fn cat(call: Call) -> reply::Reply {
    let Call { headers, body, can_hijack, activity, .. } = call;
    hijack::hand_over(
        hijack::Request { headers, body, can_hijack, activity },
        RAW_STREAM,
        |mut client| async move {
            let mut stdin = Vec::new();
            let _ = client.read_to_end(&mut stdin).await;
            let _ = client.write_all(format!("got {}: ", stdin.len()).as_bytes()).await;
            let _ = client.write_all(&stdin).await;
            let _ = client.shutdown().await;
        },
    )
}

struct Running {
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
    activity: Activity,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

async fn start(extra: impl FnOnce(&Path) -> ServerConfig) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("k.sock");
    let mut config = extra(dir.path());
    config.listeners.push(Listen::Unix(socket.clone()));
    config.grace = Duration::from_millis(200);
    let activity = config.activity.clone();
    let shutdown = CancellationToken::new();
    let (ready, is_ready) = oneshot::channel();
    let serving = serve_app(config, test_app(), shutdown.clone(), move || ready.send(()).unwrap());
    let served = tokio::spawn(serving);
    if is_ready.await.is_err() {
        panic!("{:?}", served.await);
    }
    Running { shutdown, served, activity, socket, _dir: dir }
}

async fn start_plain() -> Running {
    start(|_| ServerConfig::default()).await
}

impl Running {
    /// Sends bytes, closes the sending side when `close`, and reads to the end.
    async fn exchange(&self, request: &str, close: bool) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        // A server that refuses need not read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        if close {
            stream.shutdown().await.unwrap();
        }
        let mut reply = Vec::new();
        let reading = stream.read_to_end(&mut reply);
        let _ = tokio::time::timeout(LIMIT, reading).await.unwrap();
        String::from_utf8(reply).unwrap()
    }
    async fn get(&self, path: &str) -> String {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"), false)
            .await
    }
}

#[tokio::test]
async fn replies_carry_the_headers_and_errors_their_message() {
    let server = start_plain().await;
    let ok = server.get("/v1.41/ok").await;
    assert!(ok.starts_with("HTTP/1.1 200 OK\r\n") && ok.ends_with("\r\n\r\n\"ok\"\n"), "{ok}");
    for header in ["Api-Version: 1.55", "Docker-Experimental: false", "Ostype: linux", "Server: Knarr/"] {
        assert!(ok.to_lowercase().contains(&header.to_lowercase()), "{header} in {ok}");
    }
    let missing = server.get("/nope").await;
    assert!(missing.starts_with("HTTP/1.1 404 ") && missing.ends_with("{\"message\":\"page not found\"}\n"));
    let old = server.get("/v1.23/ok").await;
    assert!(old.starts_with("HTTP/1.1 400 ") && old.contains("client version 1.23 is too old"), "{old}");
    let same = server.get("/same").await;
    assert!(same.starts_with("HTTP/1.1 304 ") && same.ends_with("\r\n\r\n"), "{same}");
}

#[tokio::test]
async fn a_panic_is_a_reply_and_the_server_lives() {
    let server = start_plain().await;
    let reply = server.get("/panic").await;
    assert!(reply.starts_with("HTTP/1.1 500 ") && reply.contains("panicked"), "{reply}");
    assert!(server.get("/ok").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(server.activity.open(), 0);
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let server = start_plain().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: d\r\n\r\n", "x".repeat(200 * 1024));
    let reply = server.exchange(&long, false).await;
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 4"), "{reply}");
    assert!(server.exchange("nonsense\r\n\r\n", false).await.starts_with("HTTP/1.1 400 "));
    assert!(server.get("/%zz").await.starts_with("HTTP/1.1 400 "));
    assert!(server.get("/ok?a=%00").await.starts_with("HTTP/1.1 400 "));
    assert!(server.get("/ok").await.starts_with("HTTP/1.1 200 "));
}

const UPGRADE: &str =
    "POST /cat HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn a_hijacked_connection_half_closes_each_way() {
    let server = start_plain().await;
    let mut stream = UnixStream::connect(&server.socket).await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/vnd.docker.raw-stream\r\n"), "{head}");
    assert!(head.to_lowercase().contains("upgrade: tcp\r\n"), "{head}");
    assert_eq!(server.activity.open(), 1);
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, "got 5: hello");
    let mut open = server.activity.watch();
    tokio::time::timeout(LIMIT, open.wait_for(|open| *open == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn bytes_that_come_with_the_request_are_the_first_of_the_stream() {
    let server = start_plain().await;
    let reply = server.exchange(&format!("{UPGRADE}early"), true).await;
    assert!(reply.ends_with("\r\n\r\ngot 5: early"), "{reply}");
}

#[tokio::test]
async fn without_upgrade_the_connection_is_handed_over_just_the_same() {
    let server = start_plain().await;
    let request = "POST /cat HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\nabc";
    let reply = server.exchange(request, true).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\ngot 3: abc"), "{reply}");
    assert!(reply.contains("\r\nContent-Type: application/vnd.docker.raw-stream\r\n"), "{reply}");
    assert!(!reply.to_lowercase().contains("transfer-encoding"), "{reply}");
}

#[tokio::test]
async fn a_client_that_is_still_sending_gets_its_reply() {
    let server = start_plain().await;
    let mut stream = UnixStream::connect(&server.socket).await.unwrap();
    let length = 32 << 20;
    let head =
        format!("POST /nope HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::timeout(LIMIT, stream.write_all(&vec![0; length])).await.unwrap().unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 404 ") && reply.contains("page not found"), "{reply}");
}

#[tokio::test]
async fn items_of_a_stream_leave_at_once() {
    let server = start_plain().await;
    let mut stream = UnixStream::connect(&server.socket).await.unwrap();
    stream.write_all(b"GET /stream HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    let mut seen = String::new();
    while !seen.contains("first\n") {
        let mut chunk = [0; 1024];
        let read = tokio::time::timeout(LIMIT, stream.read(&mut chunk)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{seen}");
        seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    assert_eq!(server.activity.open(), 1);
    drop(stream);
    let mut open = server.activity.watch();
    tokio::time::timeout(LIMIT, open.wait_for(|open| *open == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_cuts_endless_replies() {
    let server = start_plain().await;
    let idle = UnixStream::connect(&server.socket).await.unwrap();
    let mut endless = UnixStream::connect(&server.socket).await.unwrap();
    endless.write_all(b"GET /never HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    let mut open = server.activity.watch();
    tokio::time::timeout(LIMIT, open.wait_for(|open| *open == 1)).await.unwrap().unwrap();
    server.shutdown.cancel();
    tokio::time::timeout(LIMIT, server.served).await.unwrap().unwrap().unwrap();
    assert!(!server.socket.exists());
    drop(idle);
}

/// A certificate authority, a server certificate for loopback, a client certificate, and a stranger's.
struct Keys {
    ca: CertificateDer<'static>,
    client: (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    stranger: (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
}

fn authority() -> (rcgen::Certificate, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (certificate, Issuer::new(params, key))
}

fn issue(issuer: &Issuer<'_, KeyPair>) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "::1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, issuer).unwrap();
    (certificate, key)
}

fn make_keys(dir: &Path) -> (TlsConfig, Keys) {
    let (ca, issuer) = authority();
    let (server, server_key) = issue(&issuer);
    let files = TlsConfig {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
        client_ca: Some(dir.join("ca.pem")),
    };
    std::fs::write(&files.cert, server.pem()).unwrap();
    std::fs::write(&files.key, server_key.serialize_pem()).unwrap();
    std::fs::write(files.client_ca.as_ref().unwrap(), ca.pem()).unwrap();
    let identity = |(certificate, key): (rcgen::Certificate, KeyPair)| {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![certificate.der().clone()], key)
    };
    let keys = Keys {
        ca: ca.der().clone(),
        client: identity(issue(&issuer)),
        stranger: identity(issue(&authority().1)),
    };
    (files, keys)
}

type Identity = Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>;

async fn ask_over_tls(
    address: SocketAddr,
    ca: &CertificateDer<'static>,
    who: Identity,
) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match who {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET /ok HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n").await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

fn free_port(host: &str) -> u16 {
    std::net::TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn tls_lets_in_only_clients_with_our_certificates() {
    let mut keys = None;
    let (v4, v6) = (free_port("127.0.0.1"), free_port("::1"));
    let _server = start(|dir| {
        let (tls, made) = make_keys(dir);
        keys = Some(made);
        let listeners = vec![
            Listen::Tcp { host: "127.0.0.1".to_owned(), port: v4 },
            Listen::Tcp { host: "::1".to_owned(), port: v6 },
        ];
        ServerConfig { tls: Some(tls), listeners, ..ServerConfig::default() }
    })
    .await;
    let keys = keys.unwrap();
    for address in [SocketAddr::from(([127, 0, 0, 1], v4)), SocketAddr::new("::1".parse().unwrap(), v6)] {
        let ask = |who| tokio::time::timeout(LIMIT, ask_over_tls(address, &keys.ca, who));
        let known = Some((keys.client.0.clone(), keys.client.1.clone_key()));
        assert!(ask(known).await.unwrap().unwrap().starts_with("HTTP/1.1 200 "), "{address}");
        let stranger = Some((keys.stranger.0.clone(), keys.stranger.1.clone_key()));
        assert!(ask(stranger).await.unwrap().is_err(), "{address}");
        assert!(ask(None).await.unwrap().is_err(), "{address}");
    }
}

/// Strangers who connect to the TLS port and say nothing take no place of anybody at the unix socket.
#[tokio::test]
async fn silent_strangers_do_not_lock_out_the_unix_socket() {
    let port = free_port("127.0.0.1");
    let server = start(|dir| {
        let (tls, _) = make_keys(dir);
        let listeners = vec![Listen::Tcp { host: "127.0.0.1".to_owned(), port }];
        ServerConfig { tls: Some(tls), listeners, ..ServerConfig::default() }
    })
    .await;
    let mut strangers = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        strangers.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..3 {
        assert!(server.get("/ok").await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn plain_tcp_is_refused_at_start_unless_allowed_on_loopback() {
    let listen = |port| Listen::Tcp { host: "127.0.0.1".to_owned(), port };
    let config = ServerConfig { listeners: vec![listen(0)], ..ServerConfig::default() };
    let refused = serve_app(config, test_app(), CancellationToken::new(), || panic!("listens")).await;
    assert!(refused.unwrap_err().to_string().contains("without mutual TLS"));

    let port = free_port("127.0.0.1");
    let _server = start(|_| ServerConfig {
        listeners: vec![listen(port)],
        allow_plain_loopback: true,
        ..ServerConfig::default()
    })
    .await;
    let ask = async |host: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET /ok HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    assert!(ask("localhost").await.starts_with("HTTP/1.1 200 "));
    assert!(ask("rebound.example").await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn http2_by_prior_knowledge() {
    let server = start_plain().await;
    let stream = UnixStream::connect(&server.socket).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake::<
        _,
        _,
        http_body_util::Empty<bytes::Bytes>,
    >(executor, hyper_util::rt::TokioIo::new(stream))
    .await
    .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://docker/ok").body(http_body_util::Empty::new()).unwrap();
    let reply = tokio::time::timeout(LIMIT, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!((reply.status().as_u16(), reply.version()), (200, http::Version::HTTP_2));
}
