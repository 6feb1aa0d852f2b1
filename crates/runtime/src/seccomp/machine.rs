//! Machines as the kernel tells them to a filter.
use super::syscalls::number;
use crate::{Error, Result};
use std::collections::BTreeSet;

/// Bit of the call's number that marks x32.
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// linux/audit.h
pub(super) const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

/// A machine whose programs this host's kernel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Machine {
    pub audit: u32,
    pub column: usize,
    pub bit: u32,
}

const KNOWN: [(&str, Machine); 5] = [
    ("SCMP_ARCH_X86_64", Machine { audit: X86_64, column: 0, bit: 0 }),
    ("SCMP_ARCH_X86", Machine { audit: I386, column: 1, bit: 0 }),
    ("SCMP_ARCH_X32", Machine { audit: X86_64, column: 2, bit: X32_BIT }),
    ("SCMP_ARCH_AARCH64", Machine { audit: AARCH64, column: 3, bit: 0 }),
    ("SCMP_ARCH_ARM", Machine { audit: ARM, column: 4, bit: 0 }),
];

/// Machines of which filters may speak although no program of theirs runs here.
const FOREIGN: [&str; 18] = [
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];

/// The machines of a profile, the host's own always among them.
pub(super) fn machines(names: &[String]) -> Result<Vec<Machine>> {
    let native = if cfg!(target_arch = "aarch64") { 3 } else { 0 };
    let mut found = BTreeSet::new();
    found.extend(KNOWN.get(native).map(|(_, machine)| *machine));
    for name in names {
        match KNOWN.iter().find(|(known, _)| known == name) {
            Some((_, machine)) => {
                found.insert(*machine);
            }
            None if FOREIGN.contains(&name.as_str()) => {}
            None => return Err(Error::Invalid { what: format!("seccomp architecture {name:?}") }),
        }
    }
    Ok(found.into_iter().collect())
}

/// Bit of the machine's number that says that it has 64 bits (`__AUDIT_ARCH_64BIT`).
const HAS_64_BITS: u32 = 0x8000_0000;

impl Machine {
    /// The bits that an argument can have.
    pub(super) fn arguments(self) -> u64 {
        if self.audit & HAS_64_BITS == 0 { u32::MAX.into() } else { u64::MAX }
    }

    /// As the filter sees it. A call that this machine does not have needs no rule.
    pub(super) fn number(self, call: &str) -> Option<u32> {
        number(call, self.column).map(|n| n | self.bit)
    }
}
