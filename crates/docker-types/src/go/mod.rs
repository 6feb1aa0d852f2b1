//! Go's JSON conventions (<https://pkg.go.dev/encoding/json>), once and generically.
//!
//! * [`api_struct!`] declares a struct whose members are found by exact name first and by case-insensitive name
//!   second, where `null` leaves a member as it is, and where unknown members are skipped;
//! * [`List`] and [`Map`] remember whether they are nil, since Go prints a nil slice or map as `null`;
//! * [`GoEmpty`] is what `omitempty` asks.
//!
//! Invariant: keys of maps (labels, options, sysctls) are never touched.
mod collections;
mod fields;

pub use collections::{Empty, List, Map};
pub use fields::{Fields, GoEmpty, StructVisitor, key_matches};

/// Declares a struct of the API: `member: Type = "JsonName"`, optionally `omitempty`, or `= flatten` for a struct
/// that Go embeds.
#[macro_export]
macro_rules! api_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident : $ty:ty = $key:tt $($opt:ident)? ),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl $crate::go::Fields for $name {
            #[allow(unused_variables)]
            fn read_field<'de, A: serde::de::MapAccess<'de>>(
                &mut self, key: &str, fold: bool, map: &mut A,
            ) -> Result<bool, A::Error> {
                $( $crate::api_field!(@read self, $field, $ty, key, fold, map, $key); )*
                Ok(false)
            }
            #[allow(unused_variables)]
            fn write_fields<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                $( $crate::api_field!(@write self, $field, map, $key $($opt)?); )*
                Ok(())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $crate::go::Fields::write_fields(self, &mut map)?;
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_map($crate::go::StructVisitor::<Self>::default())
            }
        }
    )*};
}

/// One member of an [`api_struct!`].
#[doc(hidden)]
#[macro_export]
macro_rules! api_field {
    (@read $self:ident, $field:ident, $ty:ty, $name:ident, $fold:ident, $map:ident, flatten) => {
        if $crate::go::Fields::read_field(&mut $self.$field, $name, $fold, $map)? {
            return Ok(true);
        }
    };
    (@read $self:ident, $field:ident, $ty:ty, $name:ident, $fold:ident, $map:ident, $key:literal) => {
        if $crate::go::key_matches($key, $name, $fold) {
            if let Some(value) = $map.next_value::<Option<$ty>>()? {
                $self.$field = value;
            }
            return Ok(true);
        }
    };
    (@write $self:ident, $field:ident, $map:ident, flatten) => {
        $crate::go::Fields::write_fields(&$self.$field, $map)?;
    };
    (@write $self:ident, $field:ident, $map:ident, $key:literal) => {
        $map.serialize_entry($key, &$self.$field)?;
    };
    (@write $self:ident, $field:ident, $map:ident, $key:literal omitempty) => {
        if !$crate::go::GoEmpty::is_go_empty(&$self.$field) {
            $map.serialize_entry($key, &$self.$field)?;
        }
    };
}

#[cfg(test)]
mod tests;
