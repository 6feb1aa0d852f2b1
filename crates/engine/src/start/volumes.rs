//! Sources of bind mounts and volumes: there before a process looks for them.
use crate::create::subpath;
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::{Container, MountKind, MountRow};
use std::fs;
use std::os::unix::fs::DirBuilderExt;

/// Checks every source; `-v` makes a missing directory, `--mount` does not.
pub(super) fn prepare(engine: &Inner, container: &Container) -> Result<()> {
    for row in &container.mounts {
        match row.kind {
            MountKind::Bind => bind(row)?,
            MountKind::Volume => {
                engine.volumes.get(&row.name)?;
                // What a container made of it since: a link must not lead out of the volume.
                if !row.subpath.is_empty() {
                    subpath(&engine.volumes.mountpoint(&row.name), &row.subpath)?;
                }
            }
            MountKind::Tmpfs => {}
        }
    }
    Ok(())
}

pub(crate) fn bind(row: &MountRow) -> Result<()> {
    match fs::metadata(&row.source) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && row.create_source => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&row.source);
            made.map_err(|e| {
                Error::Invalid(format!(
                    "error while creating mount source path '{}': {e}",
                    row.source.display()
                ))
            })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::Invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            row.source.display()
        ))),
        Err(e) => Err(Error::path("look at", &row.source)(e)),
    }
}
