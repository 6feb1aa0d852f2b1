//! JSON as Go's encoder writes it, for documents whose bytes others compare or hash.
//!
//! Standard: `encoding/json` (<https://pkg.go.dev/encoding/json>): `Indent` changes white space between tokens only, and
//! `Marshal` also writes `<`, `>`, `&`, U+2028 and U+2029 as escapes. The input is JSON already: nothing is parsed.

/// White space as `Indent(.., "", indent)` sets it.
pub fn indent(json: &str, indent: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut opened = false;
    for token in tokens(json) {
        let closing = matches!(token, "}" | "]");
        if opened && !closing {
            depth += 1;
            new_line(&mut out, depth, indent);
        }
        if closing && !opened {
            depth = depth.saturating_sub(1);
            new_line(&mut out, depth, indent);
        }
        opened = matches!(token, "{" | "[");
        out.push_str(token);
        match token {
            "," => new_line(&mut out, depth, indent),
            ":" => out.push(' '),
            _ => {}
        }
    }
    out
}

/// Without white space between tokens, and with what `Marshal` escapes.
pub fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for token in tokens(json) {
        for character in token.chars() {
            match character {
                '<' => out.push_str("\\u003c"),
                '>' => out.push_str("\\u003e"),
                '&' => out.push_str("\\u0026"),
                '\u{2028}' => out.push_str("\\u2028"),
                '\u{2029}' => out.push_str("\\u2029"),
                other => out.push(other),
            }
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize, indent: &str) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str(indent);
    }
}

/// Strings, punctuation, and everything else, without white space.
fn tokens(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let first = rest.chars().next()?;
        let end = match first {
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            '"' => end_of_string(rest),
            _ => {
                let stop = |c: char| c.is_ascii_whitespace() || "{}[],:\"".contains(c);
                rest.char_indices().skip(1).find(|(_, c)| stop(*c)).map_or(rest.len(), |(at, _)| at)
            }
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_gos() {
        let json = "{ \"a\" : [1, 2,{}],\n\"b{\":\"x\\\"},: <é>\" ,\"c\":[ ],\"d\":{\"e\":null}}";
        let want = "{\n\t\"a\": [\n\t\t1,\n\t\t2,\n\t\t{}\n\t],\n\t\"b{\": \"x\\\"},: <é>\",\n\t\"c\": [],\n\t\"d\": {\n\t\t\"e\": null\n\t}\n}";
        assert_eq!(indent(json, "\t"), want);
        assert_eq!(
            compact(json),
            "{\"a\":[1,2,{}],\"b{\":\"x\\\"},: \\u003cé\\u003e\",\"c\":[],\"d\":{\"e\":null}}"
        );
        assert_eq!(indent(&compact(json), "\t").replace("\\u003c", "<").replace("\\u003e", ">"), want);
    }

    #[test]
    fn nonsense_ends() {
        for text in ["", "\"", "}}}}", "[[[", "\"\\", ",:", "é", "{\"a"] {
            let _ = (indent(text, " "), compact(text));
        }
    }
}
