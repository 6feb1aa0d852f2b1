//! Names, digests, JSON documents, and the frames between engine and supervisor.
use knarr_oci::digest::Digest;
use knarr_oci::image::{Document, ImageConfig, MAX_INDEX_ENTRIES, MAX_LAYERS, media_type};
use knarr_oci::reference::Reference;
use knarr_oci::runtime::Spec;
use knarr_oci::seccomp::{Facts, KernelVersion, Machine, Profile};
use knarr_shim_proto::frame;

/// Every form that is printed reads back as the same name, and no part of a name leads anywhere as a path.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for parse in [Reference::parse, Reference::parse_name] {
        let Ok(name) = parse(text) else { continue };
        assert_eq!(parse(&name.to_string()).as_ref(), Ok(&name), "{text:?}");
        assert_eq!(parse(&name.familiar()).as_ref(), Ok(&name), "{text:?} as {:?}", name.familiar());
        for part in name.path().split('/') {
            assert!(!part.is_empty() && part != "." && part != "..", "{text:?}");
        }
        assert!(!name.domain().contains('/') && !name.domain().is_empty());
        assert!(name.tag().is_none_or(|tag| !tag.contains(['/', ':', '@']) && tag != ".." && tag != "."));
    }
}

/// A digest is a name that is safe everywhere.
pub fn digest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(digest) = Digest::parse(text) else { return };
    assert_eq!(digest.to_string(), text);
    assert_eq!(digest.hex().len(), digest.algorithm().hex_len());
    assert!(digest.hex().bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
}

/// No document is of two kinds, whatever it is declared as.
fn document(data: &[u8], declared: &[&str]) {
    let mut kind = None;
    for declared in declared {
        let Ok(document) = Document::parse(data, declared) else { continue };
        let is_index = match &document {
            Document::Index(index) => {
                assert!(index.manifests.len() <= MAX_INDEX_ENTRIES);
                true
            }
            Document::Manifest(manifest) => {
                assert!(manifest.layers.len() <= MAX_LAYERS);
                let _ = manifest.check_image();
                false
            }
        };
        assert_eq!(*kind.get_or_insert(is_index), is_index);
        assert!(
            media_type::is_index(document.media_type()) == is_index
                && media_type::is_manifest(document.media_type()) != is_index
        );
        let again = match &document {
            Document::Index(index) => serde_json::to_vec(index),
            Document::Manifest(manifest) => serde_json::to_vec(manifest),
        };
        assert_eq!(Document::parse(&again.unwrap_or_default(), declared).ok().as_ref(), Some(&document));
    }
}

pub fn manifest(data: &[u8]) {
    document(data, &["", media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST, media_type::OCI_INDEX]);
}

pub fn index(data: &[u8]) {
    document(data, &["", media_type::OCI_INDEX, media_type::DOCKER_INDEX, media_type::OCI_MANIFEST]);
}

/// The bytes are kept, and the view of them written anew reads back the same.
pub fn config(data: &[u8]) {
    let Ok(config) = ImageConfig::parse(data) else { return };
    assert_eq!(config.raw(), data);
    assert!(config.config.environment().all(|(name, _)| !name.is_empty() && !name.contains('=')));
    let Ok(again) = ImageConfig::new(config.document().clone()) else { panic!("not written") };
    let Ok(read) = ImageConfig::parse(again.raw()) else { panic!("what was written is not read") };
    assert_eq!(read.document(), config.document());
    let _ = (config.platform(), config.id());
}

pub fn seccomp(data: &[u8]) {
    let Ok(profile) = serde_json::from_slice::<Profile>(data) else { return };
    let caps = ["CAP_SYS_ADMIN".to_owned()];
    for machine in [Machine::X86_64, Machine::AARCH64] {
        let _ = profile.resolve(&Facts { machine, kernel: KernelVersion(6, 1), caps: &caps });
    }
}

pub fn spec(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Spec>(data) else { return };
    let Ok(again) = serde_json::to_vec(&spec) else { panic!("not written") };
    let Ok(read) = serde_json::from_slice::<Spec>(&again) else { panic!("what was written is not read") };
    assert_eq!(read, spec);
}

/// The same messages come out however the bytes are cut.
pub fn frame(data: &[u8]) {
    let take = |step: usize| {
        let mut assembler = frame::Assembler::default();
        let mut messages = Vec::new();
        for chunk in data.chunks(step) {
            assembler.push(chunk);
            loop {
                match assembler.take::<serde_json::Value>() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(_) => return messages,
                }
            }
        }
        messages
    };
    assert_eq!(take(1), take(data.len().max(1)));
}
