//! From `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's volumes to one list of mounts. Pure.
//!
//! Standard: Docker's parser of mounts, with its texts.
use crate::error::{Error, Result};
use crate::record::{MountKind, MountRow};
use knarr_docker_types::container_config::Config;
use knarr_docker_types::host_config::HostConfig;
use knarr_docker_types::mount::{BindOptions, Mount, TmpfsOptions};
use knarr_volume::CreateVolume;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Most mounts of one container.
const MAX_MOUNTS: usize = 1000;

/// A mount, and what is asked for in case its volume has to be made.
#[derive(Debug, Clone)]
pub struct Planned {
    pub row: MountRow,
    pub volume: CreateVolume,
    /// A file of the image in its place is an error.
    pub needs_directory: bool,
}

impl Planned {
    fn plain(row: MountRow) -> Self {
        Self { row, volume: CreateVolume::default(), needs_directory: false }
    }
}

/// All mounts of a container. `from` are the mounts of the `--volumes-from` containers, in order. Later kinds win over
/// earlier ones as with Docker: volumes-from, then `-v`, then `--mount`, then `--tmpfs`; the image's volumes only where nothing
/// else is.
pub fn plan(config: &Config, host: &HostConfig, from: Vec<MountRow>) -> Result<Vec<Planned>> {
    let mut planned: BTreeMap<String, Planned> = BTreeMap::new();
    for row in from {
        planned.insert(row.destination.clone(), Planned::plain(row));
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let duplicate = |destination: &str| Error::Invalid(format!("Duplicate mount point: {destination}"));
    for text in &host.binds {
        let row = parse_bind(text)?;
        if taken.contains(&row.destination) || host.tmpfs.contains_key(&row.destination) {
            return Err(duplicate(&row.destination));
        }
        taken.insert(row.destination.clone());
        let volume = CreateVolume { driver: host.volume_driver.clone(), ..CreateVolume::default() };
        planned.insert(row.destination.clone(), Planned { volume, ..Planned::plain(row) });
    }
    for mount in &host.mounts {
        let one = from_mount(mount)?;
        if !taken.insert(one.row.destination.clone()) {
            return Err(duplicate(&mount.target));
        }
        planned.insert(one.row.destination.clone(), one);
    }
    for (destination, options) in &host.tmpfs {
        let mut row = MountRow::new(MountKind::Tmpfs, &clean_destination(destination)?);
        row.options = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
        check_tmpfs(&row.options)?;
        row.rw = !row.options.iter().any(|o| o == "ro");
        row.unlisted = true;
        planned.insert(row.destination.clone(), Planned::plain(row));
    }
    for (destination, _) in &config.volumes {
        let row = image_volume(destination)?;
        let volume = CreateVolume { driver: host.volume_driver.clone(), ..CreateVolume::default() };
        let one = Planned { volume, needs_directory: true, row };
        planned.entry(one.row.destination.clone()).or_insert(one);
    }
    if planned.len() > MAX_MOUNTS {
        return Err(Error::Invalid(format!("too many mounts: {}, at most {MAX_MOUNTS}", planned.len())));
    }
    // By depth, so that a mount never hides one that was made before it.
    let mut planned: Vec<_> = planned.into_values().collect();
    planned.sort_by_key(|one| one.row.destination.matches('/').count());
    Ok(planned)
}

/// Whoever sees the engine's data, by way of a directory in it or around it, has to see what is unmounted there too: a mount
/// that a container keeps for itself could not be removed by the engine. Docker's rule.
pub fn let_go_of(data_root: &Path, planned: &mut [Planned]) -> Result<()> {
    for row in planned.iter_mut().map(|one| &mut one.row).filter(|row| row.kind == MountKind::Bind) {
        if !sees(data_root, &row.source) {
            continue;
        }
        match row.propagation.as_str() {
            "" => "rslave".clone_into(&mut row.propagation),
            "rslave" | "rshared" => {}
            other => {
                return Err(Error::Invalid(format!(
                    "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is \
                     within the daemon root, daemon root: {data_root:?}, bind mount source: {:?}, propagation: {other:?}",
                    row.source
                )));
            }
        }
    }
    Ok(())
}

/// Whether one of both lies in the other.
pub fn sees(data_root: &Path, source: &Path) -> bool {
    source.starts_with(data_root) || data_root.starts_with(source)
}

/// `VOLUME /path` of the image, or `-v /path`.
fn image_volume(destination: &str) -> Result<MountRow> {
    let destination = clean_destination(destination)?;
    Ok(MountRow { anonymous: true, ..MountRow::new(MountKind::Volume, &destination) })
}

/// `[source:]destination[:mode]`.
pub fn parse_bind(text: &str) -> Result<MountRow> {
    let invalid = || Error::Invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts.as_slice() {
        ["", ..] => return Err(invalid()),
        [destination] => return image_volume(destination),
        // A volume without a source has no mode.
        [_, mode] if is_mode(mode) => return Err(invalid()),
        [source, destination] => (*source, *destination, ""),
        [source, destination, mode] => (*source, *destination, *mode),
        _ => return Err(invalid()),
    };
    if !is_mode(mode) {
        return Err(Error::Invalid(format!("invalid mode: {mode}")));
    }
    let is_path = source.starts_with('/');
    let kind = if is_path { MountKind::Bind } else { MountKind::Volume };
    let wrong = |why: &str| {
        let kind = kind.as_str();
        Error::Invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {why}"
        ))
    };
    let destination = target(destination).map_err(|why| wrong(&why))?;
    let mut row = MountRow::new(kind, &destination);
    mode.clone_into(&mut row.mode);
    if is_path {
        row.source = PathBuf::from(clean_path(source));
        row.create_source = true;
    } else {
        row.name = source.to_owned();
        // Docker's mark that it may be relabelled.
        if mode.is_empty() {
            "z".clone_into(&mut row.mode);
        }
    }
    for flag in mode.split(',') {
        match flag {
            "ro" => row.rw = false,
            "nocopy" if is_path => return Err(wrong("field VolumeOptions must not be specified")),
            "nocopy" => row.no_copy = true,
            "idmap" if !is_path => return Err(Error::Invalid(format!("invalid mode: {mode}"))),
            "idmap" => row.id_map = true,
            flag if PROPAGATIONS.contains(&flag) => {
                if !is_path {
                    return Err(wrong("field BindOptions must not be specified"));
                }
                flag.clone_into(&mut row.propagation);
            }
            _ => {}
        }
    }
    Ok(row)
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

