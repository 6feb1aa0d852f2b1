//! AppArmor: the default profile of containers.
//!
//! Standard: apparmor.d(5), apparmor_parser(8), <https://docs.kernel.org/admin-guide/LSM/apparmor.html>. The kernel takes compiled policy
//! only, and the compiler belongs to the host: where it is missing, and the profile is not loaded already, containers are not
//! confined, which is said once and in `info`. The profile may be unloaded by others at any time, so it is looked at before each
//! start.
use crate::error::{Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Name of the profile that the engine makes.
pub(crate) const DEFAULT: &str = "knarr-default";
pub(crate) const UNCONFINED: &str = "unconfined";
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// Loaded profiles: `name (mode)` per line.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
const PARSER: &str = "apparmor_parser";
const NOT_CONFINED: &str = "WARNING: AppArmor is enabled, but its default profile for containers could not be loaded: they are not confined by it";

#[derive(Debug)]
pub(crate) struct AppArmor {
    enabled: bool,
    /// The default profile was there at the engine's start.
    loaded: bool,
    parser: Option<PathBuf>,
    /// One load at a time.
    loading: Mutex<()>,
}

impl AppArmor {
    pub fn open() -> Self {
        let enabled = std::fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'));
        let parser = ["/sbin", "/usr/sbin", "/usr/local/sbin", "/bin", "/usr/bin"]
            .map(|dir| Path::new(dir).join(PARSER));
        let parser = parser.into_iter().find(|path| path.is_file());
        let mut apparmor = Self { enabled, loaded: false, parser, loading: Mutex::default() };
        if enabled {
            match apparmor.load_default() {
                Ok(()) => apparmor.loaded = true,
                Err(error) => tracing::warn!(%error, "{NOT_CONFINED}"),
            }
        }
        apparmor
    }

    pub fn is_in_force(&self) -> bool {
        self.enabled && self.loaded
    }

    pub fn warning(&self) -> Option<&'static str> {
        (self.enabled && !self.loaded).then_some(NOT_CONFINED)
    }

    /// The profile that a container gets; `None`: there is no AppArmor.
    pub fn profile_of(&self, privileged: bool, asked: Option<&str>) -> Option<String> {
        if !self.enabled {
            // Recorded all the same, as Docker does: it is what was asked for.
            return asked.map(str::to_owned);
        }
        let default = if privileged || !self.loaded { UNCONFINED } else { DEFAULT };
        Some(asked.filter(|profile| !profile.is_empty()).unwrap_or(default).to_owned())
    }

    /// What the specification says, once it is sure that the profile is there.
    pub fn in_force(&self, profile: &str) -> Result<Option<String>> {
        if !self.enabled || profile.is_empty() {
            return Ok(None);
        }
        if profile == DEFAULT {
            self.load_default()?;
        }
        Ok(Some(profile.to_owned()))
    }

    fn load_default(&self) -> Result<()> {
        let _one = self.loading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if is_loaded(&std::fs::read_to_string(LOADED).unwrap_or_default(), DEFAULT) {
            return Ok(());
        }
        let failed = |why: String| {
            Error::Internal(format!(
                "AppArmor enabled on system but the {DEFAULT} profile could not be loaded: {why}"
            ))
        };
        let parser = self.parser.as_ref().ok_or_else(|| failed(format!("{PARSER} not found")))?;
        let own = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
        load(parser, &profile(DEFAULT, &own)).map_err(failed)
    }
}

/// Compiles a profile and gives it to the kernel, in place of one of the same name.
fn load(parser: &Path, text: &str) -> Result<(), String> {
    let io = |error: std::io::Error| format!("{}: {error}", parser.display());
    let mut command = Command::new(parser);
    command.args(["--skip-cache", "--replace", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(io)?;
    }
    let output = child.wait_with_output().map_err(io)?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{PARSER}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

fn is_loaded(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(loaded, _)| loaded == name))
}

