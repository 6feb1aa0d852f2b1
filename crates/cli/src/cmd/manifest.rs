//! `manifest`: what lies in registries, and lists of manifests made by hand.
//!
//! As in Docker's client no engine is asked: registries are spoken to directly, and lists in the making are files
//! ([`crate::manifest_store`]). `--insecure` is for the registry of the name that is given.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::credentials;
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::format::go_json;
use crate::manifest_store::{Entry, ManifestStore};
use knarr_distribution::{Access, Client, Credentials, Error, Fetched, RegistryConfig, Repository, Select};
use knarr_oci::image::{Descriptor, Document, Index, MAX_CONFIG_LEN, Manifest, media_type};
use knarr_oci::platform::Platform;
use knarr_oci::reference::{DEFAULT_TAG, Reference};
use serde_json::json;

const INSECURE: Flag = Flag::new("insecure", Ty::Bool, "Allow communication with an insecure registry");

pub static CREATE_FLAGS: &[Flag] =
    &[Flag::new("amend", Ty::Bool, "Amend an existing manifest list").short('a'), INSECURE];
pub static INSPECT_FLAGS: &[Flag] = &[
    INSECURE,
    Flag::new("verbose", Ty::Bool, "Output additional info including layers and platform").short('v'),
];
pub static ANNOTATE_FLAGS: &[Flag] = &[
    Flag::new("arch", Ty::Str, "Set architecture"),
    Flag::new("os", Ty::Str, "Set operating system"),
    Flag::new("os-features", Ty::Strings, "Set operating system feature"),
    Flag::new("os-version", Ty::Str, "Set operating system version"),
    Flag::new("variant", Ty::Str, "Set architecture variant"),
];
pub static PUSH_FLAGS: &[Flag] = &[
    Flag::new("insecure", Ty::Bool, "Allow push to an insecure registry"),
    Flag::new("purge", Ty::Bool, "Remove the local manifest list after push").short('p'),
];

/// What a manifest list may name, as Docker's client has it.
const OS_ARCHITECTURES: [(&str, &[&str]); 9] = [
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    (
        "linux",
        &["386", "amd64", "arm", "arm64", "loong64", "ppc64le", "mips64", "mips64le", "riscv64", "s390x"],
    ),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64", "arm64"]),
];

fn parse(text: &str) -> Outcome<Reference> {
    let reference = Reference::parse_name(text).map_err(|error| Failure::new(error.to_string()))?;
    if reference.is_name_only() {
        return reference.with_tag(DEFAULT_TAG).map_err(|error| Failure::new(error.to_string()));
    }
    Ok(reference)
}

fn store(cli: &Cli) -> ManifestStore {
    ManifestStore::new(&cli.config_dir())
}

/// The repository of a name, with the user's credentials for its registry.
fn repository(cli: &Cli, name: &Reference, insecure: bool, access: Access) -> Outcome<Repository> {
    let config = RegistryConfig {
        insecure: if insecure { vec![name.domain().to_owned()] } else { Vec::new() },
        certs_dirs: ["/etc/knarr/certs.d", "/etc/docker/certs.d"].map(Into::into).into(),
        user_agent: format!("knarr-client/{}", env!("CARGO_PKG_VERSION")),
        ..RegistryConfig::default()
    };
    let auth = credentials::for_domain(cli, name.domain())?;
    let credentials = auth.map(|auth| Credentials {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    });
    let client = Client::new(config).map_err(told)?;
    client.repository(name, credentials, access).map_err(told)
}

fn told(error: Error) -> Failure {
    Failure::new(error.to_string())
}

