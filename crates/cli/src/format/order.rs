//! The order of names as people count: `net2` before `net10`.
use std::cmp::Ordering;

fn chunks(text: &str) -> Vec<Result<u128, &str>> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.starts_with(|c: char| c.is_ascii_digit());
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (chunk, next) = rest.split_at(end);
        out.push(if digits { chunk.parse().map_err(|_| chunk) } else { Err(chunk) });
        rest = next;
    }
    out
}

pub fn natural(a: &str, b: &str) -> Ordering {
    for (x, y) in chunks(a).into_iter().zip(chunks(b)) {
        let order = match (x, y) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            (Err(x), Err(y)) => x.cmp(y),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.cmp(b)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_sort_as_people_expect() {
        let mut names = vec!["net10", "bridge", "net2", "net1a", "net1"];
        names.sort_by(|a, b| super::natural(a, b));
        assert_eq!(names, ["bridge", "net1", "net1a", "net2", "net10"]);
    }
}