/// `ro`, `rw`, a propagation, `nocopy`, SELinux and consistency flags, and our own `idmap`; one of each at most.
fn is_mode(mode: &str) -> bool {
    if mode.is_empty() {
        return true;
    }
    let mut kinds = BTreeSet::new();
    mode.split(',').all(|flag| {
        let kind = match flag {
            "ro" | "rw" => "access",
            "z" | "Z" => "label",
            "nocopy" => "copy",
            "consistent" | "cached" | "delegated" | "default" => "consistency",
            "idmap" => "idmap",
            flag if PROPAGATIONS.contains(&flag) => "propagation",
            _ => return false,
        };
        kinds.insert(kind)
    })
}

/// One element of `Mounts`.
fn from_mount(mount: &Mount) -> Result<Planned> {
    let kind = mount.kind.as_str();
    let bad = |why: String| Error::Invalid(format!("invalid mount config for type \"{kind}\": {why}"));
    for (given, field, of) in [
        (mount.bind_options.is_some(), "BindOptions", "bind"),
        (mount.volume_options.is_some(), "VolumeOptions", "volume"),
        (mount.image_options.is_some(), "ImageOptions", "image"),
        (mount.tmpfs_options.is_some(), "TmpfsOptions", "tmpfs"),
        (mount.cluster_options.is_some(), "ClusterOptions", "cluster"),
    ] {
        if given && kind != of {
            return Err(bad(format!("field {field} must not be specified")));
        }
    }
    if mount.target.is_empty() {
        return Err(bad("field Target must not be empty".into()));
    }
    let destination = target(&mount.target).map_err(bad)?;
    match kind {
        "bind" => bind(mount, &destination).map(Planned::plain),
        "volume" => volume(mount, &destination),
        "tmpfs" => tmpfs(mount, &destination).map(Planned::plain),
        "image" => image(mount, &destination).map(Planned::plain),
        _ => Err("mount type unknown".into()),
    }
    .map_err(bad)
}

