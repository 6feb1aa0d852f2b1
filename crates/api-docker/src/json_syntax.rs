//! What is wrong with a text that is no JSON, in the words of Go's `encoding/json`: clients and their tests look for them.
//! Pure: the text alone.

/// Deepest nesting that is looked at; serde ends sooner.
const MAX_DEPTH: usize = 10_000;

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    /// A value, or the end of an array that has none.
    ValueOrEnd,
    Key,
    /// A key, or the end of an object that has none.
    KeyOrEnd,
    Colon,
    AfterPair,
    AfterElement,
}

/// The first mistake. `None` when there is none, or when the text ends too early.
pub fn mistake(text: &[u8]) -> Option<String> {
    let mut open: Vec<u8> = Vec::new();
    let mut expect = Expect::Value;
    let mut rest = text;
    loop {
        let blank = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
        rest = &rest[blank..];
        let &first = rest.first()?;
        let wrong = |place: &str| Some(invalid(first, place));
        let mut ends = false;
        match (expect, first) {
            (Expect::ValueOrEnd, b']') | (Expect::KeyOrEnd, b'}') => {
                (rest, ends) = (&rest[1..], true);
            }
            (Expect::Value | Expect::ValueOrEnd, b'{' | b'[') => {
                if open.len() == MAX_DEPTH {
                    return Some("exceeded max depth".to_owned());
                }
                open.push(first);
                expect = if first == b'{' { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
                rest = &rest[1..];
                continue;
            }
            (Expect::Value | Expect::ValueOrEnd, _) => match scalar(rest) {
                Ok(length) => rest = &rest[length..],
                Err(why) => return why,
            },
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                match string(rest) {
                    Ok(length) => rest = &rest[length..],
                    Err(why) => return why,
                }
                expect = Expect::Colon;
                continue;
            }
            (Expect::Key | Expect::KeyOrEnd, _) => {
                return wrong("looking for beginning of object key string");
            }
            (Expect::Colon, b':') => (expect, rest) = (Expect::Value, &rest[1..]),
            (Expect::Colon, _) => return wrong("after object key"),
            (Expect::AfterPair, b',') => (expect, rest) = (Expect::Key, &rest[1..]),
            (Expect::AfterElement, b',') => (expect, rest) = (Expect::Value, &rest[1..]),
            (Expect::AfterPair, b'}') | (Expect::AfterElement, b']') => (rest, ends) = (&rest[1..], true),
            (Expect::AfterPair, _) => return wrong("after object key:value pair"),
            (Expect::AfterElement, _) => return wrong("after array element"),
        }
        if ends {
            open.pop();
        } else if matches!(first, b':' | b',') {
            continue;
        }
        expect = match open.last() {
            Some(b'{') => Expect::AfterPair,
            Some(_) => Expect::AfterElement,
            None => return None,
        };
    }
}

fn invalid(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        b' '..=b'~' => format!("'{}'", char::from(byte)),
        _ if byte < 0x80 => format!("'\\x{byte:02x}'"),
        _ => format!("'{}'", char::from(byte)),
    };
    format!("invalid character {shown} {place}")
}

/// Length of the value at the beginning, or its mistake.
fn scalar(text: &[u8]) -> Result<usize, Option<String>> {
    match text.first() {
        Some(b'"') => string(text),
        Some(b'-' | b'0'..=b'9') => number(text),
        Some(b't') => literal(text, "true"),
        Some(b'f') => literal(text, "false"),
        Some(b'n') => literal(text, "null"),
        Some(&other) => Err(Some(invalid(other, "looking for beginning of value"))),
        None => Err(None),
    }
}

fn literal(text: &[u8], word: &str) -> Result<usize, Option<String>> {
    for (at, wanted) in word.bytes().enumerate() {
        match text.get(at) {
            Some(&found) if found == wanted => {}
            Some(&found) => {
                let place = format!("in literal {word} (expecting '{}')", char::from(wanted));
                return Err(Some(invalid(found, &place)));
            }
            None => return Err(None),
        }
    }
    Ok(word.len())
}

fn string(text: &[u8]) -> Result<usize, Option<String>> {
    let mut at = 1;
    loop {
        match text.get(at).copied() {
            None => return Err(None),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match text.get(at + 1).copied() {
                None => return Err(None),
                Some(b'u') => {
                    for place in at + 2..at + 6 {
                        match text.get(place) {
                            None => return Err(None),
                            Some(b) if b.is_ascii_hexdigit() => {}
                            Some(&b) => return Err(Some(invalid(b, "in \\u hexadecimal character escape"))),
                        }
                    }
                    at += 6;
                }
                Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => at += 2,
                Some(other) => return Err(Some(invalid(other, "in string escape code"))),
            },
            Some(control) if control < 0x20 => return Err(Some(invalid(control, "in string literal"))),
            Some(_) => at += 1,
        }
    }
}

fn number(text: &[u8]) -> Result<usize, Option<String>> {
    let mut at = usize::from(text.first() == Some(&b'-'));
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let need = |at: usize, place: &str| match text.get(at) {
        None => Err(None),
        Some(b) if b.is_ascii_digit() => Ok(()),
        Some(&b) => Err(Some(invalid(b, place))),
    };
    need(at, "in numeric literal")?;
    at += if text[at] == b'0' { 1 } else { digits(at) };
    if text.get(at) == Some(&b'.') {
        need(at + 1, "after decimal point in numeric literal")?;
        at += 1 + digits(at + 1);
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        need(at, "in exponent of numeric literal")?;
        at += digits(at);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::mistake;

    #[test]
    fn the_words_of_go() {
        for (text, wanted) in [
            ("{invalid json", "invalid character 'i' looking for beginning of object key string"),
            ("[1,}", "invalid character '}' looking for beginning of value"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("{\"a\":[1 2]}", "invalid character '2' after array element"),
            ("{\"a\":01}", "invalid character '1' after object key:value pair"),
            ("{\"a\":1.x}", "invalid character 'x' after decimal point in numeric literal"),
            ("{\"a\":-}", "invalid character '}' in numeric literal"),
            ("{\"a\":1e}", "invalid character '}' in exponent of numeric literal"),
            ("{\"a\\q\":1}", "invalid character 'q' in string escape code"),
            ("{\"\\u00g0\":1}", "invalid character 'g' in \\u hexadecimal character escape"),
            ("{\"a\n\":1}", "invalid character '\\n' in string literal"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("<x>", "invalid character '<' looking for beginning of value"),
        ] {
            assert_eq!(mistake(text.as_bytes()).as_deref(), Some(wanted), "{text}");
        }
        for right in
            ["", "{", "[1,", "{\"a\":", "\"", "{\"a\":[{},[],\"\\u00e4\",-0.5e+3,true,false,null]} x"]
        {
            assert_eq!(mistake(right.as_bytes()), None, "{right}");
        }
    }
}
