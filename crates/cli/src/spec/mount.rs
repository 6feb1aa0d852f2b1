//! `--mount type=bind,source=/a,target=/b,readonly`.
use crate::flag::parse_bool;
use crate::spec::{csv, size};
use knarr_docker_types::Map;
use knarr_docker_types::mount::{BindOptions, Driver, ImageOptions, Mount, TmpfsOptions, VolumeOptions};

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_with(|| VolumeOptions {
        labels: Map::empty(),
        driver_config: Some(Driver::default()),
        ..VolumeOptions::default()
    })
}
fn driver(mount: &mut Mount) -> &mut Driver {
    volume(mount).driver_config.get_or_insert_default()
}
fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}
fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}
fn image(mount: &mut Mount) -> &mut ImageOptions {
    mount.image_options.get_or_insert_default()
}

pub fn parse(text: &str) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    for field in csv::record(text)? {
        match field.split_once('=') {
            Some((key, value)) => set(&mut mount, &field, &key.to_lowercase(), value)?,
            None => match field.to_lowercase().as_str() {
                "readonly" | "ro" => mount.read_only = true,
                "volume-nocopy" => volume(&mut mount).no_copy = true,
                "bind-nonrecursive" => bind(&mut mount).non_recursive = true,
                "bind-create-src" => bind(&mut mount).create_mountpoint = true,
                "idmap" => bind(&mut mount).id_map = true,
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            },
        }
    }
    check(&mount)?;
    Ok(mount)
}

fn set(mount: &mut Mount, field: &str, key: &str, value: &str) -> Result<(), String> {
    let invalid = || format!("invalid value for {key}: {value}");
    let boolean = || parse_bool(value).ok_or_else(invalid);
    let pair = || {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        (name.to_owned(), value.to_owned())
    };
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => mount.source = crate::spec::volume::absolute(value),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "readonly" | "ro" => mount.read_only = boolean()?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = boolean()?,
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            "readonly" => bind(mount).read_only_force_recursive = true,
            _ => {
                return Err(format!(
                    "{} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
                    invalid()
                ));
            }
        },
        "idmap" => bind(mount).id_map = boolean()?,
        "bind-create-src" | "bind-create-mountpoint" => bind(mount).create_mountpoint = boolean()?,
        "volume-subpath" => volume(mount).subpath = value.to_owned(),
        "volume-nocopy" => volume(mount).no_copy = boolean()?,
        "volume-label" => {
            let (name, value) = pair();
            if !name.is_empty() {
                volume(mount).labels.insert(name, value);
            }
        }
        "volume-driver" => driver(mount).name = value.to_owned(),
        "volume-opt" => {
            let (name, value) = pair();
            if !name.is_empty() {
                driver(mount).options.insert(name, value);
            }
        }
        "image-subpath" => image(mount).subpath = value.to_owned(),
        "tmpfs-size" => tmpfs(mount).size_bytes = size::memory(value).map_err(|_| invalid())?,
        "tmpfs-mode" => {
            let digits = !value.is_empty() && value.bytes().all(|b| matches!(b, b'0'..=b'7'));
            let mode = u32::from_str_radix(value, 8).ok().filter(|_| digits);
            tmpfs(mount).mode = mode.ok_or_else(invalid)?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn check(mount: &Mount) -> Result<(), String> {
    if mount.kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    for (given, options, kind) in [
        (mount.volume_options.is_some(), "volume", "volume"),
        (mount.image_options.is_some(), "image", "image"),
        (mount.bind_options.is_some(), "bind", "bind"),
        (mount.tmpfs_options.is_some(), "tmpfs", "tmpfs"),
    ] {
        if given && mount.kind != kind {
            return Err(format!("cannot mix '{options}-*' options with mount type '{}'", mount.kind));
        }
    }
    let Some(bind) = &mount.bind_options else { return Ok(()) };
    if bind.read_only_non_recursive && !mount.read_only {
        return Err(
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction".into()
        );
    }
    if bind.read_only_force_recursive && !mount.read_only {
        return Err(
            "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction".into()
        );
    }
    if bind.read_only_force_recursive && bind.propagation != "rprivate" {
        return Err(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
                .into(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn keys_and_their_other_names() {
        for text in [
            "type=bind,source=/a,target=/b,readonly",
            "type=bind,src=/a,dst=/b,ro",
            "TYPE=bind,src=/a,destination=/b,readonly=true",
            "type=bind,src=/a,destination=/b,ro=1",
        ] {
            let mount = parse(text).unwrap();
            assert_eq!(
                (mount.kind.as_str(), mount.source.as_str(), mount.target.as_str()),
                ("bind", "/a", "/b")
            );
            assert!(mount.read_only, "{text}");
        }
        assert_eq!(parse("dst=/b").unwrap().kind, "volume");
        let made = parse("type=bind,src=/a,dst=/b,bind-create-src").unwrap();
        assert!(made.bind_options.unwrap().create_mountpoint);
        let volume =
            parse("dst=/b,src=v,volume-opt=type=nfs,\"volume-opt=o=addr=1.2.3.4,rw\",volume-label=a=b");
        let options = volume.unwrap().volume_options.unwrap();
        assert_eq!(options.driver_config.unwrap().options["o"], "addr=1.2.3.4,rw");
        assert_eq!(options.labels["a"], "b");
        let tmpfs = parse("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap().tmpfs_options.unwrap();
        assert_eq!((tmpfs.size_bytes, tmpfs.mode), (1 << 20, 0o1770));
        let image = parse("type=image,source=busybox,target=/i,image-subpath=bin").unwrap();
        assert_eq!(image.image_options.unwrap().subpath, "bin");
    }

    #[test]
    fn how_deep_read_only_goes() {
        let bind = |how: &str| parse(&format!("type=bind,src=/a,dst=/b,ro,bind-recursive={how}"));
        assert_eq!(bind("enabled").unwrap().bind_options, None);
        assert!(bind("disabled").unwrap().bind_options.unwrap().non_recursive);
        assert!(bind("writable").unwrap().bind_options.unwrap().read_only_non_recursive);
        let forced = parse("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate");
        assert!(forced.unwrap().bind_options.unwrap().read_only_force_recursive);
        assert!(bind("readonly").unwrap_err().contains("requires 'bind-propagation=rprivate'"));
        assert!(bind("x").unwrap_err().starts_with("invalid value for bind-recursive: x"));
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(refused("type=bind,src=/a"), "target is required");
        assert_eq!(refused("type=bind,foo=/a"), "unexpected key 'foo' in 'foo=/a'");
        assert_eq!(refused("type=bind,foo"), "invalid field 'foo' must be a key=value pair");
        assert_eq!(refused("type=bind,dst=/b,ro=x"), "invalid value for ro: x");
        assert_eq!(
            refused("type=bind,src=/a,dst=/b,volume-nocopy"),
            "cannot mix 'volume-*' options with mount type 'bind'"
        );
        assert_eq!(refused("type=tmpfs,dst=/b,tmpfs-mode=9"), "invalid value for tmpfs-mode: 9");
    }
}
