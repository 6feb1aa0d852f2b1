//! Knarr's own endpoints, below `/knarr`: checks and clean-up.
use crate::context::Context;
use crate::error::ApiError;
use crate::reply::{self, Answer};
use std::collections::BTreeMap;

/// Parameters of a policy.
const POLICY: [&str; 4] = ["high-watermark", "low-watermark", "unused-for", "keep"];

pub async fn check(cx: Context) -> Answer {
    reply::json(&cx.engine.system_check(cx.query.bool("deep"), cx.query.bool("repair")).await?)
}

pub async fn doctor(cx: Context) -> Answer {
    reply::json(&cx.engine.system_doctor().await?)
}

pub async fn clean(cx: Context) -> Answer {
    let mut options = BTreeMap::new();
    for name in POLICY {
        match cx.query.all(name).as_slice() {
            [] => {}
            [value] => drop(options.insert(name.to_owned(), value.clone())),
            _ => return Err(ApiError::invalid(format!("{name} is given twice"))),
        }
    }
    reply::json(&cx.engine.system_clean(options, cx.query.bool("dry-run")).await?)
}
