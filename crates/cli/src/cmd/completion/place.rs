//! Where in a command line the typed word stands.
use crate::cmd;
use crate::command::{Command, GLOBAL_TABLE, find};
use crate::flag::{Flag, Ty};

/// What is being typed.
pub enum Typed<'a> {
    /// A command or an argument.
    Word,
    /// A flag's name.
    Flag,
    /// A flag's value, as far as it is typed.
    Value(&'static Flag, &'a str),
    /// Something behind a command that is not ours.
    Unknown,
}

pub struct Place<'a> {
    pub typed: Typed<'a>,
    pub command: Option<&'static Command>,
    /// Names from the root to the command.
    pub path: Vec<&'static str>,
    /// Arguments of the command before the typed word.
    pub arguments: Vec<&'a str>,
    /// Flags before the command.
    pub globals: Vec<String>,
}

impl<'a> Place<'a> {
    pub fn find(before: &'a [String], typed: &'a str) -> Self {
        let mut place = Self {
            typed: Typed::Word,
            command: None,
            path: Vec::new(),
            arguments: Vec::new(),
            globals: Vec::new(),
        };
        let mut only_arguments = false;
        let mut wanting: Option<&'static Flag> = None;
        for word in before {
            if place.command.is_none() && (wanting.is_some() || word.starts_with('-')) {
                place.globals.push(word.clone());
            }
            if wanting.take().is_some() {
                continue;
            }
            if word == "--" {
                only_arguments = true;
            } else if word.starts_with('-') && word.len() > 1 && !only_arguments {
                wanting = place.wants_value(word);
            } else if let Some(command) = place.command.filter(|c| c.run.is_some()) {
                place.arguments.push(word);
                only_arguments |= !command.interspersed;
            } else {
                match find(place.command.map_or(cmd::ROOT, |c| c.children), word) {
                    Some(command) => {
                        place.path.push(command.name);
                        place.command = Some(command);
                    }
                    None => {
                        place.typed = Typed::Unknown;
                        return place;
                    }
                }
            }
        }
        place.typed = match wanting {
            Some(flag) => Typed::Value(flag, typed),
            None if only_arguments || !typed.starts_with('-') => Typed::Word,
            None => match typed.split_once('=').and_then(|(name, value)| Some((place.flag(name)?, value))) {
                Some((flag, value)) if !matches!(flag.ty, Ty::Bool) => Typed::Value(flag, value),
                Some(_) => Typed::Unknown,
                None => Typed::Flag,
            },
        };
        place
    }

    fn flag(&self, name: &str) -> Option<&'static Flag> {
        let tables = self.command.map_or(GLOBAL_TABLE, |c| c.flags);
        let mut all = tables.iter().flat_map(|t| t.iter());
        match name.strip_prefix("--") {
            Some(long) => all.find(|flag| flag.long == long),
            None => all.find(|flag| flag.short.is_some() && name.chars().last() == flag.short),
        }
    }

    /// The flag whose value is the next word.
    fn wants_value(&self, word: &str) -> Option<&'static Flag> {
        if word.contains('=') {
            return None;
        }
        self.flag(word).filter(|flag| !matches!(flag.ty, Ty::Bool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn places_in_a_command_line() {
        let before = words("-H unix:///x container run -e A=b --name");
        let place = Place::find(&before, "x");
        assert!(matches!(place.typed, Typed::Value(flag, "x") if flag.long == "name"));
        assert_eq!((place.path, place.globals.len()), (vec!["container", "run"], 2));

        let before = words("run --rm busybox ls");
        let place = Place::find(&before, "-l");
        assert!(matches!(place.typed, Typed::Word), "what follows the image is the container's");
        assert_eq!(place.arguments, ["busybox", "ls"]);

        let before = words("rm -f one");
        assert!(matches!(Place::find(&before, "--vo").typed, Typed::Flag));
        assert_eq!(Place::find(&before, "").arguments, ["one"]);
        assert!(
            matches!(Place::find(&words("run"), "--restart=al").typed, Typed::Value(flag, "al") if flag.long == "restart")
        );
        assert!(matches!(Place::find(&words("nosuch"), "").typed, Typed::Unknown));
    }
}
