//! Changes to an image's configuration, written as Dockerfile instructions: `--change 'CMD ["sh"]'`.
//! Standard: <https://docs.docker.com/reference/dockerfile/>, for those instructions that `docker commit` takes.
use crate::error::Error;
use knarr_oci::image::{ContainerConfig, Healthcheck};

const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Most ports of one `EXPOSE` range.
const MAX_PORTS: usize = 65_536;

/// Applies instructions to a configuration, in order.
pub fn apply(config: &mut ContainerConfig, changes: &[String]) -> Result<(), Error> {
    for change in changes {
        for line in change.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            apply_one(config, line)?;
        }
    }
    Ok(())
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::Invalid(reason.into())
}

fn apply_one(config: &mut ContainerConfig, line: &str) -> Result<(), Error> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let name = word.to_ascii_uppercase();
    let needs =
        |n: bool| if n { Ok(()) } else { Err(invalid(format!("{name} requires at least one argument"))) };
    match name.as_str() {
        "CMD" => config.cmd = Some(command(rest, config)),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(rest, config));
        }
        "ENV" => {
            needs(!rest.is_empty())?;
            for (key, value) in pairs(rest, &name, &config.env)? {
                set_environment(config, &key, &value);
            }
        }
        "LABEL" => {
            needs(!rest.is_empty())?;
            config.labels.extend(pairs(rest, &name, &config.env)?);
        }
        "EXPOSE" => {
            needs(!rest.is_empty())?;
            for word in words(rest, &config.env)? {
                config.exposed_ports.extend(ports(&word)?);
            }
        }
        "VOLUME" => {
            needs(!rest.is_empty())?;
            let list = match json_list(rest) {
                Some(list) => list,
                None => words(rest, &config.env)?,
            };
            if list.iter().any(|path| path.trim().is_empty()) {
                return Err(invalid("VOLUME specified can not be an empty string"));
            }
            config.volumes.extend(list);
        }
        "USER" => config.user = one(rest, &name, &config.env)?,
        "WORKDIR" => {
            let path = one(rest, &name, &config.env)?;
            config.working_dir = join(&config.working_dir, &path);
        }
        "STOPSIGNAL" => config.stop_signal = one(rest, &name, &config.env)?,
        "ONBUILD" => {
            needs(!rest.is_empty())?;
            let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            match trigger.as_str() {
                "ONBUILD" => return Err(invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
                "MAINTAINER" | "FROM" => {
                    return Err(invalid(format!("{trigger} isn't allowed as an ONBUILD trigger")));
                }
                _ => config.on_build.push(rest.to_owned()),
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        "SHELL" => {
            let list =
                json_list(rest).ok_or_else(|| invalid("SHELL requires the arguments to be in JSON form"))?;
            config.shell = Some(list);
        }
        _ => return Err(invalid(format!("{} is not a valid change command", word))),
    }
    Ok(())
}

fn one(rest: &str, name: &str, env: &[String]) -> Result<String, Error> {
    let words = words(rest, env)?;
    match words.as_slice() {
        [word] => Ok(word.clone()),
        _ => Err(invalid(format!("{name} requires exactly one argument"))),
    }
}

fn json_list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// JSON form, or a line for the shell.
fn command(rest: &str, config: &ContainerConfig) -> Vec<String> {
    if let Some(list) = json_list(rest) {
        return list;
    }
    if rest.is_empty() {
        return Vec::new();
    }
    let mut list =
        config.shell.clone().unwrap_or_else(|| SHELL.iter().map(|word| (*word).to_owned()).collect());
    list.push(rest.to_owned());
    list
}

/// `key=value key2="value 2"`, or the old form `key value with spaces`.
fn pairs(rest: &str, name: &str, env: &[String]) -> Result<Vec<(String, String)>, Error> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| invalid(format!("{name} must have two arguments")))?;
        return Ok(vec![(key.to_owned(), lex(value.trim(), env, false)?.concat())]);
    }
    let mut list = Vec::new();
    for word in words(rest, env)? {
        let (key, value) = word.split_once('=').ok_or_else(|| {
            invalid(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))
        })?;
        if key.is_empty() {
            return Err(invalid(format!("{name} names can not be blank")));
        }
        list.push((key.to_owned(), value.to_owned()));
    }
    Ok(list)
}

