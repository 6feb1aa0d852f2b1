//! The store: opening, snapshots, the writer's line, recovery after a full disk.
use crate::group::{Group, MAX_MEMBERS};
use crate::record::{Damaged, QUARANTINE, Record, encode, table};
use crate::reserve::Reserve;
use crate::syncer::Syncer;
use crate::{Error, Event, ReadTx, Result, WriteTx};
use redb::{Database, ReadableDatabase, ReadableTable};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use tokio::sync::watch;

/// Pages that the database keeps in memory.
const CACHE_BYTES: usize = 2 << 20;
/// Events that may be on their way into a group.
const MAX_EARLY: usize = 256;
/// Damaged rows kept; a table that is damaged throughout must not fill the disk twice.
const MAX_QUARANTINED: u64 = 1000;

/// The database. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// `None` only after a failed write whose reopening failed too.
    db: RwLock<Option<Database>>,
    group: Mutex<Group>,
    /// Events of those who wait for nothing, not even for a commit that goes on: whoever locks `group` next takes them in first.
    early: Mutex<Vec<Event>>,
    committed: Condvar,
    /// Writers in line for `group`.
    waiting: AtomicUsize,
    reserve: Reserve,
    newest: watch::Sender<u64>,
    syncer: Syncer,
    /// Why changes that nobody waited for were lost, until somebody asks.
    lost: Mutex<Option<Error>>,
}

/// The database for whoever works in the background and must not keep it open.
#[derive(Clone)]
pub struct WeakStore(Weak<Inner>);

impl WeakStore {
    /// The database, as long as somebody has it open.
    pub fn upgrade(&self) -> Option<Store> {
        self.0.upgrade().map(|inner| Store { inner })
    }
}

