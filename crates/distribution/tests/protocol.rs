//! What real registries do now and then: tokens, redirects, broken connections, mirrors, nonsense.
mod server;

use knarr_content::{Content, Lease};
use knarr_distribution::{Access, Client, Credentials, Error, RegistryConfig, Repository, Select};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, media_type};
use knarr_oci::reference::Reference;
use server::{Reply, Request, Server};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn client(config: RegistryConfig) -> Client {
    Client::new(config).unwrap()
}

fn repository(server: &Server, credentials: Option<Credentials>) -> Repository {
    let name = Reference::parse(&format!("{}/a/b:v1", server.address)).unwrap();
    client(RegistryConfig::default()).repository(&name, credentials, Access::Pull).unwrap()
}

fn content(dir: &Path) -> (Content, Arc<Lease>) {
    let content = Content::open(dir).unwrap();
    let lease = Arc::new(content.lease());
    (content, lease)
}

fn document() -> Vec<u8> {
    br#"{"schemaVersion":2}"#.to_vec()
}

#[tokio::test]
async fn tokens_are_fetched_kept_and_renewed() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tokens);
    let server = Server::start(move |request: &Request| {
        if request.path.starts_with("/token") {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            assert_eq!(request.method, "GET");
            assert!(
                request.path.contains("service=srv") && request.path.contains("account=me"),
                "{}",
                request.path
            );
            assert!(request.path.contains("scope=repository%3Aa%2Fb%3Apull"), "{}", request.path);
            assert_eq!(request.header("authorization"), Some("Basic bWU6cHc="));
            return Reply::ok(format!("{{\"token\":\"t{number}\",\"expires_in\":300}}"));
        }
        let realm = format!("http://{}/token", request.header("host").unwrap());
        // The first token is good for one manifest only.
        let good = match request.header("authorization") {
            Some("Bearer t1") => request.path.ends_with("v1"),
            Some("Bearer t2") => true,
            _ => false,
        };
        if good {
            Reply::ok(document())
        } else {
            let challenge = format!("Bearer realm=\"{realm}\",service=\"srv\",scope=\"repository:a/b:pull\"");
            Reply::status(401).header("WWW-Authenticate", &challenge)
        }
    });
    let source = repository(&server, Some(Credentials::basic("me", "pw")));
    source.manifest(Select::Tag("v1")).await.unwrap();
    source.manifest(Select::Tag("v1")).await.unwrap();
    assert_eq!(tokens.load(Ordering::SeqCst), 1);
    source.manifest(Select::Tag("v2")).await.unwrap();
    source.manifest(Select::Tag("v1")).await.unwrap();
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_identity_token_is_posted() {
    let server = Server::start(|request: &Request| {
        if request.path == "/token" {
            assert_eq!(request.method, "POST");
            let body = String::from_utf8(request.body.clone()).unwrap();
            for part in
                ["grant_type=refresh_token", "refresh_token=id%2Ftoken", "service=srv", "client_id=knarr"]
            {
                assert!(body.contains(part), "{body}");
            }
            assert_eq!(request.header("authorization"), None);
            return Reply::ok(r#"{"access_token":"t","refresh_token":"new"}"#);
        }
        if request.header("authorization") == Some("Bearer t") {
            return Reply::ok(document());
        }
        let challenge =
            format!("Bearer realm=\"http://{}/token\",service=\"srv\"", request.header("host").unwrap());
        Reply::status(401).header("WWW-Authenticate", &challenge)
    });
    let identity = Credentials { identity_token: "id/token".to_owned(), ..Credentials::basic("me", "") };
    repository(&server, Some(identity)).manifest(Select::Tag("v1")).await.unwrap();
}

#[tokio::test]
async fn credentials_do_not_follow_redirects_to_others() {
    let bytes = b"layer bytes".to_vec();
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(&bytes), bytes.len() as u64);
    let storage = Server::start(move |request: &Request| {
        assert_eq!(request.header("authorization"), None, "credentials went to another host");
        Reply::ok(bytes.clone())
    });
    let elsewhere = storage.address.clone();
    let server = Server::start(move |request: &Request| match request.header("authorization") {
        None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        Some(_) => Reply::status(307).header("Location", &format!("http://{elsewhere}/signed?key=1")),
    });
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    let source = repository(&server, Some(Credentials::basic("me", "pw")));
    source.fetch_blob(&blob, &store, &lease, &|_, _| {}).await.unwrap();
    assert_eq!(storage.requests(), 1);
}

#[tokio::test]
async fn a_token_server_without_tls_is_not_for_one_with() {
    // The same rule as for redirects, seen from the only side that loopback allows: nothing is sent to odd schemes.
    let server = Server::start(|_: &Request| {
        Reply::status(401).header("WWW-Authenticate", "Bearer realm=\"ftp://127.0.0.1/token\"")
    });
    let source = repository(&server, Some(Credentials::basic("me", "pw")));
    let error = source.manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(error.to_string().contains("token server at ftp://"), "{error}");
}

