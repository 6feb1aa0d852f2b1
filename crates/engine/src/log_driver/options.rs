//! Options of log drivers: which are known, and how their values are read.
use knarr_base::units;
use knarr_shim_proto::LogDriver;
use std::collections::BTreeMap;

type Options = BTreeMap<String, String>;

/// Docker's limits of `local`, and of what is kept of logs that go elsewhere.
const LOCAL_MAX_SIZE: u64 = 20 << 20;
const LOCAL_MAX_FILE: u32 = 5;
/// Docker's buffer of mode `non-blocking`.
const BUFFER: u64 = 1_000_000;

const ATTRIBUTES: [&str; 5] = ["env", "env-regex", "labels", "labels-regex", "tag"];
/// Known whatever the driver is.
const OF_ALL: [&str; 6] =
    ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// What is wrong with a driver and its options, in Docker's words.
pub(crate) fn validate(driver: &str, options: &BTreeMap<String, String>) -> Result<(), String> {
    if driver == "none" {
        return Ok(());
    }
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(format!("logger: logging mode not supported: {mode}"));
    }
    if let Some(size) = options.get("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'".to_owned()
            );
        }
        binary_size(size).map_err(|why| format!("error parsing option max-buffer-size: {why}"))?;
    }
    if let Some(value) = options.get("cache-disabled").filter(|value| !value.is_empty()) {
        boolean(value).ok_or_else(|| format!("invalid value for option cache-disabled: {value}"))?;
    }
    let known: &[&str] = match driver {
        "json-file" | "local" => &["max-file", "max-size", "compress"],
        "journald" => &[],
        "syslog" => &[
            "syslog-address",
            "syslog-facility",
            "syslog-format",
            "syslog-tls-ca-cert",
            "syslog-tls-cert",
            "syslog-tls-key",
            "syslog-tls-skip-verify",
        ],
        _ => return Err(format!("logger: no log driver named '{driver}' is registered")),
    };
    for key in options.keys().map(String::as_str) {
        if !OF_ALL.contains(&key) && !ATTRIBUTES.contains(&key) && !known.contains(&key) {
            return Err(match driver {
                "local" => format!("unknown log opt '{key}' for log driver local"),
                _ => format!("unknown log opt '{key}' for {driver} log driver"),
            });
        }
    }
    for key in ["env-regex", "labels-regex"] {
        if let Some(pattern) = options.get(key).filter(|pattern| !pattern.is_empty()) {
            crate::expression::Expression::parse(pattern)
                .ok_or_else(|| format!("invalid value for {key}: {pattern:?} is no regular expression"))?;
        }
    }
    match driver {
        "json-file" => json_file(options),
        "local" => local(options, ""),
        _ => {
            local(options, "cache-")?;
            if driver == "syslog" { syslog(options) } else { Ok(()) }
        }
    }
}

fn json_file(options: &Options) -> Result<(), String> {
    let size = options.get("max-size").map(|text| decimal_size(text)).transpose();
    let size = size.map_err(|why| format!("failed to parse max-size: {why}"))?;
    if size == Some(0) {
        return Err("max-size must be a positive number".to_owned());
    }
    let files = match options.get("max-file") {
        None => 1,
        Some(text) => text
            .parse::<i64>()
            .map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", quoted(text)))?,
    };
    if files < 1 {
        return Err("max-file cannot be less than 1".to_owned());
    }
    let compress = match options.get("compress") {
        None => false,
        Some(text) => boolean(text)
            .ok_or_else(|| format!("strconv.ParseBool: parsing {}: invalid syntax", quoted(text)))?,
    };
    if compress && (files == 1 || size.is_none()) {
        return Err("compress cannot be true when max-file is less than 2 or max-size is not set".to_owned());
    }
    Ok(())
}

/// Options of `local`, and of the cache, which is the same under other names.
fn local(options: &Options, prefix: &str) -> Result<(), String> {
    let get = |key: &str| options.get(&format!("{prefix}{key}"));
    if let Some(text) = get("max-size") {
        decimal_size(text).map_err(|why| format!("invalid value for {prefix}max-size: {text}: {why}"))?;
    }
    let mut files = i64::from(LOCAL_MAX_FILE);
    if let Some(text) = get("max-file") {
        files =
            text.parse().map_err(|_| format!("invalid value for {prefix}max-file: {text}: not a number"))?;
        if files < 0 {
            return Err(format!("{prefix}max-file must not be negative"));
        }
    }
    let mut compress = None;
    if let Some(text) = get("compress") {
        compress =
            Some(boolean(text).ok_or_else(|| format!("invalid boolean value for {prefix}compress: {text}"))?);
    }
    // Docker refuses one file as well when compression was not asked for, but is the default; there is no reason to.
    if compress == Some(true) && files <= 1 {
        return Err("compression cannot be enabled when max file count is 1".to_owned());
    }
    Ok(())
}

