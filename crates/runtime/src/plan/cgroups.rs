//! The container's view of control groups: one mount for v2, a tree of mounts for v1.
use super::mounts::{NODEV, NOEXEC, NOSUID, Options, RDONLY, filesystem};
use super::{Facts, Filesystem, MountStep, Source, Step, Target, path_text, text};
use crate::{Error, Result};
use knarr_cgroup::Hierarchies;
use knarr_linux::mount::Attributes;
use knarr_oci::runtime::{Linux, NamespaceType};
use std::path::Path;

pub(super) fn plan(
    destination: &str,
    options: &Options,
    linux: &Linux,
    facts: &Facts<'_>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    let own_namespace = linux.namespace(NamespaceType::Cgroup).is_some_and(|n| n.path.is_none());
    let read_only = options.attributes.set & RDONLY != 0;
    match facts.hierarchies {
        None => Err(Error::Unsupported { what: "a cgroup mount on a host without cgroups".to_owned() }),
        Some(Hierarchies::V2(mountpoint)) => {
            let source = if own_namespace {
                new(c"cgroup2".to_owned(), c"cgroup".to_owned(), Vec::new(), options.attributes.set)
            } else {
                group(mountpoint, facts)?
            };
            steps.push(mount(destination, source, options.attributes, options)?);
            Ok(())
        }
        Some(Hierarchies::V1(trees)) => {
            let tmpfs = Options {
                attributes: Attributes { set: NOSUID | NODEV | NOEXEC, ..Attributes::default() },
                parameters: vec![(c"mode".to_owned(), Some(c"755".to_owned()))],
                propagation: options.propagation,
                ..Options::default()
            };
            steps.push(filesystem("tmpfs", "cgroup", destination, tmpfs, false)?);
            for tree in trees {
                let Some(name) = tree.mountpoint.file_name().and_then(|n| n.to_str()) else { continue };
                let below = format!("{destination}/{name}");
                // A group of the container's own is bound, which looks the same in its namespace: a new instance of each hierarchy would be
                // compared with all those that there are, nine times for each start.
                let source = if own_namespace && facts.cgroup.is_none() {
                    let parameters = tree.controllers.iter().map(|c| match c.split_once('=') {
                        Some((key, value)) => {
                            Ok((text(key, "controller")?, Some(text(value, "controller")?)))
                        }
                        None => Ok((text(c, "controller")?, None)),
                    });
                    let parameters = parameters.collect::<Result<_>>()?;
                    new(c"cgroup".to_owned(), c"cgroup".to_owned(), parameters, options.attributes.set)
                } else {
                    group(&tree.mountpoint, facts)?
                };
                steps.push(mount(&below, source, options.attributes, options)?);
                if tree.controllers.len() > 1 {
                    for controller in &tree.controllers {
                        steps.push(Step::Link {
                            path: text(&format!("{destination}/{controller}"), "controller")?,
                            target: text(name, "controller")?,
                        });
                    }
                }
            }
            if read_only {
                steps.push(Step::SetAttributes {
                    path: text(destination, "mount destination")?,
                    attributes: Attributes { set: RDONLY, ..Attributes::default() },
                });
            }
            Ok(())
        }
    }
}

fn new(
    kind: std::ffi::CString,
    source: std::ffi::CString,
    parameters: Vec<(std::ffi::CString, Option<std::ffi::CString>)>,
    attributes: u64,
) -> Source {
    Source::New(Filesystem { kind, source, parameters, attributes: attributes as u32, or_hosts: false })
}

fn group(mountpoint: &Path, facts: &Facts<'_>) -> Result<Source> {
    let path = match facts.cgroup {
        Some(path) => mountpoint.join(path.trim_start_matches('/')),
        None => mountpoint.to_owned(),
    };
    Ok(Source::Group { path: path_text(&path)? })
}

fn mount(destination: &str, source: Source, attributes: Attributes, options: &Options) -> Result<Step> {
    let bound = matches!(source, Source::Group { .. });
    Ok(Step::Mount(Box::new(MountStep {
        destination: text(destination, "mount destination")?,
        source,
        attributes: if bound { attributes } else { Attributes::default() },
        recursive: Attributes::default(),
        propagation: options.propagation,
        target: Target::Strict,
        copy_up: false,
    })))
}
