//! Go's `path.Match`: `*`, `?`, `[a-z]`, `\x`; a star does not cross a slash.

pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    at(&pattern, &text)
}

fn at(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => {
            let reach = text.iter().position(|c| *c == '/').unwrap_or(text.len());
            (0..=reach).any(|n| at(rest, &text[n..]))
        }
        Some(('?', rest)) => text.split_first().is_some_and(|(c, more)| *c != '/' && at(rest, more)),
        Some(('[', rest)) => {
            let (Some(end), Some((c, more))) =
                (rest.iter().skip(1).position(|c| *c == ']'), text.split_first())
            else {
                return false;
            };
            let (class, rest) = (&rest[..=end], &rest[end + 2..]);
            in_class(class, *c) && at(rest, more)
        }
        Some(('\\', rest)) if !rest.is_empty() => text.first() == rest.first() && at(&rest[1..], &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && at(rest, &text[1..]),
    }
}

fn in_class(class: &[char], c: char) -> bool {
    let (negated, class) = match class.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    let mut i = 0;
    while i < class.len() {
        if i + 2 < class.len() && class[i + 1] == '-' {
            found |= (class[i]..=class[i + 2]).contains(&c);
            i += 3;
        } else {
            found |= class[i] == c;
            i += 1;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("busy*", "busybox"),
            ("*/x", "a/x"),
            ("b?sybox:[l-m]*", "busybox:latest"),
            ("a\\*", "a*"),
            ("[^a]b", "cb"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("busy*", "lib/busybox"), ("*", "a/b"), ("[^a]b", "ab"), ("", "x"), ("[", "[")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
