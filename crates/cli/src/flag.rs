//! Flags as a table: what a command accepts, from which parser, help and completion come.
//!
//! Docker's client parses with pflag, whose rules and texts scripts depend on (`-it`, `-e=x`, `--rm=false`, what an
//! unknown flag says, flags that stop at the image name), so the table follows pflag
//! (<https://pkg.go.dev/github.com/spf13/pflag>). Tables are constants: a command costs nothing until it is used.
use crate::spec::{attach, dns, host, link, sysctl};
use crate::spec::{blkio, csv, decimal, duration, env, filter, label, mount, network, size, ulimit};
use std::ops::RangeInclusive;

/// Checks one value; the error is the text after "for ... flag: ".
pub type Check = fn(&str) -> Result<(), String>;

/// What a flag takes.
#[derive(Clone, Copy)]
pub enum Ty {
    Bool,
    /// A text; the last one counts.
    Str,
    Int,
    Uint16,
    Uint,
    /// Any number of texts.
    List,
    /// Any number of texts, several in one value where commas part them.
    Strings,
    /// Any number of `name=value`.
    Map,
    /// Any number of checked texts, under the name that help shows.
    Checked(&'static str, Check),
    /// A checked text of which the last one counts.
    Value(&'static str, Check),
}

/// One flag.
pub struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    pub ty: Ty,
    pub help: &'static str,
    /// The default as help shows it; for texts and numbers also the value.
    pub default: &'static str,
    pub hidden: bool,
    /// Only for engines on Windows: known, and refused.
    pub windows: bool,
}

impl Flag {
    pub const fn new(long: &'static str, ty: Ty, help: &'static str) -> Self {
        Self { long, short: None, ty, help, default: "", hidden: false, windows: false }
    }
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }
    pub const fn windows(mut self) -> Self {
        (self.hidden, self.windows) = (true, true);
        self
    }
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
    /// `-m, --memory`, as errors name it.
    pub fn display(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}

impl Ty {
    /// The word that help shows after the flag.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "",
            Self::Str => "string",
            Self::Int => "int",
            Self::Uint16 => "uint16",
            Self::Uint => "uint",
            Self::List => "list",
            Self::Strings => "strings",
            Self::Map => "map",
            Self::Checked(name, _) | Self::Value(name, _) => name,
        }
    }

    /// The values that one text gives.
    pub fn values(self, text: &str) -> Vec<String> {
        match self {
            Self::Strings => csv::record(text).unwrap_or_default(),
            _ => vec![text.to_owned()],
        }
    }

    /// Checks a value, with Go's texts.
    pub fn check(self, value: &str) -> Result<(), String> {
        let quoted = || knarr_gotemplate::quote(value);
        let within = |function: &str, range: RangeInclusive<i128>| {
            let reason = match parse_int(value) {
                Some(number) if range.contains(&number) => return Ok(()),
                Some(_) => "value out of range",
                None => "invalid syntax",
            };
            Err(format!("strconv.{function}: parsing {}: {reason}", quoted()))
        };
        let signed = value.starts_with(['-', '+']);
        match self {
            Self::Str | Self::List | Self::Map => Ok(()),
            Self::Strings if value.is_empty() => Ok(()),
            Self::Strings => csv::record(value).map(drop),
            Self::Bool => match parse_bool(value) {
                Some(_) => Ok(()),
                None => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quoted())),
            },
            Self::Int => within("ParseInt", i64::MIN.into()..=i64::MAX.into()),
            Self::Uint16 | Self::Uint if signed => {
                Err(format!("strconv.ParseUint: parsing {}: invalid syntax", quoted()))
            }
            Self::Uint16 => within("ParseUint", 0..=u16::MAX.into()),
            Self::Uint => within("ParseUint", 0..=u64::MAX.into()),
            Self::Checked(_, check) | Self::Value(_, check) => check(value),
        }
    }
}

