//! The container's `/etc/hosts`, as Docker writes it
//! ([hosts(5)](https://man7.org/linux/man-pages/man5/hosts.5.html)). Pure but
//! for `loopback_has_ipv6`.
use std::fmt::Write;
use std::net::IpAddr;

/// Whether containers have IPv6 on their loopback: the kernel has it.
pub fn loopback_has_ipv6() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").exists()
}

/// What the file is made of.
#[derive(Debug, Clone, Default)]
pub struct HostsFile<'a> {
    /// `loopback_has_ipv6()`; without it the IPv6 names are left out.
    pub ipv6: bool,
    pub hostname: &'a str,
    pub domainname: &'a str,
    /// Addresses of the container's endpoints.
    pub addresses: Vec<IpAddr>,
    /// `--add-host`, already split (`parse_extra_host`).
    pub extra: Vec<(String, IpAddr)>,
    /// Other containers that it is linked to on the default bridge: address and names.
    pub peers: Vec<(IpAddr, Vec<String>)>,
}

impl HostsFile<'_> {
    pub fn render(&self) -> String {
        let mut text = String::from("127.0.0.1\tlocalhost\n");
        if self.ipv6 {
            text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
            text.push_str("fe00::\tip6-localnet\nff00::\tip6-mcastprefix\n");
            text.push_str("ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
        }
        let shown = |address: &IpAddr| self.ipv6 || address.is_ipv4();
        for (name, address) in self.extra.iter().filter(|(_, address)| shown(address)) {
            let _ = writeln!(text, "{address}\t{name}");
        }
        for address in self.addresses.iter().filter(|address| shown(address)) {
            text.push_str(&self.own_line(*address));
        }
        for (address, names) in self.peers.iter().filter(|(address, _)| shown(address)) {
            let _ = writeln!(text, "{address}\t{}", names.join(" "));
        }
        text
    }

    /// The line of one of the container's addresses.
    pub fn own_line(&self, address: IpAddr) -> String {
        format!("{address}\t{}\n", self.own_names())
    }

    /// The full name first, then the short one.
    fn own_names(&self) -> String {
        let full = match self.domainname {
            "" => self.hostname.to_owned(),
            domain => format!("{}.{domain}", self.hostname),
        };
        match full.split_once('.') {
            Some((short, _)) if !short.is_empty() => format!("{full} {short}"),
            _ => full,
        }
    }

    /// The file without the lines of addresses that the container has no more. What else is in it, whoever wrote it, stays.
    pub fn without(&self, text: &str, addresses: &[IpAddr]) -> String {
        let gone: Vec<String> = addresses.iter().map(|address| self.own_line(*address)).collect();
        text.split_inclusive('\n').filter(|line| !gone.iter().any(|gone| gone == line)).collect()
    }
}

/// Why an `--add-host` is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidExtraHost {
    #[error("bad format for add-host: {0:?}")]
    Format(String),
    #[error("invalid IP address in add-host: {0:?}")]
    Address(String),
    #[error("unable to derive the IP value for host-gateway")]
    NoGateway,
}

/// Splits `name:address` or `name=address`; `host-gateway` stands for all of `gateways`.
pub fn parse_extra_host(text: &str, gateways: &[IpAddr]) -> Result<Vec<(String, IpAddr)>, InvalidExtraHost> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| InvalidExtraHost::Format(text.to_owned()))?;
    if address == "host-gateway" {
        let all: Vec<_> = gateways.iter().map(|ip| (name.to_owned(), *ip)).collect();
        return if all.is_empty() { Err(InvalidExtraHost::NoGateway) } else { Ok(all) };
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let ip = bare.parse().map_err(|_| InvalidExtraHost::Address(address.to_owned()))?;
    Ok(vec![(name.to_owned(), ip)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> HostsFile<'static> {
        HostsFile {
            ipv6: true,
            hostname: "web",
            domainname: "",
            addresses: vec!["172.17.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            extra: vec![
                ("foo".to_owned(), "1.2.3.4".parse().unwrap()),
                ("foo".to_owned(), "::9".parse().unwrap()),
            ],
            peers: vec![("172.17.0.3".parse().unwrap(), vec!["db".to_owned(), "0123456789ab".to_owned()])],
        }
    }

    #[test]
    fn as_docker_writes_it() {
        insta::assert_snapshot!(file().render(), @r"
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::	ip6-localnet
        ff00::	ip6-mcastprefix
        ff02::1	ip6-allnodes
        ff02::2	ip6-allrouters
        1.2.3.4	foo
        ::9	foo
        172.17.0.2	web
        fd00::2	web
        172.17.0.3	db 0123456789ab
        ");
        insta::assert_snapshot!(HostsFile { ipv6: false, ..file() }.render(), @r"
        127.0.0.1	localhost
        1.2.3.4	foo
        172.17.0.2	web
        172.17.0.3	db 0123456789ab
        ");
        let bare = HostsFile { hostname: "web", ..HostsFile::default() };
        assert_eq!(bare.render(), "127.0.0.1\tlocalhost\n");
    }

    #[test]
    fn lines_of_a_network_that_was_left_go() {
        let edited = format!("{}# 172.17.0.2\tweb\n172.17.0.2\tweb mine\n172.17.0.2\tweb", file().render());
        let left = file().without(&edited, &file().addresses[..1]);
        assert_eq!(left, edited.replacen("172.17.0.2\tweb\n", "", 1));
    }

    #[test]
    fn a_full_name_comes_with_its_short_form() {
        for (hostname, domainname) in [("web.example.org", ""), ("web", "example.org")] {
            let text = HostsFile { hostname, domainname, ..file() }.render();
            assert!(text.contains("\n172.17.0.2\tweb.example.org web\n"), "{text}");
        }
    }

    #[test]
    fn extra_hosts_are_split_and_checked() {
        let gateways = ["172.17.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let parsed = |text| {
            let all = parse_extra_host(text, &gateways)?;
            Ok(all.iter().map(|(name, ip)| format!("{name} {ip}")).collect::<Vec<_>>().join(", "))
        };
        assert_eq!(parsed("a:1.2.3.4").unwrap(), "a 1.2.3.4");
        assert_eq!(parsed("a=1.2.3.4").unwrap(), "a 1.2.3.4");
        assert_eq!(parsed("a:::1").unwrap(), "a ::1");
        assert_eq!(parsed("a=[::1]").unwrap(), "a ::1");
        assert_eq!(parsed("a:host-gateway").unwrap(), "a 172.17.0.1, a fd00::1");
        assert_eq!(parse_extra_host("a:host-gateway", &[]), Err(InvalidExtraHost::NoGateway));
        assert!(matches!(parsed(":1.2.3.4"), Err(InvalidExtraHost::Format(_))));
        assert!(matches!(parsed("a"), Err(InvalidExtraHost::Format(_))));
        assert!(matches!(parsed("a:b"), Err(InvalidExtraHost::Address(_))));
    }
}
