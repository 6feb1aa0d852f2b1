//! Uploads to registries of several minds: cuts, expired tokens, small pieces, no pieces, mounts.
mod server;

use knarr_content::{Content, Lease};
use knarr_distribution::{Access, Client, Credentials, RegistryConfig, Repository, Uploaded};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, media_type};
use knarr_oci::reference::Reference;
use server::{Early, Reply, Request, Server, bearer};
use std::sync::{Arc, Mutex};

const SIZE: usize = 3 << 20;

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|n| (n / 11) as u8).collect()
}

fn stored(dir: &std::path::Path) -> (Content, Arc<Lease>, Descriptor) {
    let content = Content::open(dir).unwrap();
    let lease = Arc::new(content.lease());
    let mut ingest = content.create(SIZE as u64).unwrap();
    ingest.append(&bytes()).unwrap();
    let digest = ingest.commit(&lease).unwrap();
    (content, lease, Descriptor::new(media_type::OCI_LAYER_GZIP, digest, SIZE as u64))
}

fn at(server: &Server) -> Repository {
    let name = Reference::parse(&format!("{}/a/b:v1", server.address)).unwrap();
    let me = Some(Credentials::basic("me", "pw"));
    Client::new(RegistryConfig::default()).unwrap().repository(&name, me, Access::Push).unwrap()
}

/// One upload as a registry keeps account of it.
#[derive(Default)]
struct Registry {
    data: Vec<u8>,
    done: bool,
    uploads: usize,
    log: Vec<String>,
}

impl Registry {
    fn answer(&mut self, request: &Request) -> Reply {
        let range = request.header("content-range").unwrap_or_default();
        self.log.push(format!("{} {range}", request.method).trim_end().to_owned());
        let here = |data: &[u8]| {
            let range = format!("0-{}", data.len().saturating_sub(1));
            Reply::status(202).header("Location", "/v2/a/b/blobs/uploads/1?state=x").header("Range", &range)
        };
        match &*request.method {
            "GET" if request.path == "/v2/" => Reply::ok("{}"),
            "HEAD" => Reply::status(if self.done { 200 } else { 404 }),
            "POST" => {
                self.data.clear();
                self.uploads += 1;
                here(&self.data)
            }
            "GET" => Reply { status: 204, ..here(&self.data) },
            "PATCH" => {
                let begin = range.split('-').next().and_then(|begin| begin.parse().ok()).unwrap_or(0);
                if begin != self.data.len() {
                    return Reply::status(416);
                }
                self.data.extend(&request.body);
                here(&self.data)
            }
            "PUT" => {
                assert!(request.path.contains("state=x&digest=sha256%3A"), "{}", request.path);
                self.data.extend(&request.body);
                self.done = Digest::sha256(&self.data) == Digest::sha256(&bytes());
                Reply::status(if self.done { 201 } else { 400 })
            }
            _ => Reply::status(405),
        }
    }
}

fn registry() -> Arc<Mutex<Registry>> {
    Arc::default()
}

async fn push(server: &Server) -> (Uploaded, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lease, blob) = stored(dir.path());
    let seen = Mutex::new(Vec::new());
    let progress = |done: u64, _: u64| seen.lock().unwrap().push(done);
    let done = at(server).push_blob(&blob, &store, &[], &progress).await.unwrap();
    (done, seen.into_inner().unwrap())
}

#[tokio::test]
async fn a_large_blob_is_one_stream() {
    let state = registry();
    let shared = Arc::clone(&state);
    let server = Server::start(move |request: &Request| shared.lock().unwrap().answer(request));
    let (done, seen) = push(&server).await;
    assert_eq!((done, seen.last()), (Uploaded::Sent, Some(&(SIZE as u64))));
    assert_eq!(state.lock().unwrap().log, ["GET", "HEAD", "POST", "PATCH", "PUT"]);
}

#[tokio::test]
async fn an_upload_that_is_cut_goes_on_where_it_was() {
    let state = registry();
    let (early, shared) = (Arc::clone(&state), Arc::clone(&state));
    let cuts = Mutex::new(2);
    let server = Server::start_early(
        move |request: &Request| {
            let mut cuts = cuts.lock().unwrap();
            if request.method != "PATCH" || *cuts == 0 {
                return Early::Read;
            }
            *cuts -= 1;
            // A part arrives and is kept, and the connection breaks.
            let mut registry = early.lock().unwrap();
            let at = registry.data.len();
            registry.data.extend(&bytes()[at..at + 1_000_000]);
            Early::Cut(0, Reply::status(500).cut(0))
        },
        move |request: &Request| shared.lock().unwrap().answer(request),
    );
    push(&server).await;
    let state = state.lock().unwrap();
    let ranges: Vec<&String> = state.log.iter().filter(|line| line.starts_with("PATCH")).collect();
    assert_eq!(ranges, [&format!("PATCH 2000000-{}", SIZE - 1)]);
    assert_eq!(state.uploads, 1);
}

