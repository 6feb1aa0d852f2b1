//! Compiled filters in a directory of the engine, by the hash of what they were compiled from.
//!
//! A file is the program and its SHA-256. It is made under another name and renamed, readable by the owner only; what does
//! not verify is compiled again. A cache that cannot be read or written only costs time.
use super::compile::compile;
use crate::Result;
use knarr_linux::bpf::Instruction;
use knarr_linux::seccomp::MAX_INSTRUCTIONS;
use knarr_oci::runtime::Seccomp;
use rustix::fs::{CWD, Mode, OFlags};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Changes when the compiler does.
const VERSION: &str = concat!("knarr-seccomp-1-", env!("CARGO_PKG_VERSION"));
const HASH: usize = 32;

pub(super) fn get(directory: &Path, profile: &Seccomp) -> Result<Vec<Instruction>> {
    let name = format!("{}.bpf", key(profile));
    let path = directory.join(&name);
    if let Some(program) = read(&path) {
        return Ok(program);
    }
    let program = compile(profile)?;
    // Without a cache it works as well.
    let _ = write(directory, &path, &name, &program);
    Ok(program)
}

fn key(profile: &Seccomp) -> String {
    let mut hash = Sha256::new();
    let mut field = |text: &[u8]| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    field(VERSION.as_bytes());
    field(std::env::consts::ARCH.as_bytes());
    field(&numbers(profile.default_action as u64, profile.default_errno_ret));
    profile.architectures.iter().for_each(|name| field(name.as_bytes()));
    for call in &profile.syscalls {
        field(&numbers(call.action as u64, call.errno_ret));
        field(&(call.names.len() as u64).to_le_bytes());
        call.names.iter().for_each(|name| field(name.as_bytes()));
        for arg in &call.args {
            let words = [u64::from(arg.index), arg.op as u64, arg.value, arg.value_two];
            words.iter().for_each(|word| field(&word.to_le_bytes()));
        }
    }
    hex::encode(hash.finalize())
}

fn numbers(action: u64, errno: Option<u32>) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&action.to_le_bytes());
    bytes[8..].copy_from_slice(&errno.map_or(u64::MAX, u64::from).to_le_bytes());
    bytes
}

/// `None` if it is not there or not what was written.
fn read(path: &Path) -> Option<Vec<Instruction>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    if !own || stat.st_mode & 0o170_077 != 0o100_000 {
        return None;
    }
    let most = (MAX_INSTRUCTIONS * Instruction::SIZE + HASH) as u64;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(most + 1).read_to_end(&mut bytes).ok()?;
    let program = bytes.get(..bytes.len().checked_sub(HASH)?)?;
    let hash = bytes.get(program.len()..)?;
    if bytes.len() as u64 > most || program.is_empty() || Sha256::digest(program).as_slice() != hash {
        return None;
    }
    let (instructions, []) = program.as_chunks::<{ Instruction::SIZE }>() else { return None };
    Some(instructions.iter().map(|chunk| Instruction::from_bytes(*chunk)).collect())
}

fn write(directory: &Path, path: &Path, name: &str, program: &[Instruction]) -> std::io::Result<()> {
    let mut bytes: Vec<u8> = program.iter().flat_map(|instruction| instruction.to_bytes()).collect();
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(hash.as_slice());
    let own = format!(".{name}.{}", rustix::process::getpid().as_raw_nonzero());
    let temporary = directory.join(std::ffi::OsStr::from_bytes(own.as_bytes()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, &temporary, flags, Mode::from_raw_mode(0o600))?;
    let written =
        std::fs::File::from(file).write_all(&bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_oci::runtime::{SeccompAction, Syscall};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_cached_filter_is_the_compiled_one_and_a_changed_file_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let allow = |name: &str| Syscall {
            names: vec![name.to_owned()],
            action: SeccompAction::Allow,
            ..Syscall::default()
        };
        let one = Seccomp { syscalls: vec![allow("read")], ..Seccomp::default() };
        let other = Seccomp { syscalls: vec![allow("write")], ..Seccomp::default() };
        let compiled = get(directory.path(), &one).unwrap();
        assert_eq!(compiled, compile(&one).unwrap());
        assert_ne!(key(&one), key(&other));
        let file = directory.path().join(format!("{}.bpf", key(&one)));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&file).unwrap(), compiled);
        assert_eq!(get(directory.path(), &one).unwrap(), compiled);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(read(&file), None);
        assert_eq!(get(directory.path(), &one).unwrap(), compiled);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read(&file), None);
    }
}
