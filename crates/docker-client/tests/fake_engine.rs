//! The client against a hand-written server: keep-alive, errors, streams, hijack.
use knarr_base::{ErrorKind, Kind};
use knarr_docker_client::{Client, Endpoint, Error};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use tokio::io::AsyncReadExt;

/// Serves each connection with `answer(request line) -> bytes` until the client closes.
fn serve(path: &Path, answer: fn(&str, &mut UnixStream) -> bool) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    let mut length = 0;
                    loop {
                        let mut header = String::new();
                        reader.read_line(&mut header).unwrap();
                        if header == "\r\n" {
                            break;
                        }
                        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    if !answer(line.trim_end(), &mut stream) {
                        return;
                    }
                }
            });
        }
    });
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn respond(stream: &mut UnixStream, status: &str, headers: &str, body: &str) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).unwrap();
}

fn engine(line: &str, stream: &mut UnixStream) -> bool {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["HEAD", "/_ping", _] => {
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nOstype: linux\r\nContent-Length: 0\r\n\r\n",
                )
                .unwrap();
        }
        ["GET", "/v1.41/x?all=1&filters=%7B%22a%22%3A%7B%22b%20c%22%3Atrue%7D%7D", _] => {
            respond(stream, "200 OK", "", "{\"ok\":true}");
        }
        ["GET", "/v1.41/missing", _] => {
            respond(stream, "404 Not Found", "", "{\"message\":\"No such thing\\n\"}")
        }
        ["GET", "/v1.41/lines", _] => respond(stream, "200 OK", "", "{\"n\":1}\n\n{\"n\":2}\r\n{\"n\":3}"),
        ["POST", "/v1.41/attach", _] => {
            stream
                .write_all(b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly ")
                .unwrap();
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            stream.write_all(format!("got {all}").as_bytes()).unwrap();
            return false;
        }
        // As Docker's daemon answers who speaks a newer version.
        [_, path, _] if path.starts_with("/v1.55/") => respond(
            stream,
            "400 Bad Request",
            "Api-Version: 1.41\r\n",
            "{\"message\":\"client version 1.55 is too new. Maximum supported API version is 1.41\"}",
        ),
        _ => respond(stream, "500 Internal Server Error", "", &format!("unexpected {line}")),
    }
    true
}

#[test]
fn requests_errors_lines_and_hijack() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    serve(&path, engine);
    run(async {
        let client =
            Client::new(Endpoint::parse(&format!("unix://{}", path.display()), false).unwrap(), None);
        assert_eq!(client.version().await.unwrap().to_string(), "1.41");
        let filters = knarr_docker_types::Filters::default().with("a", "b c");
        for _ in 0..3 {
            let request = client.get("/x").flag("all", true).flag("no", false).filters(&filters);
            let value: serde_json::Value = request.fetch().await.unwrap();
            assert_eq!(value["ok"], true);
        }
        let error = client.get("/missing").fetch::<serde_json::Value>().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::NotFound, "Error response from daemon: No such thing")
        );
        let mut lines = client.get("/lines").lines().await.unwrap();
        let mut seen = Vec::new();
        while let Some(value) = lines.next::<serde_json::Value>().await.unwrap() {
            seen.push(value["n"].as_i64().unwrap());
        }
        assert_eq!(seen, [1, 2, 3]);
        let hijacked = client.post("/attach").hijack().await.unwrap();
        assert_eq!(hijacked.multiplexed, Some(true));
        let (mut reader, mut writer) = hijacked.into_parts();
        writer.write_all(b"input").await.unwrap();
        writer.close().await.unwrap();
        let mut all = String::new();
        reader.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "early got input");
    });
}

/// The same engine, which nobody may ask for its version first.
fn without_ping(line: &str, stream: &mut UnixStream) -> bool {
    if line.starts_with("HEAD /_ping") {
        respond(stream, "500 Internal Server Error", "", "");
        return true;
    }
    engine(line, stream)
}

#[test]
fn an_older_engine_is_asked_again_in_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    serve(&path, without_ping);
    run(async {
        let client = Client::new(Endpoint::Unix(path), None);
        let error = client.get("/missing").fetch::<serde_json::Value>().await.unwrap_err();
        assert_eq!(error.status(), Some(404));
        assert_eq!(client.version().await.unwrap().to_string(), "1.41");
        let mut lines = client.get("/lines").lines().await.unwrap();
        assert!(lines.next_raw().await.unwrap().is_some());
    });
}

#[test]
fn nobody_listening_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let host = format!("unix://{}/none.sock", dir.path().display());
    let error = run(async {
        Client::new(Endpoint::parse(&host, false).unwrap(), None).get("/x").done().await.unwrap_err()
    });
    assert!(matches!(error, Error::Connect { .. }));
    assert_eq!(
        error.to_string(),
        format!("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")
    );
}