/// A number as pflag reads it, by Go's rules for literals: `0x1f`, `0b11`, `0o17`, `017`, `1_000`. What is too large for
/// any flag is larger than all of them.
pub fn parse_int(text: &str) -> Option<i128> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = body.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let prefixed = prefixes.iter().find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, *radix)));
    let (digits, radix) = prefixed.filter(|(digits, _)| !digits.is_empty()).unwrap_or((&lower, 10));
    // one between two digits, or behind the prefix
    let separated = digits.ends_with('_') || digits.contains("__") || radix == 10 && digits.starts_with('_');
    let fits = digits.chars().all(|c| c == '_' || c.is_digit(radix));
    let plain = digits.replace('_', "");
    if separated || !fits || plain.is_empty() {
        return None;
    }
    let number = i128::from_str_radix(&plain, radix).unwrap_or(i128::MAX);
    Some(if negative { -number } else { number })
}

/// Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The variable that is the default of [`PLATFORM`].
pub const PLATFORM_VARIABLE: &str = "DOCKER_DEFAULT_PLATFORM";
/// `--platform` of what makes containers and fetches images.
pub const PLATFORM: Flag = Flag::new("platform", Ty::Str, "Set platform if server is multi-platform capable")
    .default(PLATFORM_VARIABLE);

/// Types that several tables use.
pub const BYTES: Ty = Ty::Value("bytes", |v| size::memory(v).map(drop));
pub const SWAP: Ty = Ty::Value("bytes", |v| size::memory_swap(v).map(drop));
pub const DURATION: Ty = Ty::Value("duration", |v| duration::parse(v).map(drop));
pub const CPUS: Ty = Ty::Value("decimal", |v| decimal::nano_cpus(v).map(drop));
pub const FILTER: Ty = Ty::Checked("filter", |v| filter::split(v).map(drop));
pub const ENV: Ty = Ty::Checked("list", env::check);
pub const LABEL: Ty = Ty::Checked("list", label::check);
pub const SYSCTL: Ty = Ty::Checked("map", sysctl::check);
pub const MOUNT: Ty = Ty::Checked("mount", |v| mount::parse(v).map(drop));
pub const NETWORK: Ty = Ty::Checked("network", |v| network::parse(v).map(drop));
pub const ULIMIT: Ty = Ty::Checked("ulimit", |v| ulimit::parse(v).map(drop));
pub const THROTTLE_BPS: Ty = Ty::Checked("list", |v| blkio::bytes_per_second(v).map(drop));
pub const THROTTLE_IOPS: Ty = Ty::Checked("list", |v| blkio::operations_per_second(v).map(drop));
pub const WEIGHT: Ty = Ty::Checked("list", |v| blkio::weight(v).map(drop));
pub const ADDRESS: Ty = Ty::Checked("list", |v| dns::address(v).map(drop));
pub const SEARCH: Ty = Ty::Checked("list", dns::search);
pub const EXTRA_HOST: Ty = Ty::Checked("list", |v| host::parse(v).map(drop));
pub const LINK: Ty = Ty::Checked("list", link::check);
pub const STREAM: Ty = Ty::Checked("list", attach::check);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_pflag_reads_them() {
        let cases = [
            ("12", Some(12)),
            ("-0x1F", Some(-31)),
            ("+5", Some(5)),
            ("0", Some(0)),
            ("010", Some(8)),
            ("0o17", Some(15)),
            ("0b101", Some(5)),
            ("1_000", Some(1000)),
            ("0_7", Some(7)),
            ("08", None),
            ("0x", None),
            ("_1", None),
            ("1__0", None),
            ("1_", None),
            ("", None),
            ("-", None),
            ("--1", None),
            ("1.5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_int(text), expected, "{text}");
        }
        let check = |ty: Ty, text| ty.check(text).unwrap_err();
        assert_eq!(check(Ty::Uint16, "70000"), "strconv.ParseUint: parsing \"70000\": value out of range");
        assert_eq!(check(Ty::Uint, "-1"), "strconv.ParseUint: parsing \"-1\": invalid syntax");
        assert!(check(Ty::Int, &"9".repeat(50)).ends_with("value out of range"));
    }
}
