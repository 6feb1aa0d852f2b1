//! Flags as a table: what a command accepts, from which parser, help and completion come.
//!
//! Docker's client parses with pflag, whose rules and texts scripts depend on (`-it`, `-e=x`, `--rm=false`, what an
//! unknown flag says, flags that stop at the image name), so the table follows pflag
//! (<https://pkg.go.dev/github.com/spf13/pflag>). Tables are constants: a command costs nothing until it is used.
use crate::spec::{attach, dns, host, link, sysctl};
use crate::spec::{blkio, csv, decimal, duration, env, filter, label, mount, network, size, ulimit};

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
        let go = |function: &str, error: &std::num::ParseIntError| {
            let reason = match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            format!("strconv.{function}: parsing {}: {reason}", quoted())
        };
        match self {
            Self::Str | Self::List | Self::Map => Ok(()),
            Self::Strings if value.is_empty() => Ok(()),
            Self::Strings => csv::record(value).map(drop),
            Self::Bool => match parse_bool(value) {
                Some(_) => Ok(()),
                None => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quoted())),
            },
            Self::Int => value.parse::<i64>().map(drop).map_err(|e| go("ParseInt", &e)),
            Self::Uint16 => value.parse::<u16>().map(drop).map_err(|e| go("ParseUint", &e)),
            Self::Uint => value.parse::<u64>().map(drop).map_err(|e| go("ParseUint", &e)),
            Self::Checked(_, check) | Self::Value(_, check) => check(value),
        }
    }
}

/// Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

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
