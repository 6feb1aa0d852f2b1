use super::options::{self, Address, decimal_size, validate};
use super::*;

fn options(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn refused(driver: &str, list: &[(&str, &str)]) -> String {
    validate(driver, &options(list)).unwrap_err()
}

#[test]
fn sizes_are_decimal_as_dockers() {
    for (text, bytes) in [
        ("10m", 10_000_000),
        ("1g", 1_000_000_000),
        ("512", 512),
        ("5kb", 5000),
        ("20MB", 20_000_000),
        ("1.5k", 1500),
        ("2 GiB", 2_000_000_000),
    ] {
        assert_eq!(decimal_size(text), Ok(bytes), "{text}");
    }
    for bad in ["", "m", "x", "1x", "-5", "99999999999999999999g", "1e3"] {
        assert!(decimal_size(bad).is_err(), "{bad}");
    }
}

#[test]
fn options_are_refused_in_dockers_words() {
    let texts = [
        refused("splunk", &[]),
        refused("json-file", &[("x", "1")]),
        refused("local", &[("x", "1")]),
        refused("journald", &[("max-size", "1m")]),
        refused("syslog", &[("max-file", "1")]),
        refused("local", &[("mode", "sometimes")]),
        refused("local", &[("max-buffer-size", "1m")]),
        refused("local", &[("mode", "non-blocking"), ("max-buffer-size", "lots")]),
        refused("json-file", &[("max-size", "lots")]),
        refused("json-file", &[("max-size", "0")]),
        refused("json-file", &[("max-file", "0")]),
        refused("json-file", &[("compress", "true")]),
        refused("local", &[("max-file", "1"), ("compress", "true")]),
        refused("local", &[("max-file", "-1")]),
        refused("syslog", &[("syslog-address", "http://a")]),
        refused("syslog", &[("syslog-address", "unix:///does/not/exist")]),
        refused("syslog", &[("syslog-facility", "24")]),
        refused("syslog", &[("syslog-format", "rfc1")]),
        refused("syslog", &[("cache-disabled", "perhaps")]),
        refused("local", &[("labels-regex", "(")]),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn what_docker_takes_is_taken() {
    for (driver, list) in [
        ("none", &[("whatever", "x")][..]),
        ("local", &[("max-size", "10m"), ("max-file", "1"), ("labels", "a,b"), ("tag", "{{.Name}}")]),
        ("json-file", &[("max-size", "1k"), ("max-file", "3"), ("compress", "true"), ("env-regex", "^A")]),
        ("journald", &[("tag", "x"), ("mode", "non-blocking"), ("max-buffer-size", "4m")]),
        (
            "syslog",
            &[("syslog-address", "tcp+tls://h:1"), ("syslog-facility", "local3"), ("cache-max-size", "1m")],
        ),
    ] {
        validate(driver, &options(list)).unwrap();
    }
}

#[test]
fn addresses_of_syslog_servers() {
    let address = |text: &str| options::address(&options_of(text));
    let network = |scheme: &str, host: &str, port| {
        Ok(Address::Network { scheme: scheme.to_owned(), host: host.to_owned(), port })
    };
    assert_eq!(address(""), Ok(Address::Own));
    assert_eq!(address("udp://logs.test"), network("udp", "logs.test", 514));
    assert_eq!(address("tcp://[::1]:99"), network("tcp", "::1", 99));
    assert_eq!(address("tcp+tls://10.0.0.1:6514"), network("tcp+tls", "10.0.0.1", 6514));
    assert!(address("udp://a:b:c").is_err() && address("udp://a:x").is_err());
}

fn options_of(address: &str) -> BTreeMap<String, String> {
    options(&[("syslog-address", address)])
}

#[test]
fn defaults_are_those_of_the_same_driver() {
    let defaults = options(&[("max-size", "1m"), ("cache-max-file", "2")]);
    let mut same = host_config::LogConfig::default();
    same.config.insert("max-size".to_owned(), "2m".to_owned());
    merge(&mut same, "local", &defaults);
    assert_eq!((same.kind.as_str(), same.config["max-size"].as_str()), ("local", "2m"));
    let mut other = host_config::LogConfig { kind: "syslog".to_owned(), ..Default::default() };
    merge(&mut other, "local", &defaults);
    assert_eq!(other.config.into_inner(), options(&[("cache-max-file", "2")]));
}

#[test]
fn names_of_the_journal() {
    for (name, valid) in [("com.example/a-b", "COM_EXAMPLE_A_B"), ("__x1", "X1"), ("é", "")] {
        assert_eq!(target::journal_name(name), valid);
    }
}
