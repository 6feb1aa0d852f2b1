//! How a record becomes bytes: CRC-32C (4 bytes, little-endian) of the JSON text, then the JSON text.
use crate::checksum::crc32c;
use crate::{Error, Result};
use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A row type. One type per table; the key is a text.
pub trait Record: Serialize + DeserializeOwned {
    const TABLE: &'static str;
}

/// A row that could not be read, as moved to the quarantine table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Damaged {
    pub table: String,
    pub key: String,
    pub reason: String,
    /// The bytes as they were found.
    pub bytes: Vec<u8>,
}

pub(crate) const QUARANTINE: TableDefinition<&str, &[u8]> = TableDefinition::new("quarantine");

pub(crate) fn table(name: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(name)
}

const CHECKSUM_LEN: usize = 4;

pub(crate) fn encode<T: Serialize>(table: &'static str, value: &T) -> Result<Vec<u8>> {
    let mut bytes = vec![0; CHECKSUM_LEN];
    serde_json::to_writer(&mut bytes, value).map_err(|e| Error::Encode { table, message: e.to_string() })?;
    let sum = crc32c(&bytes[CHECKSUM_LEN..]).to_le_bytes();
    bytes[..CHECKSUM_LEN].copy_from_slice(&sum);
    Ok(bytes)
}

/// The value, or why the bytes are not one.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (sum, text) = bytes.split_first_chunk::<CHECKSUM_LEN>().ok_or("shorter than its checksum")?;
    if crc32c(text) != u32::from_le_bytes(*sum) {
        return Err("checksum mismatch".to_owned());
    }
    serde_json::from_slice(text).map_err(|e| format!("not a record of this table: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_survives_and_every_flipped_bit_is_seen(
            value: Vec<(String, i64)>, at: prop::sample::Index, bit in 0u8..8
        ) {
            let mut bytes = encode("t", &value).unwrap();
            prop_assert_eq!(decode::<Vec<(String, i64)>>(&bytes).unwrap(), value);
            let i = at.index(bytes.len());
            bytes[i] ^= 1 << bit;
            prop_assert!(decode::<Vec<(String, i64)>>(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode::<serde_json::Value>(&bytes);
        }
    }
}
