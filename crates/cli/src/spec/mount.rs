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
        "bind-create-mountpoint" => bind(mount).create_mountpoint = boolean()?,
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