impl Store {
    pub fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.inner))
    }

    /// Opens or creates the database at `path`, and brings it to this program's schema.
    pub fn open(path: &Path) -> Result<Self> {
        let db = open_database(path)?;
        crate::schema::migrate(&db)?;
        let snapshot = ReadTx::new(db.begin_read().map_err(Error::storage)?);
        let newest = snapshot.newest_event()?;
        drop(snapshot);
        let inner = Inner {
            path: path.to_owned(),
            db: RwLock::new(Some(db)),
            group: Mutex::new(Group::new(newest + 1)),
            early: Mutex::default(),
            committed: Condvar::new(),
            waiting: AtomicUsize::new(0),
            reserve: Reserve::beside(path),
            newest: watch::Sender::new(newest),
            syncer: Syncer::default(),
            lost: Mutex::new(None),
        };
        let inner = Arc::new(inner);
        let weak = Arc::downgrade(&inner);
        let sync = move || {
            // Of a failure the members of the group are told; this thread has nobody to tell but the log.
            if let Some(Err(error)) = weak.upgrade().map(|inner| inner.flush()) {
                tracing::error!(%error, "changes that nobody waited for could not be written");
            }
        };
        inner
            .syncer
            .start(sync)
            .map_err(|e| Error::Open { path: path.to_owned(), source: Arc::new(redb::Error::Io(e)) })?;
        Ok(Self { inner })
    }

    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>> {
        self.read(|tx| tx.get(key))
    }

    pub fn list<R: Record>(&self) -> Result<Vec<(String, R)>> {
        self.read(ReadTx::list)
    }

    /// Runs `f` on one snapshot. Never waits for a writer.
    pub fn read<T>(&self, f: impl FnOnce(&ReadTx) -> Result<T>) -> Result<T> {
        let (result, damaged) = {
            let snapshot = self.inner.snapshot()?;
            let result = f(&snapshot);
            (result, snapshot.damaged.take())
        };
        if !damaged.is_empty() {
            self.inner.quarantine(damaged);
        }
        result
    }

    /// Runs `f` and commits what it changed: all of it, durable on return, or nothing when `f` fails.
    /// `f` is short, and does not call the store (it would wait for itself).
    pub fn write<T, E: From<Error>>(&self, f: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>) -> Result<T, E> {
        self.transact(f, Wait::Durable)
    }

    /// Everything written before is durable on return. An error also tells, once, that something written behind earlier was
    /// lost; whoever depends on a row that was written behind looks whether it is there.
    pub fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    /// Like `write`, but does not wait for the disk: the change is part of the next commit, whoever makes it, at the
    /// latest [`crate::SYNC_AFTER`] later. Later transactions see it, readers only after that commit. A crash before it, or
    /// a disk that stays full, forgets the change, so this is for rows that are corrected by what is observed at the next
    /// start, and that matter no sooner than a row that the caller writes durably afterwards, or than [`Store::sync`].
    pub fn write_behind<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transact(f, Wait::Behind)
    }

    fn transact<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut WriteTx<'_>) -> Result<T, E>,
        wait: Wait,
    ) -> Result<T, E> {
        let inner = &*self.inner;
        inner.waiting.fetch_add(1, Ordering::SeqCst);
        let mut group = inner.group();
        inner.waiting.fetch_sub(1, Ordering::SeqCst);
        let snapshot = match inner.snapshot() {
            Ok(snapshot) => snapshot,
            Err(e) => {
                inner.finish_if_last(&mut group);
                return Err(e.into());
            }
        };
        let mut tx = WriteTx {
            snapshot: &snapshot,
            group: &group.changes,
            changes: Default::default(),
            events: Vec::new(),
            next_event: group.next_event(),
        };
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut tx)));
        let WriteTx { changes, events, .. } = tx;
        let damaged = snapshot.damaged.take();
        drop(snapshot);
        let outcome = group.outcome.clone();
        let wrote = matches!(result, Ok(Ok(_))) && !(changes.is_empty() && events.is_empty());
        if wrote {
            group.changes.extend(changes);
            group.events.extend(events);
            group.members += 1;
        }
        let wait = wait == Wait::Durable || group.members >= MAX_MEMBERS;
        group.awaited |= wait;
        if wrote && !wait {
            group.behind = true;
            inner.syncer.begin();
        }
        // Members that wait rely on whoever is last in line.
        if group.awaited {
            inner.finish_if_last(&mut group);
        }
        if wrote && wait {
            while outcome.get().is_none() {
                group = inner.committed.wait(group).unwrap_or_else(PoisonError::into_inner);
            }
        }
        drop(group);
        if !damaged.is_empty() {
            inner.quarantine(damaged);
        }
        let value = result.unwrap_or_else(|panic| resume_unwind(panic))?;
        if wrote
            && wait
            && let Some(Err(e)) = outcome.get()
        {
            return Err(e.clone().into());
        }
        Ok(value)
    }

    /// Writes an event behind, as [`Store::write_behind`] does, without waiting for anything: also not for who is committing. Gives it
    /// back when too many are on their way already. What the caller writes afterwards comes after it.
    pub fn emit(&self, event: Event) -> std::result::Result<(), Event> {
        let mut early = lock(&self.inner.early);
        if early.len() >= MAX_EARLY {
            return Err(event);
        }
        early.push(event);
        drop(early);
        self.inner.syncer.begin();
        Ok(())
    }

    /// Events with numbers above `seq`, oldest first.
    pub fn events_since(&self, seq: u64) -> Result<Vec<(u64, Event)>> {
        self.read(|tx| tx.events_since(seq))
    }

    /// Watches the number of the newest committed event.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.newest.subscribe()
    }

    /// How many watch.
    pub fn subscribers(&self) -> usize {
        self.inner.newest.receiver_count()
    }

    /// The rows that were found damaged and moved aside.
    pub fn quarantined(&self) -> Result<Vec<Damaged>> {
        self.read(ReadTx::quarantined)
    }
}

impl Store {
    /// Drops what was moved aside of a row: it was made again, or is not wanted any more.
    pub fn forget_quarantined(&self, row: &Damaged) -> Result<()> {
        let inner = &*self.inner;
        let _line = lock(&inner.group);
        let db = inner.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| Error::Closed(inner.path.display().to_string()))?;
        let tx = db.begin_write().map_err(Error::storage)?;
        let key = format!("{}/{}", row.table, row.key);
        drop(
            tx.open_table(QUARANTINE)
                .map_err(Error::storage)?
                .remove(key.as_str())
                .map_err(Error::storage)?,
        );
        tx.commit().map_err(Error::storage)
    }
}

/// Whether a writer waits for its commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Durable,
    Behind,
}

impl Drop for Inner {
    /// What was written behind is not lost by an orderly end.
    fn drop(&mut self) {
        self.syncer.stop();
        let group = std::mem::replace(&mut *self.group(), Group::new(0));
        if !group.is_empty()
            && let Err(error) = self.commit(&group)
        {
            tracing::error!(%error, "the last changes could not be written");
        }
    }
}

