//! `nft` as the oracle: what the kernel has after our batch is what `nft` makes of our text.
use crate::world::{on_host, publish, request};
use knarr_network::{EndpointRequest, PortBinding, Protocol};
use std::io::Write;
use std::process::{Command, Stdio};

fn nft(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nft, of the package nftables");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

/// The listing without element order, which is the kernel's hash order.
fn normal(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.trim().trim_start_matches("elements = {").trim_end_matches('}');
        lines.extend(line.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()));
    }
    lines.sort();
    lines
}

/// Asserts that the kernel has what `nft` makes of our text, for tables of these families.
pub fn agrees(engine: &knarr_network::Networks, table: &str, families: &[&str]) {
    let text = engine.firewall_text();
    nft(&["-f", "-"], &text.replace(table, "oracle"));
    for family in families {
        let ours = nft(&["list", "table", family, table], "");
        let theirs = nft(&["list", "table", family, "oracle"], "").replace("oracle", table);
        assert_eq!(normal(&ours), normal(&theirs), "\nours:\n{ours}\ntheirs:\n{theirs}\ntext:\n{text}");
        // It is a firewall like ours.
        nft(&["delete", "table", family, "oracle"], "");
    }
}

#[test]
fn nft_reads_what_we_wrote_as_we_print_it() {
    on_host(|world| {
        let engine = world.engine("aaaa");
        let udp = |port| PortBinding { protocol: Protocol::Udp, ..publish(None, port, port) };
        let ports = vec![
            publish(None, 8080, 80),
            publish(Some("127.0.0.1"), 8443, 443),
            publish(None, 5000, 5000),
            udp(6000),
            udp(6001),
            udp(6002),
        ];
        let web = engine.connect(&EndpointRequest { ports: ports.into(), ..request("bridge") }).unwrap();
        agrees(&engine, "knarr-aaaa", &["ip"]);
        let ours = nft(&["list", "table", "ip", "knarr-aaaa"], "");
        assert!(ours.contains("6000-6002"), "{ours}");
        drop(web);
    });
}
