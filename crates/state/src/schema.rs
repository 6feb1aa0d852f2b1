//! Schema version and migrations. A migration runs once, in the transaction that raises the version.
mod volume_ids;

use crate::{Error, Result};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const VERSION_KEY: &str = "schema";

type Migration = fn(&WriteTransaction) -> Result<()>;

/// Entry `n` brings version `n` to `n + 1`. Entries are never changed or removed, only added.
const MIGRATIONS: &[Migration] = &[create_tables, volume_ids::migrate];

pub(crate) fn migrate(db: &Database) -> Result<()> {
    migrate_with(db, MIGRATIONS)
}

fn migrate_with(db: &Database, migrations: &[Migration]) -> Result<()> {
    let known = migrations.len() as u64;
    let tx = db.begin_write().map_err(Error::storage)?;
    let found = {
        let meta = tx.open_table(META).map_err(Error::storage)?;
        let version = meta.get(VERSION_KEY).map_err(Error::storage)?;
        version.map_or(0, |v| v.value())
    };
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    if found == known {
        return tx.abort().map_err(Error::storage);
    }
    for migration in &migrations[usize::try_from(found).unwrap_or(usize::MAX)..] {
        migration(&tx)?;
    }
    tx.open_table(META).map_err(Error::storage)?.insert(VERSION_KEY, known).map_err(Error::storage)?;
    tx.commit().map_err(Error::storage)
}

/// Version 1: the tables that the database itself needs. Record tables appear with their first row.
fn create_tables(tx: &WriteTransaction) -> Result<()> {
    tx.open_table(crate::event::EVENTS).map_err(Error::storage)?;
    tx.open_table(crate::record::QUARANTINE).map_err(Error::storage)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename_example(tx: &WriteTransaction) -> Result<()> {
        let old: TableDefinition<&str, &[u8]> = TableDefinition::new("old");
        tx.open_table(old).map_err(Error::storage)?.insert("k", &b"v"[..]).map_err(Error::storage)?;
        Ok(())
    }

    #[test]
    fn migrations_run_once_in_order_and_newer_databases_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::create(dir.path().join("db")).unwrap();
        migrate_with(&db, &[create_tables]).unwrap();
        migrate_with(&db, &[create_tables, rename_example]).unwrap();
        migrate_with(&db, &[create_tables, rename_example]).unwrap();
        let err = migrate_with(&db, &[create_tables]).unwrap_err();
        assert!(matches!(err, Error::TooNew { found: 2, known: 1 }), "{err}");
    }
}
