//! Rows of the database that are damaged or lost: made again, or told of clearly.
use knarr_base::ImageId;
use knarr_image::{CheckOptions, CheckReport, Images, Outcome, Progress, Standing};
use knarr_oci::digest::Digest;
use knarr_snapshot::{Entry, EntryKind, TarWriter};
use knarr_state::{Record, Store};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A row as it is, whatever it is.
macro_rules! raw {
    ($($name:ident $table:literal),*) => { $(
        #[derive(Serialize, Deserialize)]
        struct $name(serde_json::Value);
        impl Record for $name {
            const TABLE: &'static str = $table;
        }
    )* };
}
raw!(ImageRow "images", NameRow "references", LayerRow "layers", TreeRow "layer_trees");

fn open(root: &Path) -> (Images, Store) {
    let store = Store::open(&root.join("state.redb")).unwrap();
    (Images::open(root, store.clone()).unwrap(), store)
}

/// An image with a manifest, as one that was pulled has: saved and loaded again. Gives id and layer.
fn image(root: &Path, name: &str) -> (ImageId, Digest) {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut archive = Vec::new();
    {
        let (images, _store) = open(elsewhere.path());
        let mut writer = TarWriter::new(Vec::new());
        let text = name.repeat(100);
        let entry = Entry::new(EntryKind::File, b"file".to_vec(), 0o644, text.len() as u64, 0);
        writer.entry(&entry, &mut text.as_bytes()).unwrap();
        let tar = writer.finish().unwrap();
        let name = Some(knarr_oci::reference::Reference::parse(name).unwrap());
        let options = knarr_image::ImportOptions { name, ..Default::default() };
        images.import(&mut tar.as_slice(), &options, &|_: Progress| {}).unwrap();
        images.save(&[options.name.unwrap().familiar()], &mut archive).unwrap();
    }
    let (images, _store) = open(root);
    images.load(&mut archive.as_slice(), None, &|_: Progress| {}).unwrap();
    let image = images.resolve(name).unwrap();
    (image.id.clone(), image.config.diff_ids()[0].clone())
}

/// Changes these bytes wherever they are in the database: the checksum of the row that has them is wrong then.
fn damage(root: &Path, text: &str) {
    let path = root.join("state.redb");
    let mut bytes = fs::read(&path).unwrap();
    let mut found = 0;
    let mut at = 0;
    while let Some(place) = bytes[at..].windows(text.len()).position(|part| part == text.as_bytes()) {
        bytes[at + place] ^= 1;
        at += place + text.len();
        found += 1;
    }
    assert!(found > 0, "{text} is in the database");
    fs::write(path, bytes).unwrap();
}

fn check(images: &Images, repair: bool) -> CheckReport {
    images.check(CheckOptions { repair, ..CheckOptions::default() }, &Standing::default()).unwrap()
}

fn told(report: &CheckReport) -> Vec<String> {
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Found => "found".to_owned(),
        Outcome::Repaired(how) => format!("repaired: {how}"),
        Outcome::Removed(what) => format!("removed: {what}"),
        Outcome::Quarantined(what) => format!("quarantined: {what}"),
        Outcome::Left(why) => format!("left: {why}"),
    };
    report
        .findings
        .iter()
        .map(|f| format!("{} {}", f.object.split(['/', ':']).next().unwrap(), outcome(&f.outcome)))
        .collect()
}

fn is_whole(images: &Images, name: &str, id: &ImageId) {
    assert_eq!(images.resolve(name).unwrap().id, *id);
    let dir = tempfile::tempdir().unwrap();
    images.prepare(id, dir.path()).unwrap();
    assert_eq!(told(&check(images, false)), Vec::<String>::new());
}

#[test]
fn a_damaged_image_is_made_again_from_its_manifest() {
    let root = tempfile::tempdir().unwrap();
    let (id, _) = image(root.path(), "one:1");
    damage(root.path(), "\"updatedNanos\"");
    let (images, _store) = open(root.path());
    assert_eq!(images.list().unwrap().len(), 0);
    // Nothing that it needs is taken for garbage meanwhile.
    assert!(images.content().exists(&Digest::of_image(&id)));
    assert_eq!(told(&check(&images, false))[0], "images found");
    let report = check(&images, true);
    assert_eq!(told(&report)[0], "images repaired: made again from manifest and configuration", "{report:?}");
    is_whole(&images, "one:1", &id);
}

