//! Device rules of cgroup v2: a small program that the kernel asks about every access.
//!
//! Standard: BPF_PROG_TYPE_CGROUP_DEVICE. The rules are ordered and the last that matches decides, so the program tests
//! them from the last to the first; without a match the access is refused.
use crate::files::fail;
use crate::{Error, Result};
use knarr_linux::{Errno, bpf};
use knarr_oci::runtime::{DeviceRule, DeviceType};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The rules of a group, also of one whose processes run: the new program takes the place of the old one, which is never
/// gone before. Programs of others (systemd) stay.
pub(crate) fn attach(directory: &Path, rules: &[DeviceRule]) -> Result<()> {
    let program = compile(rules)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, directory, flags, Mode::empty()).map_err(fail("open", directory))?;
    match replace(fd.as_fd(), &program) {
        // Who runs in a user namespace may load no program; such a user cannot make devices either.
        Err(Errno::PERM) if in_user_namespace() => Ok(()),
        result => result.map_err(fail("set the device program of", directory)),
    }
}

fn replace(group: BorrowedFd<'_>, program: &[u64]) -> std::result::Result<(), Errno> {
    let old = bpf::device_programs(group)?;
    if old.is_empty() && program == ALLOW_ALL {
        return Ok(());
    }
    let new = bpf::load_device_program(program)?;
    match old.split_first() {
        Some((first, rest)) => {
            if bpf::replace_device_program(group, new.as_fd(), first.as_fd()).is_err() {
                // A kernel that cannot exchange them: both decide for a moment.
                bpf::attach_device_program(group, new.as_fd())?;
                bpf::detach_device_program(group, first.as_fd())?;
            }
            rest.iter().try_for_each(|old| bpf::detach_device_program(group, old.as_fd()))
        }
        None => bpf::attach_device_program(group, new.as_fd()),
    }
}

/// Whether this process is in another user namespace than the first one.
pub fn in_user_namespace() -> bool {
    let map = crate::files::read(Path::new("/proc/self/uid_map")).unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}

// Extended BPF, as far as it is needed. An instruction: code, dst | src << 4, 16-bit offset, 32-bit constant.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// Access bits of the kernel (BPF_DEVCG_ACC_*).
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
/// Device types of the kernel (BPF_DEVCG_DEV_*).
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

const fn op(code: u8, dst: u8, src: u8, offset: i16, constant: i32) -> u64 {
    code as u64
        | ((dst | src << 4) as u64) << 8
        | (offset as u16 as u64) << 16
        | (constant as u32 as u64) << 32
}

/// Of a group that allows everything, such as a privileged container's: without rules before, none is needed.
const ALLOW_ALL: [u64; 8] = [
    op(LOAD_WORD, 2, 1, 0, 0),
    op(AND, 2, 0, 0, 0xffff),
    op(LOAD_WORD, 3, 1, 0, 0),
    op(SHIFT_RIGHT, 3, 0, 0, 16),
    op(LOAD_WORD, 4, 1, 4, 0),
    op(LOAD_WORD, 5, 1, 8, 0),
    op(MOVE, 0, 0, 0, 1),
    op(EXIT, 0, 0, 0, 0),
];

/// Registers: r2 type, r3 access, r4 major, r5 minor.
pub(crate) fn compile(rules: &[DeviceRule]) -> Result<Vec<u64>> {
    let mut program = ALLOW_ALL[..6].to_vec();
    for rule in rules.iter().rev() {
        let tests = tests(rule)?;
        // Each failing test jumps over what is left of this rule.
        let total = tests.len() + 2;
        for (index, (code, dst, src, constant)) in tests.iter().copied().enumerate() {
            let jumps = matches!(code, JUMP_EQUAL | JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER);
            let offset = if jumps { (total - index - 1) as i16 } else { 0 };
            program.push(op(code, dst, src, offset, constant));
        }
        program.push(op(MOVE, 0, 0, 0, rule.allow.into()));
        program.push(op(EXIT, 0, 0, 0, 0));
        if tests.is_empty() {
            // Nothing before a rule for everything can be reached, and the verifier refuses dead code.
            return Ok(program);
        }
    }
    program.push(op(MOVE, 0, 0, 0, 0));
    program.push(op(EXIT, 0, 0, 0, 0));
    Ok(program)
}

type Test = (u8, u8, u8, i32);