/// The default profile, as text. `engine` is the engine's own confinement, `name (mode)`: it sends signals to containers.
fn profile(name: &str, engine: &str) -> String {
    let engine = engine.trim_end_matches(['\n', '\0']).split(" (").next().unwrap_or_default();
    let known = |label: &&str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    let mut senders = vec![UNCONFINED, "runc", "crun"];
    senders.extend(Some(engine).filter(known).filter(|engine| *engine != UNCONFINED));
    let mut text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{\n");
    let mut line = |rule: &str| {
        text.push_str("  ");
        text.push_str(rule);
        text.push_str(",\n");
    };
    ALLOWED.iter().for_each(|rule| line(rule));
    senders.iter().for_each(|peer| line(&format!("signal (receive) peer=\"{peer}\"")));
    line(&format!("signal (send, receive) peer=\"{name}\""));
    line(&format!("ptrace (trace, read, tracedby, readby) peer=\"{name}\""));
    DENIED.iter().for_each(|rule| line(&format!("deny {rule}")));
    text.push_str("}\n");
    text
}

/// What capabilities and the other limits of a container govern.
const ALLOWED: &[&str] = &["network", "capability", "file", "umount"];

/// What no container may do, whatever its capabilities. Patterns have no "all but", so they go letter by letter.
const DENIED: &[&str] = &[
    "mount",
    // Below /proc only what belongs to a process, and the kernel's settings of shared memory.
    "/proc/* w",
    "/proc/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w",
    "/proc/sys/[^k]** w",
    "/proc/sys/kernel/{?,??,[^s][^h][^m]**} w",
    "/proc/sysrq-trigger rwklx",
    "/proc/kcore rwklx",
    // Below /sys only the control groups.
    "/sys/[^f]*/** wklx",
    "/sys/f[^s]*/** wklx",
    "/sys/fs/[^c]*/** wklx",
    "/sys/fs/c[^g]*/** wklx",
    "/sys/fs/cg[^r]*/** wklx",
    "/sys/firmware/** rwklx",
    "/sys/devices/virtual/powercap/** rwklx",
    "/sys/kernel/security/** rwklx",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_as_text() {
        insta::assert_snapshot!(profile(DEFAULT, "/usr/bin/knarr (enforce)\n"));
        assert!(!profile(DEFAULT, "unconfined\n").contains("enforce"));
        assert_eq!(profile(DEFAULT, "bad\" name (x)").matches("bad").count(), 0);
    }

    /// Where the compiler is, it has the last word.
    #[test]
    fn the_profile_compiles() {
        let parser = Path::new("/sbin").join(PARSER);
        if !parser.is_file() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile");
        std::fs::write(&path, profile(DEFAULT, "unconfined")).unwrap();
        let done =
            Command::new(parser).args(["--skip-cache", "--skip-kernel-load"]).arg(&path).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    #[test]
    fn loaded_profiles_are_found_by_their_whole_name() {
        let list = "/usr/bin/man (enforce)\nknarr-default-2 (enforce)\nlsb release (complain)\n";
        assert!(!is_loaded(list, DEFAULT));
        assert!(is_loaded(&format!("{list}knarr-default (enforce)\n"), DEFAULT));
        assert!(is_loaded(list, "lsb release"));
    }

    #[test]
    fn which_profile_a_container_gets() {
        let of = |enabled, loaded| AppArmor { enabled, loaded, parser: None, loading: Mutex::default() };
        let on = of(true, true);
        assert_eq!(on.profile_of(false, None).as_deref(), Some(DEFAULT));
        assert_eq!(on.profile_of(true, None).as_deref(), Some(UNCONFINED));
        assert_eq!(on.profile_of(true, Some("own")).as_deref(), Some("own"));
        assert!(on.is_in_force() && on.warning().is_none());
        let bare = of(true, false);
        assert_eq!(bare.profile_of(false, None).as_deref(), Some(UNCONFINED));
        assert!(!bare.is_in_force() && bare.warning().is_some());
        let off = of(false, false);
        assert_eq!(
            (off.profile_of(false, None), off.profile_of(false, Some("own"))),
            (None, Some("own".into()))
        );
        assert_eq!(off.in_force("own").unwrap(), None, "nothing that could be applied");
        assert_eq!(on.in_force("own").unwrap().as_deref(), Some("own"));
    }
}
