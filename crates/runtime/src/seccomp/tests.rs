//! Programs are run by an interpreter of the kernel's rules, and compared with what libseccomp makes of the same profile.
use super::compile::compile;
use knarr_linux::bpf::Instruction;
use knarr_oci::runtime::{Seccomp, SeccompAction, SeccompArg, SeccompOperator, Syscall};
use knarr_oci::seccomp::{Facts, KernelVersion, Machine, Profile, default_profile};
use proptest::prelude::*;
use std::path::Path;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x5_0001;
const ENOSYS: u32 = 0x5_0026;
const KILL: u32 = 0x8000_0000;

/// One call as the kernel shows it to a filter.
fn run(program: &[Instruction], machine: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = [0u32; 16];
    (data[0], data[1]) = (number, machine);
    for (index, arg) in args.iter().enumerate() {
        data[4 + 2 * index] = *arg as u32;
        data[5 + 2 * index] = (*arg >> 32) as u32;
    }
    let (mut a, mut pc) = (0u32, 0usize);
    loop {
        let i = program[pc];
        pc += 1;
        let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => a = data[i.k as usize / 4],
            0x54 => a &= i.k,
            0x05 => pc += i.k as usize,
            0x15 => pc += jump(a == i.k),
            0x25 => pc += jump(a > i.k),
            0x35 => pc += jump(a >= i.k),
            0x45 => pc += jump(a & i.k != 0),
            0x06 => return i.k,
            // libseccomp keeps intermediate values in scratch memory.
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn resolved(profile: &Profile, caps: &[&str]) -> Seccomp {
    let caps: Vec<String> = caps.iter().map(|&c| c.to_owned()).collect();
    profile.resolve(&Facts { machine: Machine::X86_64, kernel: KernelVersion(6, 1), caps: &caps }).unwrap()
}

fn default_program(caps: &[&str]) -> Vec<Instruction> {
    compile(&resolved(&default_profile(), caps)).unwrap()
}

fn arg(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

#[test]
#[cfg(target_arch = "x86_64")]
fn default_profile_as_docker_documents_it() {
    let program = default_program(&[]);
    let x64 = |number, first| run(&program, X86_64, number, arg(first));
    assert_eq!(x64(0, 0), ALLOW, "read");
    assert_eq!(x64(59, 0), ALLOW, "execve");
    assert_eq!(x64(165, 0), EPERM, "mount");
    assert_eq!(x64(272, 0), EPERM, "unshare");
    assert_eq!(x64(246, 0), EPERM, "kexec_load");
    assert_eq!(x64(250, 0), EPERM, "keyctl");
    assert_eq!(x64(425, 0), EPERM, "io_uring_setup");
    assert_eq!(x64(323, 0), EPERM, "userfaultfd");
    assert_eq!(x64(435, 0), ENOSYS, "clone3");
    assert_eq!(x64(56, 0x11), ALLOW, "clone, an ordinary fork");
    for flag in [0x2000_0000, 0x1000_0000, 0x0002_0000, 0x4000_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000] {
        assert_eq!(x64(56, flag | 0x11), EPERM, "clone into a new namespace {flag:#x}");
    }
    assert_eq!(x64(600, 0), ENOSYS, "newer than the profile");
    assert_eq!(x64(335, 0), ALLOW, "uretprobe");
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(x64(135, persona), ALLOW);
    }
    assert_eq!(x64(135, 0x4_0000), EPERM, "no address space randomisation");
    let admin = default_program(&["CAP_SYS_ADMIN"]);
    for number in [165, 272, 435, 56] {
        assert_eq!(run(&admin, X86_64, number, arg(0x7e02_0000)), ALLOW);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn socket_families_on_all_three_machines() {
    let program = default_program(&[]);
    for family in 0..64u64 {
        let allowed = family < 12
            || [13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39]
                .contains(&family)
            || (41..=45).contains(&family);
        let expected = if allowed { ALLOW } else { EPERM };
        for (machine, number) in [(X86_64, 41), (X86_64, 0x4000_0000 + 41), (I386, 359)] {
            assert_eq!(
                run(&program, machine, number, arg(family)),
                expected,
                "family {family} on {machine:x}"
            );
        }
        // Upper halves, which the kernel ignores, do not help.
        let high = run(&program, X86_64, 41, arg(family | 1 << 32));
        assert_eq!(high, EPERM);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn machines_that_are_not_listed_are_killed() {
    let program = default_program(&[]);
    assert_eq!(run(&program, AARCH64, 0, arg(0)), KILL);
    assert_eq!(run(&program, I386, 3, arg(0)), ALLOW, "read of 32-bit x86");
    assert_eq!(run(&program, I386, 21, arg(0)), EPERM, "mount of 32-bit x86");
    assert_eq!(run(&program, X86_64, 0x4000_0000 + 520, arg(0)), ALLOW, "execve of x32");
    assert_eq!(run(&program, X86_64, 0x4000_0000 + 165, arg(0)), EPERM, "mount of x32");
    let only = Seccomp { default_action: SeccompAction::Allow, ..Seccomp::default() };
    let program = compile(&only).unwrap();
    assert_eq!(run(&program, X86_64, 0, arg(0)), ALLOW);
    assert_eq!(run(&program, X86_64, 0x4000_0000, arg(0)), KILL);
    assert_eq!(run(&program, I386, 0, arg(0)), KILL);
}

/// Nothing that another engine's profile refuses is allowed here, unless Docker's newer one says so.
#[test]
#[cfg(target_arch = "x86_64")]
fn compared_with_an_installed_profile() {
    let Ok(text) = std::fs::read_to_string("/usr/share/containers/seccomp.json") else { return };
    let other: Profile = serde_json::from_str(&text).unwrap();
    let caps = ["CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_AUDIT_WRITE"];
    let (ours, theirs) = (default_program(&caps), compile(&resolved(&other, &caps)).unwrap());
    // Known to be allowed by Docker's present profile: newer calls, tracing, and vmsplice.
    let newer = [
        334, 335, 440, 448, 310, 311, 101, 278, 153, 447, 454, 455, 456, 449, 451, 452, 453, 457, 458, 462,
        463,
    ];
    let newer = [&newer[..], &[464, 465, 466, 333, 329, 330, 331, 438]].concat();
    for number in 0..470 {
        let (a, b) = (run(&ours, X86_64, number, arg(0)), run(&theirs, X86_64, number, arg(0)));
        if a == ALLOW && b != ALLOW {
            assert!(newer.contains(&number), "call {number} is allowed here: {b:#x} there");
        }
    }
}

fn operator() -> impl Strategy<Value = SeccompOperator> {
    use SeccompOperator::*;
    prop_oneof![
        Just(NotEqual),
        Just(LessThan),
        Just(LessOrEqual),
        Just(Equal),
        Just(GreaterOrEqual),
        Just(GreaterThan),
        Just(MaskedEqual)
    ]
}

fn holds(test: &SeccompArg, args: &[u64; 6]) -> bool {
    let a = args[test.index as usize];
    match test.op {
        SeccompOperator::NotEqual => a != test.value,
        SeccompOperator::LessThan => a < test.value,
        SeccompOperator::LessOrEqual => a <= test.value,
        SeccompOperator::Equal => a == test.value,
        SeccompOperator::GreaterOrEqual => a >= test.value,
        SeccompOperator::GreaterThan => a > test.value,
        SeccompOperator::MaskedEqual => a & test.value == test.value_two,
    }
}

fn word() -> impl Strategy<Value = u64> {
    let edges = [0, 1, 2, 0xffff_fffe, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, u64::MAX, 0x7e02_0000];
    prop_oneof![proptest::sample::select(edges.to_vec()), any::<u64>()]
}

proptest! {
    /// Comparisons of 64-bit arguments by halves agree with comparisons of the whole.
    #[test]
    fn arguments_are_compared_exactly(
        tests in proptest::collection::vec((operator(), word(), word()), 1..4),
        values in proptest::array::uniform6(word()),
        same in any::<bool>(),
    ) {
        let args: Vec<SeccompArg> = tests.iter().enumerate().map(|(index, (op, value, value_two))| {
            SeccompArg { index: index as u32, op: *op, value: *value, value_two: value & value_two }
        }).collect();
        let mut values = values;
        if same {
            values[0] = args[0].value;
        }
        let call = Syscall { names: vec!["read".into()], action: SeccompAction::Allow, errno_ret: None, args };
        let expected = if call.args.iter().all(|test| holds(test, &values)) { ALLOW } else { EPERM };
        let program = compile(&Seccomp { syscalls: vec![call], ..Seccomp::default() }).unwrap();
        let (machine, number) = if cfg!(target_arch = "aarch64") { (AARCH64, 63) } else { (X86_64, 0) };
        prop_assert_eq!(run(&program, machine, number, values), expected);
    }
}

#[test]
fn specific_rules_come_before_general_ones() {
    let rule =
        |action, args: Vec<SeccompArg>| Syscall { names: vec!["read".into()], action, errno_ret: None, args };
    let equal = |index, value| SeccompArg { index, value, value_two: 0, op: SeccompOperator::Equal };
    let profile = Seccomp {
        default_action: SeccompAction::Allow,
        syscalls: vec![
            rule(SeccompAction::Errno, vec![]),
            rule(SeccompAction::KillProcess, vec![equal(0, 1), equal(1, 2)]),
            // The same argument twice: either.
            rule(SeccompAction::Log, vec![equal(0, 5), equal(0, 6)]),
        ],
        ..Seccomp::default()
    };
    let program = compile(&profile).unwrap();
    let (machine, number) = if cfg!(target_arch = "aarch64") { (AARCH64, 63) } else { (X86_64, 0) };
    let verdict = |a, b| run(&program, machine, number, [a, b, 0, 0, 0, 0]);
    assert_eq!(verdict(0, 0), EPERM);
    assert_eq!(verdict(1, 2), KILL);
    assert_eq!(verdict(1, 3), EPERM);
    assert_eq!(verdict(5, 0), 0x7ffc_0000);
    assert_eq!(verdict(6, 0), 0x7ffc_0000);
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let bad = |profile: Seccomp| compile(&profile).unwrap_err().to_string();
    let architectures = vec!["SCMP_ARCH_Z80".to_owned()];
    assert!(bad(Seccomp { architectures, ..Seccomp::default() }).contains("SCMP_ARCH_Z80"));
    assert!(bad(Seccomp { default_action: SeccompAction::Notify, ..Seccomp::default() }).contains("NOTIFY"));
    assert!(bad(Seccomp { default_errno_ret: Some(5000), ..Seccomp::default() }).contains("5000"));
    let args = vec![SeccompArg { index: 6, value: 0, value_two: 0, op: SeccompOperator::Equal }];
    let call = Syscall { names: vec!["read".into()], action: SeccompAction::Allow, errno_ret: None, args };
    assert!(bad(Seccomp { syscalls: vec![call], ..Seccomp::default() }).contains("index 6"));
    let unknown =
        Syscall { names: vec!["no_such_call".into()], action: SeccompAction::Allow, ..Syscall::default() };
    assert!(compile(&Seccomp { syscalls: vec![unknown], ..Seccomp::default() }).is_ok());
}

/// libseccomp, if Python and the library are there, compiles the same rules; both programs judge every call alike.
#[test]
#[cfg(target_arch = "x86_64")]
fn agrees_with_libseccomp() {
    let profile = resolved(&default_profile(), &["CAP_SYS_CHROOT"]);
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("profile.json");
    std::fs::write(&json, serde_json::to_vec(&profile).unwrap()).unwrap();
    let out = directory.path().join("filter.bpf");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/libseccomp.py");
    match std::process::Command::new("python3").arg(script).arg(&json).arg(&out).status() {
        Ok(status) if status.success() => {}
        // Python or the library is missing: nothing to compare with.
        Ok(_) | Err(_) => return,
    }
    let bytes = std::fs::read(&out).unwrap();
    let (chunks, []) = bytes.as_chunks::<8>() else { panic!("not a program") };
    let theirs: Vec<Instruction> = chunks.iter().map(|c| Instruction::from_bytes(*c)).collect();
    let ours = compile(&profile).unwrap();
    let newest = 466;
    let firsts =
        [0, 1, 8, 11, 12, 16, 37, 38, 39, 40, 41, 0x11, 0x2000_0000, 0x2_0008, 0xffff_ffff, u64::MAX];
    for number in (0..newest).chain(0x4000_0000..0x4000_0000 + newest) {
        for first in firsts {
            let (a, b) = (run(&ours, X86_64, number, arg(first)), run(&theirs, X86_64, number, arg(first)));
            // Calls that this libseccomp does not know yet fall to the default in its program.
            let unknown_there = number & 0x3fff_ffff > 450 || number == 335;
            // It compares only the lower halves on x32.
            let halves = number >= 0x4000_0000 && first > u64::from(u32::MAX);
            assert!(
                a == b || unknown_there || halves,
                "call {number:#x}({first:#x}): {a:#x} here, {b:#x} there"
            );
        }
    }
    for number in 0..newest {
        let (a, b) = (run(&ours, I386, number, arg(3)), run(&theirs, I386, number, arg(3)));
        // libseccomp counts the old and the new socket and IPC calls of 32-bit x86 as one.
        let socket_call =
            [102, 117].contains(&number) || (359..=373).contains(&number) || (393..=402).contains(&number);
        assert!(a == b || socket_call || number > 450, "32-bit call {number}: {a:#x} here, {b:#x} there");
    }
}