fn syslog(options: &Options) -> Result<(), String> {
    address(options)?;
    facility(options)?;
    if !matches!(text(options, "syslog-format"), "" | "rfc3164" | "rfc5424" | "rfc5424micro") {
        return Err("Invalid syslog format".to_owned());
    }
    Ok(())
}

/// Number times eight.
pub(super) fn facility(options: &Options) -> Result<u8, String> {
    let name = match text(options, "syslog-facility") {
        "" => "daemon",
        name => name,
    };
    let known = FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = known.or_else(|| name.parse().ok().filter(|number| *number <= 23));
    number.map(|number| number << 3).ok_or_else(|| "invalid syslog facility".to_owned())
}

/// Where a syslog server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Own,
    Socket { datagram: bool, path: std::path::PathBuf },
    Network { scheme: String, host: String, port: u16 },
}

pub(super) fn address(options: &Options) -> Result<Address, String> {
    let given = text(options, "syslog-address");
    if given.is_empty() {
        return Ok(Address::Own);
    }
    let unsupported = |scheme: &str| format!("unsupported scheme: '{scheme}'");
    let (scheme, rest) = given.split_once("://").ok_or_else(|| unsupported(""))?;
    if matches!(scheme, "unix" | "unixgram") {
        let path = std::path::PathBuf::from(rest);
        std::fs::metadata(&path).map_err(|error| format!("stat {}: {}", path.display(), in_words(&error)))?;
        return Ok(Address::Socket { datagram: scheme == "unixgram", path });
    }
    if !matches!(scheme, "udp" | "tcp" | "tcp+tls") {
        return Err(unsupported(scheme));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let bad = || format!("address {authority}: invalid host or port");
    let (host, port) = match authority.strip_prefix('[') {
        Some(inside) => {
            let (host, port) = inside.split_once(']').ok_or_else(bad)?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            Some(_) => return Err(format!("address {authority}: too many colons in address")),
            None => (authority, None),
        },
    };
    let port = port.map_or(Ok(514), str::parse).map_err(|_| bad())?;
    let host = if host.is_empty() { "localhost" } else { host };
    Ok(Address::Network { scheme: scheme.to_owned(), host: host.to_owned(), port })
}

/// Of the files.
pub(super) struct Limits {
    pub max_size: Option<u64>,
    pub max_file: u32,
    pub compress: bool,
}

pub(super) fn limits(options: &Options, prefix: &str, files: LogDriver) -> Limits {
    let get = |key: &str| options.get(&format!("{prefix}{key}"));
    let size = get("max-size").and_then(|text| decimal_size(text).ok());
    let count = get("max-file").and_then(|text| text.parse::<u32>().ok());
    let compress = get("compress").and_then(|text| boolean(text));
    if files == LogDriver::JsonFile {
        let max_file = count.unwrap_or(1);
        return Limits { max_size: size, max_file, compress: compress.unwrap_or(false) };
    }
    Limits {
        max_size: Some(size.unwrap_or(LOCAL_MAX_SIZE)).filter(|size| *size > 0),
        max_file: count.unwrap_or(LOCAL_MAX_FILE),
        compress: compress.unwrap_or(true),
    }
}

pub(super) fn buffer(options: &Options) -> u64 {
    options
        .get("max-buffer-size")
        .and_then(|text| binary_size(text).ok())
        .filter(|size| *size > 0)
        .unwrap_or(BUFFER)
}

pub(super) fn flag(options: &Options, key: &str, default: bool) -> bool {
    options.get(key).and_then(|text| boolean(text)).unwrap_or(default)
}

pub(super) fn text<'a>(options: &'a Options, key: &str) -> &'a str {
    options.get(key).map_or("", String::as_str)
}

/// Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// `10m`, `1g`, `512`: in powers of 1000, as Docker reads `max-size`.
pub(crate) fn decimal_size(text: &str) -> Result<u64, String> {
    units::size(text, units::Base::Decimal)
}

/// In powers of 1024.
fn binary_size(text: &str) -> Result<u64, String> {
    units::size(text, units::Base::Binary)
}

/// An error of the operating system as Go prints it.
fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}
