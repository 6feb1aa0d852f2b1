//! Go's `fmt.Sprintf` over template values.
//!
//! Standard: <https://pkg.go.dev/fmt>.
use crate::print::{display, exponent};
use crate::value::{Nil, Value};

/// Widest field and longest precision, as in Go.
const MAX_WIDTH: usize = 1_000_000;

/// Flags of one verb.
#[derive(Default, Clone)]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf(format, args...)`; never fails: what is wrong is printed in place, as Go does.
pub fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next_arg = 0;
    let mut reordered = false;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(&flag) = chars.peek() {
            match flag {
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        reordered |= index(&mut chars, &mut next_arg);
        spec.width = number(&mut chars, args, &mut next_arg, &mut spec.minus);
        if chars.peek() == Some(&'.') {
            chars.next();
            reordered |= index(&mut chars, &mut next_arg);
            let mut ignored = false;
            spec.precision = Some(number(&mut chars, args, &mut next_arg, &mut ignored).unwrap_or(0));
        }
        reordered |= index(&mut chars, &mut next_arg);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.get(next_arg) {
                None => {
                    out.push_str("%!");
                    out.push(verb);
                    out.push_str(if reordered { "(BADINDEX)" } else { "(MISSING)" });
                }
                Some(arg) => {
                    next_arg += 1;
                    out.push_str(&one(verb, &spec, arg));
                }
            },
        }
        if out.len() > crate::MAX_OUTPUT_BYTES {
            return out;
        }
    }
    if !reordered && next_arg < args.len() {
        let extra: Vec<String> = args[next_arg..].iter().map(typed).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// `[n]`: the next argument is the n-th.
fn index(chars: &mut Chars<'_>, next_arg: &mut usize) -> bool {
    if chars.peek() != Some(&'[') {
        return false;
    }
    chars.next();
    let mut value = 0usize;
    for c in chars.by_ref() {
        match c.to_digit(10) {
            Some(d) => value = value.saturating_mul(10).saturating_add(d as usize).min(MAX_WIDTH),
            None => break,
        }
    }
    *next_arg = value.checked_sub(1).unwrap_or(usize::MAX / 2);
    true
}

fn number(chars: &mut Chars<'_>, args: &[Value], next_arg: &mut usize, minus: &mut bool) -> Option<usize> {
    if chars.peek() == Some(&'*') {
        chars.next();
        let value = match args.get(*next_arg) {
            Some(Value::Int(i)) => *i,
            _ => return None,
        };
        *next_arg += 1;
        if value < 0 {
            *minus = true;
        }
        return usize::try_from(value.unsigned_abs()).ok().filter(|w| *w <= MAX_WIDTH);
    }
    let mut value = None;
    while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        value = Some((value.unwrap_or(0usize) * 10 + d as usize).min(MAX_WIDTH));
    }
    value
}

fn one(verb: char, spec: &Spec, value: &Value) -> String {
    match verb {
        'T' => return pad(value.type_name().to_owned(), spec),
        'v' if matches!(value, Value::Nil(Nil::Interface | Nil::Pointer)) => {
            return pad("<nil>".into(), spec);
        }
        _ if matches!(value, Value::Nil(Nil::Interface | Nil::Pointer)) => return format!("%!{verb}(<nil>)"),
        _ => {}
    }
    let text = match value {
        Value::List(items) if verb != 'v' || spec.sharp => {
            let inner: Vec<String> = items.iter().map(|v| one(verb, spec, v)).collect();
            return format!("[{}]", inner.join(" "));
        }
        Value::Map(entries) if verb != 'v' => {
            let inner: Vec<String> = Value::sorted(entries)
                .into_iter()
                .map(|(k, v)| format!("{}:{}", one(verb, spec, &Value::str(k.as_str())), one(verb, spec, v)))
                .collect();
            return format!("map[{}]", inner.join(" "));
        }
        Value::Struct(s) if verb != 'v' => {
            let inner: Vec<String> = s.fields.iter().map(|(_, v)| one(verb, spec, v)).collect();
            return format!("{{{}}}", inner.join(" "));
        }
        Value::Str(s) | Value::Text(s, _) => string(verb, spec, s),
        Value::Bool(b) if matches!(verb, 't' | 'v') => Some(b.to_string()),
        Value::Int(i) => return integer(verb, spec, i128::from(*i)).unwrap_or_else(|| bad(verb, value)),
        Value::Uint(u) => return integer(verb, spec, i128::from(*u)).unwrap_or_else(|| bad(verb, value)),
        Value::Float(f) => return float(verb, spec, *f).unwrap_or_else(|| bad(verb, value)),
        _ if verb == 'v' => Some(display(value)),
        _ => None,
    };
    match text {
        Some(text) => pad(text, spec),
        None => bad(verb, value),
    }
}

fn typed(value: &Value) -> String {
    match value {
        Value::Nil(Nil::Interface | Nil::Pointer) => "<nil>".into(),
        _ => format!("{}={}", value.type_name(), display(value)),
    }
}

