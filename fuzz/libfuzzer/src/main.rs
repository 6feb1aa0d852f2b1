//! libFuzzer around one target: the one that `KNARR_FUZZ_TARGET` names.
#![no_main]
use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("KNARR_FUZZ_TARGET").unwrap_or_default();
        knarr_fuzz::target(&name).unwrap_or_else(|| panic!("KNARR_FUZZ_TARGET={name} is no target"))
    });
    target(data);
});
