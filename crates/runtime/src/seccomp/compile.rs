//! Rules to decisions, decisions to a program.
//!
//! For one call, rules with arguments are asked in the profile's order; then the first rule without arguments decides; then
//! the default action. A call newer than all that the profile knows fails with ENOSYS rather than with the default's errno,
//! so that programs fall back to what they used before it existed.
use super::layout::{self, Check, Decision, Test};
use super::machine::{Machine, X32_BIT, X86_64, machines};
use crate::{Error, Result};
use knarr_linux::bpf::Instruction;
use knarr_linux::seccomp::MAX_INSTRUCTIONS;
use knarr_oci::runtime::{Seccomp, SeccompAction, SeccompArg, SeccompOperator, Syscall};
use std::collections::{BTreeMap, BTreeSet};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// SECCOMP_RET_*
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
/// The largest errno that the kernel takes (MAX_ERRNO).
const MAX_ERRNO: u32 = 4095;

/// A program whose machine is not the profile's is not ours to judge.
pub(super) const UNKNOWN_MACHINE: u32 = KILL_PROCESS;

pub(super) fn compile(profile: &Seccomp) -> Result<Vec<Instruction>> {
    let default = action(profile.default_action, profile.default_errno_ret)?;
    check(profile)?;
    let mut tables: BTreeMap<u32, Vec<(u32, Decision)>> = BTreeMap::new();
    for machine in machines(&profile.architectures)? {
        let calls = calls(profile, machine, default)?;
        let newest = newest(profile, machine).filter(|_| refuses(profile.default_action));
        tables.entry(machine.audit).or_default().extend(ranges(calls, machine, default, newest));
    }
    if let Some(table) = tables.get_mut(&X86_64)
        && table.iter().all(|(start, _)| *start < X32_BIT)
    {
        table.push((X32_BIT, Decision::Return(UNKNOWN_MACHINE)));
    }
    let program = layout::program(&tables, UNKNOWN_MACHINE);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Error::Invalid {
            what: format!("seccomp profile is too long: {} instructions", program.len()),
        });
    }
    Ok(program)
}

/// What cannot work: the one call that tells of the listener would wait for it.
fn check(profile: &Seccomp) -> Result<()> {
    let invalid = |what: &str| Err(Error::Invalid { what: what.to_owned() });
    if profile.default_action == SeccompAction::Notify {
        return invalid("SCMP_ACT_NOTIFY cannot be used as seccomp's default action");
    }
    if profile.syscalls.iter().any(|call| call.names.is_empty()) {
        return invalid("a seccomp rule without names");
    }
    let waits =
        |call: &Syscall| call.action == SeccompAction::Notify && call.names.iter().any(|n| n == "write");
    if profile.syscalls.iter().any(waits) {
        return invalid("SCMP_ACT_NOTIFY cannot be used for the write syscall");
    }
    Ok(())
}

fn refuses(action: SeccompAction) -> bool {
    use SeccompAction::{Errno, KillProcess, KillThread, Trap};
    matches!(action, Errno | KillProcess | KillThread | Trap)
}

fn action(action: SeccompAction, errno: Option<u32>) -> Result<u32> {
    if errno.is_some() && !matches!(action, SeccompAction::Errno | SeccompAction::Trace) {
        return Err(Error::Invalid { what: format!("seccomp action {action:?} with an errno") });
    }
    let errno = errno.unwrap_or(EPERM);
    if errno > MAX_ERRNO {
        return Err(Error::Invalid { what: format!("seccomp errno {errno}") });
    }
    Ok(match action {
        SeccompAction::KillProcess => KILL_PROCESS,
        SeccompAction::KillThread => KILL_THREAD,
        SeccompAction::Trap => TRAP,
        SeccompAction::Errno => ERRNO | errno,
        SeccompAction::Notify => NOTIFY,
        SeccompAction::Trace => TRACE | errno,
        SeccompAction::Log => LOG,
        SeccompAction::Allow => ALLOW,
    })
}

