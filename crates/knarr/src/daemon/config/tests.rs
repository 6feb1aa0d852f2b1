use super::*;
use clap::Parser;
use std::path::Path;

fn flags(args: &[&str]) -> Flags {
    Flags::try_parse_from([&["knarr daemon"], args].concat()).unwrap()
}

fn both(args: &[&str], text: &str) -> Result<Config, ConfigError> {
    let f = flags(args);
    let file = parse_file(Path::new("/etc/knarr/daemon.json"), text, &given(&f))?;
    merge(f, file)
}

#[test]
fn defaults_follow_the_roots() {
    let c = both(&["--exec-root", "/tmp/x"], "").unwrap();
    assert_eq!(c.hosts, ["unix:///tmp/x/knarr.sock"]);
    assert_eq!(c.pidfile, Path::new("/tmp/x/knarr.pid"));
    assert_eq!(c.data_root, Path::new(DEFAULT_DATA_ROOT));
    assert_eq!(c.log_driver, "local");
    assert!(c.icc && c.ip_masq && c.ip_forward && c.firewall && c.tls.is_none());
}

#[test]
fn a_scope_is_a_word_or_a_list() {
    let scope = |args: &[&str], text: &str| both(args, text).map(|c| c.publish_scope);
    assert_eq!(scope(&[], "").unwrap(), ["any"]);
    assert_eq!(scope(&[], r#"{"publish-scope": "loopback"}"#).unwrap(), ["loopback"]);
    let list = r#"{"publish-scope": ["10.0.0.0/8", "fd00::/8"]}"#;
    assert_eq!(scope(&[], list).unwrap(), ["10.0.0.0/8", "fd00::/8"]);
    let flags = ["--publish-scope", "10.0.0.0/8", "--publish-scope", "192.0.2.7"];
    assert_eq!(scope(&flags, "").unwrap(), ["10.0.0.0/8", "192.0.2.7"]);
    assert!(scope(&flags, list).is_err(), "said twice");
}

#[test]
fn dockers_flag_spellings_are_taken() {
    let c = both(
        &[
            "-H",
            "unix:///a",
            "-H",
            "tcp://[::1]:1",
            "-D",
            "--icc=false",
            "--bip",
            "10.9.0.1/24",
            "--iptables",
            "--default-ulimit",
            "nofile=1:2",
            "--log-opt",
            "max-size=1m",
            "--exec-opt",
            "native.cgroupdriver=systemd",
            "--default-address-pool",
            "base=10.8.0.0/16,size=24",
            "--registry-mirror",
            "http://127.0.0.1:1",
            "--tlsverify",
            "--tlscacert",
            "/ca",
            "--tlscert",
            "/c",
            "--tlskey",
            "/k",
            "--storage-driver=overlay2",
        ],
        "{}",
    )
    .unwrap();
    assert_eq!(c.hosts.len(), 2);
    assert!(!c.icc && c.systemd_cgroup == Some(true) && c.debug);
    assert_eq!(c.default_ulimits, [Ulimit { name: "nofile".into(), soft: 1, hard: 2 }]);
    assert_eq!(c.default_address_pools, [Pool { base: "10.8.0.0/16".into(), size: 24 }]);
    assert_eq!(c.tls, Some(Tls { ca: Some("/ca".into()), cert: "/c".into(), key: "/k".into() }));
}

#[test]
fn the_file_fills_what_flags_left_open() {
    let c = both(
        &["--insecure-registry", "a:1"],
        r#"{"bip":"10.1.0.1/24","insecure-registries":["b:1"],"default-shm-size":"128m","log-opts":{"max-file":"3"},
            "default-ulimits":{"nofile":{"Name":"nofile","Soft":5,"Hard":6}},"debug":true}"#,
    )
    .unwrap();
    assert_eq!(c.bip.as_deref(), Some("10.1.0.1/24"));
    for text in [r#"{"host-gateway-ip":"10.0.0.9"}"#, r#"{"host-gateway-ips":["10.0.0.9"]}"#] {
        assert_eq!(both(&[], text).unwrap().host_gateway_ips, ["10.0.0.9"], "{text}");
    }
    let flags = ["--host-gateway-ip", "10.0.0.9", "--host-gateway-ip", "fd00::9"];
    assert_eq!(both(&flags, "").unwrap().host_gateway_ips, ["10.0.0.9", "fd00::9"]);
    assert_eq!(c.insecure_registries, ["a:1", "b:1"]);
    assert_eq!(c.default_shm_size_bytes, Some(128 << 20));
    assert_eq!(c.default_ulimits[0].hard, 6);
    assert_eq!(c.log_level, "debug");
}

#[test]
fn unknown_keys_and_directives_given_twice_are_named() {
    let unknown = both(&[], r#"{"bipp":"x","debug":true}"#).unwrap_err();
    assert!(matches!(&unknown, ConfigError::UnknownKeys { keys, .. } if keys == "bipp"), "{unknown}");
    let twice = both(&["--bip", "10.0.0.1/24"], r#"{"bip":"10.0.0.1/24"}"#).unwrap_err();
    assert!(matches!(&twice, ConfigError::Twice { keys, .. } if keys == "bip"), "{twice}");
    assert!(matches!(both(&[], "[]").unwrap_err(), ConfigError::File { .. }));
    assert!(matches!(both(&[], r#"{"mtu":"x"}"#).unwrap_err(), ConfigError::File { .. }));
}

#[test]
fn storage_drivers_have_dockers_names() {
    for (name, driver) in [
        ("", None),
        ("overlay2", Some(StorageDriver::Overlay)),
        ("overlay", Some(StorageDriver::Overlay)),
        ("btrfs", Some(StorageDriver::Btrfs)),
        ("vfs", Some(StorageDriver::Copy)),
        ("copy", Some(StorageDriver::Copy)),
    ] {
        assert_eq!(both(&["--storage-driver", name], "").unwrap().storage_driver, driver, "{name}");
    }
    let text = r#"{"storage-driver":"vfs","storage-opts":["overlay2.override_kernel_check=true"]}"#;
    assert_eq!(both(&[], text).unwrap().storage_driver, Some(StorageDriver::Copy));
    let twice = both(&["--storage-opt", "a=b"], text).unwrap_err();
    assert!(matches!(&twice, ConfigError::Twice { keys, .. } if keys == "storage-opts"), "{twice}");
}

#[test]
fn mirrors_of_prefixes_and_proxies_are_read() {
    let text = r#"{"registry-prefix-mirrors":{"ghcr.io/team":["https://m.test/cache"]},
        "proxies":{"http-proxy":"http://p:1","no-proxy":"x"},"max-concurrent-uploads":2}"#;
    let c = both(&[], text).unwrap();
    assert_eq!(c.registry_prefix_mirrors["ghcr.io/team"], ["https://m.test/cache"]);
    assert_eq!(
        (&*c.proxies.http_proxy, &*c.proxies.https_proxy, &*c.proxies.no_proxy),
        ("http://p:1", "", "x")
    );
    assert_eq!(c.max_concurrent_uploads, 2);
    let c = both(&["--https-proxy", "socks5://p:2"], "").unwrap();
    assert_eq!(c.proxies.https_proxy, "socks5://p:2");
    let twice = both(&["--no-proxy", "y"], text).unwrap_err();
    assert!(matches!(&twice, ConfigError::Twice { keys, .. } if keys == "proxies"), "{twice}");
    assert!(matches!(both(&[], r#"{"proxies":{"ftp-proxy":"x"}}"#).unwrap_err(), ConfigError::File { .. }));
}

#[test]
fn the_units_of_docker_start_it_as_they_are() {
    let c = both(&["-H", "fd://", "--containerd=/run/containerd/containerd.sock"], "").unwrap();
    assert_eq!(c.containerd.as_deref(), Some("/run/containerd/containerd.sock"));
    let words = ["--containerd-namespace", "a", "--containerd-plugins-namespace", "b"];
    assert_eq!(both(&words, "").unwrap().containerd, None);
    let file = r#"{"containerd-namespace":"a","containerd-plugin-namespace":"b"}"#;
    assert_eq!(both(&[], file).unwrap().containerd, None);
    let twice = both(&words, file).unwrap_err();
    assert!(matches!(&twice, ConfigError::Twice { .. }), "{twice}");
}

#[test]
fn a_switch_takes_a_value_and_the_last_one_counts() {
    let c = both(&["--debug", "--debug=false", "--init=true", "--iptables", "--iptables=false"], "").unwrap();
    assert!(!c.debug && c.init && !c.firewall);
    let c =
        both(&["--live-restore=false", "--tlsverify=false", "--no-new-privileges=true", "-D"], "").unwrap();
    assert!(c.debug && c.no_new_privileges && c.tls.is_none());
}

#[test]
fn runtimes_are_given_as_flags_or_in_the_file() {
    let c = both(&["--add-runtime", "crun=/usr/bin/crun", "--default-runtime", "crun"], "").unwrap();
    assert_eq!(c.runtimes["crun"].path, Path::new("/usr/bin/crun"));
    assert_eq!(c.default_runtime.as_deref(), Some("crun"));
    let text = r#"{"runtimes":{"a":{"path":"runc","runtimeArgs":["--debug"]}},"default-runtime":"a"}"#;
    let c = both(&[], text).unwrap();
    assert_eq!(c.runtimes["a"].args, ["--debug"]);
    for (args, text) in [
        (&["--add-runtime", "x"][..], ""),
        (&["--add-runtime", "x=/a", "--add-runtime", "x=/b"], ""),
        (&[], r#"{"runtimes":{"a":{}}}"#),
        (&[], r#"{"runtimes":{"a":{"path":"b/c"}}}"#),
        (&[], r#"{"runtimes":{"a":{"runtimeType":"io.containerd.kata.v2"}}}"#),
    ] {
        assert!(matches!(both(args, text).unwrap_err(), ConfigError::Invalid { .. }), "{args:?} {text}");
    }
    let twice = both(&["--add-runtime", "x=/a"], r#"{"runtimes":{}}"#).unwrap_err();
    assert!(matches!(&twice, ConfigError::Twice { keys, .. } if keys == "runtimes"), "{twice}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for args in [
        &["--data-root", "rel"][..],
        &["--storage-driver", "aufs"],
        &["--storage-driver", "fuse-overlayfs"],
        &["--storage-opt", "overlay2.size=1G"],
        &["--storage-opt", "dm.basesize=1G"],
        &["--storage-opt", "overlay2.size"],
        &["--log-level", "loud"],
        &["--tlsverify"],
        &["--tls", "--tlscert", "/c"],
        &["--default-ulimit", "nofile"],
        &["--default-shm-size", "lots"],
        &["--default-shm-size", "99999999999999g"],
        &["--exec-opt", "native.cgroupdriver=x"],
        &["--default-cgroupns-mode", "x"],
        &["--default-address-pool", "base=1"],
    ] {
        assert!(matches!(both(args, "").unwrap_err(), ConfigError::Invalid { .. }), "{args:?}");
    }
}
