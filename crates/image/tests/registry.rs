//! Pull and push against a real registry: `KNARR_TEST_REGISTRY` names one on loopback (`127.0.0.1:5000`, plain HTTP) that
//! takes pushes; skipped with a message without.
use knarr_base::{ErrorKind, Kind};
use knarr_image::{Images, ImportOptions, Progress, PullOptions, PushOptions, SharedReport};
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use knarr_snapshot::{Entry, EntryKind, TarWriter};
use knarr_state::Store;
use std::sync::{Arc, Mutex};

fn open() -> (tempfile::TempDir, Images) {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path(), Store::open(&dir.path().join("state.redb")).unwrap()).unwrap();
    (dir, images)
}

fn recorder() -> (SharedReport, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let report: SharedReport = Arc::new(move |p| {
        let line = match p {
            Progress::Status { id: Some(id), status } => format!("{id}: {status}"),
            Progress::Status { id: None, status } => status,
            Progress::Heading { id, status } => format!("{id}: {status}"),
            Progress::Coming { id, status, .. } => format!("{id}: {status}"),
            Progress::Transfer { .. } | Progress::Stream(_) => return,
            Progress::Pushed { tag, digest, size } => format!("aux {tag} {digest} {size}"),
            Progress::InsteadOfIndex { index, manifest } => {
                format!("{} -> {}", index.digest, manifest.digest)
            }
        };
        sink.lock().unwrap().push(line);
    });
    (report, lines)
}

fn import(images: &Images, name: &str, text: &str) -> knarr_base::ImageId {
    let mut writer = TarWriter::new(Vec::new());
    let entry = Entry::new(EntryKind::File, b"file".to_vec(), 0o644, text.len() as u64, 0);
    writer.entry(&entry, &mut text.as_bytes()).unwrap();
    let tar = writer.finish().unwrap();
    let options = ImportOptions { name: Some(Reference::parse(name).unwrap()), ..ImportOptions::default() };
    images.import(&mut tar.as_slice(), &options, &|_| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_can_be_pulled() {
    let Ok(registry) = std::env::var("KNARR_TEST_REGISTRY") else {
        eprintln!("skipped: KNARR_TEST_REGISTRY is not set");
        return;
    };
    let (_dir, images) = open();
    let text = format!("{}", std::process::id());
    let name = format!("{registry}/test/one:v1");
    let reference = Reference::parse(&name).unwrap();
    let id = import(&images, &name, &text.repeat(1000));
    let (report, lines) = recorder();
    let push = tokio::spawn({
        let (images, reference) = (images.clone(), reference.clone());
        async move { images.push(&reference, PushOptions::default(), report).await }
    });
    push.await.unwrap().unwrap();
    let pushed = lines.lock().unwrap().clone();
    assert_eq!(pushed[0], format!("The push refers to repository [{registry}/test/one]"));
    assert!(pushed.iter().any(|l| l.ends_with(": Pushed")), "{pushed:?}");
    let digests = images.resolve(&name).unwrap().repo_digests;
    assert_eq!(digests.len(), 1);
    assert!(pushed[pushed.len() - 2].starts_with("v1: digest: sha256:"), "{pushed:?}");

    // Again: everything is there, the digest is the same.
    let (report, lines) = recorder();
    images.push(&reference, PushOptions::default(), report).await.unwrap();
    assert!(lines.lock().unwrap().iter().any(|l| l.ends_with(": Layer already exists")));
    assert_eq!(images.resolve(&name).unwrap().repo_digests, digests);
    // Under another name: mounted from the first.
    let other = format!("{registry}/test/two");
    images.tag(&name, &other).unwrap();
    let (report, lines) = recorder();
    images.push(&Reference::parse(&other).unwrap(), PushOptions::default(), report).await.unwrap();
    let lines = lines.lock().unwrap().clone();
    assert!(
        lines.iter().any(|l| l.ends_with("Mounted from test/one") || l.ends_with("already exists")),
        "{lines:?}"
    );

    // Elsewhere: by tag, again, by digest.
    let (_there, elsewhere) = open();
    let pull = async |name: &str| {
        let (report, lines) = recorder();
        let reference = Reference::parse(name).unwrap();
        let id = elsewhere.pull(&reference, PullOptions::default(), report).await;
        let lines = lines.lock().unwrap().clone();
        id.map(|id| (id, lines))
    };
    let (pulled, lines) = pull(&name).await.unwrap();
    assert_eq!(pulled, id);
    assert_eq!(lines[0], "v1: Pulling from test/one");
    for part in ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"] {
        assert_eq!(lines.iter().filter(|l| l.ends_with(part)).count(), 1, "{lines:?}");
    }
    assert_eq!(lines.last().unwrap(), &format!("Status: Downloaded newer image for {name}"));
    assert_eq!(elsewhere.resolve(&name).unwrap().repo_digests, digests);
    let (_, lines) = pull(&name).await.unwrap();
    assert_eq!(lines.len(), 3, "of an image that is here no layer is named, as in Docker: {lines:?}");
    assert_eq!(lines.last().unwrap(), &format!("Status: Image is up to date for {name}"));
    let (by_digest, _) = pull(&digests[0]).await.unwrap();
    assert_eq!(by_digest, id);
    assert_eq!(elsewhere.resolve(&digests[0]).unwrap().id, id);

    let missing = pull(&format!("{registry}/test/one:nosuch")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    let none = pull(&format!("{registry}/test/nosuch")).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound, "{none}");
    let absent = Reference::parse(&format!("{registry}/absent")).unwrap();
    let error = images.push(&absent, PushOptions::default(), recorder().0).await.unwrap_err();
    assert_eq!(error.to_string(), format!("An image does not exist locally with the tag: {registry}/absent"));
}

/// `KNARR_TEST_INDEX` names an index in that registry that has linux/amd64 and linux/arm64.
#[tokio::test(flavor = "multi_thread")]
async fn platforms_of_an_index() {
    let Ok(name) = std::env::var("KNARR_TEST_INDEX") else {
        eprintln!("skipped: KNARR_TEST_INDEX is not set");
        return;
    };
    let (_dir, images) = open();
    let reference = Reference::parse(&name).unwrap();
    for (platform, wanted) in
        [(None, Platform::host().architecture), (Some("linux/arm64"), "arm64".to_owned())]
    {
        let platform = platform.map(|p| Platform::parse(p).unwrap());
        let options = PullOptions { platform, ..PullOptions::default() };
        let id = images.pull(&reference, options, recorder().0).await.unwrap();
        assert_eq!(images.get(&id).unwrap().config.architecture, wanted);
    }
    let options =
        PullOptions { platform: Some(Platform::parse("linux/s390x/v9").unwrap()), ..PullOptions::default() };
    let error = images.pull(&reference, options, recorder().0).await.unwrap_err();
    assert!(error.to_string().contains("no matching manifest for linux/s390x/v9"), "{error}");
}
