//! Every target over its examples, over what once failed, and over thousands of mutations: always the same ones.
use knarr_fuzz::{TARGETS, kept, seeds};
use std::time::{Duration, Instant};

/// Mutations of one target, and the time after which no more are tried.
const ROUNDS: usize = 20_000;
const TIME: Duration = Duration::from_secs(2);

struct Random(u64);
impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// Values at which parsers break.
const INTERESTING: [&[u8]; 16] = [
    b"\0",
    b"\xff",
    b"0",
    b"9",
    b"-1",
    b"18446744073709551615",
    b"4294967296",
    b"\x80",
    b"ustar\0",
    b"/",
    b"..",
    b":",
    b"\"",
    b"[",
    b"{}",
    b"\\u0000",
];

fn mutate(random: &mut Random, from: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = from[random.below(from.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
            2 => {
                let end = (at + random.below(40)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            3 => {
                let piece = INTERESTING[random.below(INTERESTING.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            4 => {
                let piece = INTERESTING[random.below(INTERESTING.len())];
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at..end, piece.iter().copied());
            }
            5 => {
                // A block, or a part of another example, once more.
                let other = &from[random.below(from.len())];
                let start = random.below(other.len() / 512 + 1) * 512;
                let piece = other[start.min(other.len())..(start + 512).min(other.len())].to_vec();
                let at = (at / 512 * 512).min(bytes.len());
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(bytes.len() - random.below(20).min(bytes.len())),
        }
    }
    bytes
}

fn run(names: &[&str]) {
    for (name, target) in TARGETS.iter().filter(|(name, _)| names.contains(name)) {
        let examples = [seeds(name), kept(name)].concat();
        for example in &examples {
            target(example);
        }
        let mut random = Random(0x5eed);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let input = mutate(&mut random, &examples);
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                let path = std::env::temp_dir().join(format!("knarr-fuzz-{name}"));
                std::fs::write(&path, &input).unwrap();
                panic!("{name} fails with the input in {}", path.display());
            }
            if start.elapsed() > TIME {
                break;
            }
        }
    }
}

#[test]
fn names_and_documents() {
    run(&["reference", "digest", "manifest", "index", "config", "seccomp", "spec", "frame", "dns"]);
}

#[test]
fn streams() {
    run(&["tar", "sealed-tar", "compressed"]);
}

#[test]
fn layers() {
    run(&["layer"]);
}