/// What a name means in its registry. A registry that lets nobody look has no such manifest, as for Docker.
async fn fetch(repository: &Repository, name: &Reference) -> Outcome<Fetched> {
    // As in Docker's client the tag goes before the digest.
    let select = match (name.tag(), name.digest()) {
        (Some(tag), _) => Select::Tag(tag),
        (None, Some(digest)) => Select::Digest(digest),
        (None, None) => Select::Tag(DEFAULT_TAG),
    };
    match repository.manifest(select).await {
        Ok(fetched) => {
            if let Some(digest) = name.digest().filter(|digest| **digest != fetched.descriptor.digest) {
                return Err(Failure::new(format!("manifest verification failed for digest {digest}")));
            }
            Ok(fetched)
        }
        Err(Error::Unauthorized { .. } | Error::NoCredentials { .. } | Error::PullDenied { .. }) => {
            Err(Failure::new(format!("no such manifest: {name}")))
        }
        Err(error) if error.is_not_found() => Err(Failure::new(format!("no such manifest: {name}"))),
        Err(error) => Err(told(error)),
    }
}

fn document(fetched: &Fetched) -> Outcome<Document> {
    let declared = &fetched.descriptor.media_type;
    Document::parse(&fetched.bytes, declared).map_err(|error| Failure::new(error.to_string()))
}

/// A manifest as it is kept in a list: with the platform that its configuration names.
async fn entry(
    repository: &Repository,
    reference: String,
    fetched: Fetched,
    manifest: &Manifest,
) -> Outcome<Entry> {
    let config = repository.small_blob(&manifest.config, MAX_CONFIG_LEN).await.map_err(told)?;
    let platform: Platform = serde_json::from_slice(&config).unwrap_or_default();
    let media_type = Document::Manifest(manifest.clone()).media_type().to_owned();
    let Fetched { descriptor, bytes } = fetched;
    let descriptor = Descriptor {
        platform: Some(platform),
        ..Descriptor::new(&media_type, descriptor.digest, descriptor.size)
    };
    Ok(Entry { reference, descriptor, raw: bytes })
}

pub async fn create(cli: Shared, m: Matches) -> Outcome {
    let target = parse(&m.args[0]).map_err(|error| {
        Failure::new(format!("error parsing name for manifest list {}: {error}", m.args[0]))
    })?;
    let store = store(&cli);
    if store.list(&target)?.is_some() && !m.flag("amend") {
        return Err(Failure::new("refusing to amend an existing manifest list with no --amend flag"));
    }
    for text in &m.args[1..] {
        let name = parse(text)?;
        let known = store.get(&target, &name)?;
        let entry = match known {
            Some(entry) => entry,
            None => {
                let repository = repository(&cli, &name, m.flag("insecure"), Access::Pull)?;
                let fetched = fetch(&repository, &name).await?;
                match document(&fetched)? {
                    Document::Manifest(manifest) => {
                        entry(&repository, name.to_string(), fetched, &manifest).await?
                    }
                    Document::Index(_) => return Err(Failure::new(format!("{name} is a manifest list"))),
                }
            }
        };
        store.save(&target, &name, &entry)?;
    }
    cli.println(&format!("Created manifest list {target}"))
}

pub async fn inspect(cli: Shared, m: Matches) -> Outcome {
    let verbose = m.flag("verbose");
    let name = parse(m.args.last().map_or("", String::as_str))?;
    let store = store(&cli);
    if m.args.len() == 2 {
        let list = parse(&m.args[0])?;
        let entry = store.get(&list, &name)?;
        return show(&cli, &entry.ok_or_else(|| Failure::new(format!("No such manifest: {name}")))?, verbose);
    }
    if let Ok(Some(entries)) = store.list(&name) {
        return if verbose {
            show_all(&cli, &entries)
        } else {
            cli.println(&list_text(&entries, &name).map_err(unassembled)?)
        };
    }
    let repository = repository(&cli, &name, m.flag("insecure"), Access::Pull)?;
    let fetched = fetch(&repository, &name).await?;
    match document(&fetched)? {
        Document::Manifest(_) if !verbose => {
            let text = String::from_utf8_lossy(&fetched.bytes);
            cli.println(&go_json::indent(&text, "\t"))
        }
        Document::Manifest(manifest) => {
            show(&cli, &entry(&repository, name.to_string(), fetched, &manifest).await?, true)
        }
        Document::Index(index) if !verbose => cli.println(&index_text(&index.manifests)?),
        Document::Index(index) => show_all(&cli, &entries_of(&repository, &name, index).await?),
    }
}

