//! Which proxy a request goes through. Pure, but for reading the environment.
//!
//! Standard: the rules of Go's `net/http` that Docker's daemon follows (<https://pkg.go.dev/golang.org/x/net/http/httpproxy>):
//! `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` in either case, and `ALL_PROXY` where those say nothing. Loopback is never
//! reached through a proxy.
use crate::error::{Error, Result};
use ipnet::IpNet;
use reqwest::Url;
use std::net::IpAddr;

/// Proxies as they were given, empty for none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://`: `http`, `https`, `socks5` or `socks5h` URL; without a scheme it is `http`.
    pub http: String,
    /// For `https://`.
    pub https: String,
    /// Hosts that are reached without: names with their subdomains (`.name`: subdomains alone), addresses, networks, `*`;
    /// with a port or without; separated by commas.
    pub none: String,
}

/// A proxy's URL may hold a password.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies").field("none", &self.none).finish_non_exhaustive()
    }
}

impl Proxies {
    /// What is not given is the environment's.
    pub fn or_environment(&self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| {
            let found = variable(name).or_else(|| variable(&name.to_lowercase()));
            found.filter(|value| !value.is_empty())
        };
        let pick = |given: &str, names: &[&str]| {
            if given.is_empty() {
                names.iter().find_map(|name| get(name)).unwrap_or_default()
            } else {
                given.to_owned()
            }
        };
        Self {
            http: pick(&self.http, &["HTTP_PROXY", "ALL_PROXY"]),
            https: pick(&self.https, &["HTTPS_PROXY", "ALL_PROXY"]),
            none: pick(&self.none, &["NO_PROXY"]),
        }
    }

    /// A proxy that cannot be used is an error at the start.
    pub fn check(&self) -> Result<()> {
        for given in [&self.http, &self.https] {
            proxy_url(given)?;
        }
        Ok(())
    }

    /// The proxy for a URL.
    pub fn of(&self, url: &Url) -> Option<Url> {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
        if is_loopback(host) || self.is_direct(host, url.port_or_known_default()?) {
            return None;
        }
        proxy_url(proxy).ok().flatten()
    }

    fn is_direct(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.none.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
            let (name, wanted) = name_and_port(&entry);
            if entry.is_empty() || wanted.is_some_and(|wanted| wanted != port) {
                return false;
            }
            match (address, name.parse::<IpAddr>(), name.parse::<IpNet>()) {
                _ if name == "*" => true,
                (Some(address), Ok(other), _) => address == other,
                (Some(address), _, Ok(net)) => net.contains(&address),
                (Some(_), ..) => false,
                (None, ..) => {
                    let name = name.strip_prefix('*').unwrap_or(name);
                    match name.strip_prefix('.') {
                        Some(_) => host.ends_with(name),
                        None => {
                            host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
                        }
                    }
                }
            }
        })
    }
}

/// `name:port`, `[::1]:port`, `::1`.
fn name_and_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((name, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn proxy_url(text: &str) -> Result<Option<Url>> {
    if text.is_empty() {
        return Ok(None);
    }
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&whole) {
        Ok(url) if matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") && url.has_host() => {
            // As in Go it is the proxy that resolves names.
            Ok(Url::parse(&whole.replacen("socks5://", "socks5h://", 1)).ok())
        }
        // The text may hold a password: it is not shown.
        _ => Err(Error::Config("invalid proxy: expected a http, https, socks5 or socks5h URL".to_owned())),
    }
}

pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(proxies: &Proxies, url: &str) -> String {
        proxies.of(&Url::parse(url).unwrap()).map(|url| url.to_string()).unwrap_or_default()
    }

    #[test]
    fn each_scheme_has_its_proxy_and_loopback_has_none() {
        let proxies = Proxies {
            http: "p.test:3128".into(),
            https: "socks5h://s.test:1080".into(),
            none: String::new(),
        };
        assert_eq!(through(&proxies, "http://a.test/"), "http://p.test:3128/");
        assert_eq!(through(&proxies, "https://a.test/"), "socks5h://s.test:1080");
        for direct in ["http://127.0.0.1:5000/", "https://localhost/", "http://[::1]/"] {
            assert_eq!(through(&proxies, direct), "", "{direct}");
        }
        proxies.check().unwrap();
        for bad in ["ftp://x", "http://", "socks4://x:1"] {
            assert!(Proxies { http: bad.into(), ..Proxies::default() }.check().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_hosts_that_need_none() {
        let none =
            "a.test, .sub.test,*.star.test,10.0.0.0/8,192.0.2.7,[2001:db8::1]:443,port.test:5000,fd00::/8";
        let proxies = Proxies { http: "p.test".into(), https: "p.test".into(), none: none.into() };
        for direct in [
            "https://a.test/",
            "https://A.TEST/",
            "https://x.a.test/",
            "https://x.sub.test/",
            "https://x.star.test/",
            "http://10.1.2.3:80/",
            "http://192.0.2.7/",
            "https://[2001:db8::1]/",
            "http://port.test:5000/",
            "http://[fd00::9]/",
        ] {
            assert_eq!(through(&proxies, direct), "", "{direct}");
        }
        for proxied in [
            "https://nota.test/",
            "https://sub.test/",
            "https://a.test.evil/",
            "http://11.1.2.3/",
            "http://192.0.2.8/",
            "http://[2001:db8::1]/",
            "http://port.test:5001/",
        ] {
            assert_eq!(through(&proxies, proxied), "http://p.test/", "{proxied}");
        }
        let all = Proxies { none: "*".into(), ..proxies };
        assert_eq!(through(&all, "https://anything.test/"), "");
    }

    #[test]
    fn the_environment_fills_what_is_not_given() {
        let environment = |name: &str| match name {
            "https_proxy" => Some("http://lower".to_owned()),
            "ALL_PROXY" => Some("socks5://all".to_owned()),
            "NO_PROXY" => Some("x".to_owned()),
            _ => None,
        };
        let given = Proxies { none: "mine".into(), ..Proxies::default() };
        let all = given.or_environment(environment);
        assert_eq!((&*all.http, &*all.https, &*all.none), ("socks5://all", "http://lower", "mine"));
        assert!(!format!("{all:?}").contains("lower"));
    }
}