/// The highest number that the profile mentions. Numbers of private calls (ARM's set_tls) lie far above all others.
fn newest(profile: &Seccomp, machine: Machine) -> Option<u32> {
    const PRIVATE: u32 = 0x000f_0000;
    let names = profile.syscalls.iter().flat_map(|call| &call.names);
    names.filter_map(|name| machine.number(name)).filter(|n| n & !machine.bit < PRIVATE).max()
}

/// A decision for each call that has a rule.
fn calls(profile: &Seccomp, machine: Machine, default: u32) -> Result<BTreeMap<u32, Decision>> {
    let mut found: BTreeMap<u32, (Vec<Check>, Option<u32>)> = BTreeMap::new();
    for call in &profile.syscalls {
        let verdict = action(call.action, call.errno_ret)?;
        let checks = checks(call, verdict, machine)?;
        let numbers: BTreeSet<u32> = call.names.iter().filter_map(|name| machine.number(name)).collect();
        for number in numbers {
            let entry = found.entry(number).or_default();
            if checks.is_empty() {
                entry.1.get_or_insert(verdict);
            } else {
                entry.0.extend(checks.iter().cloned());
            }
        }
    }
    let decide = |(number, (checks, otherwise)): (u32, (Vec<Check>, Option<u32>))| {
        let otherwise = otherwise.unwrap_or(default);
        let pointless = checks.iter().all(|check| check.verdict == otherwise);
        (number, if pointless { Decision::Return(otherwise) } else { Decision::Checks { checks, otherwise } })
    };
    Ok(found.into_iter().map(decide).collect())
}

/// Arguments of one rule must all match; but when an argument is named more than once each condition is a rule of its own,
/// as in other runtimes.
fn checks(call: &Syscall, verdict: u32, machine: Machine) -> Result<Vec<Check>> {
    let tests = call.args.iter().map(|arg| test(arg, machine)).collect::<Result<Vec<_>>>()?;
    let distinct: BTreeSet<u32> = call.args.iter().map(|arg| arg.index).collect();
    if tests.is_empty() {
        Ok(Vec::new())
    } else if distinct.len() == tests.len() {
        Ok(vec![Check { tests, verdict }])
    } else {
        Ok(tests.into_iter().map(|test| Check { tests: vec![test], verdict }).collect())
    }
}

fn test(arg: &SeccompArg, machine: Machine) -> Result<Test> {
    if arg.index > 5 {
        return Err(Error::Invalid { what: format!("seccomp argument index {}", arg.index) });
    }
    // The mask is the first value, what is left of the argument the second.
    let (mask, value) = match arg.op {
        SeccompOperator::MaskedEqual => (arg.value, arg.value_two),
        _ => (u64::MAX, arg.value),
    };
    // A rule about -1 holds for 32-bit programs too, whose arguments have no upper half.
    let width = machine.arguments();
    Ok(Test { index: arg.index, op: arg.op, mask: mask & width, value: value & width })
}

/// All numbers of a machine: each range begins where its decision begins to hold.
fn ranges(
    calls: BTreeMap<u32, Decision>,
    machine: Machine,
    default: u32,
    newest: Option<u32>,
) -> Vec<(u32, Decision)> {
    let unknown = |number: u32| {
        let is_newer = newest.is_some_and(|newest| number > newest);
        Decision::Return(if is_newer { ERRNO | ENOSYS } else { default })
    };
    let mut starts = BTreeMap::from([(machine.bit, unknown(machine.bit))]);
    if let Some(newest) = newest {
        starts.insert(newest + 1, unknown(newest + 1));
    }
    for (number, decision) in calls {
        starts.entry(number + 1).or_insert_with(|| unknown(number + 1));
        starts.insert(number, decision);
    }
    let mut ranges: Vec<(u32, Decision)> = Vec::new();
    for (start, decision) in starts {
        if ranges.last().is_none_or(|(_, last)| *last != decision) {
            ranges.push((start, decision));
        }
    }
    ranges
}
