//! The store as its users see it: isolation, damage, power loss of the process, a full disk.
use knarr_state::{Error, Event, MAX_EVENTS, MAX_MINOR_EVENTS, Record, Store};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    value: String,
}
impl Record for Row {
    const TABLE: &'static str = "rows";
}

fn row(value: &str) -> Row {
    Row { value: value.to_owned() }
}

fn put(store: &Store, key: &str, value: &str) -> Result<(), Error> {
    store.write(|tx| tx.put(key, &row(value)))
}

#[test]
fn a_failed_closure_changes_nothing_and_events_follow_their_change() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.redb")).unwrap();
    let newest = store.subscribe();
    let failed: Result<(), Error> = store.write(|tx| {
        tx.put("a", &row("1"))?;
        tx.emit(Event::now("container", "create", "a"));
        Err(Error::NoSpace)
    });
    assert!(failed.is_err());
    assert_eq!(store.get::<Row>("a").unwrap(), None);
    assert_eq!(*newest.borrow(), 0);
    let number = store
        .write(|tx| {
            tx.put("a", &row("1"))?;
            assert_eq!(tx.get::<Row>("a")?, Some(row("1")));
            Ok::<_, Error>(tx.emit(Event::now("container", "create", "a").with("name", "x")))
        })
        .unwrap();
    assert_eq!((number, *newest.borrow()), (1, 1));
    assert_eq!(store.events_since(0).unwrap()[0].1.attributes["name"], "x");
    assert!(store.events_since(1).unwrap().is_empty());
    drop(store);
    let store = Store::open(&dir.path().join("s.redb")).unwrap();
    assert_eq!(*store.subscribe().borrow(), 1, "numbers continue after a restart");
}

#[test]
fn a_panicking_closure_changes_nothing_and_the_store_lives_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.redb")).unwrap();
    let other = store.clone();
    let panicked = std::thread::spawn(move || {
        let _: Result<(), Error> = other.write(|tx| {
            tx.put("a", &row("1"))?;
            panic!("in a transaction")
        });
    });
    assert!(panicked.join().is_err());
    assert_eq!(store.get::<Row>("a").unwrap(), None);
    put(&store, "b", "2").unwrap();
}

#[test]
fn writers_in_parallel_all_commit_and_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.redb")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let wrote: Result<(), Error> = store.write(|tx| {
                        let n: u32 = tx.get::<Row>("n")?.map_or(0, |r| r.value.parse().unwrap());
                        tx.emit(Event::now("t", "count", &n.to_string()));
                        tx.put("n", &row(&(n + 1).to_string()))
                    });
                    wrote.unwrap();
                }
            });
        }
    });
    assert_eq!(store.get::<Row>("n").unwrap(), Some(row("400")));
    let events = store.events_since(0).unwrap();
    assert_eq!(events.len(), 400);
    assert!(events.iter().zip(0..).all(|((number, e), i)| *number == i + 1 && e.id == i.to_string()));
}

#[test]
fn what_is_written_behind_goes_with_the_next_commit_or_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let store = Store::open(&path).unwrap();
    let behind = |key: &str| store.write_behind::<_, Error>(|tx| tx.put(key, &row("x"))).unwrap();
    behind("a");
    store
        .write_behind::<_, Error>(|tx| {
            assert_eq!(tx.get::<Row>("a")?, Some(row("x")));
            Ok(())
        })
        .unwrap();
    put(&store, "b", "y").unwrap();
    assert_eq!(store.list::<Row>().unwrap().len(), 2);
    behind("c");
    drop(store);
    assert_eq!(Store::open(&path).unwrap().list::<Row>().unwrap().len(), 3);
}

/// What a crash would leave: the file as it is, opened elsewhere.
fn after_a_crash(path: &std::path::Path) -> usize {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    Store::open(&copy).unwrap().list::<Row>().unwrap().len()
}

#[test]
fn what_is_written_behind_becomes_durable_by_itself_or_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let store = Store::open(&path).unwrap();
    let behind = |key: &str| store.write_behind::<_, Error>(|tx| tx.put(key, &row("x"))).unwrap();
    behind("a");
    store.sync().unwrap();
    assert_eq!(after_a_crash(&path), 1);
    behind("b");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while after_a_crash(&path) < 2 {
        assert!(std::time::Instant::now() < deadline, "never made durable");
        std::thread::sleep(knarr_state::SYNC_AFTER);
    }
    behind("c");
    drop(store);
    assert_eq!(after_a_crash(&path), 3, "an orderly end loses nothing");
}

