//! `--security-opt`: the words sorted out, with Docker's errors. Pure.
//!
//! Reference: <https://docs.docker.com/reference/cli/docker/container/run/#security-opt>.
use crate::error::{Error, Result};
use knarr_docker_types::host_config::HostConfig;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SecurityOptions<'a> {
    /// SELinux: `disable`, `type:...`.
    pub labels: Vec<&'a str>,
    pub apparmor: Option<&'a str>,
    pub writable_cgroups: bool,
}

pub(crate) fn parse(options: &[String]) -> Result<SecurityOptions<'_>> {
    let mut found = SecurityOptions::default();
    for text in options {
        let invalid = |number: u8| Error::Invalid(format!("invalid --security-opt {number}: {text:?}"));
        match text.as_str() {
            "no-new-privileges" => continue,
            "writable-cgroups" => {
                found.writable_cgroups = true;
                continue;
            }
            "disable" => {
                found.labels.push("disable");
                continue;
            }
            _ => {}
        }
        // Docker still takes its old separator.
        let split = text.split_once('=').or_else(|| text.split_once(':'));
        let (key, value) = split.ok_or_else(|| invalid(1))?;
        let boolean = || match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(invalid(2)),
        };
        match (key, value) {
            ("label", label) => found.labels.push(label),
            ("apparmor", profile) => found.apparmor = Some(profile),
            ("no-new-privileges", _) => drop(boolean()?),
            ("writable-cgroups", _) => found.writable_cgroups = boolean()?,
            ("seccomp", _) | ("systempaths", "unconfined") => {}
            _ => return Err(invalid(2)),
        }
    }
    Ok(found)
}

/// A container that is as free as the host, or sees the host's processes, has no label of its own, and `inspect` says so.
pub(crate) fn adapt(host: &mut HostConfig) {
    let says_so = host.security_opt.iter().any(|option| option.split('=').next() == Some("label"));
    if !says_so && (host.privileged || host.ipc_mode == "host" || host.pid_mode == "host") {
        host.security_opt.push("label=disable".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let options = texts(&[
            "no-new-privileges",
            "no-new-privileges:true",
            "apparmor=p",
            "label=type:x",
            "label:disable",
            "seccomp={\"a\":1}",
            "writable-cgroups=true",
        ]);
        let found = parse(&options).unwrap();
        assert_eq!(found.labels, ["type:x", "disable"]);
        assert_eq!((found.apparmor, found.writable_cgroups), (Some("p"), true));
        for (text, number) in [("bogus", 1), ("bogus=1", 2), ("no-new-privileges=x", 2), ("systempaths=x", 2)]
        {
            let error = parse(&texts(&[text])).unwrap_err().to_string();
            assert_eq!(error, format!("invalid --security-opt {number}: {text:?}"));
        }
    }

    #[test]
    fn the_hosts_equals_have_no_label() {
        let of = |change: fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            adapt(&mut host);
            host.security_opt.to_vec()
        };
        assert_eq!(of(|h| h.privileged = true), ["label=disable"]);
        assert_eq!(of(|h| h.pid_mode = "host".into()), ["label=disable"]);
        assert_eq!(
            of(|h| (h.privileged, h.security_opt) = (true, ["label=type:x".to_owned()].into())),
            ["label=type:x"]
        );
        assert!(of(|_| {}).is_empty());
    }
}