/// Words as a shell would split them: quotes group, a backslash quotes one character, and outside of single quotes variables
/// have the values that the image gives them.
fn words(text: &str, env: &[String]) -> Result<Vec<String>, Error> {
    lex(text, env, true)
}

fn lex(text: &str, env: &[String], splits: bool) -> Result<Vec<String>, Error> {
    let mut list = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t') if splits => list.extend(word.take()),
            (None | Some('"'), '$') => word.get_or_insert_default().push_str(&variable(&mut chars, env)?),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(q), c) if q == c => quote = None,
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().push(chars.next().unwrap_or('\\'));
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(invalid(format!("unterminated quote in {text:?}")));
    }
    list.extend(word);
    Ok(list)
}

/// Substitutions in one another, at most.
const MAX_NESTED: usize = 32;

/// What follows a `$`: `name`, `{name}`, `{name:-other}` or `{name:+other}`; a `$` before anything else is one.
fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, env: &[String]) -> Result<String, Error> {
    let of = |name: &str| {
        let set = env.iter().find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name));
        set.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let mut name = String::new();
    if chars.next_if_eq(&'{').is_none() {
        match chars.peek() {
            // `$1` and the like are never set, and one character long.
            Some(c) if c.is_ascii_digit() => drop(chars.next()),
            Some(c) if is_name(c) => {
                while let Some(c) = chars.next_if(is_name) {
                    name.push(c);
                }
            }
            _ => return Ok("$".to_owned()),
        }
        return Ok(of(&name));
    }
    let (mut depth, mut inner) = (1_usize, String::new());
    loop {
        let c =
            chars.next().ok_or_else(|| invalid(format!("syntax error: missing '}}' after ${{{inner}")))?;
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        // The outermost sees them all: what is in one another is read in one another.
        if depth > MAX_NESTED {
            return Err(invalid(format!("more than {MAX_NESTED} substitutions in one another")));
        }
        inner.push(c);
    }
    let end = inner.find(|c| !is_name(&c)).unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    if name.is_empty() {
        return Err(invalid(format!("${{{inner}}}: bad substitution")));
    }
    let value = of(name);
    let other = |text: &str| Ok(lex(text, env, false)?.concat());
    match (rest.split_at_checked(2), rest) {
        (_, "") => Ok(value),
        (Some((":-", text)), _) => {
            if value.is_empty() {
                other(text)
            } else {
                Ok(value)
            }
        }
        (Some((":+", text)), _) => {
            if value.is_empty() {
                Ok(value)
            } else {
                other(text)
            }
        }
        _ => Err(invalid(format!("unsupported modifier in substitution: ${{{inner}}}"))),
    }
}

