//! Options and words of a command line: `--name value`, `--name=value`, `-x value`, `--` ends the options.
use crate::{Error, Result};
use std::collections::VecDeque;

pub(crate) struct Arguments<'a> {
    left: &'a [String],
    options_ended: bool,
    /// Options may stand behind words, too.
    anywhere: bool,
    /// Words that were passed by on the way to an option.
    words: VecDeque<&'a str>,
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(all: &'a [String]) -> Self {
        Self { left: all, options_ended: false, anywhere: false, words: VecDeque::new() }
    }

    /// From now on options may stand behind words, as runc's users write them (`update ID --memory 1g`).
    pub(crate) fn take_options_anywhere(&mut self) {
        self.anywhere = true;
    }

    /// Whether `-h` or `--help` is next.
    pub(crate) fn asks_for_help(&self) -> bool {
        self.left.first().is_some_and(|next| ["-h", "--help"].contains(&next.as_str()))
    }

    fn next(&mut self) -> Option<&'a String> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(first)
    }

    /// The next option with the value that was joined to it, if an option is next.
    pub(crate) fn option(&mut self) -> Result<Option<(String, Option<String>)>> {
        let next = loop {
            let Some(next) = self.left.first() else { return Ok(None) };
            if !self.options_ended && next.starts_with('-') && next != "-" {
                break next;
            }
            if !self.anywhere || self.options_ended {
                return Ok(None);
            }
            self.words.push_back(next);
            self.next();
        };
        self.next();
        if next == "--" {
            self.options_ended = true;
            return Ok(None);
        }
        let name = next.trim_start_matches('-');
        Ok(Some(match name.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (name.to_owned(), None),
        }))
    }

    /// The value of an option: joined, or the next word.
    pub(crate) fn value(&mut self, name: &str, joined: Option<String>) -> Result<String> {
        match joined {
            Some(value) => Ok(value),
            None => {
                self.next().cloned().ok_or_else(|| Error::Invalid { what: format!("--{name} needs a value") })
            }
        }
    }

    /// An option without value, unless `=true` or `=false` is joined to it.
    pub(crate) fn flag(&mut self, name: &str, joined: Option<String>) -> Result<bool> {
        match joined.as_deref() {
            None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(Error::Invalid { what: format!("--{name} is true or false, not {other:?}") }),
        }
    }

    /// The value of an option as a number.
    pub(crate) fn number<T: std::str::FromStr>(&mut self, name: &str, joined: Option<String>) -> Result<T> {
        let text = self.value(name, joined)?;
        text.parse().map_err(|_| Error::Invalid { what: format!("--{name} needs a number, not {text:?}") })
    }

    pub(crate) fn word(&mut self) -> Option<&'a str> {
        self.words.pop_front().or_else(|| self.next().map(String::as_str))
    }

    /// The only word that is left.
    pub(crate) fn id(&mut self) -> Result<&'a str> {
        let id =
            self.word().ok_or_else(|| Error::Invalid { what: "the container's id is missing".to_owned() })?;
        Ok(id)
    }

    pub(crate) fn rest(&mut self) -> &'a [String] {
        let rest = self.left;
        self.left = &[];
        match rest.split_first() {
            Some((first, more)) if first == "--" => more,
            _ => rest,
        }
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        match self.word() {
            None => Ok(()),
            Some(word) => Err(Error::Invalid { what: format!("unexpected argument {word:?}") }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_values_and_words() {
        let all = ["--bundle", "/b", "--tty=true", "id", "--", "-x"].map(str::to_owned);
        let mut arguments = Arguments::new(&all);
        let (name, joined) = arguments.option().unwrap().unwrap();
        assert_eq!((name.as_str(), arguments.value("bundle", joined).unwrap().as_str()), ("bundle", "/b"));
        assert_eq!(arguments.option().unwrap(), Some(("tty".to_owned(), Some("true".to_owned()))));
        assert_eq!(arguments.option().unwrap(), None);
        assert_eq!(arguments.id().unwrap(), "id");
        assert_eq!(arguments.rest(), ["-x"]);
        let all = ["id", "--memory", "1g", "-", "-f", "--", "-x"].map(str::to_owned);
        let mut arguments = Arguments::new(&all);
        assert_eq!(arguments.option().unwrap(), None);
        arguments.take_options_anywhere();
        let (name, joined) = arguments.option().unwrap().unwrap();
        assert_eq!((name.as_str(), arguments.value("memory", joined).unwrap().as_str()), ("memory", "1g"));
        assert_eq!(arguments.option().unwrap(), Some(("f".to_owned(), None)));
        assert_eq!(arguments.option().unwrap(), None);
        assert_eq!(
            [arguments.word(), arguments.word(), arguments.word()],
            [Some("id"), Some("-"), Some("-x")]
        );
        let lonely = ["--bundle".to_owned()];
        let mut arguments = Arguments::new(&lonely);
        arguments.option().unwrap();
        assert!(arguments.value("bundle", None).is_err());
    }
}
