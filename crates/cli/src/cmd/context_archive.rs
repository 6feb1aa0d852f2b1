//! `context export` and `context import`: a context as a tar, or, to read, as a zip.
//!
//! Invariant: nothing of an archive is a path on this machine: names are compared with what a context has.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::context::{check_new, get, store, tls_of};
use crate::context_store::{Context, DEFAULT, Tls, check_name};
use crate::failure::{Failure, Outcome, os_text};
use knarr_gotemplate::quote;
use std::io::{IsTerminal, Read, Write};

const META: &str = "meta.json";
const TLS_DIR: &str = "tls";
/// Largest archive that is read.
const MAX_BYTES: u64 = 10 << 20;

pub async fn export(cli: Shared, m: Matches) -> Outcome {
    let name = &m.args[0];
    if name != DEFAULT {
        check_name(name)?;
    }
    let target = m.args.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
    if target == "-" && std::io::stdout().is_terminal() {
        return Err(Failure::new("cowardly refusing to export to a terminal, specify a file path"));
    }
    let archive = write(&get(&cli, name)?, &tls_of(&cli, name)?)?;
    if target == "-" {
        let mut out = std::io::stdout().lock();
        out.write_all(&archive)?;
        return Ok(out.flush()?);
    }
    use std::os::unix::fs::OpenOptionsExt;
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target);
    created
        .and_then(|mut file| file.write_all(&archive))
        .map_err(|e| Failure::new(format!("open {target}: {}", os_text(&e))))?;
    cli.warn(&format!("Written file {}", quote(&target)));
    Ok(())
}

fn write(context: &Context, tls: &Tls) -> Outcome<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, bytes: Option<&[u8]>| -> std::io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_entry_type(if bytes.is_some() {
            tar::EntryType::Regular
        } else {
            tar::EntryType::Directory
        });
        let bytes = bytes.unwrap_or_default();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes)
    };
    let mut all = || -> std::io::Result<()> {
        add(META, 0o644, Some(context.to_document().to_string().as_bytes()))?;
        add(TLS_DIR, 0o700, None)?;
        for (endpoint, files) in tls.iter().filter(|(_, files)| !files.is_empty()) {
            add(&format!("{TLS_DIR}/{endpoint}"), 0o700, None)?;
            for (file, bytes) in files {
                add(&format!("{TLS_DIR}/{endpoint}/{file}"), 0o600, Some(bytes))?;
            }
        }
        Ok(())
    };
    all()?;
    Ok(archive.into_inner()?)
}

pub async fn import(cli: Shared, m: Matches) -> Outcome {
    let (name, source) = (&m.args[0], m.args[1].as_str());
    check_new(&cli, name)?;
    let input: Box<dyn Read> = match source {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(
            std::fs::File::open(path).map_err(|e| Failure::new(format!("open {path}: {}", os_text(&e))))?,
        ),
    };
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::new("read exceeds the defined limit"));
    }
    let files = if bytes.starts_with(b"PK\x03\x04") { of_zip(&bytes)? } else { of_tar(&bytes)? };
    let (mut context, tls) = sort(files)?;
    context.name.clone_from(name);
    let store = store(&cli);
    store.put(&context)?;
    store.reset_tls(name, &tls)?;
    cli.println(name)?;
    cli.warn(&format!("Successfully imported context {}", quote(name)));
    Ok(())
}

type Files = Vec<(String, Vec<u8>)>;

/// What the files of an archive are.
fn sort(files: Files) -> Outcome<(Context, Tls)> {
    let (mut context, mut tls) = (None, Tls::new());
    for (path, bytes) in files {
        let wrong = |what: &str| Failure::new(format!("{path}: {what}"));
        if path != META && !path.starts_with("tls/") {
            return Err(wrong("unexpected context file"));
        }
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
            return Err(wrong("unexpected path format"));
        }
        if path.contains('\\') {
            return Err(wrong("unexpected '\\' in path"));
        }
        match parts[..] {
            [_] => context = Some(Context::parse(&bytes).map_err(Failure::new)?),
            [_, endpoint, file] => {
                tls.entry(endpoint.to_owned()).or_default().insert(file.to_owned(), bytes);
            }
            _ => return Err(Failure::new("archive format is invalid")),
        }
    }
    let context = context.ok_or_else(|| Failure::new("invalid context: no metadata found"))?;
    Ok((context, tls))
}

