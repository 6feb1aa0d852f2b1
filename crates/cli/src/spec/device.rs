//! `--device /dev/a[:/dev/b[:rwm]]`, and names of the Container Device Interface (`vendor.com/class=name`).
use knarr_docker_types::resources::DeviceMapping;

/// Whether a text is a CDI name rather than a path.
pub fn is_cdi_name(value: &str) -> bool {
    let Some((kind, name)) = value.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let word = |text: &str, extra: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    word(vendor, "_-.") && word(class, "_-") && word(name, "_-.:")
}

fn is_mode(text: &str) -> bool {
    let unique = text.chars().all(|c| text.matches(c).count() == 1);
    !text.is_empty() && unique && text.chars().all(|c| "rwm".contains(c))
}

pub fn parse(value: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<&str> = value.split(':').collect();
    if parts.len() > 3 || parts[0].is_empty() {
        return Err(format!("bad format for path: {value}"));
    }
    let (inside, mode) = match parts[..] {
        [path] => (path, "rwm"),
        [path, mode] if is_mode(mode) => (path, mode),
        [_, inside] => (inside, "rwm"),
        [_, _, mode] if !is_mode(mode) => return Err(format!("bad mode specified: {mode}")),
        [_, inside, mode] => (inside, mode),
        _ => return Err(format!("bad format for path: {value}")),
    };
    if !inside.starts_with('/') {
        return Err(format!("{inside} is not an absolute path"));
    }
    let clean = clean(inside);
    let one_path = parts.len() == 1 || (parts.len() == 2 && is_mode(parts[1]));
    Ok(DeviceMapping {
        path_on_host: if one_path { clean.clone() } else { parts[0].to_owned() },
        path_in_container: if parts.len() == 3 { inside.to_owned() } else { clean },
        cgroup_permissions: mode.to_owned(),
    })
}

/// Go's `path.Clean` of an absolute path.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `--device-cgroup-rule 'c 1:3 mr'`.
pub fn check_rule(value: &str) -> Result<(), String> {
    let fail = || format!("invalid device cgroup format '{value}'");
    let fields: Vec<&str> = value.split(' ').collect();
    let [kind, numbers, mode] = fields[..] else { return Err(fail()) };
    let number = |t: &str| t == "*" || (!t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
    let numbers_fit = numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor));
    let mode_fits = (1..=3).contains(&mode.len()) && mode.chars().all(|c| "rwm".contains(c));
    if matches!(kind, "a" | "b" | "c") && numbers_fit && mode_fits { Ok(()) } else { Err(fail()) }
}
