//! Where fuzzing begins: honest examples of each kind of input, small.
use knarr_snapshot::{Entry, EntryKind, TarWriter};
use std::io::Write;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Examples for a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|t| t.as_bytes().to_vec()).collect::<Vec<_>>();
    match target {
        "reference" => texts(&[
            "nginx",
            "nginx:1.2",
            "host.example:5000/a/b_c-d.e:tag",
            "[::1]:5000/x",
            "localhost/x",
            &format!("a/b:c@{DIGEST}"),
        ]),
        "digest" => texts(&[DIGEST, &format!("sha512:{}", "0".repeat(128))]),
        "manifest" | "index" => texts(&[&manifest(), &index()]),
        "config" => texts(&[&config()]),
        "seccomp" => texts(&[SECCOMP]),
        "spec" => texts(&[SPEC]),
        "frame" => vec![b"\x02\0\0\0{}\x04\0\0\0null".to_vec(), b"\x05\0\0\0[1,2]\xff\xff\xff\xff".to_vec()],
        // An address of `web.front`, by a client with EDNS.
        "dns" => vec![
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x03web\x05front\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0"
                .to_vec(),
        ],
        "tar" | "sealed-tar" => vec![tar(), sparse(), long()],
        "compressed" => compressed(),
        _ => vec![
            // A directory, a link in it, a file through the link, whiteouts, an opaque mark, a hard link.
            b"\0\0\x01\x0f\x43\x03\x02\x02\xc3\x23\0\x01\x07\0\0\0\x4a\x0a\0\0\x01\0\x03\0".to_vec(),
            (0..96).collect(),
        ],
    }
}

fn manifest() -> String {
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{DIGEST}","size":0}},"layers":[{{"mediaType":"{layer}","digest":"{DIGEST}","size":7,"annotations":{{"a":"b"}}}}],"subject":null,"annotations":{{"k":"v"}}}}"#
    )
}

fn index() -> String {
    format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{DIGEST}","size":9,"platform":{{"os":"linux","architecture":"arm64","variant":"v8","os.features":["x"]}}}}]}}"#
    )
}

fn config() -> String {
    format!(
        r#"{{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","author":null,"config":{{"User":"a","Env":["PATH=/bin","X"],"Cmd":"sh","Entrypoint":["e"],"ExposedPorts":{{"80/tcp":{{}}}},"Volumes":{{"/v":{{}}}},"Labels":{{"l":"m"}},"Healthcheck":{{"Test":["CMD","x"],"Interval":1,"Retries":2}},"StopSignal":"TERM","StopTimeout":3,"Shell":["s"],"OnBuild":[]}},"history":[{{"created_by":"x","empty_layer":true}}],"rootfs":{{"type":"layers","diff_ids":["{DIGEST}"]}}}}"#
    )
}

const SECCOMP: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"},"excludes":{"arches":["s390x"]}}]}"#;
const SPEC: &str = r#"{"ociVersion":"1.2.0","process":{"terminal":true,"user":{"uid":1,"gid":2,"additionalGids":[3]},"args":["sh"],"env":["A=b"],"cwd":"/","capabilities":{"bounding":["CAP_KILL"]},"rlimits":[{"type":"RLIMIT_NOFILE","hard":1,"soft":1}]},"root":{"path":"rootfs","readonly":true},"hostname":"h","mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid"]}],"hooks":{"prestart":[{"path":"/x","args":["x"],"timeout":1}]},"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/x"}],"uidMappings":[{"containerID":0,"hostID":1,"size":2}],"resources":{"devices":[{"allow":false,"access":"rwm"}],"memory":{"limit":1},"cpu":{"shares":2}},"maskedPaths":["/proc/kcore"]},"annotations":{"a":"b"}}"#;

fn written(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, data) in entries {
        let _ = writer.entry(entry, &mut &**data);
    }
    writer.finish().unwrap_or_default()
}

fn tar() -> Vec<u8> {
    let entry = |kind, path: &str, size| Entry::new(kind, path.into(), 0o644, size, 7);
    let link = |kind, path| {
        let mut link = entry(kind, path, 0);
        link.link = b"dir/file".to_vec();
        link
    };
    let mut null = entry(EntryKind::CharDevice, "null", 0);
    null.device = (1, 3);
    written(&[
        (entry(EntryKind::Directory, "dir/", 0), b""),
        (entry(EntryKind::File, "dir/file", 5), b"hello"),
        (link(EntryKind::HardLink, "hard"), b""),
        (link(EntryKind::Symlink, "soft"), b""),
        (null, b""),
    ])
}

fn long() -> Vec<u8> {
    let mut entry = Entry::new(EntryKind::File, "long/".repeat(60).into_bytes(), 0o600, 3, -9);
    entry.path.push(b'f');
    entry.uid = 3_000_000;
    entry.xattrs = vec![(b"user.x".to_vec(), b"a\0=\n".to_vec())];
    written(&[(entry, b"abc")])
}

/// Old GNU format, made of an honest entry.
fn sparse() -> Vec<u8> {
    let mut bytes = written(&[(Entry::new(EntryKind::File, b"holes".to_vec(), 0o644, 3, 1), b"abc")]);
    bytes[156] = b'S';
    bytes[257..265].copy_from_slice(b"ustar  \0");
    for (at, value) in [(386, 512u32), (398, 3), (483, 1000)] {
        bytes[at..at + 12].copy_from_slice(format!("{value:011o}\0").as_bytes());
    }
    bytes
}

fn compressed() -> Vec<Vec<u8>> {
    let text = b"some text, some text, some text";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let _ = gzip.write_all(text);
    let bzip2 = b"BZh91AY&SY\x13\xe4\xc7\xee\0\0\x01\x91\x80@\0\x02\x1d\x80\x20\0\x22\x06\x9a3S\x0c\x98\x85\x8b\xc5\xdc\x91N\x14$\x04\xf91\xfb\x80";
    let xz = b"\xfd7zXZ\0\0\x01i\"\xde6\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x01hi\0\0\0\xf3\x8c\xb1\xfc\0\x01\x16\x02\xfb\xb4!\xf3\x90B\x99\r\x01\0\0\0\0\x01YZ";
    vec![
        gzip.finish().unwrap_or_default(),
        zstd::encode_all(&text[..], 3).unwrap_or_default(),
        bzip2.to_vec(),
        xz.to_vec(),
    ]
}
