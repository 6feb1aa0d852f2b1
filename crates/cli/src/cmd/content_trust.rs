//! Content trust is refused where it is asked for: an image that nobody verified must not pass for one that was.
//!
//! Standard: <https://docs.docker.com/engine/security/trust/> (`DOCKER_CONTENT_TRUST`, `--disable-content-trust`).
use crate::arguments::Matches;
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, parse_bool};
use knarr_oci::reference::Reference;

const FLAG: &str = "disable-content-trust";

/// The flag of `pull`, `push`, `run` and `create`, in each one's words.
pub const fn flag(help: &'static str) -> Flag {
    Flag::new(FLAG, crate::flag::Ty::Bool, help).default("true")
}

/// Fails when what `image` means would have to be verified. A digest says what it means.
pub fn check(m: &Matches, image: &str) -> Outcome {
    let variable = std::env::var("DOCKER_CONTENT_TRUST").unwrap_or_default();
    // anything but a clear no is a yes
    let wanted = !variable.is_empty() && parse_bool(&variable) != Some(false);
    let wanted = if m.changed(FLAG) { !m.flag(FLAG) } else { wanted };
    let exact = Reference::parse(image).is_ok_and(|reference| reference.digest().is_some());
    if !wanted || exact {
        return Ok(());
    }
    Err(Failure::new(format!(
        "content trust is asked for (DOCKER_CONTENT_TRUST or --{FLAG}=false), and Knarr cannot verify {image:?}: name it by its digest"
    )))
}