fn bind(mount: &Mount, destination: &str) -> Result<MountRow, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".into());
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let BindOptions {
        propagation,
        non_recursive,
        create_mountpoint,
        read_only_non_recursive,
        read_only_force_recursive,
        id_map,
    } = options;
    if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation.as_str()) {
        return Err(format!("invalid propagation mode: {propagation}"));
    }
    if !mount.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    for (set, name) in [
        (read_only_non_recursive, "ReadOnlyNonRecursive"),
        (read_only_force_recursive, "ReadOnlyForceRecursive"),
    ] {
        if set && !mount.read_only {
            return Err(format!("mount options conflict: !ReadOnly && BindOptions.{name}"));
        }
    }
    if read_only_non_recursive && read_only_force_recursive {
        return Err(
            "mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive".into()
        );
    }
    Ok(MountRow {
        source: PathBuf::from(clean_path(&mount.source)),
        rw: !mount.read_only,
        propagation,
        recursive: !non_recursive,
        read_only_top_only: read_only_non_recursive,
        create_source: create_mountpoint,
        id_map,
        ..MountRow::new(MountKind::Bind, destination)
    })
}

fn volume(mount: &Mount, destination: &str) -> Result<Planned, String> {
    let options = mount.volume_options.clone().unwrap_or_default();
    if !options.subpath.is_empty() {
        if mount.source.is_empty() {
            return Err("must not set Subpath when using anonymous volumes".into());
        }
        if !is_local(&options.subpath) {
            return Err("subpath must be a relative path within the volume".into());
        }
    }
    let driver = options.driver_config.unwrap_or_default();
    let row = MountRow {
        name: mount.source.clone(),
        anonymous: mount.source.is_empty(),
        rw: !mount.read_only,
        no_copy: options.no_copy,
        subpath: options.subpath,
        mode: "z".to_owned(),
        ..MountRow::new(MountKind::Volume, destination)
    };
    let volume = CreateVolume {
        name: String::new(),
        driver: driver.name,
        labels: options.labels.into_inner(),
        options: driver.options.into_inner(),
    };
    Ok(Planned { volume, ..Planned::plain(row) })
}

/// Of an image its files are seen, never written.
fn image(mount: &Mount, destination: &str) -> Result<MountRow, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".into());
    }
    let subpath = mount.image_options.clone().unwrap_or_default().subpath;
    if !subpath.is_empty() && !is_local(&subpath) {
        return Err("subpath must be a relative path within the volume".into());
    }
    Ok(MountRow {
        name: mount.source.clone(),
        rw: false,
        subpath,
        ..MountRow::new(MountKind::Image, destination)
    })
}

/// Go's `filepath.IsLocal`.
fn is_local(path: &str) -> bool {
    let mut depth = 0i32;
    !path.is_empty()
        && !path.starts_with('/')
        && path.split('/').all(|part| {
            depth += match part {
                "" | "." => 0,
                ".." => -1,
                _ => 1,
            };
            depth >= 0
        })
}

fn tmpfs(mount: &Mount, destination: &str) -> Result<MountRow, String> {
    if !mount.source.is_empty() {
        return Err("field Source must not be specified".into());
    }
    let TmpfsOptions { size_bytes, mode, options } = mount.tmpfs_options.clone().unwrap_or_default();
    let mut texts = Vec::new();
    if mount.read_only {
        texts.push("ro".to_owned());
    }
    if mode != 0 {
        texts.push(format!("mode={mode:o}"));
    }
    if size_bytes != 0 {
        texts.push(format!("size={size_bytes}"));
    }
    for option in &options {
        match option.as_slice() {
            [name] if matches!(name.as_str(), "exec" | "noexec") => texts.push(name.clone()),
            [name] | [name, _] => return Err(format!("invalid option: {name}")),
            _ => return Err("invalid option array length".into()),
        }
    }
    Ok(MountRow { rw: !mount.read_only, options: texts, ..MountRow::new(MountKind::Tmpfs, destination) })
}

/// What a tmpfs may be told.
const TMPFS_VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
const TMPFS_FLAGS: [&str; 26] = [
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "bind",
    "rbind",
    "unbindable",
    "runbindable",
];

fn check_tmpfs(options: &[String]) -> Result<()> {
    let known = |option: &str| match option.split_once('=') {
        Some((name, _)) => TMPFS_VALUES.contains(&name),
        None => TMPFS_FLAGS.contains(&option) || PROPAGATIONS.contains(&option),
    };
    match options.iter().find(|option| !known(option)) {
        None => Ok(()),
        Some(option) => {
            let parts: Vec<String> = option.splitn(2, '=').map(|part| format!("{part:?}")).collect();
            Err(Error::Invalid(format!("invalid tmpfs option [{}]", parts.join(" "))))
        }
    }
}