/// The token expires while a layer is on its way: a new one, and on where it was.
#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_renewed() {
    let state = registry();
    let (early, shared) = (Arc::clone(&state), Arc::clone(&state));
    let tokens = Arc::new(Mutex::new(0));
    let (valid, given) = (Arc::clone(&tokens), Arc::clone(&tokens));
    let cut = Mutex::new(true);
    let server = Server::start_early(
        move |request: &Request| {
            let good = request.header("authorization") == Some(&format!("Bearer t{}", valid.lock().unwrap()));
            let realm = format!("http://{}/token", request.header("host").unwrap());
            let mut cut = cut.lock().unwrap();
            if request.method == "PATCH" && good && *cut {
                *cut = false;
                let mut registry = early.lock().unwrap();
                registry.data.extend(&bytes()[..1_500_000]);
                // From now on the token is worth nothing.
                *valid.lock().unwrap() += 100;
                return Early::Cut(0, Reply::status(500).cut(0));
            }
            if good || request.path.starts_with("/token") {
                return Early::Read;
            }
            Early::Cut(0, Reply::status(401).header("WWW-Authenticate", &bearer(&realm)))
        },
        move |request: &Request| {
            if request.path.starts_with("/token") {
                assert!(request.path.contains("scope=repository%3Aa%2Fb%3Apull%2Cpush"), "{}", request.path);
                let mut number = given.lock().unwrap();
                *number += 1;
                return Reply::ok(format!("{{\"token\":\"t{number}\"}}"));
            }
            shared.lock().unwrap().answer(request)
        },
    );
    push(&server).await;
    let state = state.lock().unwrap();
    assert!(state.log.contains(&format!("PATCH 1500000-{}", SIZE - 1)), "{:?}", state.log);
    assert_eq!((state.uploads, *tokens.lock().unwrap()), (1, 102));
}

#[tokio::test]
async fn a_server_that_wants_small_pieces_gets_them() {
    let state = registry();
    let shared = Arc::clone(&state);
    let server = Server::start_early(
        |request: &Request| {
            let length: usize = request.header("content-length").unwrap_or("0").parse().unwrap();
            if length > 1 << 20 { Early::Cut(0, Reply::status(413)) } else { Early::Read }
        },
        move |request: &Request| {
            let reply = shared.lock().unwrap().answer(request);
            reply.header("OCI-Chunk-Min-Length", "1000")
        },
    );
    push(&server).await;
    let state = state.lock().unwrap();
    let ranges: Vec<&String> = state.log.iter().filter(|line| line.starts_with("PATCH")).collect();
    assert_eq!(ranges, ["PATCH 0-1048575", "PATCH 1048576-2097151", "PATCH 2097152-3145727"]);
}

#[tokio::test]
async fn a_server_without_pieces_gets_the_whole() {
    for status in [405, 501] {
        let state = registry();
        let shared = Arc::clone(&state);
        let server = Server::start(move |request: &Request| match &*request.method {
            "PATCH" => Reply::status(status),
            _ => shared.lock().unwrap().answer(request),
        });
        push(&server).await;
        let state = state.lock().unwrap();
        assert_eq!((state.uploads, state.log.last().map(String::as_str)), (2, Some("PUT")));
    }
}

/// The upload is gone (another machine behind the name, a restart), or its end was not heard.
#[tokio::test]
async fn an_upload_that_is_gone_begins_anew() {
    let state = registry();
    let shared = Arc::clone(&state);
    let lost = Mutex::new(true);
    let server = Server::start(move |request: &Request| {
        let mut lost = lost.lock().unwrap();
        if request.method == "PATCH" && std::mem::take(&mut *lost) {
            return Reply::status(404);
        }
        shared.lock().unwrap().answer(request)
    });
    push(&server).await;
    assert_eq!(state.lock().unwrap().uploads, 2);

    let state = registry();
    let shared = Arc::clone(&state);
    let server = Server::start(move |request: &Request| {
        let reply = shared.lock().unwrap().answer(request);
        if request.method == "PUT" { Reply::status(503) } else { reply }
    });
    push(&server).await;
    assert_eq!(state.lock().unwrap().uploads, 1);
}

/// A registry that calls itself by plain HTTP behind a proxy with TLS is meant where it is.
#[tokio::test]
async fn a_location_without_tls_of_the_same_server_is_the_same_server() {
    let state = registry();
    let shared = Arc::clone(&state);
    let server = Server::start_tls(move |request: &Request| {
        let host = request.header("host").unwrap();
        if request.header("authorization").is_none() {
            return Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        let mut reply = shared.lock().unwrap().answer(request);
        for (name, value) in &mut reply.headers {
            if name == "Location" {
                *value = format!("http://{host}{value}");
            }
        }
        reply
    });
    push(&server).await;
    assert!(state.lock().unwrap().done);
}

#[tokio::test]
async fn blobs_are_mounted_where_the_registry_allows_it() {
    let state = registry();
    let shared = Arc::clone(&state);
    let server = Server::start(move |request: &Request| {
        if request.method == "POST" && request.path.contains("from=have%2Fit") {
            assert!(request.path.contains("mount=sha256%3A"), "{}", request.path);
            return Reply::status(201);
        }
        if request.method == "POST" && request.path.contains("from=secret%2Fone") {
            return Reply::status(403);
        }
        shared.lock().unwrap().answer(request)
    });
    let dir = tempfile::tempdir().unwrap();
    let (store, _lease, blob) = stored(dir.path());
    let target = at(&server);
    for (sources, want) in [
        (&["secret/one", "have/it"][..], Uploaded::Mounted("have/it".to_owned())),
        (&["secret/one"], Uploaded::Sent),
    ] {
        let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
        assert_eq!(target.push_blob(&blob, &store, &sources, &|_, _| {}).await.unwrap(), want);
    }
    assert_eq!(target.push_blob(&blob, &store, &[], &|_, _| {}).await.unwrap(), Uploaded::Existed);
}
