//! Against a real registry (the `docker-registry` program), over plain HTTP on loopback.
//!
//! Not run where the program is missing.
use knarr_content::Content;
use knarr_distribution::{Access, Client, Credentials, Error, RegistryConfig, Repository, Select, Uploaded};
use knarr_oci::digest::Digest;
use knarr_oci::image::{Descriptor, media_type};
use knarr_oci::reference::Reference;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Password `secret` of user `user`.
const HTPASSWD: &str = "user:$2b$04$EKGnOklteRem.4THu8TuAOGeAnOmWkC.Hth5M04wa2GUXl4HxAaN.\n";

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

fn start(auth: bool) -> Option<Registry> {
    let path = std::env::var_os("PATH")?;
    if !std::env::split_paths(&path).any(|dir| dir.join("docker-registry").is_file()) {
        println!("not run: no docker-registry");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let passwords = dir.path().join("htpasswd");
    std::fs::write(&passwords, HTPASSWD).unwrap();
    let auth = if auth {
        format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display())
    } else {
        String::new()
    };
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n{auth}",
        dir.path().join("data").display()
    );
    let file = dir.path().join("config.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let begin = Instant::now();
    while TcpStream::connect(&address).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the registry did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(Registry { child, address, _dir: dir })
}

fn repository(name: &str, credentials: Option<Credentials>, access: Access) -> Repository {
    let client = Client::new(RegistryConfig::default()).unwrap();
    client.repository(&Reference::parse(name).unwrap(), credentials, access).unwrap()
}

fn content(dir: &Path) -> (Content, Arc<knarr_content::Lease>) {
    let content = Content::open(dir).unwrap();
    let lease = Arc::new(content.lease());
    (content, lease)
}

fn blob(content: &Content, lease: &knarr_content::Lease, size: usize, seed: u64) -> Descriptor {
    let mut state = seed;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(size)
    .collect();
    let mut ingest = content.create(1 << 30).unwrap();
    ingest.append(&bytes).unwrap();
    let digest = ingest.commit(lease).unwrap();
    Descriptor::new(media_type::OCI_LAYER_GZIP, digest, size as u64)
}

fn manifest(config: &Descriptor, layers: &[&Descriptor]) -> Vec<u8> {
    let layers: Vec<Descriptor> = layers.iter().map(|layer| (*layer).clone()).collect();
    let config = Descriptor::new(media_type::OCI_CONFIG, config.digest.clone(), config.size);
    serde_json::to_vec(&knarr_oci::image::Manifest::new(config, layers)).unwrap()
}

#[tokio::test]
async fn what_is_pushed_is_pulled() {
    let Some(registry) = start(false) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    let config = blob(&store, &lease, 700, 1);
    let small = blob(&store, &lease, 30_000, 2);
    let large = blob(&store, &lease, 5 << 20, 3);
    let bytes = manifest(&config, &[&small, &large]);

    let target = repository(&format!("{}/some/app:v1", registry.address), None, Access::Push);
    for part in [&config, &small, &large] {
        let seen = std::sync::Mutex::new(Vec::new());
        let progress = |done: u64, total: u64| seen.lock().unwrap().push((done, total));
        assert_eq!(target.push_blob(part, &store, &[], &progress).await.unwrap(), Uploaded::Sent);
        assert_eq!(seen.lock().unwrap().last(), Some(&(part.size, part.size)));
        assert_eq!(target.push_blob(part, &store, &[], &|_, _| {}).await.unwrap(), Uploaded::Existed);
        assert_eq!(target.blob_size(&part.digest).await.unwrap(), Some(part.size));
    }
    let digest = target.put_manifest(Select::Tag("v1"), media_type::OCI_MANIFEST, &bytes).await.unwrap();
    assert_eq!(digest, Digest::sha256(&bytes));

    // Another repository takes the blobs from the first.
    let other = repository(&format!("{}/other/app:v1", registry.address), None, Access::Push);
    let from = ["some/app".to_owned()];
    let mounted = other.push_blob(&large, &store, &from, &|_, _| {}).await.unwrap();
    assert_eq!(mounted, Uploaded::Mounted("some/app".to_owned()));
    let nowhere = ["no/where".to_owned()];
    assert_eq!(other.push_blob(&small, &store, &nowhere, &|_, _| {}).await.unwrap(), Uploaded::Sent);

    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    let source = repository(&format!("{}/some/app:v1", registry.address), None, Access::Pull);
    let head = source.manifest_head(source.selected()).await.unwrap().unwrap();
    assert_eq!((&head.digest, head.size), (&digest, bytes.len() as u64));
    let fetched = source.manifest(Select::Tag("v1")).await.unwrap();
    assert_eq!(fetched.bytes, bytes);
    assert_eq!(fetched.descriptor.media_type, media_type::OCI_MANIFEST);
    assert_eq!(source.manifest(Select::Digest(&digest)).await.unwrap(), fetched);
    for part in [&config, &small, &large] {
        source.fetch_blob(part, &store, &lease, &|_, _| {}).await.unwrap();
        store.verify(&part.digest).unwrap();
    }
}

#[tokio::test]
async fn errors_are_in_dockers_words() {
    let Some(registry) = start(false) else { return };
    let name = format!("{}/no/app:v9", registry.address);
    let source = repository(&name, None, Access::Pull);
    let error = source.manifest(source.selected()).await.unwrap_err();
    let want = format!("manifest for {name} not found: manifest unknown: manifest unknown");
    assert_eq!(error.to_string(), want);
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    let missing = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(b"none"), 4);
    let error = source.fetch_blob(&missing, &store, &lease, &|_, _| {}).await.unwrap_err();
    assert!(error.to_string().contains("blob unknown: blob unknown to registry"), "{error}");
    // Nobody listens.
    let begin = Instant::now();
    drop(registry);
    let error = repository(&name, None, Access::Pull).manifest(Select::Tag("v9")).await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn passwords_are_asked_for_and_checked() {
    let Some(registry) = start(true) else { return };
    let name = format!("{}/private/app:v1", registry.address);
    let source = repository(&name, None, Access::Pull);
    let error = source.manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(matches!(error, Error::NoCredentials { .. }), "{error:?}");
    assert!(error.to_string().ends_with("no basic auth credentials"), "{error}");
    let wrong = repository(&name, Some(Credentials::basic("user", "wrong")), Access::Pull);
    let error = wrong.manifest(Select::Tag("v1")).await.unwrap_err();
    assert!(error.to_string().ends_with("unauthorized: authentication required"), "{error}");
    let right = Credentials::basic("user", "secret");
    let target = repository(&name, Some(right.clone()), Access::Push);
    let dir = tempfile::tempdir().unwrap();
    let (store, lease) = content(dir.path());
    let layer = blob(&store, &lease, 2 << 20, 5);
    assert_eq!(target.push_blob(&layer, &store, &[], &|_, _| {}).await.unwrap(), Uploaded::Sent);

    let client = Client::new(RegistryConfig::default()).unwrap();
    assert_eq!(client.login(&registry.address, right).await.unwrap().identity_token, None);
    let error = client.login(&registry.address, Credentials::basic("user", "no")).await.unwrap_err();
    assert!(error.to_string().ends_with("unauthorized: incorrect username or password"), "{error}");
}
