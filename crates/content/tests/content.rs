//! Blobs on a real filesystem: verification, resumption, leases, concurrency.
use knarr_base::{ErrorKind, Kind};
use knarr_content::{Begin, Content, Error};
use knarr_oci::digest::Digest;
use std::io::Read;
use std::sync::{Arc, Barrier};

fn store() -> (tempfile::TempDir, Content) {
    let dir = tempfile::tempdir().unwrap();
    let content = Content::open(dir.path()).unwrap();
    (dir, content)
}

fn partial_files(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(dir.path().join("content/ingest")).unwrap().count()
}

#[test]
fn a_blob_comes_in_and_reads_back() {
    let (dir, content) = store();
    let lease = content.lease();
    let digest = content.put(&lease, b"hello").unwrap();
    assert_eq!(digest, Digest::sha256(b"hello"));
    assert_eq!(content.size(&digest).unwrap(), 5);
    assert_eq!(content.read(&digest, 5).unwrap(), b"hello");
    assert_eq!(content.read(&digest, 4).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(content.list().unwrap(), [(digest.clone(), 5)]);
    content.verify(&digest).unwrap();
    assert_eq!(content.put(&lease, b"hello").unwrap(), digest);
    assert_eq!(partial_files(&dir), 0);
}

#[test]
fn wrong_bytes_leave_nothing() {
    let (dir, content) = store();
    let lease = content.lease();
    let digest = Digest::sha256(b"hello");
    let Begin::Started(mut ingest) = content.begin(&lease, &digest, Some(5)).unwrap() else { panic!() };
    ingest.append(b"hellO").unwrap();
    assert!(matches!(ingest.commit(&lease), Err(Error::DigestMismatch { .. })));
    let Begin::Started(mut ingest) = content.begin(&lease, &digest, Some(5)).unwrap() else { panic!() };
    assert_eq!(ingest.offset(), 0);
    assert!(matches!(ingest.append(b"hello!"), Err(Error::SizeMismatch { .. })));
    drop(ingest);
    assert!(!content.exists(&digest));
    assert_eq!(partial_files(&dir), 0);
    let mut small = content.create(3).unwrap();
    assert!(matches!(small.append(b"four"), Err(Error::TooLarge { .. })));
    drop(small);
    assert_eq!(partial_files(&dir), 0);
}

#[test]
fn an_interrupted_ingest_goes_on() {
    let (dir, content) = store();
    let lease = content.lease();
    let digest = Digest::sha256(b"hello world");
    let Begin::Started(mut ingest) = content.begin(&lease, &digest, Some(11)).unwrap() else { panic!() };
    ingest.append(b"hello").unwrap();
    drop(ingest);
    assert_eq!(partial_files(&dir), 1);
    // as after a restart of the engine
    let content = Content::open(dir.path()).unwrap();
    let lease = content.lease();
    assert_eq!(content.sweep_ingests(|kept| *kept == digest).unwrap(), 0);
    let Begin::Started(mut ingest) = content.begin(&lease, &digest, Some(11)).unwrap() else { panic!() };
    assert_eq!(ingest.offset(), 5);
    assert_eq!(content.sweep_ingests(|_| false).unwrap(), 0, "somebody is writing it");
    ingest.append(b" world").unwrap();
    assert_eq!(ingest.commit(&lease).unwrap(), digest);
    assert_eq!(partial_files(&dir), 0);
}

#[test]
fn a_short_ingest_is_refused_but_kept() {
    let (_dir, content) = store();
    let lease = content.lease();
    let digest = Digest::sha256(b"hello");
    let mut ingest = content.begin_or_wait(&lease, &digest, Some(5)).unwrap().unwrap();
    ingest.append(b"hell").unwrap();
    assert!(matches!(ingest.commit(&lease), Err(Error::SizeMismatch { .. })));
    let ingest = content.begin_or_wait(&lease, &digest, Some(5)).unwrap().unwrap();
    assert_eq!(ingest.offset(), 4);
    ingest.abandon();
    assert_eq!(content.begin_or_wait(&lease, &digest, Some(5)).unwrap().unwrap().offset(), 0);
}

#[test]
fn a_partial_file_that_lies_is_found_out() {
    let (dir, content) = store();
    let lease = content.lease();
    let digest = Digest::sha256(b"hello");
    std::fs::write(dir.path().join("content/ingest").join(format!("sha256-{}", digest.hex())), b"HELL")
        .unwrap();
    let mut ingest = content.begin_or_wait(&lease, &digest, Some(5)).unwrap().unwrap();
    assert_eq!(ingest.offset(), 4);
    ingest.append(b"o").unwrap();
    assert!(matches!(ingest.commit(&lease), Err(Error::DigestMismatch { .. })));
    assert_eq!(partial_files(&dir), 0);
}

#[test]
fn a_leased_blob_is_not_deleted() {
    let (_dir, content) = store();
    let lease = content.lease();
    let digest = content.put(&lease, b"x").unwrap();
    assert_eq!(content.delete(&digest).unwrap_err().kind(), ErrorKind::Conflict);
    let second = content.lease();
    second.hold(&digest);
    drop(lease);
    assert!(content.delete(&digest).is_err());
    drop(second);
    assert!(content.delete(&digest).unwrap());
    assert!(!content.delete(&digest).unwrap());
    assert!(matches!(content.open_blob(&digest), Err(Error::NotFound(_))));
}

#[test]
fn a_damaged_blob_is_noticed_and_replaced() {
    let (_dir, content) = store();
    let lease = content.lease();
    let digest = content.put(&lease, b"hello").unwrap();
    std::fs::write(content.blob_path(&digest), b"").unwrap();
    assert!(content.verify(&digest).is_err() && content.read(&digest, 100).is_err());
    assert_eq!(content.put(&lease, b"hello").unwrap(), digest);
    content.verify(&digest).unwrap();
}

#[test]
fn many_writers_of_one_blob_write_it_once() {
    let (dir, content) = store();
    let bytes: Arc<Vec<u8>> = Arc::new((0..1_000_000u32).flat_map(u32::to_le_bytes).collect());
    let digest = Digest::sha256(&bytes);
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (content, bytes, digest, barrier) =
                (content.clone(), Arc::clone(&bytes), digest.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let lease = content.lease();
                barrier.wait();
                let Some(mut ingest) = content.begin_or_wait(&lease, &digest, None).unwrap() else {
                    return 0;
                };
                ingest.append_from(&mut bytes.as_slice()).unwrap();
                ingest.commit(&lease).unwrap();
                1
            })
        })
        .collect();
    let written: i32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert_eq!(written, 1);
    let mut back = Vec::new();
    content.open_blob(&digest).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == *bytes);
    assert_eq!(partial_files(&dir), 0);
}
