//! Docker's `strslice.StrSlice`: a list of arguments that may also be written as one bare string.
use crate::List;
use crate::go::GoEmpty;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Arguments of `Cmd` and `Entrypoint`. Prints as an array, or `null` when nil.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StrSlice(pub List<String>);

impl fmt::Debug for StrSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl Deref for StrSlice {
    type Target = List<String>;
    fn deref(&self) -> &List<String> {
        &self.0
    }
}
impl DerefMut for StrSlice {
    fn deref_mut(&mut self) -> &mut List<String> {
        &mut self.0
    }
}
impl From<Vec<String>> for StrSlice {
    fn from(items: Vec<String>) -> Self {
        Self(items.into())
    }
}
impl From<&[&str]> for StrSlice {
    fn from(items: &[&str]) -> Self {
        Self(items.into())
    }
}
impl From<StrSlice> for Vec<String> {
    fn from(slice: StrSlice) -> Self {
        slice.0.into_vec()
    }
}
impl FromIterator<String> for StrSlice {
    fn from_iter<I: IntoIterator<Item = String>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}
impl GoEmpty for StrSlice {
    fn is_go_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct StrSliceVisitor;

impl<'de> Visitor<'de> for StrSliceVisitor {
    type Value = StrSlice;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }
    fn visit_unit<E>(self) -> Result<StrSlice, E> {
        Ok(StrSlice::default())
    }
    fn visit_str<E>(self, text: &str) -> Result<StrSlice, E> {
        Ok(vec![text.to_owned()].into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StrSlice, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Option<String>>()? {
            items.push(item.unwrap_or_default());
        }
        Ok(items.into())
    }
}

impl<'de> Deserialize<'de> for StrSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrSliceVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::StrSlice;

    #[test]
    fn a_bare_string_is_one_argument() {
        let cases = [
            (r#""a b""#, r#"["a b"]"#),
            (r#""""#, r#"[""]"#),
            (r#"["a","b"]"#, r#"["a","b"]"#),
            ("[]", "[]"),
            ("null", "null"),
        ];
        for (input, output) in cases {
            let slice: StrSlice = serde_json::from_str(input).unwrap();
            assert_eq!(serde_json::to_string(&slice).unwrap(), output);
        }
        assert!(serde_json::from_str::<StrSlice>("5").is_err());
    }
}
