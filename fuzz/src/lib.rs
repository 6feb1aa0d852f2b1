//! Fuzz targets: each takes bytes as a stranger could send them, and panics where a promise does not hold.
//!
//! The same functions run under libFuzzer (`fuzz/run TARGET SECONDS`, package `libfuzzer`) and, for a bounded time and always
//! the same, in the test `bounded`. Invariants: a target is a pure function of its input, but for a directory of its own that
//! `layer` unpacks into.
mod documents;
mod kept;
mod layer;
mod seeds;
mod tar;

pub use kept::kept;
pub use seeds::seeds;

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 13] = [
    ("reference", documents::reference),
    ("digest", documents::digest),
    ("manifest", documents::manifest),
    ("index", documents::index),
    ("config", documents::config),
    ("seccomp", documents::seccomp),
    ("spec", documents::spec),
    ("frame", documents::frame),
    ("dns", knarr_dns::message::fuzz),
    ("tar", tar::raw),
    ("sealed-tar", tar::sealed),
    ("compressed", tar::compressed),
    ("layer", layer::layer),
];

/// The function of a target.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}
