//! Whom credentials are sent to, and whom never: each test here is an attack that some client fell for.
mod server;

use knarr_content::{Content, Lease};
use knarr_distribution::{
    Access, Client, Credentials, Error, Proxies, RegistryConfig, Repository, Search, Select,
};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, media_type};
use knarr_oci::reference::Reference;
use server::{Proxy, Reply, Request, Server, bearer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const BASIC: &str = "Basic bWU6cHc=";

fn me() -> Option<Credentials> {
    Some(Credentials::basic("me", "pw"))
}

fn at(server: &Server, access: Access) -> Repository {
    let name = Reference::parse(&format!("{}/a/b:v1", server.address)).unwrap();
    Client::new(RegistryConfig::default()).unwrap().repository(&name, me(), access).unwrap()
}

fn content(dir: &Path) -> (Content, Arc<Lease>) {
    let content = Content::open(dir).unwrap();
    let lease = Arc::new(content.lease());
    (content, lease)
}

fn blob_of(bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type::OCI_LAYER, Digest::sha256(bytes), bytes.len() as u64)
}

/// A server that nobody may show any secret. Asks for a password, and for a token of itself.
fn stranger() -> Server {
    Server::start(|request: &Request| {
        assert_eq!(request.header("authorization"), None, "credentials went to a stranger");
        assert!(!request.path.contains("account=me"), "the user's name went to a stranger");
        let realm = format!("http://{}/token", request.header("host").unwrap());
        let reply = Reply::status(401).header("WWW-Authenticate", &bearer(&realm));
        reply.header("WWW-Authenticate", "Basic realm=\"x\"")
    })
}

/// CVE-2020-15157: a blob lies elsewhere, and that server asks who we are. Its challenge is not answered.
#[tokio::test]
async fn a_redirect_to_a_server_that_asks_gets_nothing() {
    let other = stranger();
    let elsewhere = other.address.clone();
    let server = Server::start(move |request: &Request| match request.header("authorization") {
        None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        Some(_) => Reply::status(307).header("Location", &format!("http://{elsewhere}/blob")),
    });
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    let source = at(&server, Access::Pull);
    let error = source.fetch_blob(&blob_of(b"x"), &store, &lease, &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
    assert_eq!(other.requests(), 1);
    assert!(source.manifest(Select::Tag("v1")).await.is_err());
    assert_eq!(other.requests(), 2);
}

/// CVE-2020-15157, its other way: a layer that says where it is to be fetched from. Nothing is.
#[tokio::test]
async fn urls_of_layers_are_not_followed() {
    let other = stranger();
    let text = format!(
        r#"{{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":1,"digest":"{}",
            "urls":["http://{}/layer"]}}"#,
        Digest::sha256(b"x"),
        other.address
    );
    let blob: Descriptor = serde_json::from_str(&text).unwrap();
    let server = Server::start(
        |request: &Request| {
            if request.path == "/v2/" { Reply::ok("{}") } else { Reply::status(404) }
        },
    );
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    assert!(at(&server, Access::Pull).fetch_blob(&blob, &store, &lease, &|_, _| {}).await.is_err());
    assert_eq!(other.requests(), 0);
}

