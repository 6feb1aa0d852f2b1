//! Which system call filter a container gets.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use crate::spec;
use knarr_oci::runtime::{Seccomp, Spec};
use knarr_oci::seccomp::{Facts, KernelVersion, Machine, Profile, default_profile};

/// Longest profile that is read from a file of the engine's configuration.
const MAX_PROFILE: u64 = 4 << 20;

/// `None`: no filter (privileged or unconfined). A profile of one's own is the option's text, as clients send it.
pub(crate) fn filter(
    engine: &Inner,
    container: &Container,
    spec: &Spec,
    host: &spec::Facts,
) -> Result<Option<Seccomp>> {
    let asked = spec::security_option(&container.host_config.security_opt, "seccomp");
    let config = engine.config();
    let profile = match (asked, config.seccomp_profile.as_deref()) {
        (Some("unconfined"), _) => return Ok(None),
        (None, _) if container.host_config.privileged => return Ok(None),
        (Some("builtin"), _) | (None, None | Some("builtin" | "")) => default_profile(),
        (None, Some("unconfined")) => return Ok(None),
        (Some(text), _) => parse(text)?,
        (None, Some(file)) => parse(&read(file)?)?,
    };
    let bounding =
        spec.process.as_ref().and_then(|p| p.capabilities.as_ref()).map_or(&[][..], |c| &c.bounding);
    let facts = Facts {
        machine: Machine::native(),
        kernel: KernelVersion::parse(&host.kernel).unwrap_or(KernelVersion(4, 0)),
        caps: bounding,
    };
    let filter =
        profile.resolve(&facts).map_err(|e| Error::Invalid(format!("invalid seccomp profile: {e}")))?;
    Ok(Some(filter))
}

fn parse(text: &str) -> Result<Profile> {
    serde_json::from_str(text).map_err(|e| Error::Invalid(format!("Decoding seccomp profile failed: {e}")))
}

fn read(path: &str) -> Result<String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(Error::path("open", path))?;
    let mut text = String::new();
    file.take(MAX_PROFILE).read_to_string(&mut text).map_err(Error::path("read", path))?;
    Ok(text)
}