#[test]
fn writers_that_wait_are_not_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.redb")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..40 {
                    let key = format!("{thread}/{n}");
                    if (thread + n) % 2 == 0 {
                        put(store, &key, "x").unwrap();
                    } else {
                        store.write_behind::<_, Error>(|tx| tx.put(&key, &row("x"))).unwrap();
                    }
                }
            });
        }
    });
    put(&store, "last", "x").unwrap();
    assert_eq!(store.list::<Row>().unwrap().len(), 8 * 40 + 1);
}

#[test]
fn damaged_rows_are_quarantined_and_the_rest_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let store = Store::open(&path).unwrap();
    for key in ["a", "b", "c"] {
        put(&store, key, key).unwrap();
    }
    drop(store);
    {
        let db = redb::Database::open(&path).unwrap();
        let tx = db.begin_write().unwrap();
        let rows: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("rows");
        tx.open_table(rows).unwrap().insert("b", &b"\x00\x01\x02\x03{\"value\":\"b\"}"[..]).unwrap();
        tx.commit().unwrap();
    }
    let store = Store::open(&path).unwrap();
    let keys: Vec<_> = store.list::<Row>().unwrap().into_iter().map(|(k, _)| k).collect();
    assert_eq!(keys, ["a", "c"]);
    let damaged = store.quarantined().unwrap();
    assert_eq!(damaged.len(), 1);
    assert_eq!((damaged[0].table.as_str(), damaged[0].key.as_str()), ("rows", "b"));
    assert_eq!(damaged[0].reason, "checksum mismatch");
    put(&store, "b", "again").unwrap();
    assert_eq!(store.list::<Row>().unwrap().len(), 3);
}

#[test]
fn old_events_go_and_numbers_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.redb")).unwrap();
    let extra = 10;
    let wrote: Result<(), Error> = store.write(|tx| {
        for _ in 0..MAX_EVENTS + extra {
            tx.emit(Event::now("t", "x", "y"));
        }
        Ok(())
    });
    wrote.unwrap();
    let events = store.events_since(0).unwrap();
    assert_eq!(events.len() as u64, MAX_EVENTS);
    assert_eq!(events[0].0, extra + 1);
}

#[test]
fn a_second_engine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    let _first = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::InUse { .. })));
}

const CHILD_ENV: &str = "KNARR_STATE_TEST_CHILD";

/// Not a test of its own: the process that gets killed. Prints each number after its commit returned.
#[test]
fn child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD_ENV) else { return };
    let store = Store::open(std::path::Path::new(&path)).unwrap();
    let start: u64 = store.get::<Row>("n").unwrap().map_or(0, |r| r.value.parse().unwrap());
    for n in start + 1.. {
        let wrote: Result<(), Error> = store.write(|tx| {
            tx.emit(Event::now("t", "count", &n.to_string()));
            tx.put(&format!("k{}", n % 100), &row(&"x".repeat((n % 4000) as usize)))?;
            tx.put("n", &row(&n.to_string()))
        });
        wrote.unwrap();
        println!("acked {n}");
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.redb");
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env(CHILD_ENV, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acked = 0u64;
        let mut seen = 0;
        for line in lines {
            if let Some((_, n)) = line.unwrap().split_once("acked ") {
                acked = n.parse().unwrap();
                seen += 1;
                if seen == 3 + round * 7 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(acked > 0);
        let store = Store::open(&path).unwrap();
        let n: u64 = store.get::<Row>("n").unwrap().unwrap().value.parse().unwrap();
        assert!(n >= acked, "acknowledged {acked}, found {n}");
        assert_eq!(*store.subscribe().borrow(), n, "an event per change, in the same transaction");
        assert!(store.quarantined().unwrap().is_empty());
    }
}

/// A small file system of its own, gone with the value.
struct SmallDisk(tempfile::TempDir);
impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(dir.path());
        mount.stderr(Stdio::null()).status().ok()?.success().then_some(Self(dir))
    }
}
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_adding_fails_and_removing_works() {
    let Some(disk) = SmallDisk::new("12m") else {
        eprintln!("not root: skipped");
        return;
    };
    let dir = disk.0.path();
    let store = Store::open(&dir.join("s.redb")).unwrap();
    for i in 0..20 {
        put(&store, &format!("k{i}"), &"x".repeat(10_000)).unwrap();
    }
    let _ = std::fs::write(dir.join("filler"), vec![1u8; 12 << 20]);
    let failed = (0..200).find_map(|i| put(&store, &format!("more{i}"), &"y".repeat(100_000)).err());
    assert!(matches!(failed, Some(Error::NoSpace)), "{failed:?}");
    // What nobody waited for is lost too; who asks next is told, once.
    store.write_behind::<_, Error>(|tx| tx.put("behind", &row(&"z".repeat(4 << 20)))).unwrap();
    std::thread::sleep(4 * knarr_state::SYNC_AFTER);
    assert!(matches!(store.sync(), Err(Error::NoSpace)));
    assert!(store.sync().is_ok());
    assert_eq!(store.get::<Row>("behind").unwrap(), None);
    let before = store.list::<Row>().unwrap().len();
    for i in 0..20 {
        let removed: Result<bool, Error> = store.write(|tx| tx.delete::<Row>(&format!("k{i}")));
        assert!(removed.unwrap());
    }
    assert_eq!(store.list::<Row>().unwrap().len(), before - 20);
    std::fs::remove_file(dir.join("filler")).unwrap();
    put(&store, "after", "room again").unwrap();
}