#[test]
fn a_damaged_image_without_its_configuration_is_told_of() {
    let root = tempfile::tempdir().unwrap();
    let (id, _) = image(root.path(), "one:1");
    damage(root.path(), "\"updatedNanos\"");
    let (images, _store) = open(root.path());
    fs::remove_file(images.content().blob_path(&Digest::of_image(&id))).unwrap();
    let report = check(&images, true);
    let found = told(&report);
    assert!(
        found
            .iter()
            .any(|f| f.starts_with("images removed: ") && f.ends_with("pull or load the image again")),
        "{found:?}"
    );
    assert_eq!(told(&check(&images, false)), Vec::<String>::new());
    assert!(images.resolve("one:1").is_err() && images.list().unwrap().is_empty());
    drop((images, _store));
    let (again, _) = image(root.path(), "one:1");
    let (images, _store) = open(root.path());
    is_whole(&images, "one:1", &again);
}

#[test]
fn damaged_names_and_counts() {
    let root = tempfile::tempdir().unwrap();
    let (id, _) = image(root.path(), "one:1");
    {
        // Something only the row of the name has.
        let (_images, store) = open(root.path());
        let names = store.list::<NameRow>().unwrap();
        assert_eq!(names.len(), 1);
        store
            .write(|tx| {
                tx.put(&names[0].0, &NameRow(serde_json::json!({"image": id, "x": "this-is-a-name"})))
            })
            .unwrap();
        let layers = store.list::<LayerRow>().unwrap();
        let mut row = layers[0].1.0.clone();
        row["x"] = "this-is-a-count".into();
        store.write(|tx| tx.put(&layers[0].0, &LayerRow(row))).unwrap();
    }
    damage(root.path(), "this-is-a-name");
    damage(root.path(), "this-is-a-count");
    let (images, _store) = open(root.path());
    assert_eq!(images.list().unwrap()[0].repo_tags, Vec::<String>::new());
    let mut found = told(&check(&images, true));
    found.sort();
    assert_eq!(found, ["layers repaired: counted again", "references removed: tag or pull the image again"]);
    images.tag(id.as_str(), "one:1").unwrap();
    is_whole(&images, "one:1", &id);
    // What is counted is what is removed.
    images.remove("one:1", false, true, &|_| Vec::new()).unwrap();
    assert!(!images.content().exists(&Digest::of_image(&id)));
}

#[test]
fn rows_that_are_lost() {
    let root = tempfile::tempdir().unwrap();
    let (id, layer) = image(root.path(), "one:1");
    let (other, _) = image(root.path(), "two:1");
    let (images, store) = open(root.path());
    // Counts and seals are made again.
    store
        .write(|tx| {
            tx.delete::<LayerRow>(&layer.to_string())?;
            tx.delete::<TreeRow>(&layer.to_string())
        })
        .unwrap();
    let found = told(&check(&images, true));
    assert_eq!(found, ["layers repaired: counted again"]);
    is_whole(&images, "one:1", &id);
    assert!(store.get::<TreeRow>(&layer.to_string()).unwrap().is_some(), "it was compared");
    // A name of an image that is not there leads nowhere, and goes.
    store.write(|tx| tx.delete::<ImageRow>(other.as_str())).unwrap();
    let error = images.resolve("two:1").unwrap_err().to_string();
    assert!(error.contains("No such image"), "{error}");
    let found = told(&check(&images, true));
    assert!(found.contains(&"references removed: pull or load the image again".to_owned()), "{found:?}");
    assert_eq!(told(&check(&images, false)), Vec::<String>::new());
    assert!(!images.content().exists(&Digest::of_image(&other)), "nobody owns its blobs");
    is_whole(&images, "one:1", &id);
}