/// The first answer comes from elsewhere already: what is asked for there is not what this registry asks for.
#[tokio::test]
async fn a_redirect_of_the_first_question_decides_nothing() {
    let other = stranger();
    let elsewhere = other.address.clone();
    let server = Server::start(move |request: &Request| {
        assert_eq!(request.header("authorization"), None);
        if request.path == "/v2/" {
            return Reply::status(302).header("Location", &format!("http://{elsewhere}/v2/"));
        }
        Reply::ok(r#"{"schemaVersion":2}"#)
    });
    at(&server, Access::Pull).manifest(Select::Tag("v1")).await.unwrap();
    let client = Client::new(RegistryConfig::default()).unwrap();
    assert!(client.login(&server.address, me().unwrap()).await.is_err());
    assert!(other.requests() >= 2);
}

/// Uploads may lie elsewhere (signed addresses): without credentials, even when asked for them.
#[tokio::test]
async fn an_upload_elsewhere_gets_nothing() {
    let other = stranger();
    let elsewhere = other.address.clone();
    let server =
        Server::start(move |request: &Request| match (&*request.method, request.header("authorization")) {
            (_, None) => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
            ("POST", _) => Reply::status(202).header("Location", &format!("http://{elsewhere}/upload?sig=1")),
            ("HEAD", _) => Reply::status(404),
            _ => Reply::ok("{}"),
        });
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    let bytes = b"layer".to_vec();
    store.put(&lease, &bytes).unwrap();
    let error =
        at(&server, Access::Push).push_blob(&blob_of(&bytes), &store, &[], &|_, _| {}).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
    assert_eq!(other.requests(), 1);
}

/// CVE-2021-41092: what is for one registry goes to no other, whatever the names look like.
#[tokio::test]
async fn credentials_are_for_their_registry_alone() {
    let other = stranger();
    let name = Reference::parse(&format!("{}/a/b:v1", other.address)).unwrap();
    let client = Client::new(RegistryConfig::default()).unwrap();
    let source = client.repository(&name, None, Access::Pull).unwrap();
    assert!(source.manifest(Select::Tag("v1")).await.is_err());
    assert!(other.requests() > 0);
    // Beside each other in one client: neither sees what is the other's.
    let server = Server::start(|request: &Request| match request.header("authorization") {
        None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        Some(BASIC) => Reply::ok(r#"{"schemaVersion":2}"#),
        Some(found) => panic!("{found}"),
    });
    let own = Reference::parse(&format!("{}/a/b:v1", server.address)).unwrap();
    let own = client.repository(&own, me(), Access::Pull).unwrap();
    own.manifest(Select::Tag("v1")).await.unwrap();
    assert!(source.manifest(Select::Tag("v1")).await.is_err());
    own.manifest(Select::Tag("v1")).await.unwrap();
}

/// A mirror of any registry is somebody else: it gets no credentials, and its tokens are anonymous.
#[tokio::test]
async fn mirrors_of_prefixes_get_no_credentials() {
    let other = stranger();
    let server = Server::start(|request: &Request| match request.header("authorization") {
        None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        Some(BASIC) => {
            assert!(
                request.path == "/v2/" || request.path == "/v2/team/app/manifests/v1",
                "{}",
                request.path
            );
            Reply::ok(r#"{"schemaVersion":2}"#)
        }
        Some(found) => panic!("{found}"),
    });
    let mirrors = vec![format!("http://{}/cache", other.address)];
    let prefix_mirrors = [(format!("{}/team", server.address), mirrors)].into();
    let client = Client::new(RegistryConfig { prefix_mirrors, ..RegistryConfig::default() }).unwrap();
    let name = Reference::parse(&format!("{}/team/app:v1", server.address)).unwrap();
    client.repository(&name, me(), Access::Pull).unwrap().manifest(Select::Tag("v1")).await.unwrap();
    // The mirror was asked, and its own token server; then the registry itself.
    assert!(other.requests() >= 2, "{}", other.requests());
}

/// A registry with TLS that has to prove itself: its name is known to a proxy alone.
fn verified(server: &Server, certs: &Path, proxy: &Proxy, with_identity: bool) -> Repository {
    let host = format!("a.test:{}", server.port());
    let dir = certs.join(&host);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("ca.crt"), server.certificate()).unwrap();
    if with_identity {
        let (certificate, key) = server.client_certificate();
        std::fs::write(dir.join("client.cert"), certificate).unwrap();
        std::fs::write(dir.join("client.key"), key).unwrap();
    }
    let proxies = Proxies { https: format!("http://{}", proxy.address), ..Proxies::default() };
    let config = RegistryConfig {
        certs_dirs: vec![certs.join("none"), certs.to_owned()],
        proxies,
        ..RegistryConfig::default()
    };
    let name = Reference::parse(&format!("{host}/a/b:v1")).unwrap();
    Client::new(config).unwrap().repository(&name, me(), Access::Push).unwrap()
}

/// A token server may be another host, but not over a connection that is less safe than the registry's.
#[tokio::test]
async fn token_servers_are_as_safe_as_their_registry() {
    let tokens = Server::start(|request: &Request| {
        assert_eq!(request.header("authorization"), Some(BASIC));
        Reply::ok(r#"{"token":"t"}"#)
    });
    let realm = format!("http://{}/token", tokens.address);
    let plain = Server::start(move |request: &Request| match request.header("authorization") {
        Some("Bearer t") => Reply::ok(r#"{"schemaVersion":2}"#),
        None => Reply::status(401).header("WWW-Authenticate", &bearer(&realm)),
        Some(found) => panic!("{found}"),
    });
    at(&plain, Access::Pull).manifest(Select::Tag("v1")).await.unwrap();
    assert_eq!(tokens.requests(), 1);
    // The same from registries with TLS, one that proves itself and one that need not: nothing is sent.
    let realm = format!("http://{}/token", tokens.address);
    let safe = Server::start_tls(move |request: &Request| {
        assert_eq!(request.header("authorization"), None);
        Reply::status(401).header("WWW-Authenticate", &bearer(&realm))
    });
    let (certs, proxy) = (tempfile::tempdir().unwrap(), Proxy::start());
    for source in [verified(&safe, certs.path(), &proxy, false), at(&safe, Access::Pull)] {
        let error = source.manifest(Select::Tag("v1")).await.unwrap_err();
        assert!(error.to_string().contains("token server at http://"), "{error}");
    }
    assert_eq!(tokens.requests(), 1);
}

/// That a registry need not prove itself does not mean that the token server it names need not.
#[tokio::test]
async fn token_servers_prove_themselves() {
    let tokens = Server::start_tls(|_: &Request| panic!("somebody else has the password"));
    let realm = format!("https://b.test:{}/token", tokens.port());
    let server = Server::start(move |request: &Request| {
        assert_eq!(request.header("authorization"), None);
        Reply::status(401).header("WWW-Authenticate", &bearer(&realm))
    });
    let proxy = Proxy::start();
    let proxies = Proxies { https: proxy.address.clone(), ..Proxies::default() };
    let client = Client::new(RegistryConfig { proxies, ..RegistryConfig::default() }).unwrap();
    let name = Reference::parse(&format!("{}/a/b:v1", server.address)).unwrap();
    let source = client.repository(&name, me(), Access::Pull).unwrap();
    assert!(source.manifest(Select::Tag("v1")).await.is_err());
    assert!(proxy.seen().iter().any(|line| line.contains("b.test")), "{:?}", proxy.seen());
    assert_eq!(tokens.requests(), 0);
}

/// A redirect, or an upload's place, that leaves TLS.
#[tokio::test]
async fn nothing_leaves_tls_of_a_verified_server() {
    let other = stranger();
    let place = format!("http://{}/x", other.address);
    let safe = Server::start_tls(move |request: &Request| match &*request.method {
        _ if request.path == "/v2/" => Reply::ok("{}"),
        "POST" => Reply::status(202).header("Location", &place),
        "HEAD" => Reply::status(404),
        _ => Reply::status(307).header("Location", &place),
    });
    let (certs, proxy) = (tempfile::tempdir().unwrap(), Proxy::start());
    let target = verified(&safe, certs.path(), &proxy, false);
    let error = target.manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(error.to_string().contains("redirect to http"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    store.put(&lease, b"layer").unwrap();
    let error = target.push_blob(&blob_of(b"layer"), &store, &[], &|_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("no usable location"), "{error}");
    assert_eq!(other.requests(), 0);
    // Without its authority the server is nobody.
    std::fs::remove_dir_all(certs.path()).unwrap();
    let before = safe.requests();
    let empty = tempfile::tempdir().unwrap();
    let nobody = verified(&safe, empty.path(), &proxy, false);
    std::fs::remove_dir_all(empty.path()).unwrap();
    let error = nobody.manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(error.to_string().ends_with("x509: certificate signed by unknown authority"), "{error}");
    assert_eq!(safe.requests(), before);
    // One that speaks plainly where TLS is due hears nothing of us.
    let plain = stranger();
    let proxies = Proxies { https: proxy.address.clone(), ..Proxies::default() };
    let client = Client::new(RegistryConfig { proxies, ..RegistryConfig::default() }).unwrap();
    let name = Reference::parse(&format!("a.test:{}/a/b:v1", plain.port())).unwrap();
    let source = client.repository(&name, me(), Access::Pull).unwrap();
    let error = source.manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(error.to_string().ends_with("http: server gave HTTP response to HTTPS client"), "{error}");
    assert_eq!(plain.requests(), 0);
}

/// A client's certificate is shown to the server that it is for, and not to one that this server leads to.
#[tokio::test]
async fn a_client_certificate_is_for_one_server() {
    let other = Server::start_tls(|request: &Request| {
        assert!(!request.certified, "the certificate went to a stranger");
        Reply::ok(r#"{"schemaVersion":2}"#)
    });
    let place = format!("https://b.test:{}/x", other.port());
    let server = Server::start_tls(move |request: &Request| {
        assert!(request.certified);
        if request.path == "/v2/" { Reply::ok("{}") } else { Reply::status(307).header("Location", &place) }
    });
    let (certs, proxy) = (tempfile::tempdir().unwrap(), Proxy::start());
    let source = verified(&server, certs.path(), &proxy, true);
    // As in Docker, the registry's authorities count for where it leads to.
    let own = certs.path().join(format!("a.test:{}", server.port()));
    std::fs::write(own.join("other.crt"), other.certificate()).unwrap();
    source.manifest(Select::Tag("v1")).await.unwrap();
    assert_eq!(other.requests(), 1);
    // A certificate without its key is told in Docker's words.
    std::fs::remove_file(own.join("client.key")).unwrap();
    let name = Reference::parse(&format!("a.test:{}/a/b:v1", server.port())).unwrap();
    let config = RegistryConfig { certs_dirs: vec![certs.path().to_owned()], ..RegistryConfig::default() };
    let source = Client::new(config).unwrap().repository(&name, None, Access::Pull).unwrap();
    let error = source.manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(error.to_string().contains("CA certificates must use the extension .crt"), "{error}");
}

/// A proxy's password goes to the proxy; the registry's does not.
#[tokio::test]
async fn proxies_get_their_own_credentials() {
    let server = Server::start_tls(|request: &Request| {
        assert_eq!(request.header("proxy-authorization"), None);
        match request.header("authorization") {
            None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
            Some(BASIC) => Reply::ok(r#"{"schemaVersion":2}"#),
            Some(found) => panic!("{found}"),
        }
    });
    let proxy = Proxy::start();
    let dir = tempfile::tempdir().unwrap();
    let host = format!("a.test:{}", server.port());
    std::fs::create_dir(dir.path().join(&host)).unwrap();
    std::fs::write(dir.path().join(&host).join("ca.crt"), server.certificate()).unwrap();
    let proxies = Proxies { https: format!("http://you:word@{}", proxy.address), ..Proxies::default() };
    let certs_dirs = vec![dir.path().to_owned()];
    let config = RegistryConfig { proxies, certs_dirs, ..RegistryConfig::default() };
    assert!(!format!("{config:?}").contains("word"));
    let name = Reference::parse(&format!("{host}/a/b:v1")).unwrap();
    let source = Client::new(config).unwrap().repository(&name, me(), Access::Pull).unwrap();
    source.manifest(Select::Tag("v1")).await.unwrap();
    let seen = proxy.seen();
    assert!(
        !seen.is_empty() && seen.iter().all(|line| line == &format!("CONNECT {host} Basic eW91OndvcmQ=")),
        "{seen:?}"
    );
}

/// The same through SOCKS: names are the proxy's to resolve.
#[tokio::test]
async fn a_socks_proxy_leads_to_registries() {
    let server = Server::start_tls(|_: &Request| Reply::ok(r#"{"schemaVersion":2}"#));
    let proxy = Proxy::start_socks();
    let host = format!("a.test:{}", server.port());
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(&host)).unwrap();
    std::fs::write(dir.path().join(&host).join("ca.crt"), server.certificate()).unwrap();
    for scheme in ["socks5", "socks5h"] {
        let proxies = Proxies { https: format!("{scheme}://{}", proxy.address), ..Proxies::default() };
        let certs_dirs = vec![dir.path().to_owned()];
        let config = RegistryConfig { proxies, certs_dirs, ..RegistryConfig::default() };
        let name = Reference::parse(&format!("{host}/a/b:v1")).unwrap();
        let source = Client::new(config).unwrap().repository(&name, None, Access::Pull).unwrap();
        source.manifest(Select::Tag("v1")).await.unwrap();
    }
    assert!(proxy.seen().len() >= 2 && proxy.seen().iter().all(|line| *line == format!("SOCKS {host}")));
}

/// Digests and names come from untrusted documents: none becomes another path of a request (CVE-2024-3727).
#[test]
fn digests_hold_no_other_characters() {
    for text in [
        "sha256:../../../../etc/passwd",
        "sha256:0000000000000000000000000000000000000000000000000000000000000000/../x",
        "../sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "sha256/x:0000000000000000000000000000000000000000000000000000000000000000",
        "sha256:000000000000000000000000000000000000000000000000000000000000000%2f",
        "sha256:00000000000000000000000000000000000000000000000000000000000000?0",
        "sha256:\n000000000000000000000000000000000000000000000000000000000000000",
    ] {
        assert!(Digest::parse(text).is_err(), "{text}");
        let descriptor = format!(r#"{{"mediaType":"x","size":1,"digest":{text:?}}}"#);
        assert!(serde_json::from_str::<Descriptor>(&descriptor).is_err(), "{text}");
    }
}

/// Answers and errors are shown and logged: no password, token, or signed address is in them.
#[tokio::test]
async fn errors_hold_no_secret() {
    let server = Server::start(|request: &Request| match request.header("authorization") {
        None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        Some(_) if request.path == "/v2/" => Reply::ok("{}"),
        Some(_) if request.path.contains("secret") => Reply::status(403),
        Some(_) => Reply::status(307).header("Location", "/place?signature=secret"),
    });
    let error = at(&server, Access::Pull).manifest(Select::Tag("v1")).await.unwrap_err();
    let shown = format!("{error} {error:?} {:?}", me());
    for secret in ["secret", "pw", "bWU6cHc="] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// The search of a registry: the password goes to it and not along.
#[tokio::test]
async fn a_search_takes_its_password_nowhere_else() {
    let other = stranger();
    let elsewhere = other.address.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Server::start(move |request: &Request| {
        assert_eq!(request.header("authorization"), Some(BASIC));
        if count.fetch_add(1, Ordering::SeqCst) > 0 {
            return Reply::status(302).header("Location", &format!("http://{elsewhere}/v1/search"));
        }
        assert_eq!(request.path, "/v1/search?q=two+words&n=3");
        let row =
            r#"{"name":"team/app","description":null,"star_count":7,"is_official":true,"is_automated":true}"#;
        Reply::ok(format!(r#"{{"num_results":1,"results":[{row},{row},{row},{row}]}}"#))
    });
    let client = Client::new(RegistryConfig::default()).unwrap();
    let search = Search { term: format!("{}/two words", server.address), limit: 3, credentials: me() };
    let found = client.search(&search).await.unwrap();
    assert_eq!(
        (found.len(), &*found[0].name, found[0].star_count, found[0].is_official),
        (3, "team/app", 7, true)
    );
    assert!(client.search(&search).await.is_err());
    assert_eq!(other.requests(), 1);
    for limit in [101, u32::MAX] {
        let search = Search { limit, ..search.clone() };
        assert!(matches!(client.search(&search).await, Err(Error::Invalid(_))));
    }
}
