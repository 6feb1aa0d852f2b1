//! The traits behind [`api_struct!`](crate::api_struct): reading and writing the members of one struct.
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use std::fmt;
use std::marker::PhantomData;

/// Members of a struct of the API.
pub trait Fields: Default {
    /// Reads the value of `key` when this struct has such a member. `fold` ignores the case of ASCII letters.
    fn read_field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        fold: bool,
        map: &mut A,
    ) -> Result<bool, A::Error>;
    /// Writes all members in Docker's order.
    fn write_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// Whether `key` of a document names the member `member`.
pub fn key_matches(member: &str, key: &str, fold: bool) -> bool {
    if fold { member.eq_ignore_ascii_case(key) } else { member == key }
}

/// Reads an object into a struct, member by member.
pub struct StructVisitor<T>(PhantomData<T>);

impl<T> Default for StructVisitor<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Fields> Visitor<'de> for StructVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut value = T::default();
        while let Some(key) = map.next_key::<String>()? {
            if !value.read_field(&key, false, &mut map)? && !value.read_field(&key, true, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(value)
    }
}

/// What `omitempty` asks of a value.
pub trait GoEmpty {
    fn is_go_empty(&self) -> bool;
}

macro_rules! zero_is_empty {
    ($($ty:ty),*) => {$(
        impl GoEmpty for $ty {
            fn is_go_empty(&self) -> bool { *self == <$ty>::default() }
        }
    )*};
}
zero_is_empty!(bool, i32, i64, u16, u32, u64);

impl GoEmpty for String {
    fn is_go_empty(&self) -> bool {
        self.is_empty()
    }
}
/// A pointer: only nil is empty.
impl<T> GoEmpty for Option<T> {
    fn is_go_empty(&self) -> bool {
        self.is_none()
    }
}