#[derive(Debug, Clone)]
enum Op {
    Put(u8, String),
    Delete(u8),
    Reopen,
    Fail(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..8, ".{0,20}").prop_map(|(k, v)| Op::Put(k, v)),
        2 => (0u8..8).prop_map(Op::Delete),
        1 => Just(Op::Reopen),
        1 => (0u8..8).prop_map(Op::Fail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn behaves_like_a_map(ops in prop::collection::vec(op(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.redb");
        let mut store = Some(Store::open(&path).unwrap());
        let mut model: BTreeMap<String, Row> = BTreeMap::new();
        for op in ops {
            let s = store.as_ref().unwrap();
            match op {
                Op::Put(k, v) => {
                    put(s, &k.to_string(), &v).unwrap();
                    model.insert(k.to_string(), row(&v));
                }
                Op::Delete(k) => {
                    let had: Result<bool, Error> = s.write(|tx| tx.delete::<Row>(&k.to_string()));
                    prop_assert_eq!(had.unwrap(), model.remove(&k.to_string()).is_some());
                }
                Op::Fail(k) => {
                    let failed: Result<(), Error> = s.write(|tx| {
                        tx.delete::<Row>(&k.to_string())?;
                        tx.put("never", &row(""))?;
                        Err(Error::NoSpace)
                    });
                    prop_assert!(failed.is_err());
                }
                Op::Reopen => {
                    drop(store.take());
                    store = Some(Store::open(&path).unwrap());
                }
            }
            let rows: BTreeMap<_, _> = store.as_ref().unwrap().list::<Row>().unwrap().into_iter().collect();
            prop_assert_eq!(&rows, &model);
        }
    }
}

/// Health checks of many containers do not make the log forget what happened to them.
#[test]
fn minor_events_do_not_displace_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    let store = Store::open(&path).unwrap();
    let emit = |minor: bool, count: u64| {
        let written: Result<(), knarr_state::Error> = store.write(|tx| {
            for _ in 0..count {
                tx.emit(Event { minor, ..Event::now("container", "x", "id") });
            }
            Ok(())
        });
        written.unwrap();
    };
    emit(false, 2);
    emit(true, MAX_MINOR_EVENTS + 5);
    emit(false, 1);
    let events = store.events_since(0).unwrap();
    let numbers: Vec<u64> = events.iter().map(|(number, _)| *number).collect();
    assert!(numbers.is_sorted() && numbers[..2] == [1, 2], "in one order");
    assert_eq!(events.iter().filter(|(_, event)| !event.minor).count(), 3);
    assert_eq!(events.iter().filter(|(_, event)| event.minor).count() as u64, MAX_MINOR_EVENTS);
    emit(true, 1);
    let newest = *store.subscribe().borrow();
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(*store.subscribe().borrow(), newest, "the next number is not one that was given");
}

#[test]
fn events_that_wait_for_nothing_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.redb")).unwrap();
    store.emit(Event::now("exec", "start", "a")).unwrap();
    let number = store.write(|tx| Ok::<_, Error>(tx.emit(Event::now("container", "die", "a")))).unwrap();
    assert_eq!(number, 2);
    // Also while somebody commits, and as many as come at once.
    let kept = store.write(|tx| {
        let kept = (0..).take_while(|n| store.emit(Event::now("t", "count", &n.to_string())).is_ok()).count();
        tx.emit(Event::now("t", "commit", "a"));
        Ok::<_, Error>(kept)
    });
    let kept = kept.unwrap();
    assert!(kept >= 100 && store.emit(Event::now("t", "count", "one too many")).is_err());
    store.sync().unwrap();
    let events: Vec<(u64, String)> =
        store.events_since(0).unwrap().into_iter().map(|(number, event)| (number, event.action)).collect();
    assert_eq!(events.len(), kept + 3);
    let actions: Vec<&str> = events.iter().take(4).map(|(_, action)| action.as_str()).collect();
    assert_eq!(actions, ["start", "die", "commit", "count"]);
    assert!(events.iter().map(|(number, _)| *number).eq(1..=events.len() as u64));
    assert!(store.emit(Event::now("t", "count", "room again")).is_ok());
}
