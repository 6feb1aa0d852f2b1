//! Which system call filter a container gets.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use crate::spec::Facts;
use knarr_oci::runtime::{Seccomp, Spec};

/// `None`: no filter (privileged or unconfined).
pub(crate) fn filter(
    engine: &Inner,
    container: &Container,
    _spec: &Spec,
    _facts: &Facts,
) -> Result<Option<Seccomp>> {
    let host = &container.host_config;
    let asked = host
        .security_opt
        .iter()
        .rev()
        .find_map(|o| o.strip_prefix("seccomp=").or_else(|| o.strip_prefix("seccomp:")));
    match asked.or(engine.config.seccomp_profile.as_deref()) {
        Some("unconfined") => Ok(None),
        _ if host.privileged => Ok(None),
        Some("builtin") | None => Ok(None),
        Some(_) => Err(Error::NotImplemented("a seccomp profile of one's own".to_owned())),
    }
}
