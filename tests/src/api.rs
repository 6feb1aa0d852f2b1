//! A small HTTP/1.1 client for the engine's API over its unix socket: exact bytes in, status and body out.
//! (RFC 9112; chunked and length-delimited bodies; one request per connection.)

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// # Panics
    /// Where the body is no JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("status {}, no JSON ({e}): {}", self.status, self.text()))
    }
    /// The `message` of an error reply.
    #[track_caller]
    pub fn message(&self) -> String {
        self.json()["message"].as_str().expect("an error has a message").to_owned()
    }
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Api {
    pub fn unix(socket: &Path) -> Api {
        Api { socket: socket.to_owned() }
    }

    pub fn get(&self, path: &str) -> std::io::Result<Response> {
        self.send("GET", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> std::io::Result<Response> {
        self.send("DELETE", path, &[], b"")
    }

    /// POST of a JSON text.
    #[track_caller]
    pub fn post(&self, path: &str, json: &str) -> Response {
        self.send("POST", path, &[("Content-Type", "application/json")], json.as_bytes()).expect("an answer")
    }

    /// One request with these headers and this body.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (k, v) in headers {
            head.push_str(&format!("{k}: {v}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        read_response(&mut BufReader::new(self.raw(&bytes)?))
    }

    /// Open a connection, send these bytes as they are, and leave the rest to the caller.
    pub fn raw(&self, bytes: &[u8]) -> std::io::Result<UnixStream> {
        let mut s = UnixStream::connect(&self.socket)?;
        s.set_read_timeout(Some(TIMEOUT))?;
        s.set_write_timeout(Some(TIMEOUT))?;
        // A server may answer and close before it read all of a bad request.
        drop(s.write_all(bytes));
        Ok(s)
    }
}

/// Read status, headers and the whole body.
pub fn read_response(r: &mut impl BufRead) -> std::io::Result<Response> {
    let (status, headers) = read_head(r)?;
    let get = |n: &str| headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(n)).map(|(_, v)| v.clone());
    let mut body = Vec::new();
    if get("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        loop {
            let mut line = String::new();
            r.read_line(&mut line)?;
            let n = usize::from_str_radix(line.trim(), 16)
                .map_err(|e| std::io::Error::other(format!("chunk {line:?}: {e}")))?;
            let at = body.len();
            body.resize(at + n, 0);
            r.read_exact(&mut body[at..])?;
            r.read_line(&mut String::new())?;
            if n == 0 {
                break;
            }
        }
    } else if let Some(n) = get("content-length").and_then(|v| v.parse().ok()) {
        r.take(n).read_to_end(&mut body)?;
    } else if status != 204 && status != 304 {
        r.read_to_end(&mut body)?;
    }
    Ok(Response { status, headers, body })
}

/// Read status and headers only.
pub fn read_head(r: &mut impl BufRead) -> std::io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    r.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if r.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok((status, headers));
        }
        if let Some((k, v)) = line.split_once(':') {
            headers.push((k.trim().to_owned(), v.trim().to_owned()));
        }
    }
}

/// Split Docker's multiplexed stream (8-byte headers) into stdout and stderr.
///
/// # Panics
/// Where it is no such stream.
pub fn demultiplex(mut bytes: &[u8]) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while bytes.len() >= 8 {
        let n = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let payload = &bytes[8..8 + n];
        match bytes[0] {
            1 => out.extend_from_slice(payload),
            2 => err.extend_from_slice(payload),
            k => panic!("stream kind {k}"),
        }
        bytes = &bytes[8 + n..];
    }
    assert!(bytes.is_empty(), "half a frame: {bytes:?}");
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
}