#[tokio::test]
async fn broken_transfers_go_on_where_they_were() {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(&bytes), bytes.len() as u64);
    let served = bytes.clone();
    let offsets = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&offsets);
    let server = Server::start(move |request: &Request| {
        if !request.path.contains("/blobs/") {
            return Reply::ok("");
        }
        let offset = request.header("range").map_or(0, |range| {
            range.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse::<usize>().unwrap()
        });
        seen.lock().unwrap().push(offset);
        let total = served.len();
        let reply =
            Reply { status: if offset > 0 { 206 } else { 200 }, ..Reply::ok(served[offset..].to_vec()) };
        let reply = reply.header("Content-Range", &format!("bytes {offset}-{}/{total}", total - 1));
        if offset < 2_000_000 { reply.cut(1_000_000) } else { reply }
    });
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    repository(&server, None).fetch_blob(&blob, &store, &lease, &|_, _| {}).await.unwrap();
    store.verify(&blob.digest).unwrap();
    let offsets = offsets.lock().unwrap().clone();
    assert!(offsets.len() >= 3 && offsets.windows(2).all(|pair| pair[0] < pair[1]), "{offsets:?}");
}

#[tokio::test]
async fn bytes_that_are_not_the_blob_are_refused() {
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(b"right"), 5);
    for answer in ["wrong", "right and more", "ri"] {
        let server = Server::start(move |_: &Request| Reply::ok(answer));
        let dir = tempfile::tempdir().unwrap();
        let (store, lease) = content(dir.path());
        let result = repository(&server, None).fetch_blob(&blob, &store, &lease, &|_, _| {}).await;
        assert!(matches!(result, Err(Error::Content(_))), "{answer}: {result:?}");
        assert!(!store.exists(&blob.digest));
    }
    let server = Server::start(|_: &Request| Reply::ok("other"));
    let wanted = Digest::sha256(b"document");
    let error = repository(&server, None).manifest(Select::Digest(&wanted)).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn documents_have_a_bound() {
    let server = Server::start(|_: &Request| Reply::ok(vec![b' '; 5 << 20]));
    let error = repository(&server, None).manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    let server = Server::start(|request: &Request| {
        let next = format!("http://{}{}x", request.header("host").unwrap(), request.path);
        Reply::status(302).header("Location", &next)
    });
    let error = repository(&server, None).manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let server = Server::start(move |request: &Request| {
        if request.path == "/v2/" {
            return Reply::ok("{}");
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::status(503),
            1 => Reply::status(429).header("Retry-After", "1"),
            _ => Reply::ok(document()),
        }
    });
    repository(&server, None).manifest(Select::Tag("v1")).await.unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn denied_is_told_as_docker_tells_it() {
    let server = Server::start(|request: &Request| {
        if request.path == "/v2/" {
            return Reply::ok("{}");
        }
        let body = r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
        Reply { status: 403, ..Reply::ok(body) }
    });
    let error = repository(&server, None).manifest(Select::Tag("v1")).await.unwrap_err();
    let want = format!(
        "pull access denied for {}/a/b, repository does not exist or may require 'docker login': denied: requested \
         access to the resource is denied",
        server.address
    );
    assert_eq!(error.to_string(), want);
}

#[tokio::test]
async fn a_mirror_gives_way_and_gets_no_credentials() {
    let empty = Server::start(|request: &Request| {
        assert_eq!(request.header("authorization"), None);
        if request.path == "/v2/" { Reply::ok("{}") } else { Reply::status(404) }
    });
    let full = Server::start(|request: &Request| {
        assert_eq!(request.header("authorization"), None);
        assert!(
            request.path == "/sub/v2/" || request.path == "/sub/v2/library/app/manifests/v1",
            "{}",
            request.path
        );
        Reply::ok(document())
    });
    let mirrors = vec![format!("http://{}", empty.address), format!("http://{}/sub", full.address)];
    let client = client(RegistryConfig { mirrors, ..RegistryConfig::default() });
    let name = Reference::parse("app:v1").unwrap();
    let credentials = Some(Credentials::basic("me", "pw"));
    let source = client.repository(&name, credentials, Access::Pull).unwrap();
    source.manifest(Select::Tag("v1")).await.unwrap();
    assert!(empty.requests() > 0 && full.requests() > 0);
    // What gave way once is not asked again.
    let before = empty.requests();
    source.manifest(Select::Tag("v1")).await.unwrap();
    assert_eq!(empty.requests(), before);
}

/// A layer's token expires while the layer arrives: a new one, and on where it was.
#[tokio::test]
async fn a_token_that_expires_during_a_pull_is_renewed() {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    let blob = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(&bytes), bytes.len() as u64);
    let tokens = Arc::new(AtomicUsize::new(0));
    let given = Arc::clone(&tokens);
    let valid = AtomicUsize::new(1);
    let server = Server::start(move |request: &Request| {
        if request.path.starts_with("/token") {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            return Reply::ok(format!("{{\"token\":\"t{number}\",\"expires_in\":3600}}"));
        }
        let realm = format!("http://{}/token", request.header("host").unwrap());
        let want = format!("Bearer t{}", valid.load(Ordering::SeqCst));
        if request.header("authorization") != Some(&want) {
            return Reply::status(401).header("WWW-Authenticate", &server::bearer(&realm));
        }
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
        let from: usize = range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0);
        let status = if from > 0 { 206 } else { 200 };
        let reply = Reply { status, ..Reply::ok(bytes[from..].to_vec()) };
        let reply =
            reply.header("Content-Range", &format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()));
        if from > 0 {
            return reply;
        }
        valid.store(2, Ordering::SeqCst);
        reply.cut(1_000_000)
    });
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    let source = repository(&server, Some(Credentials::basic("me", "pw")));
    source.fetch_blob(&blob, &store, &lease, &|_, _| {}).await.unwrap();
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
}

