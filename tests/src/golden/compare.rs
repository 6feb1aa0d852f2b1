//! Compares replies, as text a person can read.

use super::run::Reply;
use super::script::{Script, Step};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Each leaf of a value by its path; what is empty is a leaf too.
fn leaves(path: &str, v: &Value, out: &mut BTreeMap<String, Value>) {
    match v {
        Value::Object(m) if !m.is_empty() => {
            for (k, x) in m {
                leaves(&format!("{path}/{}", k.replace('~', "~0").replace('/', "~1")), x, out);
            }
        }
        Value::Array(all) if !all.is_empty() => {
            for (i, x) in all.iter().enumerate() {
                leaves(&format!("{path}/{i}"), x, out);
            }
        }
        leaf => {
            out.insert(path.to_owned(), leaf.clone());
        }
    }
}

fn flat(v: &Value) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    leaves("", v, &mut out);
    out
}

const ABSENT: &str = "<absent>";

/// What `other` has otherwise than `first`: path -> value.
pub fn otherwise(first: &Value, other: &Value) -> Value {
    let (a, b) = (flat(first), flat(other));
    let mut changes = Map::new();
    for (path, v) in &b {
        if a.get(path) != Some(v) {
            changes.insert(path.clone(), v.clone());
        }
    }
    for path in a.keys().filter(|p| !b.contains_key(*p)) {
        changes.insert(path.clone(), ABSENT.into());
    }
    changes.sort_keys();
    Value::Object(changes)
}

/// The other way round.
fn applied(first: &Value, changes: &Value) -> BTreeMap<String, Value> {
    let mut all = flat(first);
    for (path, v) in changes.as_object().into_iter().flatten() {
        match v == ABSENT {
            true => drop(all.remove(path)),
            false => drop(all.insert(path.clone(), v.clone())),
        }
    }
    all
}

fn ignored(path: &str, pattern: &str) -> bool {
    let mut have = path.trim_start_matches("/body").split('/').skip(1);
    pattern.split('/').skip(1).all(|want| have.next().is_some_and(|h| want == "*" || want == h))
}

/// The texts of all differences, a request each.
pub fn all(script: &Script, expected: &[Value], replies: &[Reply]) -> Vec<String> {
    assert_eq!(expected.len(), replies.len(), "the script has changed: scripts/golden-api takes new goldens");
    let mut found = Vec::new();
    for ((step, golden), reply) in script.steps.iter().zip(expected).zip(replies) {
        assert_eq!(
            golden["request"],
            reply.request.as_str(),
            "the script has changed: scripts/golden-api takes new goldens"
        );
        if step.differs {
            continue;
        }
        let mut text = String::new();
        for (i, (version, answer)) in reply.answers.iter().enumerate() {
            let changes =
                if i == 0 { Value::Null } else { golden[format!("otherwise in {version}")].clone() };
            let want = applied(&golden["reply"], &changes);
            for line in differences(script, step, &want, &flat(answer)) {
                text.push_str(&format!("\n    {version} {line}"));
            }
        }
        if !text.is_empty() {
            found.push(format!("{}{text}", reply.request));
        }
    }
    found
}

fn differences(
    script: &Script,
    step: &Step,
    want: &BTreeMap<String, Value>,
    have: &BTreeMap<String, Value>,
) -> Vec<String> {
    let mut out = Vec::new();
    let absent = Value::from(ABSENT);
    let paths: std::collections::BTreeSet<_> = want.keys().chain(have.keys()).collect();
    for path in paths {
        let (w, h) = (want.get(path).unwrap_or(&absent), have.get(path).unwrap_or(&absent));
        let skip = || {
            script.ignores.iter().chain(&step.ignores).any(|p| ignored(path, p))
                || (step.status_only && path.starts_with("/body"))
        };
        if w != h && !skip() {
            out.push(format!("{path}: Docker {w}, Knarr {h}"));
        }
    }
    out
}
