//! From `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's volumes to one list of mounts. Pure.
use crate::error::{Error, Result};
use crate::record::{MountKind, MountRow};
use knarr_docker_types::container_config::Config;
use knarr_docker_types::host_config::HostConfig;
use knarr_docker_types::mount::{BindOptions, Mount, TmpfsOptions};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Most mounts of one container.
const MAX_MOUNTS: usize = 1000;

/// All mounts of a container. `from` are the mounts of the `--volumes-from` containers, in order. Later kinds win over
/// earlier ones as with Docker: volumes-from, then `-v`, then `--mount`; the image's volumes only where nothing else is.
pub fn plan(config: &Config, host: &HostConfig, from: Vec<MountRow>) -> Result<Vec<MountRow>> {
    let mut rows: BTreeMap<String, MountRow> = BTreeMap::new();
    for row in from {
        rows.insert(row.destination.clone(), row);
    }
    let mut given: BTreeMap<String, MountRow> = BTreeMap::new();
    let asked = host.binds.iter().map(|text| parse_bind(text)).chain(host.mounts.iter().map(from_mount));
    for row in asked {
        let row = row?;
        let destination = row.destination.clone();
        if given.insert(destination.clone(), row).is_some() || host.tmpfs.contains_key(&destination) {
            return Err(Error::Invalid(format!("Duplicate mount point: {destination}")));
        }
    }
    for (destination, options) in &host.tmpfs {
        let mut row = MountRow::new(MountKind::Tmpfs, &clean_destination(destination)?);
        row.options = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
        row.rw = !row.options.iter().any(|o| o == "ro");
        row.unlisted = true;
        given.insert(row.destination.clone(), row);
    }
    rows.extend(given);
    for (destination, _) in &config.volumes {
        let (destination, row) = image_volume(destination)?;
        rows.entry(destination).or_insert(row);
    }
    if rows.len() > MAX_MOUNTS {
        return Err(Error::Invalid(format!("too many mounts: {}, at most {MAX_MOUNTS}", rows.len())));
    }
    // By depth, so that a mount never hides one that was made before it.
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| row.destination.matches('/').count());
    Ok(rows)
}

/// `VOLUME /path` of the image, or `-v /path`.
fn image_volume(destination: &str) -> Result<(String, MountRow)> {
    let destination = clean_destination(destination)?;
    let row = MountRow { anonymous: true, ..MountRow::new(MountKind::Volume, &destination) };
    Ok((destination, row))
}

/// `[source:]destination[:mode]`.
pub fn parse_bind(text: &str) -> Result<MountRow> {
    let invalid = || Error::Invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts.as_slice() {
        [destination] => return Ok(image_volume(destination)?.1),
        [source, destination] => (*source, *destination, ""),
        [source, destination, mode] => (*source, *destination, *mode),
        _ => return Err(invalid()),
    };
    if source.is_empty() || destination.is_empty() {
        return Err(invalid());
    }
    if !destination.starts_with('/') {
        let why = format!("{} mount path must be absolute", quoted(destination));
        return Err(Error::Invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{}\": invalid mount path: {why}",
            if source.starts_with('/') { "bind" } else { "volume" }
        )));
    }
    let is_path = source.starts_with('/');
    let kind = if is_path { MountKind::Bind } else { MountKind::Volume };
    let mut row = MountRow::new(kind, &clean_destination(destination)?);
    if is_path {
        row.source = PathBuf::from(source);
        row.create_source = true;
    } else {
        row.name = source.to_owned();
    }
    // As Docker shows a named volume without a mode.
    let mode = if !is_path && mode.is_empty() { "z" } else { mode };
    apply_mode(&mut row, mode, text)?;
    Ok(row)
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// `ro`, `rw`, a propagation, `nocopy`, SELinux and consistency flags that mean nothing here.
fn apply_mode(row: &mut MountRow, mode: &str, text: &str) -> Result<()> {
    mode.clone_into(&mut row.mode);
    for flag in mode.split(',').filter(|flag| !flag.is_empty()) {
        match flag {
            "ro" => row.rw = false,
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "idmap" if row.kind == MountKind::Bind => row.id_map = true,
            "nocopy" if row.kind == MountKind::Volume => row.no_copy = true,
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate"
                if row.kind == MountKind::Bind =>
            {
                flag.clone_into(&mut row.propagation);
            }
            _ => {
                return Err(Error::Invalid(format!(
                    "invalid volume specification: '{text}': invalid mode: {mode}"
                )));
            }
        }
    }
    Ok(())
}

/// One element of `Mounts`.
fn from_mount(mount: &Mount) -> Result<MountRow> {
    let kind = mount.kind.as_str();
    let bad = |why: String| Error::Invalid(format!("invalid mount config for type \"{kind}\": {why}"));
    if mount.target.is_empty() {
        return Err(bad("field Target must not be empty".into()));
    }
    if !mount.target.starts_with('/') {
        return Err(bad(format!("invalid mount path: '{}' mount path must be absolute", mount.target)));
    }
    let destination = clean_destination(&mount.target)?;
    let row = match kind {
        "bind" => bind(mount, &destination).map_err(bad)?,
        "volume" => volume(mount, &destination).map_err(bad)?,
        "tmpfs" => tmpfs(mount, &destination).map_err(bad)?,
        "image" | "npipe" | "cluster" => return Err(Error::NotImplemented(format!("mount type {kind}"))),
        _ => return Err(Error::Invalid(format!("mount type unknown: \"{kind}\""))),
    };
    Ok(row)
}

