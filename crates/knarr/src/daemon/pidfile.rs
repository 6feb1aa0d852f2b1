//! The pid file, as `dockerd` keeps it: refused while its process lives, removed at the end.
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// Removes the file when the engine ends.
pub struct PidFile(PathBuf);

impl PidFile {
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        if let Ok(text) = std::fs::read_to_string(path)
            && let Ok(pid) = text.trim().parse::<u32>()
            && pid != std::process::id()
            && is_engine(pid)
        {
            bail!("process with PID {pid} is still running (pid file {})", path.display());
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("pid file {}", path.display()))?;
        }
        std::fs::write(path, std::process::id().to_string())
            .with_context(|| format!("pid file {}", path.display()))?;
        Ok(Self(path.to_path_buf()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = std::fs::read_to_string(&self.0).is_ok_and(|t| t.trim() == std::process::id().to_string());
        if ours {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// Whether a process of that number lives and is an engine: after a crash the number may belong to anybody.
fn is_engine(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|c| c.split(|b| *b == 0).any(|a| a == b"daemon" || a.ends_with(b"knarrd")))
}