/// A place in the container, clean; never the root.
fn target(path: &str) -> Result<String, String> {
    if path.starts_with('/') && clean_path(path) == "/" {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    if !path.starts_with('/') {
        return Err(format!("invalid mount path: '{path}' mount path must be absolute"));
    }
    if path.contains('\0') {
        return Err("invalid mount path: NUL byte".to_owned());
    }
    Ok(clean_path(path))
}

fn clean_destination(path: &str) -> Result<String> {
    target(path).map_err(Error::Invalid)
}

/// Go's `path.Clean` for an absolute path.
pub fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `container[:mode]` of `--volumes-from`: whose mounts, and whether they may be written.
pub fn parse_volumes_from(text: &str) -> Result<(&str, bool)> {
    if text.is_empty() {
        return Err(Error::Invalid("volumes-from specification cannot be an empty string".to_owned()));
    }
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    // How they propagate and whether they are filled was decided when they were made.
    let own = |flag: &str| PROPAGATIONS.contains(&flag) || matches!(flag, "nocopy" | "idmap");
    if !is_mode(mode) || mode.split(',').any(own) {
        return Err(Error::Invalid(format!("invalid mode: {mode}")));
    }
    Ok((container, !mode.split(',').any(|flag| flag == "ro")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_docker_types::Empty;
    use knarr_docker_types::mount::{ImageOptions, VolumeOptions};

    fn host(binds: &[&str]) -> HostConfig {
        HostConfig { binds: binds.iter().map(|b| (*b).to_owned()).collect(), ..HostConfig::default() }
    }

    #[test]
    fn binds() {
        let row = parse_bind("/src:/dst/../dst/./x/:ro,rslave").unwrap();
        assert_eq!((row.kind, row.rw, row.propagation.as_str()), (MountKind::Bind, false, "rslave"));
        assert_eq!(row.destination, "/dst/x");
        let row = parse_bind("data:/var/lib/data:nocopy").unwrap();
        assert_eq!((row.kind, row.name.as_str(), row.no_copy), (MountKind::Volume, "data", true));
        assert_eq!(parse_bind("data:/x").unwrap().mode, "z");
        assert!(parse_bind("/data").unwrap().anonymous);
        let text = |bind: &str| parse_bind(bind).unwrap_err().to_string();
        for bad in ["", "a:ro", "/a:/b:ro:x", ":/b", "/a:"] {
            assert_eq!(text(bad), format!("invalid volume specification: '{bad}'"));
        }
        for mode in ["c", "ro,rw", "z,Z", "rslave,shared", "nocopy,nocopy"] {
            assert_eq!(text(&format!("/a:/b:{mode}")), format!("invalid mode: {mode}"));
        }
        let wrong = |bind: &str, kind: &str, why: &str| {
            assert_eq!(
                text(bind),
                format!(
                    "invalid volume specification: '{bind}': invalid mount config for type \"{kind}\": {why}"
                )
            );
        };
        wrong("a:b", "volume", "invalid mount path: 'b' mount path must be absolute");
        wrong("/a:b/../", "bind", "invalid mount path: 'b/../' mount path must be absolute");
        wrong("/a:/", "bind", "invalid specification: destination can't be '/'");
        wrong("data:/x:rslave", "volume", "field BindOptions must not be specified");
        wrong("/a:/b:nocopy", "bind", "field VolumeOptions must not be specified");
        assert!(parse_bind("rel").is_err());
    }

    #[test]
    fn volumes_of_others() {
        assert_eq!(parse_volumes_from("c").unwrap(), ("c", true));
        assert_eq!(parse_volumes_from("c:z").unwrap(), ("c", true));
        assert_eq!(parse_volumes_from("c:ro,Z").unwrap(), ("c", false));
        for mode in ["x", "nocopy", "rslave", "ro,rw"] {
            let error = parse_volumes_from(&format!("c:{mode}")).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid mode: {mode}"));
        }
        assert!(parse_volumes_from("").is_err());
    }

    #[test]
    fn the_images_volume_yields_to_what_is_asked_for() {
        let mut config = Config::default();
        config.volumes.insert("/data".into(), Empty);
        config.volumes.insert("/other".into(), Empty);
        let rows = plan(&config, &host(&["/host:/data"]), Vec::new()).unwrap();
        let kinds: Vec<_> =
            rows.iter().map(|r| (r.row.destination.as_str(), r.row.kind, r.row.anonymous)).collect();
        assert_eq!(kinds, [("/data", MountKind::Bind, false), ("/other", MountKind::Volume, true)]);
    }

    #[test]
    fn two_on_one_place_are_refused_and_depth_orders() {
        let error = plan(&Config::default(), &host(&["/a:/x", "/b:/x/"]), Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "Duplicate mount point: /x");
        let rows = plan(&Config::default(), &host(&["/a:/x/y/z", "/b:/x", "/c:/x/y"]), Vec::new()).unwrap();
        let places: Vec<_> = rows.iter().map(|r| r.row.destination.as_str()).collect();
        assert_eq!(places, ["/x", "/x/y", "/x/y/z"]);
    }

    fn mount(kind: &str, source: &str, target: &str) -> Mount {
        Mount { kind: kind.into(), source: source.into(), target: target.into(), ..Mount::default() }
    }

    #[test]
    fn mounts_of_the_api() {
        let row = from_mount(&Mount {
            tmpfs_options: Some(TmpfsOptions {
                size_bytes: 1024,
                mode: 0o1777,
                options: vec![vec!["exec".to_owned()].into()].into(),
            }),
            ..mount("tmpfs", "", "/t")
        });
        assert_eq!(row.unwrap().row.options, ["mode=1777", "size=1024", "exec"]);
        let one = from_mount(&mount("image", "busybox", "/i")).unwrap();
        assert_eq!((one.row.kind, one.row.rw, one.row.name.as_str()), (MountKind::Image, false, "busybox"));
        let mut labelled = VolumeOptions::default();
        labelled.labels.insert("a".into(), "b".into());
        labelled.driver_config.get_or_insert_default().options.insert("type".into(), "tmpfs".into());
        let one =
            from_mount(&Mount { volume_options: Some(labelled), ..mount("volume", "v", "/v") }).unwrap();
        assert_eq!((one.volume.labels["a"].as_str(), one.volume.options["type"].as_str()), ("b", "tmpfs"));
    }

    #[test]
    fn mounts_that_are_refused() {
        let text = |m: Mount| from_mount(&m).unwrap_err().to_string();
        let bind = |options: BindOptions| Mount { bind_options: Some(options), ..mount("bind", "/s", "/t") };
        let with = |subpath: &str, source: &str| Mount {
            volume_options: Some(VolumeOptions { subpath: subpath.into(), ..VolumeOptions::default() }),
            ..mount("volume", source, "/t")
        };
        let texts = [
            (mount("bind", "", "/t"), "field Source must not be empty"),
            (mount("bind", "/s", ""), "field Target must not be empty"),
            (mount("bind", "s", "/t"), "invalid mount path: 's' mount path must be absolute"),
            (mount("bind", "/s", "/"), "invalid specification: destination can't be '/'"),
            (mount("nfs", "/s", "/t"), "mount type unknown"),
            (mount("image", "", "/t"), "field Source must not be empty"),
            (mount("tmpfs", "/s", "/t"), "field Source must not be specified"),
            (with("a/../..", "v"), "subpath must be a relative path within the volume"),
            (with("a", ""), "must not set Subpath when using anonymous volumes"),
            (
                Mount { image_options: Some(ImageOptions::default()), ..mount("bind", "/s", "/t") },
                "field ImageOptions must not be specified",
            ),
            (
                bind(BindOptions { propagation: "x".into(), ..BindOptions::default() }),
                "invalid propagation mode: x",
            ),
            (
                bind(BindOptions { read_only_force_recursive: true, ..BindOptions::default() }),
                "mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive",
            ),
        ];
        for (mount, why) in texts {
            let kind = mount.kind.clone();
            assert_eq!(text(mount), format!("invalid mount config for type \"{kind}\": {why}"));
        }
        let odd: Vec<String> = vec!["uid".into(), "5".into()];
        let options = TmpfsOptions { options: vec![odd.into()].into(), ..TmpfsOptions::default() };
        let tmpfs = Mount { tmpfs_options: Some(options), ..mount("tmpfs", "", "/t") };
        assert_eq!(text(tmpfs), r#"invalid mount config for type "tmpfs": invalid option: uid"#);
        let mut asked = HostConfig::default();
        asked.tmpfs.insert("/t".into(), "size=1m,foo=bar".into());
        let error = plan(&Config::default(), &asked, Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), r#"invalid tmpfs option ["foo" "bar"]"#);
    }
}
