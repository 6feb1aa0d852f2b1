//! The functions that templates may call: Go's own and Docker's.
//!
//! Standard: <https://pkg.go.dev/text/template#hdr-Functions>,
//! <https://docs.docker.com/engine/cli/formatting/>.
use crate::MAX_OUTPUT_BYTES;
use crate::go_fmt::sprintf;
use crate::print::display;
use crate::value::{Nil, Value};
use std::rc::Rc;

/// What a parameter must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param {
    Any,
    Str,
    Int,
}

/// How a function may be called.
pub struct Signature {
    pub params: &'static [Param],
    /// The last parameter may be repeated or left out.
    pub variadic: bool,
}

use Param::{Any, Int, Str};

/// The signature of `name`, if there is such a function.
pub fn signature(name: &str) -> Option<Signature> {
    let (params, variadic): (&'static [Param], bool) = match name {
        "and" | "or" | "index" | "slice" | "call" | "eq" => (&[Any, Any], true),
        "print" | "println" | "html" | "js" | "urlquery" => (&[Any], true),
        "printf" => (&[Str, Any], true),
        "not" | "len" | "json" => (&[Any], false),
        "ne" | "lt" | "le" | "gt" | "ge" => (&[Any, Any], false),
        "split" => (&[Str, Str], false),
        "join" => (&[Any, Str], false),
        "title" | "lower" | "upper" => (&[Str], false),
        "pad" => (&[Str, Int, Int], false),
        "truncate" => (&[Str, Int], false),
        _ => return None,
    };
    Some(Signature { params, variadic })
}

pub fn exists(name: &str) -> bool {
    signature(name).is_some()
}

/// Functions that leave titles of columns as they are.
pub fn keeps_title(name: &str) -> bool {
    matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate")
}

/// Calls `name`; the arguments have been checked against its signature. The error is the text after "error calling".
pub fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let text = |i: usize| args.get(i).map(display).unwrap_or_default();
    Ok(match name {
        "json" => Value::str(crate::to_json(args.first().unwrap_or(&Value::Nil(Nil::Interface)))),
        "split" => split(&text(0), &text(1)),
        "join" => join(&args[0], &text(1))?,
        "title" => Value::str(title(&text(0))),
        "lower" => Value::str(text(0).to_lowercase()),
        "upper" => Value::str(text(0).to_uppercase()),
        "pad" => pad(&text(0), int(&args[1]), int(&args[2]))?,
        "truncate" => truncate(&text(0), int(&args[1]))?,
        "print" => Value::str(print(args)),
        "println" => Value::str(args.iter().map(display).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => Value::str(sprintf(&text(0), &args[1..])),
        "html" => Value::str(html(&print(args))),
        "js" => Value::str(js(&print(args))),
        "urlquery" => Value::str(url_query(&print(args))),
        "not" => Value::Bool(!args[0].truth()),
        "len" => length(&args[0])?,
        "index" => index(&args[0], &args[1..])?,
        "slice" => slice(&args[0], &args[1..])?,
        "call" => return Err("non-function of type ".to_owned() + args[0].type_name()),
        "eq" => Value::Bool(equal_any(&args[0], &args[1..])?),
        "ne" => Value::Bool(!equal(&args[0], &args[1])?),
        "lt" => Value::Bool(less(&args[0], &args[1])?),
        "le" => Value::Bool(less(&args[0], &args[1])? || equal(&args[0], &args[1])?),
        "gt" => Value::Bool(!(less(&args[0], &args[1])? || equal(&args[0], &args[1])?)),
        "ge" => Value::Bool(!less(&args[0], &args[1])?),
        _ => return Err(format!("unknown function {name}")),
    })
}

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(i) => *i,
        Value::Uint(u) => i64::try_from(*u).unwrap_or(i64::MAX),
        _ => 0,
    }
}

fn split(text: &str, separator: &str) -> Value {
    let parts: Vec<Value> = if separator.is_empty() {
        text.chars().map(|c| Value::str(c.to_string())).collect()
    } else {
        text.split(separator).map(Value::from).collect()
    };
    Value::List(Rc::new(parts))
}

fn join(elements: &Value, separator: &str) -> Result<Value, String> {
    match elements {
        Value::Nil(_) => Ok(Value::str("")),
        Value::List(items) => Ok(Value::str(items.iter().map(display).collect::<Vec<_>>().join(separator))),
        Value::Map(entries) => {
            let mut parts: Vec<String> = entries.iter().map(|(_, v)| display(v)).collect();
            parts.sort();
            Ok(Value::str(parts.join(separator)))
        }
        other => Err(format!("expected slice, got {}", other.type_name())),
    }
}

fn title(text: &str) -> String {
    let mut at_start = true;
    text.chars()
        .flat_map(|c| {
            let upper = at_start;
            at_start = !(c.is_alphanumeric() || c == '_' || c == '\'' && !at_start);
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

fn pad(text: &str, before: i64, after: i64) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::str(""));
    }
    let count = |n: i64| -> Result<usize, String> {
        let n = usize::try_from(n).map_err(|_| "strings: negative Repeat count".to_owned())?;
        if n > MAX_OUTPUT_BYTES { Err("strings: Repeat output length overflow".to_owned()) } else { Ok(n) }
    };
    Ok(Value::str(format!("{}{text}{}", " ".repeat(count(before)?), " ".repeat(count(after)?))))
}

