//! Arguments -> values of flags and the rest, by pflag's rules.
use crate::flag::{Flag, PLATFORM_VARIABLE, Ty, parse_bool, parse_int};
use knarr_gotemplate::quote;

/// What the arguments of one command said.
pub struct Matches {
    flags: &'static [&'static [Flag]],
    values: Vec<(&'static Flag, String)>,
    pub args: Vec<String>,
    /// The platform for who names none.
    platform: String,
    /// `--help`, or `-h` where that is not a flag of its own.
    pub help: bool,
    /// It was `-h`.
    pub short_help: bool,
}

impl Matches {
    /// Reads `args`. `interspersed`: flags may come after arguments; otherwise the first argument ends them.
    pub fn parse(
        flags: &'static [&'static [Flag]],
        args: &[String],
        interspersed: bool,
    ) -> Result<Self, String> {
        let mut matches = Self {
            flags,
            values: Vec::new(),
            args: Vec::new(),
            platform: std::env::var(PLATFORM_VARIABLE).unwrap_or_default(),
            help: false,
            short_help: false,
        };
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if arg == "--" {
                matches.args.extend(rest.cloned());
                break;
            }
            if let Some(long) = arg.strip_prefix("--") {
                matches.long(long, arg, &mut rest)?;
            } else if arg.len() > 1 && arg.starts_with('-') {
                matches.cluster(&arg[1..], &mut rest)?;
            } else {
                matches.args.push(arg.clone());
                if !interspersed {
                    matches.args.extend(rest.cloned());
                    break;
                }
            }
            if matches.help {
                break;
            }
        }
        Ok(matches)
    }

    fn find(&self, test: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
        self.flags.iter().flat_map(|table| table.iter()).find(|flag| test(flag))
    }

    fn long<'a>(
        &mut self,
        text: &str,
        arg: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(format!("bad flag syntax: {arg}"));
        }
        let Some(flag) = self.find(|f| f.long == name) else {
            if name == "help" {
                self.help = value.is_none_or(|v| parse_bool(&v).unwrap_or(true));
                return Ok(());
            }
            return Err(format!("unknown flag: --{name}"));
        };
        let value = match (value, flag.ty) {
            (Some(value), _) => value,
            (None, Ty::Bool) => "true".to_owned(),
            (None, _) => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
        };
        self.set(flag, value)
    }

    fn cluster<'a>(
        &mut self,
        cluster: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        for (at, short) in cluster.char_indices() {
            let after = &cluster[at + short.len_utf8()..];
            let Some(flag) = self.find(|f| f.short == Some(short)) else {
                if short == 'h' {
                    (self.help, self.short_help) = (true, true);
                    return Ok(());
                }
                return Err(format!("unknown shorthand flag: {} in -{}", quote_char(short), &cluster[at..]));
            };
            if let Some(value) = after.strip_prefix('=').filter(|_| after.len() > 1) {
                return self.set(flag, value.to_owned());
            }
            if matches!(flag.ty, Ty::Bool) {
                self.set(flag, "true".to_owned())?;
                continue;
            }
            let value = match after {
                "" => rest.next().cloned().ok_or_else(|| {
                    format!("flag needs an argument: {} in -{}", quote_char(short), &cluster[at..])
                })?,
                after => after.to_owned(),
            };
            return self.set(flag, value);
        }
        Ok(())
    }

    fn set(&mut self, flag: &'static Flag, value: String) -> Result<(), String> {
        flag.ty.check(&value).map_err(|reason| {
            format!("invalid argument {} for {} flag: {reason}", quote(&value), quote(&flag.display()))
        })?;
        if flag.long == "help" {
            self.help = parse_bool(&value).unwrap_or(true);
        }
        self.values.push((flag, value));
        Ok(())
    }

    /// Whether the flag was given.
    pub fn changed(&self, long: &str) -> bool {
        self.values.iter().any(|(flag, _)| flag.long == long)
    }

    /// The flags that were given.
    pub fn given(&self) -> impl Iterator<Item = &'static Flag> {
        self.values.iter().map(|(flag, _)| *flag)
    }

    pub fn flag(&self, long: &str) -> bool {
        parse_bool(self.text(long)).unwrap_or(false)
    }

    /// The last value given, or the default.
    pub fn text(&self, long: &str) -> &str {
        debug_assert!(self.find(|f| f.long == long).is_some(), "no flag --{long} in the table");
        let given = self.values.iter().rev().find(|(flag, _)| flag.long == long);
        match given {
            Some((_, value)) => value,
            None => match self.find(|f| f.long == long).map_or("", |f| f.default) {
                PLATFORM_VARIABLE => &self.platform,
                default => default,
            },
        }
    }

    pub fn list(&self, long: &str) -> Vec<String> {
        let given = self.values.iter().filter(|(flag, _)| flag.long == long);
        given.flat_map(|(flag, value)| flag.ty.values(value)).collect()
    }

    /// Values of flags that are two names of one thing, in the order given.
    pub fn lists(&self, names: &[&str]) -> Vec<String> {
        let named = self.values.iter().filter(|(flag, _)| names.contains(&flag.long));
        named.map(|(_, value)| value.clone()).collect()
    }

    /// A number; the table has checked it.
    pub fn int(&self, long: &str) -> i64 {
        parse_int(self.text(long)).and_then(|number| i64::try_from(number).ok()).unwrap_or(0)
    }
}

fn quote_char(c: char) -> String {
    format!("'{c}'")
}
