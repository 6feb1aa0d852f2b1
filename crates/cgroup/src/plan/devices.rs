//! Device rules of cgroup v1: what has to be written so that a group's list becomes what the rules say.
//!
//! Standard: kernel Documentation/admin-guide/cgroup-v1/devices.rst. A group either refuses everything but its exceptions or
//! allows everything but them, and an exception is taken back by its exact numbers alone. So rules, of which the last that
//! matches decides, are first played through on a [`Policy`]; what a list of exceptions cannot say is an error. A running
//! container never loses a device that it keeps: only the differences are written.
use super::Write;
use crate::{Error, Result};
use knarr_oci::runtime::{DeviceRule, DeviceType};

/// Type (`b` or `c`), major, minor; `None` is every number.
type Key = (char, Option<u32>, Option<u32>);

const READ: u8 = 1;
const WRITE: u8 = 2;
const MKNOD: u8 = 4;
const ALL: u8 = READ | WRITE | MKNOD;

/// What a group decides about devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// What holds for a device without exception.
    allow: bool,
    /// In the order of the rules, as the group shows them.
    exceptions: Vec<(Key, u8)>,
}

impl Policy {
    /// What ordered rules come to.
    pub fn of_rules(rules: &[DeviceRule]) -> Result<Self> {
        let mut policy = Self::default();
        rules.iter().try_for_each(|rule| policy.play(rule))?;
        Ok(policy)
    }

    /// From `devices.list`. A group that allows by default shows nothing else, so its exceptions are not known.
    pub fn of_list(text: &str) -> Option<Self> {
        let mut policy = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
            if kind == "a" {
                return None;
            }
            let (major, minor) = numbers.split_once(':')?;
            let number = |text: &str| match text {
                "*" => Some(None),
                digits => digits.parse().ok().map(Some),
            };
            policy.except((kind.chars().next()?, number(major)?, number(minor)?), bits(access)?);
        }
        Some(policy)
    }

    fn play(&mut self, rule: &DeviceRule) -> Result<()> {
        let access = if rule.access.is_empty() { Some(ALL) } else { bits(&rule.access) };
        let access =
            access.ok_or_else(|| Error::Invalid { what: format!("device access {:?}", rule.access) })?;
        let kind = match rule.kind {
            // The kernel takes no numbers and no part of the access with it.
            DeviceType::All => {
                *self = Self { allow: rule.allow, exceptions: Vec::new() };
                return Ok(());
            }
            DeviceType::Block => 'b',
            DeviceType::Char => 'c',
            DeviceType::Fifo => {
                return Err(Error::Invalid { what: "a device rule for a FIFO".to_owned() });
            }
        };
        let key = (kind, number(rule.major)?, number(rule.minor)?);
        if rule.allow == self.allow {
            self.take_back(key, access)
        } else {
            self.except(key, access);
            Ok(())
        }
    }

    fn except(&mut self, key: Key, access: u8) {
        match self.exceptions.iter_mut().find(|(other, _)| *other == key) {
            Some((_, bits)) => *bits |= access,
            None => self.exceptions.push((key, access)),
        }
    }

    fn excepted(&self, key: &Key) -> u8 {
        self.exceptions.iter().find(|(other, _)| other == key).map_or(0, |(_, bits)| *bits)
    }

    /// Exceptions that the rule covers go; one that is wider than the rule would need a hole.
    fn take_back(&mut self, key: Key, access: u8) -> Result<()> {
        let wider = |other: &Key| *other != key && covers(other, &key);
        if self.exceptions.iter().any(|(other, bits)| wider(other) && bits & access != 0) {
            let what = "a device rule that takes a part out of an earlier, wider one (cgroup v1)".to_owned();
            return Err(Error::Unsupported { what });
        }
        self.exceptions.retain_mut(|(other, bits)| {
            if covers(&key, other) {
                *bits &= !access;
            }
            *bits != 0
        });
        Ok(())
    }

    /// What brings a group from `current` (`None`: not known) here.
    pub fn writes(&self, current: Option<&Self>) -> Vec<Write> {
        let (exception, back) =
            if self.allow { ("devices.deny", "devices.allow") } else { ("devices.allow", "devices.deny") };
        let nothing = Self { allow: self.allow, exceptions: Vec::new() };
        let mut out = Vec::new();
        let from = match current {
            Some(current) if current.allow == self.allow => current,
            _ => {
                out.push(Write::new("devices", back, "a"));
                &nothing
            }
        };
        let mut differences = |file: &str, have: &Self, want: &Self| {
            for (key, bits) in &want.exceptions {
                let new = bits & !have.excepted(key);
                if new != 0 {
                    out.push(Write::new("devices", file, text(key, new)));
                }
            }
        };
        differences(exception, from, self);
        differences(back, self, from);
        out
    }
}

fn covers(wide: &Key, narrow: &Key) -> bool {
    let number = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
    wide.0 == narrow.0 && number(wide.1, narrow.1) && number(wide.2, narrow.2)
}

/// Negative means every number.
fn number(number: Option<i64>) -> Result<Option<u32>> {
    let Some(number) = number.filter(|&n| n >= 0) else { return Ok(None) };
    u32::try_from(number).map(Some).map_err(|_| Error::Invalid { what: format!("device number {number}") })
}

fn bits(access: &str) -> Option<u8> {
    access.chars().try_fold(0, |bits, letter| match letter {
        'r' => Some(bits | READ),
        'w' => Some(bits | WRITE),
        'm' => Some(bits | MKNOD),
        _ => None,
    })
}

fn text((kind, major, minor): &Key, bits: u8) -> String {
    let number = |number: &Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let letters: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(b, _)| bits & b != 0)
        .map(|b| b.1)
        .collect();
    format!("{kind} {}:{} {letters}", number(major), number(minor))
}
