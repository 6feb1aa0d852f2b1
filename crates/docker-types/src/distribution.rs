//! `GET /distribution/{name}/json`: an image in its registry.
use crate::List;
use crate::platform::{Descriptor, Platform};

api_struct! {
    pub struct Inspect {
        descriptor: Descriptor = "Descriptor",
        platforms: List<Platform> = "Platforms",
    }
}