fn truncate(text: &str, length: i64) -> Result<Value, String> {
    let Ok(length) = usize::try_from(length) else {
        return Err(format!("runtime error: slice bounds out of range [:{length}]"));
    };
    Ok(Value::str(bytes_of(text, 0, length.min(text.len()))))
}

fn bytes_of(text: &str, from: usize, to: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()
}

/// Go's `fmt.Sprint`: a space between two operands when neither is a string.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        let is_text = |v: &Value| matches!(v, Value::Str(_));
        if i > 0 && !is_text(arg) && !is_text(&args[i - 1]) {
            out.push(' ');
        }
        out.push_str(&display(arg));
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 || (!c.is_ascii() && c.is_control()) => {
                out.push_str(&format!("\\u{:04X}", c as u32));
            }
            c => out.push(c),
        }
    }
    out
}

fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(b as char),
            b' ' => out.push('+'),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn length(value: &Value) -> Result<Value, String> {
    let n = match value {
        Value::Str(s) => s.len(),
        Value::List(l) => l.len(),
        Value::Map(m) => m.len(),
        Value::Nil(Nil::Slice | Nil::Map) => 0,
        Value::Nil(Nil::Interface) => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

/// An index into `len` elements; at most `len`, as Go checks against the capacity.
fn position(index: &Value, len: usize) -> Result<usize, String> {
    let position = match index {
        Value::Int(i) => usize::try_from(*i).ok().filter(|p| *p <= len),
        Value::Uint(u) => usize::try_from(*u).ok().filter(|p| *p <= len),
        Value::Nil(_) => return Err("cannot index slice/array with nil".into()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    position.ok_or_else(|| format!("index out of range: {}", display(index)))
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut current = value.clone();
    if matches!(current, Value::Nil(Nil::Interface)) {
        return Err("index of untyped nil".into());
    }
    for key in keys {
        current = match &current {
            Value::List(items) => {
                let at = position(key, items.len())?;
                items.get(at).cloned().ok_or("reflect: slice index out of range")?
            }
            Value::Str(text) => {
                let at = position(key, text.len())?;
                let byte = text.as_bytes().get(at).ok_or("reflect: string index out of range")?;
                Value::Uint(u64::from(*byte))
            }
            Value::Map(entries) => {
                let Value::Str(name) = key else {
                    return Err(format!("value has type {}; should be string", key.type_name()));
                };
                entries.iter().find(|(k, _)| **k == **name).map_or_else(|| zero(entries), |(_, v)| v.clone())
            }
            Value::Nil(Nil::Slice) => return Err(format!("index out of range: {}", display(key))),
            Value::Nil(Nil::Map) => Value::str(""),
            Value::Nil(_) => return Err("index of nil pointer".into()),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(current)
}

/// The zero value of a map's elements, as far as they tell their type.
fn zero(entries: &[(String, Value)]) -> Value {
    match entries.first().map(|(_, v)| v) {
        None if entries.is_empty() => Value::str(""),
        Some(Value::Str(_)) if entries.iter().all(|(_, v)| matches!(v, Value::Str(_))) => Value::str(""),
        Some(Value::Struct(_)) => Value::Nil(Nil::Pointer),
        Some(Value::List(_) | Value::Nil(Nil::Slice)) => Value::Nil(Nil::Slice),
        _ => Value::Nil(Nil::Interface),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let len = match value {
        Value::Str(_) if bounds.len() == 3 => return Err("cannot 3-index slice a string".into()),
        Value::Str(s) => s.len(),
        Value::List(l) => l.len(),
        Value::Nil(Nil::Slice) => 0,
        Value::Nil(Nil::Interface) => return Err("slice of untyped nil".into()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let at = |i: usize, default: usize| bounds.get(i).map_or(Ok(default), |b| position(b, len));
    let (from, to) = (at(0, 0)?, at(1, len)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match value {
        Value::Str(s) => Value::str(bytes_of(s, from, to)),
        Value::List(l) => Value::List(Rc::new(l[from..to].to_vec())),
        other => other.clone(),
    })
}

const INCOMPATIBLE: &str = "incompatible types for comparison";

fn equal_any(first: &Value, others: &[Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Str(a) | Value::Text(a, _), Value::Str(b) | Value::Text(b, _)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Nil(_), Value::Nil(_)) => Ok(true),
        (Value::Nil(_), _) | (_, Value::Nil(_)) => Ok(false),
        (Value::List(_) | Value::Map(_), _) => {
            Err(format!("non-comparable type {}: {}", display(a), a.type_name()))
        }
        (_, Value::List(_) | Value::Map(_)) => {
            Err(format!("non-comparable type {}: {}", display(b), b.type_name()))
        }
        _ => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Ok(a == b),
            _ => Err(INCOMPATIBLE.into()),
        },
    }
}

fn less(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(a < b),
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".into()),
        _ => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Ok(a < b),
            _ if matches!(a, Value::Nil(_) | Value::List(_) | Value::Map(_) | Value::Struct(_)) => {
                Err("invalid type for comparison".into())
            }
            _ => Err(INCOMPATIBLE.into()),
        },
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(i) => Some(i128::from(*i)),
        Value::Uint(u) => Some(i128::from(*u)),
        _ => None,
    }
}
