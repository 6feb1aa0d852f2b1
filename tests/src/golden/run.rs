//! Sends a script's requests.

use super::mask::{self, Run};
use super::script::{Form, Script, Step};
use crate::Engine;
use crate::api::{Response, read_head};
use serde_json::{Map, Value, json};
use std::io::{BufReader, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

const NEWEST: &str = "1.51";
const LIMIT: Duration = Duration::from_secs(60);
/// Headers that say how bytes travel, and those that are new in each reply.
const TRANSPORT: &[&str] = &["date", "content-length", "transfer-encoding", "connection"];
/// Headers whose value is the engine's own.
const OWN: &[&str] = &["server", "api-version"];

/// Replies to one request, masked: the newest version's, then the others'.
#[derive(Debug)]
pub struct Reply {
    pub request: String,
    pub answers: Vec<(String, Value)>,
}

impl Reply {
    pub fn to_json(&self) -> Value {
        let mut members = Map::from_iter([("request".to_owned(), Value::from(self.request.as_str()))]);
        let mut answers = self.answers.iter();
        let Some((_, first)) = answers.next() else { return Value::Object(members) };
        members.insert("reply".to_owned(), first.clone());
        for (version, answer) in answers {
            members.insert(format!("otherwise in {version}"), super::compare::otherwise(first, answer));
        }
        Value::Object(members)
    }
}

pub fn all(script: &Script, engine: &Engine) -> Vec<Reply> {
    let mut run = Run {
        words: vec![
            (engine.subnet_prefix(), "10.213.N.".to_owned()),
            (engine.data().display().to_string(), "<data>".to_owned()),
            (engine.dir.display().to_string(), "<dir>".to_owned()),
            (engine.cgroup_parent(), "<cgroup parent>".to_owned()),
        ],
    };
    let mut saved: Vec<(String, String)> = Vec::new();
    let mut replies = Vec::new();
    let trace = std::env::var_os("GOLDEN_TRACE").is_some();
    for step in &script.steps {
        if trace {
            eprintln!("{}", step.name());
        }
        let mut versions = vec![NEWEST.to_owned()];
        versions.extend(step.versions.iter().cloned());
        let mut answers = Vec::new();
        for version in versions {
            let response = until(engine, step, &version, &saved);
            for (name, pointer) in &step.saves {
                let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
                let found = body.pointer(pointer).and_then(Value::as_str);
                let found =
                    found.unwrap_or_else(|| panic!("{}: no {pointer} in {}", step.name(), response.text()));
                saved.retain(|(n, _)| n != name);
                saved.push((name.clone(), found.to_owned()));
                run.words.retain(|(_, instead)| {
                    *instead != format!("<{name}>") && *instead != format!("<short {name}>")
                });
                // What is no id is left as it is.
                if found.len() == 64 {
                    run.words.push((found.to_owned(), format!("<{name}>")));
                    run.words.push((found[..12].to_owned(), format!("<short {name}>")));
                }
            }
            if script.discard && response.status == 201 {
                let id = response.json()["Id"].as_str().unwrap_or_default().to_owned();
                drop(engine.api().delete(&format!("/containers/{id}?force=1&v=1")));
            }
            answers.push((version, answer(&run, step, &response)));
        }
        replies.push(Reply { request: step.name(), answers });
    }
    replies
}

fn until(engine: &Engine, step: &Step, version: &str, saved: &[(String, String)]) -> Response {
    let end = Instant::now() + LIMIT;
    loop {
        let response = send(engine, step, version, saved);
        let Some((pointer, wanted)) = &step.until else { return response };
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if body.pointer(pointer).is_some_and(|v| v.to_string().trim_matches('"') == wanted) {
            return response;
        }
        assert!(
            Instant::now() < end,
            "{}: {pointer} does not become {wanted}: {}",
            step.name(),
            response.text()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn filled(text: &str, saved: &[(String, String)]) -> String {
    let mut names: Vec<_> = saved.iter().collect();
    names.sort_by_key(|(n, _)| std::cmp::Reverse(n.len()));
    let text = if text.contains("$now") { text.replace("$now", &now()) } else { text.to_owned() };
    names.iter().fold(text, |t, (name, found)| t.replace(&format!("${name}"), found))
}

/// Seconds since the epoch.
fn now() -> String {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

/// A path as it stands in a request: filters are JSON, which nobody wants to read escaped.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        match c {
            ' ' | '"' | '{' | '}' | '[' | ']' | '<' | '>' => out.push_str(&format!("%{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn send(engine: &Engine, step: &Step, version: &str, saved: &[(String, String)]) -> Response {
    let path = escaped(&filled(&step.path, saved));
    let versioned =
        if path.starts_with("/v1.") || path.starts_with("//") { path } else { format!("/v{version}{path}") };
    let body = filled(&step.body, saved);
    if step.hijack {
        return hijack(engine, step, &versioned, &body);
    }
    let mut headers = step.headers.clone();
    match &step.content_type {
        Some(t) if t == "none" => {}
        Some(t) => headers.push(("Content-Type".to_owned(), t.clone())),
        None if body.is_empty() => {}
        None => headers.push(("Content-Type".to_owned(), "application/json".to_owned())),
    }
    let headers: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let response = engine.api().send(&step.method, &versioned, &headers, body.as_bytes());
    response.unwrap_or_else(|e| panic!("{} at {version}: {e}", step.name()))
}

/// Sends the head, an upgrade, and after the reply's head the input; what came back until the end is the body.
fn hijack(engine: &Engine, step: &Step, path: &str, input: &str) -> Response {
    let (body, input) = input.split_once('\n').unwrap_or((input, ""));
    let mut head =
        format!("{} {path} HTTP/1.1\r\nHost: engine\r\nContent-Length: {}\r\n", step.method, body.len());
    if !body.is_empty() {
        head.push_str("Content-Type: application/json\r\n");
    }
    for (k, v) in &step.headers {
        head.push_str(&format!("{k}: {v}\r\n"));
    }
    let stream = engine.api().raw(format!("{head}\r\n{body}").as_bytes()).expect("a connection");
    let mut reader = BufReader::new(stream.try_clone().expect("a second descriptor"));
    let (status, headers) = read_head(&mut reader).expect("a reply");
    let mut stream = stream;
    stream.write_all(input.as_bytes()).expect("input");
    if !input.is_empty() {
        stream.write_all(b"\n").expect("input");
    }
    drop(stream.shutdown(Shutdown::Write));
    let mut bytes = Vec::new();
    drop(reader.read_to_end(&mut bytes));
    Response { status, headers, body: bytes }
}

fn answer(run: &Run, step: &Step, response: &Response) -> Value {
    let mut headers: Map<String, Value> = Map::new();
    for (k, v) in &response.headers {
        let k = k.to_ascii_lowercase();
        if TRANSPORT.contains(&k.as_str()) {
            continue;
        }
        let v = if OWN.contains(&k.as_str()) { "<own>".to_owned() } else { mask::text(run, v) };
        headers.insert(k, v.into());
    }
    if step.hijack
        && let Some(v) = response.header("connection")
    {
        headers.insert("connection".to_owned(), v.into());
    }
    headers.sort_keys();
    // Errors are JSON, whatever the form.
    let form = if response.status >= 400 { Form::Json } else { step.form };
    let body = match form {
        Form::Tar => Value::from(if response.body.is_empty() { "" } else { "<archive>" }),
        Form::Framed => framed(run, &response.body),
        Form::Json | Form::Lines if response.body.is_empty() => Value::from(""),
        Form::Json => match serde_json::from_slice::<Value>(&response.body) {
            Ok(v) => mask::value(run, "", &v),
            Err(_) => Value::from(mask::text(run, &response.text())),
        },
        Form::Lines => response
            .text()
            .lines()
            .map(|l| {
                serde_json::from_str(l)
                    .map_or_else(|_| Value::from(mask::text(run, l)), |v| mask::value(run, "", &v))
            })
            .collect(),
    };
    let mut body = body;
    for pointer in &step.sorts {
        if let Some(Value::Array(all)) = body.pointer_mut(pointer) {
            all.sort_by_key(Value::to_string);
        }
    }
    json!({ "status": response.status, "headers": headers, "body": body })
}

/// Docker's frames, those of one stream in a row put together: how the output is cut says nothing.
fn framed(run: &Run, mut bytes: &[u8]) -> Value {
    let mut parts: Vec<(u8, Vec<u8>)> = Vec::new();
    while bytes.len() >= 8 {
        let n = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let Some(payload) = bytes.get(8..8 + n) else { break };
        match parts.last_mut() {
            Some((kind, all)) if *kind == bytes[0] => all.extend_from_slice(payload),
            _ => parts.push((bytes[0], payload.to_vec())),
        }
        bytes = &bytes[8 + n..];
    }
    if !bytes.is_empty() {
        parts.push((255, bytes.to_vec()));
    }
    parts
        .iter()
        .map(|(kind, all)| Value::from(format!("{kind}: {}", mask::text(run, &String::from_utf8_lossy(all)))))
        .collect()
}
