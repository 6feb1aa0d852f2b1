//! The PORTS column: `0.0.0.0:8080->80/tcp, 9000-9001/tcp`.
use knarr_docker_types::container::PortSummary;
use std::net::IpAddr;

fn join(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn group(ip: &str, kind: &str, first: u16, last: u16) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    if ip.is_empty() {
        return format!("{range}/{kind}");
    }
    format!("{}->{range}/{kind}", join(ip, &range))
}

/// Neighbouring ports published under their own number become a range.
pub fn display(ports: &[PortSummary]) -> String {
    let key = |p: &PortSummary| (p.private_port, p.ip.parse::<IpAddr>().ok(), p.public_port, p.kind.clone());
    let mut sorted: Vec<&PortSummary> = ports.iter().collect();
    sorted.sort_by_key(|p| key(p));
    // groups in the order in which they were first seen
    let mut groups: Vec<(&str, &str, u16, u16)> = Vec::new();
    let (mut done, mut mapped) = (Vec::new(), Vec::new());
    for port in sorted {
        let current = port.private_port;
        if !port.ip.is_empty() && port.public_port != current {
            let from = join(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{from}->{current}/{}", port.kind));
            continue;
        }
        match groups.iter_mut().find(|(ip, kind, ..)| *ip == port.ip && *kind == port.kind) {
            None => groups.push((&port.ip, &port.kind, current, current)),
            Some(found) if Some(current) == found.3.checked_add(1) => found.3 = current,
            Some(found) => {
                done.push(group(found.0, found.1, found.2, found.3));
                (found.2, found.3) = (current, current);
            }
        }
    }
    done.extend(groups.iter().map(|(ip, kind, first, last)| group(ip, kind, *first, *last)));
    done.extend(mapped);
    done.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16) -> PortSummary {
        PortSummary { ip: ip.into(), private_port, public_port, kind: "tcp".into() }
    }

    #[test]
    fn ranges_and_mappings() {
        let cases = [
            (
                vec![port("0.0.0.0", 80, 8080), port("::", 80, 8080)],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (vec![port("", 80, 0), port("", 81, 0), port("", 90, 0)], "80-81/tcp, 90/tcp"),
            (vec![port("0.0.0.0", 5, 5), port("0.0.0.0", 6, 6)], "0.0.0.0:5-6->5-6/tcp"),
        ];
        for (ports, expected) in cases {
            assert_eq!(display(&ports), expected);
        }
    }
}
