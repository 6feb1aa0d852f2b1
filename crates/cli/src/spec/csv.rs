//! One record of comma-separated values, as Go's `encoding/csv` reads it (`--mount`, `--network`).

pub fn record(text: &str) -> Result<Vec<String>, String> {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    if line.is_empty() {
        return Err("EOF".into());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains('"') {
                let column = line.len() - rest.len() + rest.find('"').unwrap_or(0) + 1;
                return Err(format!("parse error on line 1, column {column}: bare \" in non-quoted-field"));
            }
            (rest[..end].to_owned(), &rest[end..])
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some(end) = rest.find('"') else {
            return Err("parse error on line 1: extraneous or missing \" in quoted-field".into());
        };
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.chars().next() {
            Some('"') => {
                field.push('"');
                rest = &rest[1..];
            }
            None | Some(',') => return Ok((field, rest)),
            Some(_) => return Err("parse error on line 1: extraneous or missing \" in quoted-field".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_protect_commas() {
        let read = |t| super::record(t).unwrap();
        assert_eq!(read("type=bind,src=/a"), ["type=bind", "src=/a"]);
        assert_eq!(read("\"a,b\",c"), ["a,b", "c"]);
        assert_eq!(read("\"a\"\"b\""), ["a\"b"]);
        assert!(super::record("a\"b").is_err() && super::record("\"a").is_err());
    }
}