/// Every manifest of a list in a registry, with the platforms of the list.
async fn entries_of(repository: &Repository, name: &Reference, index: Index) -> Outcome<Vec<Entry>> {
    let mut found = Vec::new();
    for described in index.manifests {
        let fetched = repository.manifest(Select::Digest(&described.digest)).await.map_err(told)?;
        let Document::Manifest(manifest) = document(&fetched)? else {
            return Err(Failure::new(format!(
                "unsupported manifest type: {}",
                fetched.descriptor.media_type
            )));
        };
        let tag = name.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        let reference = format!("{}{tag}@{}", name.name(), described.digest);
        let mut entry = entry(repository, reference, fetched, &manifest).await?;
        entry.descriptor.platform = Some(described.platform.unwrap_or_default());
        found.push(entry);
    }
    Ok(found)
}

fn show(cli: &Cli, entry: &Entry, verbose: bool) -> Outcome {
    let json = if verbose { entry.json()? } else { entry.raw_text()?.to_owned() };
    cli.println(&go_json::indent(&json, "\t"))
}

fn show_all(cli: &Cli, entries: &[Entry]) -> Outcome {
    let all: Vec<String> = entries.iter().map(Entry::json).collect::<Outcome<_>>()?;
    cli.println(&go_json::indent(&format!("[{}]", all.join(",")), "\t"))
}

fn unassembled(failure: Failure) -> Failure {
    Failure::new(format!("failed to assemble ManifestDescriptor: {failure}"))
}

/// The list that would be pushed.
fn list_text(entries: &[Entry], target: &Reference) -> Outcome<String> {
    for entry in entries {
        let domain = Reference::parse_name(&entry.reference).map(|name| name.domain().to_owned());
        let domain = domain.map_err(|error| Failure::new(error.to_string()))?;
        if domain != target.domain() {
            return Err(Failure::new(format!(
                "cannot use source images from a different registry than the target image: {domain} != {}",
                target.domain()
            )));
        }
    }
    let descriptors: Vec<Descriptor> = entries.iter().map(|entry| entry.descriptor.clone()).collect();
    index_text(&descriptors)
}

/// As Docker's library writes a list: its bytes are what is hashed.
fn index_text(manifests: &[Descriptor]) -> Outcome<String> {
    let first = manifests.first().map(|manifest| manifest.media_type.as_str());
    let kind = if first == Some(media_type::OCI_MANIFEST) {
        media_type::OCI_INDEX
    } else {
        media_type::DOCKER_INDEX
    };
    let rows: Vec<serde_json::Value> = manifests
        .iter()
        .map(|manifest| {
            json!({
                "mediaType": manifest.media_type,
                "size": manifest.size,
                "digest": manifest.digest,
                "platform": manifest.platform.clone().unwrap_or_default(),
            })
        })
        .collect();
    let list = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": rows });
    Ok(go_json::indent(&go_json::compact(&list.to_string()), "   "))
}

pub async fn annotate(cli: Shared, m: Matches) -> Outcome {
    let named = |what: &str, text: &str| {
        parse(text)
            .map_err(|error| Failure::new(format!("annotate: error parsing name for {what} {text}: {error}")))
    };
    let (list, name) = (named("manifest list", &m.args[0])?, named("manifest", &m.args[1])?);
    let store = store(&cli);
    let Some(mut entry) = store.get(&list, &name)? else {
        return Err(Failure::new(format!(
            "manifest for image {} does not exist in {}",
            m.args[1], m.args[0]
        )));
    };
    let mut platform = entry.descriptor.platform.take().unwrap_or_default();
    let set = |field: &mut String, flag: &str| {
        if !m.text(flag).is_empty() {
            m.text(flag).clone_into(field);
        }
    };
    set(&mut platform.os, "os");
    set(&mut platform.architecture, "arch");
    set(&mut platform.variant, "variant");
    for feature in m.list("os-features").iter().flat_map(|list| list.split(',')) {
        if !platform.os_features.iter().any(|known| known == feature) {
            platform.os_features.push(feature.to_owned());
        }
    }
    if !m.text("os-version").is_empty() {
        platform.os_version = Some(m.text("os-version").to_owned());
    }
    let known = OS_ARCHITECTURES.iter().find(|(os, _)| *os == platform.os);
    if !known.is_some_and(|(_, all)| all.contains(&platform.architecture.as_str())) {
        return Err(Failure::new(format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            m.text("os"),
            m.text("arch")
        )));
    }
    entry.descriptor.platform = Some(platform);
    store.save(&list, &name, &entry)
}