fn bind(mount: &Mount, destination: &str) -> Result<MountRow, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".into());
    }
    if !mount.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    if mount.volume_options.is_some() || mount.tmpfs_options.is_some() {
        return Err("field VolumeOptions must not be specified".into());
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let BindOptions {
        propagation, non_recursive, create_mountpoint, read_only_non_recursive, id_map, ..
    } = options;
    if !matches!(
        propagation.as_str(),
        "" | "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave"
    ) {
        return Err(format!("invalid propagation mode: {propagation}"));
    }
    Ok(MountRow {
        source: PathBuf::from(&mount.source),
        rw: !mount.read_only,
        propagation,
        recursive: !non_recursive,
        read_only_top_only: read_only_non_recursive,
        create_source: create_mountpoint,
        id_map,
        ..MountRow::new(MountKind::Bind, destination)
    })
}

fn volume(mount: &Mount, destination: &str) -> Result<MountRow, String> {
    if mount.bind_options.is_some() || mount.tmpfs_options.is_some() {
        return Err("field BindOptions must not be specified".into());
    }
    let options = mount.volume_options.clone().unwrap_or_default();
    if !options.subpath.is_empty() && !is_local(&options.subpath) {
        return Err("subpath must be a relative path within the volume".into());
    }
    Ok(MountRow {
        name: mount.source.clone(),
        anonymous: mount.source.is_empty(),
        rw: !mount.read_only,
        no_copy: options.no_copy,
        subpath: options.subpath,
        mode: "z".to_owned(),
        ..MountRow::new(MountKind::Volume, destination)
    })
}

fn is_local(path: &str) -> bool {
    !path.starts_with('/') && path.split('/').all(|part| part != "..")
}

fn tmpfs(mount: &Mount, destination: &str) -> Result<MountRow, String> {
    if !mount.source.is_empty() {
        return Err("field Source must not be specified".into());
    }
    let TmpfsOptions { size_bytes, mode, options } = mount.tmpfs_options.clone().unwrap_or_default();
    let mut texts = Vec::new();
    if size_bytes > 0 {
        texts.push(format!("size={size_bytes}"));
    }
    if mode != 0 {
        texts.push(format!("mode={mode:o}"));
    }
    for option in &options {
        texts.push(option.join("="));
    }
    if mount.read_only {
        texts.push("ro".to_owned());
    }
    Ok(MountRow { rw: !mount.read_only, options: texts, ..MountRow::new(MountKind::Tmpfs, destination) })
}

/// The path without `.`, `..` and double slashes; never the root.
fn clean_destination(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Error::Invalid(format!("invalid mount path: '{path}' mount path must be absolute")));
    }
    if path.contains('\0') {
        return Err(Error::Invalid("invalid mount path: NUL byte".to_owned()));
    }
    let clean = clean_path(path);
    if clean == "/" {
        return Err(Error::Invalid("invalid specification: destination can't be '/'".to_owned()));
    }
    Ok(clean)
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

/// `container[:mode]` of `--volumes-from`.
pub fn parse_volumes_from(text: &str) -> Result<(&str, bool)> {
    match text.split_once(':') {
        None if !text.is_empty() => Ok((text, true)),
        Some((container, "rw" | "z" | "Z")) if !container.is_empty() => Ok((container, true)),
        Some((container, "ro" | "ro,z" | "ro,Z")) if !container.is_empty() => Ok((container, false)),
        Some((_, mode)) => Err(Error::Invalid(format!("invalid mode: {mode}"))),
        None => Err(Error::Invalid("malformed volumes-from specification: ".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_docker_types::Empty;

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
        assert!(parse_bind("/data").unwrap().anonymous);
        for bad in
            ["", "a:b", "/a:/b:c", "/a:/b:ro:x", ":/b", "/a:", "/a:/", "/a:/b/..", "data:/x:rslave", "rel"]
        {
            assert!(parse_bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_images_volume_yields_to_what_is_asked_for() {
        let mut config = Config::default();
        config.volumes.insert("/data".into(), Empty);
        config.volumes.insert("/other".into(), Empty);
        let rows = plan(&config, &host(&["/host:/data"]), Vec::new()).unwrap();
        let kinds: Vec<_> = rows.iter().map(|r| (r.destination.as_str(), r.kind, r.anonymous)).collect();
        assert_eq!(kinds, [("/data", MountKind::Bind, false), ("/other", MountKind::Volume, true)]);
    }

    #[test]
    fn two_on_one_place_are_refused_and_depth_orders() {
        let error = plan(&Config::default(), &host(&["/a:/x", "/b:/x/"]), Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "Duplicate mount point: /x");
        let rows = plan(&Config::default(), &host(&["/a:/x/y/z", "/b:/x", "/c:/x/y"]), Vec::new()).unwrap();
        assert_eq!(rows.iter().map(|r| r.destination.as_str()).collect::<Vec<_>>(), ["/x", "/x/y", "/x/y/z"]);
    }

    #[test]
    fn mounts_of_the_api() {
        let mount = |kind: &str, source: &str, target: &str| Mount {
            kind: kind.into(),
            source: source.into(),
            target: target.into(),
            ..Mount::default()
        };
        let row = from_mount(&Mount {
            tmpfs_options: Some(TmpfsOptions { size_bytes: 1024, mode: 0o1777, ..Default::default() }),
            ..mount("tmpfs", "", "/t")
        });
        assert_eq!(row.unwrap().options, ["size=1024", "mode=1777"]);
        let text = |m: Mount| from_mount(&m).unwrap_err().to_string();
        assert_eq!(
            text(mount("bind", "", "/t")),
            r#"invalid mount config for type "bind": field Source must not be empty"#
        );
        assert_eq!(
            text(mount("bind", "/s", "")),
            r#"invalid mount config for type "bind": field Target must not be empty"#
        );
        assert_eq!(text(mount("nfs", "/s", "/t")), r#"mount type unknown: "nfs""#);
    }
}