/// A token server that exchanges identity tokens: the last one counts.
#[tokio::test]
async fn an_exchanged_identity_token_is_used() {
    let posts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&posts);
    let server = Server::start(move |request: &Request| {
        if request.path == "/token" {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let body = String::from_utf8(request.body.clone()).unwrap();
            assert!(body.contains(&format!("refresh_token=id{number}&")), "{body}");
            let next = number + 1;
            return Reply::ok(format!("{{\"access_token\":\"t{number}\",\"refresh_token\":\"id{next}\"}}"));
        }
        let realm = format!("http://{}/token", request.header("host").unwrap());
        let good = match request.header("authorization") {
            Some("Bearer t0") => request.path.ends_with("v1"),
            Some("Bearer t1") => true,
            _ => false,
        };
        if good {
            Reply::ok(document())
        } else {
            Reply::status(401).header("WWW-Authenticate", &server::bearer(&realm))
        }
    });
    let identity = Credentials { identity_token: "id0".to_owned(), ..Credentials::basic("me", "") };
    let source = repository(&server, Some(identity));
    source.manifest(Select::Tag("v1")).await.unwrap();
    source.manifest(Select::Tag("v2")).await.unwrap();
    assert_eq!(posts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_limit_is_told_in_the_registrys_words() {
    let words =
        "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading";
    let server = Server::start(move |request: &Request| {
        if request.path == "/v2/" {
            return Reply::ok("{}");
        }
        let body = format!("{{\"errors\":[{{\"code\":\"TOOMANYREQUESTS\",\"message\":\"{words}\"}}]}}");
        Reply { status: 429, ..Reply::ok(body) }.header("Retry-After", "21600")
    });
    let before = std::time::Instant::now();
    let error = repository(&server, None).manifest(Select::Tag("v1")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("toomanyrequests: {words}"));
    assert!(before.elapsed() < std::time::Duration::from_secs(30), "nobody waits for six hours");
}

/// The first pull asks what the server is; those after it do not, until it is another.
#[tokio::test]
async fn a_server_that_was_met_is_not_asked_first() {
    let odd = Arc::new(AtomicUsize::new(0));
    let moods = Arc::clone(&odd);
    let server = Server::start(move |request: &Request| {
        // Once, and only where it has not been asked for its version: as a server that speaks something else now.
        match moods.load(Ordering::SeqCst) {
            1 if request.path.contains("manifests") => {
                moods.store(2, Ordering::SeqCst);
                Reply::status(400)
            }
            _ => Reply::ok(document()),
        }
    });
    let client = client(RegistryConfig::default());
    let name = Reference::parse(&format!("{}/a/b:v1", server.address)).unwrap();
    let fetch = async || {
        let before = server.requests();
        let repository = client.repository(&name, None, Access::Pull).unwrap();
        repository.manifest(Select::Tag("v1")).await.unwrap();
        let one = server.requests() - before;
        repository.manifest(Select::Tag("v1")).await.unwrap();
        (one, server.requests() - before)
    };
    assert_eq!(fetch().await, (2, 3));
    assert_eq!(fetch().await, (1, 2));
    odd.store(1, Ordering::SeqCst);
    assert_eq!(fetch().await, (3, 4), "asked in vain, asked what it is, asked again");
    assert_eq!(odd.load(Ordering::SeqCst), 2);
    assert_eq!(fetch().await, (1, 2));
}
