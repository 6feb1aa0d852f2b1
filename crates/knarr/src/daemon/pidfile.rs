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
    let program =
        |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).ok().map(|path| program_name(&path));
    let (theirs, own) = (program(&pid.to_string()), program("self"));
    theirs.is_some()
        && theirs == own
        && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| runs_engine(&line))
}

/// The name of an executable, also of one that was replaced meanwhile.
fn program_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned()
}

/// By the command line: `knarr daemon ...`, or a name that means it (the applet table).
fn runs_engine(line: &[u8]) -> bool {
    let mut arguments = line.split(|byte| *byte == 0);
    let name = arguments.next().unwrap_or_default();
    let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    matches!(name, b"knarrd" | b"dockerd") || arguments.next() == Some(b"daemon")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_more_than_a_word_in_a_command_line() {
        for line in ["knarr\0daemon\0", "/usr/bin/knarr\0daemon\0-D\0", "/usr/bin/knarrd\0-D\0", "dockerd\0"]
        {
            assert!(runs_engine(line.as_bytes()), "{line:?}");
        }
        for line in ["knarr\0run\0daemon\0", "vi\0/etc/knarrd\0", "knarr-shim\0", "", "knarr\0"] {
            assert!(!runs_engine(line.as_bytes()), "{line:?}");
        }
        assert_eq!(program_name(Path::new("/usr/bin/knarr (deleted)")), "knarr");
        // Another program's process, though its command line would do.
        let mut other =
            std::process::Command::new("sh").args(["-c", "sleep 600; :", "daemon"]).spawn().unwrap();
        assert!(!is_engine(other.id()));
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
