//! Older versions of the API: requests are upgraded, replies are downgraded, here and nowhere else.
//!
//! Standard: the API's version history
//! (<https://docs.docker.com/reference/api/engine/version-history/>). Members that a version did not know yet are
//! left in where the history does not speak of them: clients ignore what they do not know.
pub mod container;
pub mod create;
pub mod image;
pub mod network;
pub mod system;

#[cfg(test)]
mod golden;

use crate::error::ApiError;
use crate::reply::{self, Answer};
use knarr_base::ErrorKind;
use knarr_docker_types::ApiVersion;
use serde::Serialize;
use serde_json::{Map, Value};

/// Replies with `value` as `version` knew it.
pub fn reply<T: Serialize>(version: ApiVersion, value: &T, downgrade: fn(ApiVersion, &mut Value)) -> Answer {
    if version == ApiVersion::CURRENT {
        return reply::json(value);
    }
    let mut value = to_value(value)?;
    downgrade(version, &mut value);
    reply::json(&value)
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))
}

/// The members of `parent.name`, when it is an object.
fn object<'a>(parent: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    parent.get_mut(name)?.as_object_mut()
}

/// Adds a member unless it is there.
fn add(members: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    members.entry(name).or_insert_with(|| value.into());
}

/// The objects of an array.
fn each(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}