pub async fn push(cli: Shared, m: Matches) -> Outcome {
    let target = parse(&m.args[0])?;
    let store = store(&cli);
    let entries = store.list(&target)?.ok_or_else(|| Failure::new(format!("No such manifest: {target}")))?;
    if entries.is_empty() {
        return Err(Failure::new(format!("{target} not found")));
    }
    for entry in &entries {
        let named = entry
            .descriptor
            .platform
            .as_ref()
            .is_some_and(|p| !p.os.is_empty() && !p.architecture.is_empty());
        if !named {
            return Err(Failure::new(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                entry.reference
            )));
        }
    }
    let text = list_text(&entries, &target)?;
    let repository = repository(&cli, &target, m.flag("insecure"), Access::Push)?;
    let elsewhere = |entry: &&Entry| {
        Reference::parse_name(&entry.reference).is_ok_and(|name| name.path() != target.path())
    };
    for entry in entries.iter().filter(elsewhere) {
        mount(&repository, entry, &target).await?;
    }
    for entry in entries.iter().filter(elsewhere) {
        let (digest, kind) = (&entry.descriptor.digest, &entry.descriptor.media_type);
        let name = format!("{}@{digest}", target.name());
        let put = repository.put_manifest(Select::Digest(digest), kind, &entry.raw).await;
        let put = put.map_err(|error| Failure::new(format!("failed to put manifest {name}: {error}")))?;
        cli.println(&format!("Pushed ref {name} with digest: {put}"))?;
    }
    let kind = match Document::parse(text.as_bytes(), "") {
        Ok(document) => document.media_type().to_owned(),
        Err(error) => return Err(Failure::new(error.to_string())),
    };
    let select = match (target.tag(), target.digest()) {
        (None, Some(digest)) => Select::Digest(digest),
        (tag, _) => Select::Tag(tag.unwrap_or(DEFAULT_TAG)),
    };
    let put = repository.put_manifest(select, &kind, text.as_bytes()).await;
    let put = put.map_err(|error| Failure::new(format!("failed to put manifest {target}: {error}")))?;
    cli.println(&put.to_string())?;
    if m.flag("purge") { store.remove(&target) } else { Ok(()) }
}

/// The blobs of a manifest of another repository.
async fn mount(repository: &Repository, entry: &Entry, target: &Reference) -> Outcome {
    let from = Reference::parse_name(&entry.reference).map_err(|error| Failure::new(error.to_string()))?;
    let manifest = entry.manifest()?;
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let what = format!("{}@{}", from.path(), blob.digest);
        match repository.mount_blob(blob, from.path()).await {
            Ok(true) => {}
            Ok(false) => return Err(Failure::new(format!("error mounting {what} to {target}"))),
            Err(error) => {
                return Err(Failure::new(format!("failed to mount blob {what} to {target}: {error}")));
            }
        }
    }
    Ok(())
}

pub async fn rm(cli: Shared, m: Matches) -> Outcome {
    let store = store(&cli);
    let mut failures = Vec::new();
    for text in &m.args {
        let removed = parse(text).and_then(|list| match store.list(&list)? {
            Some(_) => store.remove(&list),
            None => Err(Failure::new(format!("No such manifest: {list}"))),
        });
        failures.extend(removed.err().map(|failure| failure.message));
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::new(failures.join("\n"))) }
}