fn set_environment(config: &mut ContainerConfig, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    let existing = config.env.iter_mut().find(|e| e.split_once('=').is_some_and(|(name, _)| name == key));
    match existing {
        Some(existing) => *existing = entry,
        None => config.env.push(entry),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`
fn ports(word: &str) -> Result<Vec<String>, Error> {
    let bad = || invalid(format!("invalid containerPort: {word}"));
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
    if first > last {
        return Err(bad());
    }
    Ok((first..=last).take(MAX_PORTS).map(|port| format!("{port}/{protocol}")).collect())
}

/// A working directory relative to the one before it.
fn join(current: &str, path: &str) -> String {
    let full = if path.starts_with('/') { path.to_owned() } else { format!("{current}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in full.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn healthcheck(rest: &str) -> Result<Healthcheck, Error> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let (key, value) =
            option.split_once('=').ok_or_else(|| invalid(format!("Missing a value on flag: {option}")))?;
        let nanos = || duration(value).ok_or_else(|| invalid(format!("time: invalid duration {value:?}")));
        match key {
            "interval" => check.interval = nanos()?,
            "timeout" => check.timeout = nanos()?,
            "start-period" => check.start_period = nanos()?,
            "start-interval" => check.start_interval = nanos()?,
            "retries" => {
                check.retries =
                    value.parse().map_err(|_| invalid(format!("--retries must be a number: {value}")))?;
            }
            _ => return Err(invalid(format!("Unknown flag: {key}"))),
        }
        rest = after.trim_start();
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match kind.to_ascii_uppercase().as_str() {
        "NONE" => check.test = vec!["NONE".to_owned()],
        "CMD" => {
            let command = command.trim();
            if command.is_empty() {
                return Err(invalid("Missing command after HEALTHCHECK CMD"));
            }
            check.test = match json_list(command) {
                Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
                None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
            };
        }
        other => return Err(invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    }
    Ok(check)
}

/// Go's notation: `1h2m3.5s`, in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    if text.is_empty() || total > 9e18 { None } else { Some(total as i64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> Result<ContainerConfig, String> {
        let mut config = ContainerConfig { env: vec!["A=1".to_owned()], ..ContainerConfig::default() };
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        apply(&mut config, &lines).map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn variables_have_the_values_of_the_image() {
        let lines = [
            "ENV B=$A:${A} C='$A' D=\\$A E=${no:-x$A} F=${A:+yes} G=$",
            "ENV H two $A words",
            "LABEL l=\"$B\"",
        ];
        let config = changed(&lines).unwrap();
        let wanted = ["A=1", "B=1:1", "C=$A", "D=$A", "E=x1", "F=yes", "G=$", "H=two 1 words"];
        assert_eq!(config.env, wanted);
        assert_eq!(config.labels["l"], "1:1");
        let config = changed(&["ENV A=2 B=$A", "WORKDIR /w/$A", "EXPOSE 8${A}", "CMD [\"$A\"]"]).unwrap();
        assert_eq!(config.env, ["A=2", "B=1"], "an instruction sees what was before it");
        assert_eq!((config.working_dir.as_str(), config.cmd.unwrap()), ("/w/2", vec!["$A".to_owned()]));
        assert!(config.exposed_ports.contains("82/tcp"));
        assert!(changed(&["ENV B=${A"]).unwrap_err().contains("missing '}'"));
        let nested = |depth| format!("ENV B={}{}", "${no:-".repeat(depth), "}".repeat(depth));
        assert!(changed(&[&nested(30)]).is_ok());
        assert!(changed(&[&nested(100_000)]).unwrap_err().contains("in one another"));
        assert!(changed(&["ENV B=${A@Q}"]).unwrap_err().contains("unsupported modifier"));
    }

    #[test]
    fn instructions() {
        let config = changed(&[
            r#"CMD ["a", "b c"]"#,
            "ENTRYPOINT echo  hi",
            "ENV A=2 B=\"x y\" C=a\\ b",
            "env OLD form here",
            "LABEL k=v \"q r\"='s'",
            "EXPOSE 80 53/udp 9000-9002",
            "USER app:app",
            "WORKDIR /srv",
            "WORKDIR ../x/./y",
            "VOLUME /a /b",
            r#"VOLUME ["/c d"]"#,
            "ONBUILD RUN true",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f x",
        ])
        .unwrap();
        assert_eq!(config.cmd.unwrap(), ["a", "b c"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "echo  hi"]);
        assert_eq!(config.env, ["A=2", "B=x y", "C=a b", "OLD=form here"]);
        assert_eq!(config.labels.get("q r").unwrap(), "s");
        let ports: Vec<_> = config.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "9000/tcp", "9001/tcp", "9002/tcp"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app:app", "/x/y"));
        assert_eq!(config.volumes.len(), 3);
        assert_eq!((config.on_build.len(), config.stop_signal.as_str()), (1, "SIGINT"));
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries, check.test[0].as_str()), (90_000_000_000, 2, "CMD-SHELL"));
    }

    #[test]
    fn bad_ones() {
        for (line, message) in [
            ("RUN true", "RUN is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("EXPOSE x", "invalid containerPort: x"),
            ("EXPOSE 80/icmp", "invalid proto: icmp"),
            ("USER a b", "USER requires exactly one argument"),
            ("LABEL a=\"b", "unterminated quote in \"a=\\\"b\""),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ] {
            assert_eq!(changed(&[line]).unwrap_err(), message);
        }
    }
}
