//! The container's `/etc/resolv.conf`
//! ([resolv.conf(5)](https://man7.org/linux/man-pages/man5/resolv.conf.5.html)), as Docker writes it. Pure.
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// Path of the host's file.
pub const HOST_PATH: &str = "/etc/resolv.conf";
/// Where systemd-resolved keeps the servers behind its stub 127.0.0.53.
pub const RESOLVED_PATH: &str = "/run/systemd/resolve/resolv.conf";
/// Used when nothing usable is known, as Docker does.
pub const FALLBACK_SERVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];

/// How the container sees the host's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Shares the host's network: the host's file serves as it is.
    Host,
    /// Own network: servers on the host's loopback are out of reach.
    Own,
}

/// `--dns`, `--dns-search`, `--dns-opt` of the container, or else of the daemon; empty lists are not set.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// Whether the host's file has nothing but systemd-resolved's stub, so that `RESOLVED_PATH` should be read instead.
pub fn is_resolved_stub(host: &str) -> bool {
    let file = File::parse(host);
    !file.servers.is_empty() && file.servers.iter().all(|s| *s == "127.0.0.53")
}

/// The container's file. `host` is the text of the host's file.
pub fn render(host: &str, choice: &Choice, reach: Reach) -> String {
    let untouched = choice.servers.is_empty() && choice.search.is_empty() && choice.options.is_empty();
    if reach == Reach::Host && untouched {
        return host.to_owned();
    }
    let file = File::parse(host);
    let servers: Vec<String> = if choice.servers.is_empty() {
        usable(&file.servers, reach)
    } else {
        choice.servers.iter().map(ToString::to_string).collect()
    };
    let search: Vec<&str> = match choice.search.as_slice() {
        [] => file.search,
        [dot] if dot == "." => Vec::new(),
        given => given.iter().map(String::as_str).collect(),
    };
    let options = if choice.options.is_empty() {
        file.options
    } else {
        choice.options.iter().map(String::as_str).collect()
    };
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (keyword, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{keyword} {}", words.join(" "));
        }
    }
    text
}

/// The host's servers that the container reaches.
fn usable(servers: &[&str], reach: Reach) -> Vec<String> {
    let reachable = |text: &&&str| match text.parse::<IpAddr>() {
        Ok(ip) => reach == Reach::Host || (ip.is_ipv4() && !ip.is_loopback() && !ip.is_unspecified()),
        Err(_) => reach == Reach::Host,
    };
    let found: Vec<String> = servers.iter().filter(reachable).map(|s| (*s).to_owned()).collect();
    if found.is_empty() { FALLBACK_SERVERS.iter().map(ToString::to_string).collect() } else { found }
}

#[derive(Default)]
struct File<'a> {
    servers: Vec<&'a str>,
    search: Vec<&'a str>,
    options: Vec<&'a str>,
}

impl<'a> File<'a> {
    fn parse(text: &'a str) -> Self {
        let mut file = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => file.servers.extend(words.next()),
                // The last of `domain` and `search` wins.
                Some("search" | "domain") => file.search = words.collect(),
                Some("options") => file.options.extend(words),
                _ => {}
            }
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# from DHCP\ndomain old.example\nnameserver 192.0.2.53 ; first\nnameserver ::1\n\
                        nameserver 127.0.0.1\nnameserver fd00::53\nsearch a.example b.example\noptions edns0\noptions ndots:2\n";

    #[test]
    fn what_the_container_cannot_reach_is_left_out() {
        assert_eq!(
            render(HOST, &Choice::default(), Reach::Own),
            "nameserver 192.0.2.53\nsearch a.example b.example\noptions edns0 ndots:2\n"
        );
        assert_eq!(render(HOST, &Choice::default(), Reach::Host), HOST, "untouched");
    }

    #[test]
    fn without_any_server_the_public_ones_serve() {
        for host in ["", "nameserver 127.0.0.1\n", "garbage\0\nnameserver\nnameserver x\n"] {
            assert_eq!(
                render(host, &Choice::default(), Reach::Own),
                "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
            );
        }
    }

    #[test]
    fn the_users_choice_wins_piece_by_piece() {
        let servers = Choice { servers: vec!["127.0.0.1".parse().unwrap()], ..Choice::default() };
        assert_eq!(
            render(HOST, &servers, Reach::Own),
            "nameserver 127.0.0.1\nsearch a.example b.example\noptions edns0 ndots:2\n"
        );
        let none = Choice { search: vec![".".into()], options: vec!["ndots:3".into()], ..Choice::default() };
        assert_eq!(render(HOST, &none, Reach::Own), "nameserver 192.0.2.53\noptions ndots:3\n");
        let on_host = Choice { search: vec!["c.example".into()], ..Choice::default() };
        assert!(render(HOST, &on_host, Reach::Host).starts_with("nameserver 192.0.2.53\nnameserver ::1\n"));
    }

    #[test]
    fn the_stub_of_systemd_resolved_is_known() {
        assert!(is_resolved_stub("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n"));
        assert!(!is_resolved_stub("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"));
        assert!(!is_resolved_stub(""));
    }
}
