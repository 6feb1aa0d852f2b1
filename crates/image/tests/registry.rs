//! Pull and push against a real registry: Debian's `docker-registry`, plain HTTP on loopback.
use knarr_base::{ErrorKind, Kind};
use knarr_distribution::{Access, Client, RegistryConfig, Select};
use knarr_image::{Images, ImportOptions, Progress, PullOptions, PushOptions, SharedReport};
use knarr_oci::image::media_type;
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use knarr_snapshot::{Entry, EntryKind, TarWriter};
use knarr_state::Store;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One of a test's own, until its end.
struct Registry {
    child: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let file = dir.path().join("config.yml");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            dir.path().join("data").display()
        );
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry (Debian package of that name)");
        let begin = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the registry did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, address, _dir: dir }
    }
}

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

fn import(images: &Images, name: &str, text: &str, platform: Option<&str>) -> knarr_base::ImageId {
    let mut writer = TarWriter::new(Vec::new());
    let entry = Entry::new(EntryKind::File, b"file".to_vec(), 0o644, text.len() as u64, 0);
    writer.entry(&entry, &mut text.as_bytes()).unwrap();
    let tar = writer.finish().unwrap();
    let options = ImportOptions {
        name: Some(Reference::parse(name).unwrap()),
        platform: platform.map(|platform| Platform::parse(platform).unwrap()),
        ..ImportOptions::default()
    };
    images.import(&mut tar.as_slice(), &options, &|_| {}).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_can_be_pulled() {
    let server = Registry::start();
    let registry = &server.address;
    let (_dir, images) = open();
    let text = format!("{}", std::process::id());
    let name = format!("{registry}/test/one:v1");
    let reference = Reference::parse(&name).unwrap();
    let id = import(&images, &name, &text.repeat(1000), None);
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

#[tokio::test(flavor = "multi_thread")]
async fn platforms_of_an_index() {
    let server = Registry::start();
    let name = format!("{}/test/many:v1", server.address);
    let reference = Reference::parse(&name).unwrap();
    let mut parts = Vec::new();
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7"] {
        let (_dir, images) = open();
        let part = format!("{}/test/many:{}", server.address, platform.replace('/', "-"));
        import(&images, &part, platform, Some(platform));
        images.push(&Reference::parse(&part).unwrap(), PushOptions::default(), recorder().0).await.unwrap();
        let mut manifest = images.list().unwrap()[0].manifest.clone().unwrap();
        manifest.platform = Some(Platform::parse(platform).unwrap());
        parts.push(manifest);
    }
    let client = Client::new(RegistryConfig::default()).unwrap();
    let repository = client.repository(&reference, None, Access::Push).unwrap();
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": parts});
    let bytes = serde_json::to_vec(&index).unwrap();
    repository.put_manifest(Select::Tag("v1"), media_type::OCI_INDEX, &bytes).await.unwrap();

    let (_dir, images) = open();
    let reference = Reference::parse(&name).unwrap();
    let host = Platform::host();
    for (platform, architecture, variant) in [
        (None, host.architecture.as_str(), ""),
        (Some("linux/arm64"), "arm64", ""),
        // The best that such a machine can run.
        (Some("linux/arm/v6"), "arm", "v6"),
        (Some("linux/arm/v7"), "arm", "v7"),
        (Some("linux/arm/v8"), "arm", "v7"),
    ] {
        let platform = platform.map(|p| Platform::parse(p).unwrap());
        let options = PullOptions { platform: platform.clone(), ..PullOptions::default() };
        let id = images.pull(&reference, options, recorder().0).await.unwrap();
        let config = images.get(&id).unwrap().config;
        assert_eq!(config.architecture, architecture, "{platform:?}");
        assert!(variant.is_empty() || config.platform().variant == variant, "{platform:?}");
    }
    let options =
        PullOptions { platform: Some(Platform::parse("linux/s390x/v9").unwrap()), ..PullOptions::default() };
    let error = images.pull(&reference, options, recorder().0).await.unwrap_err();
    assert!(error.to_string().contains("no matching manifest for linux/s390x/v9"), "{error}");
}
