//! Version 2: a volume has an id, and containers hold it by that id. Before, both knew only its name.
//!
//! Rows are texts here: what a later program's types make of them must not change what this step did. A row that cannot be
//! read is left for the quarantine; a volume that a container names and that is not there gets no id.
use crate::record::{decode, encode, table};
use crate::{Error, Result};
use redb::{ReadableTable, WriteTransaction};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

pub(super) fn migrate(tx: &WriteTransaction) -> Result<()> {
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    rewrite(tx, "volumes", |name, row| {
        let id = match row.get("id").and_then(Value::as_str) {
            Some(id) => id.to_owned(),
            None => random_id()?,
        };
        row["id"] = Value::String(id.clone());
        ids.insert(name.to_owned(), id);
        Ok(())
    })?;
    rewrite(tx, "containers", |_, row| {
        let mounts = row.get_mut("mounts").and_then(Value::as_array_mut);
        for mount in mounts.into_iter().flatten() {
            let is_volume = mount.get("kind").and_then(Value::as_str) == Some("volume");
            let id = mount.get("name").and_then(Value::as_str).and_then(|name| ids.get(name));
            if let (true, Some(id)) = (is_volume, id) {
                mount["volume"] = Value::String(id.clone());
            }
        }
        Ok(())
    })
}

/// Changes every row of a table that is an object.
fn rewrite(
    tx: &WriteTransaction,
    name: &'static str,
    mut change: impl FnMut(&str, &mut Value) -> Result<()>,
) -> Result<()> {
    let mut rows = tx.open_table(table(name)).map_err(Error::storage)?;
    let mut changed = Vec::new();
    for row in rows.iter().map_err(Error::storage)? {
        let (key, bytes) = row.map_err(Error::storage)?;
        let Ok(mut value) = decode::<Value>(bytes.value()) else { continue };
        if value.is_object() {
            change(key.value(), &mut value)?;
            changed.push((key.value().to_owned(), encode(name, &value)?));
        }
    }
    for (key, bytes) in changed {
        rows.insert(key.as_str(), bytes.as_slice()).map_err(Error::storage)?;
    }
    Ok(())
}

/// 64 hexadecimal digits.
fn random_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| Error::Storage(Arc::new(redb::Error::Io(e))))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{Database, ReadableDatabase};
    use serde_json::json;

    #[test]
    fn containers_hold_volumes_by_id() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::create(dir.path().join("db")).unwrap();
        let put = |name: &'static str, key: &str, bytes: &[u8]| {
            let tx = db.begin_write().unwrap();
            tx.open_table(table(name)).unwrap().insert(key, bytes).unwrap();
            tx.commit().unwrap();
        };
        put("volumes", "data", &encode("volumes", &json!({"name": "data", "created_nanos": 5})).unwrap());
        put("volumes", "broken", b"not a row");
        let mounts = json!([
            {"kind": "volume", "name": "data", "destination": "/d", "rw": true},
            {"kind": "volume", "name": "gone", "destination": "/g", "rw": true},
            {"kind": "bind", "name": "data", "source": "/x", "destination": "/b", "rw": true}
        ]);
        put("containers", "c", &encode("containers", &json!({"id": "c", "mounts": mounts})).unwrap());
        let row = |name: &'static str, key: &str| {
            let tx = db.begin_read().unwrap();
            let bytes = tx.open_table(table(name)).unwrap().get(key).unwrap().unwrap();
            decode::<Value>(bytes.value())
        };
        let mut before = None;
        // Once more changes nothing.
        for _ in 0..2 {
            let tx = db.begin_write().unwrap();
            migrate(&tx).unwrap();
            tx.commit().unwrap();
            let volume = row("volumes", "data").unwrap();
            let id = volume["id"].as_str().unwrap().to_owned();
            assert_eq!((id.len(), &volume["created_nanos"]), (64, &json!(5)));
            let container = row("containers", "c").unwrap();
            let held: Vec<_> = (0..3).map(|i| container["mounts"][i].get("volume").cloned()).collect();
            assert_eq!(held, [Some(json!(id)), None, None]);
            assert_eq!(*before.get_or_insert(id.clone()), id);
        }
        assert!(row("volumes", "broken").is_err(), "left for the quarantine");
    }
}
