//! Values as Go's `encoding/json` writes them.
use crate::print::float;
use crate::value::Value;
use std::fmt::Write;

/// One line of JSON as Docker's `json` function gives it (no HTML escapes).
pub fn to_json(value: &Value) -> String {
    let mut out = String::new();
    write(value, false, &mut out);
    out
}

/// JSON with `<`, `>` and `&` escaped, as Go's plain `json.Marshal` writes it.
pub fn to_json_html(value: &Value) -> String {
    let mut out = String::new();
    write(value, true, &mut out);
    out
}

fn write(value: &Value, html: bool, out: &mut String) {
    match value {
        Value::Nil(_) | Value::Func(_) => out.push_str("null"),
        Value::Bool(b) => drop(write!(out, "{b}")),
        Value::Int(i) => drop(write!(out, "{i}")),
        Value::Uint(u) => drop(write!(out, "{u}")),
        Value::Float(f) if f.is_finite() => out.push_str(&json_float(*f)),
        Value::Float(_) => out.push_str("null"),
        Value::Str(s) => string(s, html, out),
        Value::Text(_, inner) => write(inner, html, out),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, html, out);
            }
            out.push(']');
        }
        Value::Map(entries) => object(entries.iter(), html, out),
        Value::Struct(s) => {
            object(s.fields.iter().filter(|(_, v)| !matches!(v, Value::Func(_))), html || s.html_json, out);
        }
    }
}

fn object<'a>(entries: impl Iterator<Item = &'a (String, Value)>, html: bool, out: &mut String) {
    out.push('{');
    for (i, (key, item)) in entries.enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(key, html, out);
        out.push(':');
        write(item, html, out);
    }
    out.push('}');
}

fn json_float(f: f64) -> String {
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = crate::print::exponent(&format!("{f:e}"));
        return text.replace("e-0", "e-").replace("e+0", "e+");
    }
    if magnitude == 0.0 {
        "0".into()
    } else if magnitude < 1e-4 {
        format!("{f}")
    } else {
        float(f)
    }
}

fn string(text: &str, html: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if html => drop(write!(out, "\\u{:04x}", c as u32)),
            c if (c as u32) < 0x20 => drop(write!(out, "\\u{:04x}", c as u32)),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out.push('"');
}
