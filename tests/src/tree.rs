//! Comparing directory trees exactly: as the members of a tar stream, sorted, one line each.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// name -> everything that counts about a member, from a tar stream (ustar, pax and GNU long names).
///
/// # Panics
/// Where the stream is no tar archive.
pub fn listing(tar: &[u8]) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut pax: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut links: Vec<(String, String)> = Vec::new();
    let mut at = 0;
    while at + 512 <= tar.len() && tar[at] != 0 {
        let h = &tar[at..at + 512];
        let size = pax_number(&pax, "size").unwrap_or_else(|| octal(&h[124..136]));
        let data = &tar[at + 512..at + 512 + usize::try_from(size).expect("size")];
        at += 512 + data.len().next_multiple_of(512);
        match h[156] {
            b'x' => {
                pax = pax_records(data);
                continue;
            }
            b'g' => continue,
            b'L' => {
                pax.insert("path".into(), data[..data.len() - 1].to_vec());
                continue;
            }
            b'K' => {
                pax.insert("linkpath".into(), data[..data.len() - 1].to_vec());
                continue;
            }
            _ => {}
        }
        let mut name = text(pax.get("path").cloned().unwrap_or_else(|| ustar_name(h)));
        name = name.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/').to_owned();
        let link = text(pax.get("linkpath").cloned().unwrap_or_else(|| until_nul(&h[157..257])));
        let kind = if h[156] == 0 { b'0' } else { h[156] };
        if kind == b'1' {
            links.push((name, link.trim_start_matches("./").trim_start_matches('/').to_owned()));
        } else {
            let xattrs: Vec<String> = pax
                .iter()
                .filter_map(|(k, v)| {
                    k.strip_prefix("SCHILY.xattr.").map(|k| format!("{k}={}", hex::encode(v)))
                })
                .collect();
            let body = if kind == b'0' {
                format!("{size} {}", &hex::encode(Sha256::digest(data))[..16])
            } else {
                String::new()
            };
            let device = if matches!(kind, b'3' | b'4') {
                format!("{}:{}", octal(&h[329..337]), octal(&h[337..345]))
            } else {
                String::new()
            };
            let target = if kind == b'2' { link } else { String::new() };
            let mtime = pax.get("mtime").cloned().map_or_else(
                || octal(&h[136..148]).to_string(),
                |v| text(v).split('.').next().unwrap_or_default().to_owned(),
            );
            let uid = pax_number(&pax, "uid").unwrap_or_else(|| octal(&h[108..116]));
            let gid = pax_number(&pax, "gid").unwrap_or_else(|| octal(&h[116..124]));
            let mode = octal(&h[100..108]) & 0o7777;
            let line = format!(
                "{} {mode:04o} {uid}:{gid} t{mtime} {body}{device}{target} {}",
                kind as char,
                xattrs.join(",")
            );
            found.insert(name, line.trim_end().to_owned());
        }
        pax.clear();
    }
    for (name, target) in links {
        let line = found.get(&target).cloned().unwrap_or_else(|| format!("link to missing {target}"));
        found.insert(name, line);
    }
    found.remove("");
    found.remove(".");
    found
}

/// The groups of names that are one inode, as sorted lists.
pub fn hard_links(tar: &[u8]) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let clean = |s: String| s.trim_start_matches("./").trim_start_matches('/').to_owned();
    let mut pax: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut at = 0;
    while at + 512 <= tar.len() && tar[at] != 0 {
        let h = &tar[at..at + 512];
        let size =
            usize::try_from(pax_number(&pax, "size").unwrap_or_else(|| octal(&h[124..136]))).expect("size");
        let data = &tar[at + 512..at + 512 + size];
        at += 512 + size.next_multiple_of(512);
        if h[156] == b'x' {
            pax = pax_records(data);
            continue;
        }
        if h[156] == b'1' {
            let name = clean(text(pax.get("path").cloned().unwrap_or_else(|| ustar_name(h))));
            let link = clean(text(pax.get("linkpath").cloned().unwrap_or_else(|| until_nul(&h[157..257]))));
            groups.entry(link.clone()).or_insert_with(|| vec![link]).push(name);
        }
        pax.clear();
    }
    let mut v: Vec<Vec<String>> = groups.into_values().collect();
    v.iter_mut().for_each(|g| g.sort());
    v.sort();
    v
}

/// What differs between two listings; empty where they are the same.
pub fn differences(expected: &BTreeMap<String, String>, got: &BTreeMap<String, String>) -> Vec<String> {
    let mut d = Vec::new();
    for (name, line) in expected {
        match got.get(name) {
            None => d.push(format!("missing: {name} ({line})")),
            Some(g) if g != line => d.push(format!("differs: {name}\n  expected {line}\n  got      {g}")),
            Some(_) => {}
        }
    }
    d.extend(
        got.keys().filter(|k| !expected.contains_key(*k)).map(|k| format!("too much: {k} ({})", got[k])),
    );
    d
}

fn until_nul(b: &[u8]) -> Vec<u8> {
    b.split(|c| *c == 0).next().unwrap_or_default().to_vec()
}

fn ustar_name(h: &[u8]) -> Vec<u8> {
    let prefix = if &h[257..263] == b"ustar\0" { until_nul(&h[345..500]) } else { vec![] };
    let name = until_nul(&h[0..100]);
    if prefix.is_empty() { name } else { [prefix, name].join(&b'/') }
}

fn text(b: Vec<u8>) -> String {
    String::from_utf8_lossy(&b).into_owned()
}

fn octal(b: &[u8]) -> u64 {
    if b[0] & 0x80 != 0 {
        return b[1..].iter().fold(u64::from(b[0] & 0x7f), |n, c| (n << 8) | u64::from(*c));
    }
    let s: String = b.iter().map(|c| *c as char).filter(|c| c.is_digit(8)).collect();
    u64::from_str_radix(&s, 8).unwrap_or(0)
}

fn pax_number(pax: &BTreeMap<String, Vec<u8>>, key: &str) -> Option<u64> {
    String::from_utf8_lossy(pax.get(key)?).parse().ok()
}

fn pax_records(mut b: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    while let Some(space) = b.iter().position(|c| *c == b' ') {
        let Some(n) = String::from_utf8_lossy(&b[..space])
            .parse::<usize>()
            .ok()
            .filter(|n| *n <= b.len() && *n > space)
        else {
            break;
        };
        let record = &b[space + 1..n - 1];
        if let Some(eq) = record.iter().position(|c| *c == b'=') {
            found.insert(String::from_utf8_lossy(&record[..eq]).into_owned(), record[eq + 1..].to_vec());
        }
        b = &b[n..];
    }
    found
}
