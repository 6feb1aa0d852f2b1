//! Values as Go's `fmt.Print` shows them.
use crate::value::{Nil, Value};
use std::fmt::Write;

/// Go's `%v`.
pub fn display(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out, true);
    out
}

fn write_value(value: &Value, out: &mut String, top: bool) {
    match value {
        Value::Nil(Nil::Interface | Nil::Pointer) => out.push_str("<nil>"),
        Value::Nil(Nil::Slice) => out.push_str("[]"),
        Value::Nil(Nil::Map) => out.push_str("map[]"),
        Value::Bool(b) => drop(write!(out, "{b}")),
        Value::Int(i) => drop(write!(out, "{i}")),
        Value::Uint(u) => drop(write!(out, "{u}")),
        Value::Float(f) => out.push_str(&float(*f)),
        Value::Str(s) | Value::Text(s, _) => out.push_str(s),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write_value(item, out, false);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push_str("map[");
            for (i, (key, item)) in Value::sorted(entries).into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                let _ = write!(out, "{key}:");
                write_value(item, out, false);
            }
            out.push(']');
        }
        Value::Struct(s) => {
            if !top && s.type_name.starts_with('*') {
                out.push('&');
            }
            out.push('{');
            for (i, (_, item)) in s.fields.iter().chain(&s.omitted).enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write_value(item, out, false);
            }
            out.push('}');
        }
        Value::Func(_) => out.push_str("<func>"),
    }
}

/// Go's shortest form of a float (`%v`: `%g` with exponents from 1e21 on).
pub fn float(f: f64) -> String {
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        return exponent(&format!("{f:e}"));
    }
    format!("{f}")
}

/// Rust's `1e21`, `1.5e-7` in Go's form `1e+21`, `1.5e-07`.
pub fn exponent(text: &str) -> String {
    let Some((mantissa, exp)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exp.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exp),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}
