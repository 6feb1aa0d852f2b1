//! `state`, `list` and `ps`: what there is.
use super::arguments::Arguments;
use super::container::Container;
use super::{Global, cgroup_error, file_error, life, unknown};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

/// What runc prints for `state` and for each container of `list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    oci_version: String,
    id: String,
    pid: i32,
    status: knarr_oci::runtime::StateStatus,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

impl Shown {
    fn new(container: &Container, status: knarr_oci::runtime::StateStatus) -> Self {
        let record = &container.record;
        let version = Some(&record.config.version).filter(|v| !v.is_empty());
        Self {
            oci_version: version.map_or(knarr_oci::runtime::VERSION, String::as_str).to_owned(),
            id: record.id.clone(),
            pid: record.shown_pid(status),
            status,
            bundle: record.knarr.bundle.clone(),
            rootfs: record.config.rootfs.clone(),
            created: record.created.clone(),
            annotations: record.knarr.annotations.clone(),
            owner: String::new(),
        }
    }
}

fn json(value: &impl Serialize, pretty: bool) -> Result<String> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map_err(|e| Error::Invalid { what: e.to_string() })
}

/// To a pipe whose reader may be gone.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

pub(crate) fn state(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let container = life::only(global, arguments)?;
    print(&json(&Shown::new(&container, container.status()), true)?);
    Ok(0)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Table,
    Json,
}

impl Format {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "table" | "" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            other => Err(Error::Invalid { what: format!("invalid format option {other:?}") }),
        }
    }
}

pub(crate) fn list(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let (mut quiet, mut format) = (false, Format::default());
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "quiet" | "q" => quiet = arguments.flag(&name, value)?,
            "format" | "f" => format = Format::parse(&arguments.value(&name, value)?)?,
            _ => return Err(unknown(&name)),
        }
    }
    arguments.end()?;
    let entries = match std::fs::read_dir(&global.root) {
        // Nothing was made yet. A directory that somebody names is there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && global.is_default_root() => None,
        entries => Some(entries.map_err(file_error("read", &global.root))?),
    };
    let entries = entries.into_iter().flatten().flatten();
    let mut ids: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    ids.sort();
    // One that is being made or removed just now is left out.
    let all = ids.iter().filter_map(|id| Container::load(global, id).ok());
    let shown =
        all.map(|container| Shown { owner: owner(&container), ..Shown::new(&container, container.status()) });
    match (quiet, format) {
        (true, _) => shown.for_each(|one| print(&one.id)),
        (false, Format::Json) => print(&json(&shown.collect::<Vec<_>>(), false)?),
        (false, Format::Table) => print(table(&shown.collect::<Vec<_>>()).trim_end()),
    }
    Ok(0)
}

fn table(all: &[Shown]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |one: &Shown| {
        let status = format!("{:?}", one.status).to_lowercase();
        let bundle = one.bundle.display().to_string();
        [one.id.clone(), one.pid.to_string(), status, bundle, one.created.clone(), one.owner.clone()]
    };
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(all.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(11) + 1;
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Who made it: the name of the directory's owner, `#` and the number for one without.
fn owner(container: &Container) -> String {
    let Ok(stat) = std::fs::metadata(&container.directory) else { return String::new() };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(stat.uid())).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{}", stat.uid()))
}

pub(crate) fn ps(global: &Global, arguments: &mut Arguments<'_>) -> Result<u8> {
    let mut format = Format::default();
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "format" | "f" => format = Format::parse(&arguments.value(&name, value)?)?,
            _ => return Err(unknown(&name)),
        }
    }
    let container = Container::load(global, arguments.id()?)?;
    let options = arguments.rest();
    let mut pids = container.cgroup()?.all_pids().map_err(cgroup_error)?;
    pids.sort_unstable();
    if format == Format::Json {
        print(&json(&pids, false)?);
        return Ok(0);
    }
    // The host's own program: nothing of the container is executed.
    let options = if options.is_empty() { &["-ef".to_owned()][..] } else { options };
    let output = Command::new("ps").args(options).output().map_err(file_error("execute", "ps".as_ref()))?;
    if !output.status.success() {
        let what = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Invalid { what: format!("ps: {what}") });
    }
    print(lines_of(&String::from_utf8_lossy(&output.stdout), &pids)?.trim_end());
    Ok(0)
}

/// The header, and the lines whose column `PID` is one of these.
fn lines_of(text: &str, pids: &[i32]) -> Result<String> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| Error::Invalid { what: "ps prints no column PID".to_owned() })?;
    let wanted = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(header).chain(lines.filter(wanted)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes() {
        let text = "UID   PID CMD\nroot    1 init\nroot   12 sh 13\nroot   13 x\n";
        assert_eq!(lines_of(text, &[12]).unwrap(), "UID   PID CMD\nroot   12 sh 13\n");
        assert!(lines_of("CMD\nx\n", &[1]).is_err());
    }

    #[test]
    fn columns_are_aligned() {
        let one = Shown {
            oci_version: String::new(),
            id: "a-long-identifier".to_owned(),
            pid: 7,
            status: knarr_oci::runtime::StateStatus::Running,
            bundle: "/b".into(),
            rootfs: PathBuf::new(),
            created: "2026".to_owned(),
            annotations: BTreeMap::new(),
            owner: "root".to_owned(),
        };
        assert_eq!(
            table(&[one]),
            "ID                PID         STATUS      BUNDLE      CREATED     OWNER\n\
             a-long-identifier 7           running     /b          2026        root\n"
        );
    }
}
