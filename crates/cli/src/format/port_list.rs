//! The PORTS column: `0.0.0.0:8080->80/tcp, 9000-9001/tcp`, and ` from 10.0.0.0/8` behind ports that are for some only.
use knarr_docker_types::container::PortSummary;
use std::net::IpAddr;

fn join(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Ports that show as one: the first of them, and the last one's number.
type Group<'a> = (&'a PortSummary, u16);

fn group((port, last): Group<'_>) -> String {
    let (ip, kind, first) = (&port.ip, &port.kind, port.private_port);
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    if ip.is_empty() {
        return format!("{range}/{kind}");
    }
    format!("{}->{range}/{kind}{}", join(ip, &range), from(port))
}

fn from(port: &PortSummary) -> String {
    if port.sources.is_empty() { String::new() } else { format!(" from {}", port.sources.join("+")) }
}

/// Neighbouring ports published under their own number become a range.
pub fn display(ports: &[PortSummary]) -> String {
    let key = |p: &PortSummary| (p.private_port, p.ip.parse::<IpAddr>().ok(), p.public_port, p.kind.clone());
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    sorted.sort_by_key(|p| key(p));
    // groups in the order in which they were first seen
    let mut groups: Vec<Group<'_>> = Vec::new();
    let (mut done, mut mapped) = (Vec::new(), Vec::new());
    for port in sorted {
        let current = port.private_port;
        if !port.ip.is_empty() && port.public_port != current {
            let at = join(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{at}->{current}/{}{}", port.kind, from(port)));
            continue;
        }
        let like = |g: &PortSummary| (&g.ip, &g.kind, &g.sources) == (&port.ip, &port.kind, &port.sources);
        match groups.iter_mut().find(|(first, _)| like(first)) {
            None => groups.push((port, current)),
            Some(found) if Some(current) == found.1.checked_add(1) => found.1 = current,
            Some(found) => {
                done.push(group(*found));
                *found = (port, current);
            }
        }
    }
    done.extend(groups.iter().map(|g| group(*g)));
    done.extend(mapped);
    done.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16) -> PortSummary {
        PortSummary { ip: ip.into(), private_port, public_port, kind: "tcp".into(), ..Default::default() }
    }

    fn only(port: PortSummary) -> PortSummary {
        PortSummary { sources: vec!["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()].into(), ..port }
    }

    #[test]
    fn ranges_and_mappings() {
        let cases = [
            (
                vec![port("0.0.0.0", 80, 8080), port("::", 80, 8080)],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (vec![port("", 80, 0), port("", 81, 0), port("", 90, 0)], "80-81/tcp, 90/tcp"),
            (
                vec![
                    only(port("0.0.0.0", 80, 8080)),
                    only(port("::", 5, 5)),
                    only(port("::", 6, 6)),
                    port("::", 7, 7),
                ],
                "[::]:5-6->5-6/tcp from 10.0.0.0/8+fd00::/8, [::]:7->7/tcp, 0.0.0.0:8080->80/tcp from 10.0.0.0/8+fd00::/8",
            ),
            (vec![port("0.0.0.0", 5, 5), port("0.0.0.0", 6, 6)], "0.0.0.0:5-6->5-6/tcp"),
        ];
        for (ports, expected) in cases {
            assert_eq!(display(&ports), expected);
        }
    }
}
