//! Decisions laid out as a program: a tree of comparisons for each machine, every path ending in a verdict.
//!
//! Standard: linux/filter.h; the data is `struct seccomp_data` (number, machine, instruction pointer, six arguments).
use knarr_linux::bpf::Instruction;
use knarr_oci::runtime::SeccompOperator;
use std::collections::BTreeMap;

/// What is done with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Return(u32),
    Checks { checks: Vec<Check>, otherwise: u32 },
}

/// A verdict if all tests succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub tests: Vec<Test>,
    pub verdict: u32,
}

/// A comparison of a 64-bit argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    pub index: u32,
    pub op: SeccompOperator,
    pub mask: u64,
    pub value: u64,
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_MACHINE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

/// A conditional jump goes no farther.
const MAX_JUMP: usize = 255;

fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// Tables by machine: ranges sorted by the number that they start at.
pub(super) fn program(tables: &BTreeMap<u32, Vec<(u32, Decision)>>, unknown: u32) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD, OFFSET_MACHINE)];
    for (machine, ranges) in tables {
        let mut body = vec![plain(LOAD, OFFSET_NUMBER)];
        body.extend(tree(ranges));
        program.push(Instruction { code: JUMP_EQUAL, jt: 1, jf: 0, k: *machine });
        program.push(plain(JUMP, body.len() as u32));
        program.extend(body);
    }
    program.push(plain(RETURN, unknown));
    program
}

fn tree(ranges: &[(u32, Decision)]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [(_, decision)] => leaf(decision),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let start = high.first().map_or(0, |(start, _)| *start);
            let (low, high) = (tree(low), tree(high));
            let mut out = Vec::with_capacity(low.len() + high.len() + 2);
            if low.len() <= MAX_JUMP {
                out.push(Instruction { code: JUMP_GREATER_OR_EQUAL, jt: low.len() as u8, jf: 0, k: start });
            } else {
                out.push(Instruction { code: JUMP_GREATER_OR_EQUAL, jt: 0, jf: 1, k: start });
                out.push(plain(JUMP, low.len() as u32));
            }
            out.extend(low);
            out.extend(high);
            out
        }
    }
}

fn leaf(decision: &Decision) -> Vec<Instruction> {
    match decision {
        Decision::Return(verdict) => vec![plain(RETURN, *verdict)],
        Decision::Checks { checks, otherwise } => {
            let mut out = Vec::new();
            for check in checks {
                out.extend(block(check));
            }
            out.push(plain(RETURN, *otherwise));
            out
        }
    }
}

/// Where a comparison goes on.
#[derive(Clone, Copy)]
enum To {
    Next,
    /// This test has succeeded: to the next one.
    Pass,
    /// The check has failed: behind its verdict.
    Fail,
}

/// The tests of a check, its verdict, and nothing behind it but what comes when a test failed.
fn block(check: &Check) -> Vec<Instruction> {
    let parts: Vec<_> = check.tests.iter().map(comparison).collect();
    let total = parts.iter().map(Vec::len).sum::<usize>() + 1;
    let mut out = Vec::with_capacity(total);
    for part in parts {
        let end = out.len() + part.len();
        for (instruction, on_true, on_false) in part {
            let here = out.len() + 1;
            let offset = |to: To| match to {
                To::Next => 0,
                To::Pass => (end - here) as u8,
                To::Fail => (total - here) as u8,
            };
            out.push(Instruction { jt: offset(on_true), jf: offset(on_false), ..instruction });
        }
    }
    out.push(plain(RETURN, check.verdict));
    out
}

/// The two halves of an argument, the upper first. Both supported machines are little-endian.
fn comparison(test: &Test) -> Vec<(Instruction, To, To)> {
    use To::{Fail, Next, Pass};
    let low_offset = OFFSET_ARGUMENTS + 8 * test.index;
    let (high, low) = ((test.value >> 32) as u32, test.value as u32);
    let load = |offset: u32| (plain(LOAD, offset), Next, Next);
    let and = |mask: u64| (plain(AND, mask as u32), Next, Next);
    let (load_high, load_low) = (load(low_offset + 4), load(low_offset));
    let jump = |code, k, yes, no| (plain(code, k), yes, no);
    match test.op {
        SeccompOperator::Equal => {
            vec![load_high, jump(JUMP_EQUAL, high, Next, Fail), load_low, jump(JUMP_EQUAL, low, Pass, Fail)]
        }
        SeccompOperator::MaskedEqual => vec![
            load_high,
            and(test.mask >> 32),
            jump(JUMP_EQUAL, high, Next, Fail),
            load_low,
            and(test.mask),
            jump(JUMP_EQUAL, low, Pass, Fail),
        ],
        SeccompOperator::NotEqual => {
            vec![load_high, jump(JUMP_EQUAL, high, Next, Pass), load_low, jump(JUMP_EQUAL, low, Fail, Pass)]
        }
        SeccompOperator::GreaterThan | SeccompOperator::GreaterOrEqual => {
            let code =
                if test.op == SeccompOperator::GreaterThan { JUMP_GREATER } else { JUMP_GREATER_OR_EQUAL };
            vec![
                load_high,
                jump(JUMP_GREATER, high, Pass, Next),
                jump(JUMP_EQUAL, high, Next, Fail),
                load_low,
                jump(code, low, Pass, Fail),
            ]
        }
        SeccompOperator::LessThan | SeccompOperator::LessOrEqual => {
            let code =
                if test.op == SeccompOperator::LessThan { JUMP_GREATER_OR_EQUAL } else { JUMP_GREATER };
            vec![
                load_high,
                jump(JUMP_GREATER, high, Fail, Next),
                jump(JUMP_EQUAL, high, Next, Pass),
                load_low,
                jump(code, low, Fail, Pass),
            ]
        }
    }
}