fn bad(verb: char, value: &Value) -> String {
    format!("%!{verb}({})", typed(value))
}

fn string(verb: char, spec: &Spec, text: &str) -> Option<String> {
    let cut: String = match spec.precision {
        Some(p) => text.chars().take(p).collect(),
        None => text.to_owned(),
    };
    Some(match verb {
        'v' if spec.sharp => quote(&cut),
        'v' | 's' => cut,
        'q' if spec.sharp && !cut.contains('`') => format!("`{cut}`"),
        'q' => quote(&cut),
        'x' => cut.bytes().map(|b| format!("{b:02x}")).collect(),
        'X' => cut.bytes().map(|b| format!("{b:02X}")).collect(),
        _ => return None,
    })
}

fn integer(verb: char, spec: &Spec, value: i128) -> Option<String> {
    let magnitude = value.unsigned_abs();
    let (digits, prefix) = match verb {
        'd' | 'v' => (magnitude.to_string(), ""),
        'b' => (format!("{magnitude:b}"), if spec.sharp { "0b" } else { "" }),
        'o' => (format!("{magnitude:o}"), if spec.sharp { "0" } else { "" }),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (format!("{magnitude:x}"), if spec.sharp { "0x" } else { "" }),
        'X' => (format!("{magnitude:X}"), if spec.sharp { "0X" } else { "" }),
        'c' | 'q' => {
            let c = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            let text = if verb == 'c' { c.to_string() } else { format!("'{}'", escape(c, '\'')) };
            return Some(pad(text, spec));
        }
        'U' => (format!("{magnitude:04X}"), "U+"),
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => return None,
        _ => return None,
    };
    let sign = match (value < 0, spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    let mut digits = digits;
    if let Some(p) = spec.precision {
        digits = zeros(p.saturating_sub(digits.len())) + &digits;
    } else if spec.zero && !spec.minus {
        let used = sign.len() + prefix.len() + digits.len();
        digits = zeros(spec.width.unwrap_or(0).saturating_sub(used)) + &digits;
    }
    Some(pad_spaces(format!("{sign}{prefix}{digits}"), spec))
}

fn zeros(count: usize) -> String {
    "0".repeat(count)
}

fn float(verb: char, spec: &Spec, value: f64) -> Option<String> {
    // more digits than a double can have only cost time
    let precision = spec.precision.map(|p| p.min(1100));
    let body = match verb {
        'f' | 'F' => format!("{:.*}", precision.unwrap_or(6), value.abs()),
        'e' | 'E' => exponent(&format!("{:.*e}", precision.unwrap_or(6), value.abs())),
        'g' | 'G' | 'v' => match precision {
            None => crate::print::float(value.abs()),
            Some(p) => significant(value.abs(), p.max(1)),
        },
        _ => return None,
    };
    let body = if verb.is_uppercase() { body.to_uppercase() } else { body };
    let body = body.trim_start_matches('+').to_owned();
    let sign = match (value.is_sign_negative() && !value.is_nan(), spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    let body = if spec.zero && !spec.minus && value.is_finite() {
        zeros(spec.width.unwrap_or(0).saturating_sub(sign.len() + body.len())) + &body
    } else {
        body
    };
    Some(pad_spaces(format!("{sign}{body}"), spec))
}

/// `%.Ng`.
fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{:.*e}", digits - 1, value);
    let exp: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let limit = i32::try_from(digits).unwrap_or(i32::MAX);
    let trim = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.into()
        }
    };
    if exp < -4 || exp >= limit {
        let (mantissa, e) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return exponent(&format!("{}e{e}", trim(mantissa)));
    }
    trim(&format!("{:.*}", usize::try_from(limit - 1 - exp).unwrap_or(0), value))
}

fn pad(text: String, spec: &Spec) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if spec.minus {
        return text + &" ".repeat(missing);
    }
    let fill = if spec.zero { "0" } else { " " };
    fill.repeat(missing) + &text
}

fn pad_spaces(text: String, spec: &Spec) -> String {
    pad(text, &Spec { zero: false, ..spec.clone() })
}

/// Go's `strconv.Quote`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        out.push_str(&escape(c, '"'));
    }
    out.push('"');
    out
}

fn escape(c: char, quote: char) -> String {
    match c {
        c if c == quote || c == '\\' => format!("\\{c}"),
        '\u{7}' => "\\a".into(),
        '\u{8}' => "\\b".into(),
        '\u{c}' => "\\f".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\u{b}' => "\\v".into(),
        c if (c as u32) < 0x20 || c as u32 == 0x7f => format!("\\x{:02x}", c as u32),
        c if c == '\u{feff}' || (c.is_whitespace() && c != ' ') || c.is_control() => {
            if (c as u32) < 0x10000 {
                format!("\\u{:04x}", c as u32)
            } else {
                format!("\\U{:08x}", c as u32)
            }
        }
        c => c.to_string(),
    }
}
