//! The image built into the binary: `hello-world`, as a docker-save archive made in memory.
//!
//! Format: <https://github.com/moby/docker-image-spec>. Invariant: the same binary always makes the same bytes, so
//! the image has the same id on every machine.
use sha2::{Digest, Sha256};

/// The name under which the built-in image is asked for.
pub const REFERENCE: &str = "docker.io/library/hello-world:latest";

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));
const CREATED: &str = "2026-01-01T00:00:00Z";

/// The archive that `load` takes.
pub fn archive() -> Vec<u8> {
    let layer = tar(&[("hello", PROGRAM, 0o755)]);
    let diff_id = hex(&layer);
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/hello"],
            "WorkingDir": "/",
            "Labels": { "org.opencontainers.image.description": "The image built into the knarr binary" },
        },
        "created": CREATED,
        "history": [{ "created": CREATED, "created_by": "COPY hello / # built into knarr" }],
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
    })
    .to_string()
    .into_bytes();
    let config_name = format!("{}.json", hex(&config));
    let layer_name = format!("{diff_id}/layer.tar");
    let manifest =
        serde_json::json!([{ "Config": config_name, "RepoTags": ["hello-world:latest"], "Layers": [layer_name] }])
            .to_string();
    tar(&[
        (&layer_name, &layer, 0o644),
        (&config_name, &config, 0o644),
        ("manifest.json", manifest.as_bytes(), 0o644),
    ])
}

fn tar(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, data, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1_767_225_600);
        // Writing into a Vec cannot fail, and the names above fit a ustar header.
        archive.append_data(&mut header, name, *data).expect("a short name and a Vec");
    }
    archive.into_inner().expect("a Vec takes every byte")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_the_same_every_time_and_names_what_it_holds() {
        let bytes = archive();
        assert_eq!(bytes, archive());
        let mut names = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut data = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut data).unwrap();
            if let Some(digest) = name.strip_suffix("/layer.tar").or(name.strip_suffix(".json"))
                && digest != "manifest"
            {
                assert_eq!(hex(&data), digest);
            }
            names.push(name);
        }
        assert_eq!(names.len(), 3);
        assert!(bytes.len() < 16 * 1024, "{}", bytes.len());
    }
}