fn tests(rule: &DeviceRule) -> Result<Vec<Test>> {
    let mut tests: Vec<Test> = Vec::new();
    match rule.kind {
        DeviceType::All => {}
        DeviceType::Block => tests.push((JUMP_NOT_EQUAL, 2, 0, BLOCK)),
        DeviceType::Char => tests.push((JUMP_NOT_EQUAL, 2, 0, CHAR)),
        DeviceType::Fifo => return Err(Error::Invalid { what: "a device rule for a FIFO".to_owned() }),
    }
    let mut access = 0;
    for letter in rule.access.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => return Err(Error::Invalid { what: format!("device access {:?}", rule.access) }),
        };
    }
    if access != 0 && access != READ | WRITE | MKNOD {
        tests.push((MOVE_REGISTER, 1, 3, 0));
        tests.push((AND, 1, 0, access));
        // What allows has to have all that is asked for, of what refuses a part is enough: who may not write may not open
        // for reading and writing.
        tests.push(if rule.allow { (JUMP_NOT_EQUAL_REGISTER, 1, 3, 0) } else { (JUMP_EQUAL, 1, 0, 0) });
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number.filter(|&n| n >= 0 && rule.kind != DeviceType::All) {
            let number = i32::try_from(number)
                .map_err(|_| Error::Invalid { what: format!("device number {number}") })?;
            tests.push((JUMP_NOT_EQUAL, register, 0, number));
        }
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer: an interpreter for the instructions above.
    fn run(program: &[u64], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let mut r = [0i64; 11];
        let mut pc = 0usize;
        loop {
            let i = program[pc];
            let (code, dst, src) = (i as u8, (i >> 8 & 15) as usize, (i >> 12 & 15) as usize);
            let (offset, constant) = ((i >> 16) as i16, (i >> 32) as i32);
            pc += 1;
            match code {
                LOAD_WORD => {
                    r[dst] = i64::from([access << 16 | kind, major, minor][offset as usize / 4]);
                }
                MOVE => r[dst] = constant.into(),
                MOVE_REGISTER => r[dst] = r[src],
                AND => r[dst] &= i64::from(constant),
                SHIFT_RIGHT => r[dst] >>= constant,
                JUMP_EQUAL if r[dst] == i64::from(constant) => pc += offset as usize,
                JUMP_NOT_EQUAL if r[dst] != i64::from(constant) => pc += offset as usize,
                JUMP_NOT_EQUAL_REGISTER if r[dst] != r[src] => pc += offset as usize,
                JUMP_EQUAL | JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER => {}
                EXIT => return r[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn rule(
        allow: bool,
        kind: DeviceType,
        major: Option<i64>,
        minor: Option<i64>,
        access: &str,
    ) -> DeviceRule {
        DeviceRule { allow, kind, major, minor, access: access.to_owned() }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let rules = [
            rule(false, DeviceType::All, None, None, "rwm"),
            rule(true, DeviceType::Char, None, None, "m"),
            rule(true, DeviceType::Char, Some(1), Some(3), "rwm"),
            rule(true, DeviceType::Block, Some(8), None, "r"),
            rule(false, DeviceType::Block, Some(8), Some(1), "rwm"),
        ];
        let program = compile(&rules).unwrap();
        assert!(run(&program, CHAR, READ | WRITE, 1, 3));
        assert!(!run(&program, CHAR, READ, 1, 5));
        assert!(run(&program, CHAR, MKNOD, 1, 5));
        assert!(!run(&program, CHAR, MKNOD | READ, 1, 5));
        assert!(run(&program, BLOCK, READ, 8, 0));
        assert!(!run(&program, BLOCK, READ | WRITE, 8, 0));
        assert!(!run(&program, BLOCK, READ, 8, 1));
        let open = compile(&[
            rule(false, DeviceType::All, None, None, ""),
            rule(true, DeviceType::All, None, None, ""),
        ]);
        let open = open.unwrap();
        assert!(run(&open, BLOCK, WRITE, 253, 0));
        assert_eq!(open, ALLOW_ALL);
        assert!(!run(&compile(&[]).unwrap(), CHAR, READ, 1, 3));
    }

    #[test]
    fn what_is_refused_in_part_is_refused_together_with_more() {
        let program = compile(&[
            rule(true, DeviceType::All, None, None, "rwm"),
            rule(false, DeviceType::Block, Some(8), Some(0), "w"),
        ]);
        let program = program.unwrap();
        assert!(run(&program, BLOCK, READ, 8, 0));
        assert!(run(&program, BLOCK, READ | MKNOD, 8, 0));
        for access in [WRITE, READ | WRITE, WRITE | MKNOD, READ | WRITE | MKNOD] {
            assert!(!run(&program, BLOCK, access, 8, 0), "{access}");
        }
        assert!(run(&program, BLOCK, READ | WRITE, 8, 1));
        assert!(run(&program, CHAR, READ | WRITE, 8, 0));
    }

    #[test]
    fn the_kernel_accepts_the_program() {
        let rules = [
            rule(false, DeviceType::All, None, None, "rwm"),
            rule(true, DeviceType::Char, Some(1), Some(3), "rwm"),
            rule(true, DeviceType::Char, Some(136), None, "rw"),
            rule(false, DeviceType::Block, Some(8), Some(0), "w"),
        ];
        match bpf::load_device_program(&compile(&rules).unwrap()) {
            Ok(_) | Err(knarr_linux::Errno::NOSYS) => {}
            // A kernel without CONFIG_CGROUP_BPF.
            Err(knarr_linux::Errno::INVAL)
                if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() => {}
            Err(errno) => panic!("{errno}"),
        }
    }
}