impl Inner {
    fn snapshot(&self) -> Result<ReadTx> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| Error::Closed(self.path.display().to_string()))?;
        Ok(ReadTx::new(db.begin_read().map_err(Error::storage)?))
    }

    /// The open group, with what was to come before whatever is added to it now.
    fn group(&self) -> MutexGuard<'_, Group> {
        let mut group = lock(&self.group);
        let early = std::mem::take(&mut *lock(&self.early));
        group.behind |= !early.is_empty();
        group.events.extend(early);
        group
    }

    /// Commits the group when nobody is in line to join it.
    fn finish_if_last(&self, group: &mut MutexGuard<'_, Group>) {
        if group.is_empty() || (self.waiting.load(Ordering::SeqCst) > 0 && group.members < MAX_MEMBERS) {
            return;
        }
        // Nobody waits for a failure but the members, who have it from the outcome.
        let _ = self.finish(group);
    }

    fn flush(&self) -> Result<()> {
        let mut group = self.group();
        if group.is_empty() { Ok(()) } else { self.finish(&mut group) }
    }

    fn sync(&self) -> Result<()> {
        let done = self.flush();
        match lock(&self.lost).take() {
            Some(error) => Err(error),
            None => done,
        }
    }

    fn finish(&self, group: &mut MutexGuard<'_, Group>) -> Result<()> {
        let result = self.commit(group);
        let next = if result.is_ok() { group.next_event() } else { group.first_event };
        let done = std::mem::replace(&mut **group, Group::new(next));
        if result.is_ok() && !done.events.is_empty() {
            self.newest.send_replace(next - 1);
        }
        if let (Err(error), true) = (&result, done.behind) {
            *lock(&self.lost) = Some(error.clone());
        }
        let _ = done.outcome.set(result.clone());
        self.committed.notify_all();
        result
    }

    fn commit(&self, group: &Group) -> Result<()> {
        let first = self.apply(group);
        if first.is_ok() {
            return Ok(());
        }
        self.reopen()?;
        match first {
            Err(Error::NoSpace) if group.removes() && self.reserve.release() => {
                tracing::warn!("disk full: the database's reserve is used for a removal");
                let second = self.apply(group);
                if second.is_err() {
                    self.reopen()?;
                }
                if let Err(e) = self.reserve.fill() {
                    tracing::warn!(error = %e, "the database's reserve is not back yet");
                }
                second
            }
            other => other,
        }
    }

    fn apply(&self, group: &Group) -> Result<()> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| Error::Closed(self.path.display().to_string()))?;
        group.apply(db)
    }

    /// After a failed write the database refuses everything until it is opened anew.
    fn reopen(&self) -> Result<()> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        *db = None;
        *db = Some(open_database(&self.path)?);
        Ok(())
    }

    /// Moves rows aside, unless they changed meanwhile. Best effort: a failure leaves them for the next reader.
    fn quarantine(&self, damaged: Vec<Damaged>) {
        for row in &damaged {
            tracing::error!(
                table = row.table,
                key = row.key,
                reason = row.reason,
                "damaged record quarantined"
            );
        }
        if let Err(e) = self.move_aside(&damaged) {
            tracing::error!(error = %e, "could not quarantine damaged records");
        }
    }

    fn move_aside(&self, damaged: &[Damaged]) -> Result<()> {
        // In line with the writers: the group's snapshot must not change while a closure runs.
        let _line = lock(&self.group);
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = db.as_ref() else { return Ok(()) };
        let tx = db.begin_write().map_err(Error::storage)?;
        for row in damaged {
            let mut rows = tx.open_table(table(&row.table)).map_err(Error::storage)?;
            let same =
                rows.get(row.key.as_str()).map_err(Error::storage)?.is_some_and(|v| v.value() == row.bytes);
            if !same {
                continue;
            }
            let mut aside = tx.open_table(QUARANTINE).map_err(Error::storage)?;
            if redb::ReadableTableMetadata::len(&aside).map_err(Error::storage)? < MAX_QUARANTINED {
                let key = format!("{}/{}", row.table, row.key);
                aside.insert(key.as_str(), encode("quarantine", row)?.as_slice()).map_err(Error::storage)?;
            }
            rows.remove(row.key.as_str()).map_err(Error::storage)?;
        }
        tx.commit().map_err(Error::storage)
    }
}

fn open_database(path: &Path) -> Result<Database> {
    match redb::Builder::new().set_cache_size(CACHE_BYTES).create(path) {
        Ok(db) => {
            // Environments of containers are in it.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                .map_err(|e| Error::Open { path: path.to_owned(), source: Arc::new(redb::Error::Io(e)) })?;
            Ok(db)
        }
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(Error::InUse { path: path.to_owned() }),
        Err(e) => Err(Error::Open { path: path.to_owned(), source: Arc::new(e.into()) }),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