fn of_tar(bytes: &[u8]) -> Outcome<Files> {
    const BLOCK: usize = 512;
    // Docker's own archives end with the last byte of the last file
    let whole = [bytes, &vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len() + 2 * BLOCK]].concat();
    let mut files = Vec::new();
    let mut archive = tar::Archive::new(whole.as_slice());
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.raw_file_position().saturating_add(entry.size()) > bytes.len() as u64 {
            return Err(Failure::new("unexpected EOF"));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.push((path, content));
    }
    Ok(files)
}

/// The members of a zip by its directory, stored or deflated
/// (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>).
fn of_zip(bytes: &[u8]) -> Outcome<Files> {
    const END: &[u8] = b"PK\x05\x06";
    const MEMBER: &[u8] = b"PK\x01\x02";
    let invalid = || Failure::new("zip: not a valid zip file");
    let number = |at: usize, length: usize| -> Outcome<usize> {
        let field = bytes.get(at..at + length).ok_or_else(invalid)?;
        Ok(field.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    };
    let end = bytes.windows(END.len()).rposition(|window| window == END).ok_or_else(invalid)?;
    let (count, mut at) = (number(end + 10, 2)?, number(end + 16, 4)?);
    let mut files = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        if bytes.get(at..at + MEMBER.len()) != Some(MEMBER) {
            return Err(invalid());
        }
        let (method, packed, size) = (number(at + 10, 2)?, number(at + 20, 4)?, number(at + 24, 4)?);
        let (name, extra, comment) = (number(at + 28, 2)?, number(at + 30, 2)?, number(at + 32, 2)?);
        let local = number(at + 42, 4)?;
        let path =
            String::from_utf8_lossy(bytes.get(at + 46..at + 46 + name).ok_or_else(invalid)?).into_owned();
        at += 46 + name + extra + comment;
        if path.ends_with('/') {
            continue;
        }
        let start = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
        let data = bytes.get(start..start.saturating_add(packed)).ok_or_else(invalid)?;
        total += size as u64;
        if total > MAX_BYTES {
            return Err(Failure::new("read exceeds the defined limit"));
        }
        let content = match method {
            0 => data.to_vec(),
            8 => {
                let mut content = Vec::new();
                flate2::read::DeflateDecoder::new(data).take(size as u64).read_to_end(&mut content)?;
                content
            }
            _ => return Err(Failure::new("zip: unsupported compression algorithm")),
        };
        if content.len() != size {
            return Err(invalid());
        }
        files.push((path, content));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context { name: "x".into(), host: "tcp://h:1".into(), ..Context::default() }
    }

    #[test]
    fn what_is_written_is_read() {
        let tls: Tls = [("docker".to_owned(), [("ca.pem".to_owned(), b"ca".to_vec())].into())].into();
        let archive = write(&context(), &tls).unwrap();
        let (read, read_tls) = sort(of_tar(&archive).unwrap()).unwrap();
        assert_eq!((read.host.as_str(), read_tls), ("tcp://h:1", tls));
        // as Docker's client leaves them: without what fills the last block
        let end = archive.windows(2).position(|bytes| bytes == b"ca").map(|_| archive.len() - 1024 - 510);
        let cut = &archive[..end.unwrap()];
        assert_eq!(of_tar(cut).unwrap().len(), 2);
        assert!(of_tar(&cut[..cut.len() - 1]).is_err());
    }

    #[test]
    fn paths_that_are_no_contexts_are_refused() {
        let file = |path: &str| sort(vec![(path.to_owned(), b"{}".to_vec())]).unwrap_err().message;
        assert_eq!(file("../x"), "../x: unexpected context file");
        assert_eq!(file("tls/../../x"), "tls/../../x: unexpected path format");
        assert_eq!(file("tls/a\\b/x"), "tls/a\\b/x: unexpected '\\' in path");
        assert_eq!(file("tls/docker/ca.pem"), "invalid context: no metadata found");
        assert!(of_zip(b"PK\x03\x04 nonsense").is_err());
    }
}
