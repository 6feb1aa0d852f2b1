//! Room in the kernel's tables of neighbours (ARP, neighbour discovery).
//!
//! Each container has the gateway there, and the host each container. The tables are shared by all network namespaces and
//! hold 1,024 entries unless somebody says otherwise; then packets are lost. So they are made larger when containers become many.
//! Standard: [ip-sysctl](https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html), `neigh/default/gc_thresh3`.
use std::fs;
use std::io;

/// Fewer containers than this fit as it is.
pub(crate) const FEW: usize = 256;
/// Entries per container: two of its own, some for those that it talks to.
const ENTRIES: usize = 8;

/// The three thresholds for so many containers: from when on old entries go, from when on at once, and the limit.
pub(crate) fn thresholds(containers: usize) -> [usize; 3] {
    let limit = (containers * ENTRIES).next_power_of_two();
    [limit / 8, limit / 2, limit]
}

/// Makes room; never less than there was.
pub(crate) fn make_room(containers: usize) {
    for family in ["ipv4", "ipv6"] {
        if let Err(error) = make_room_in(family, containers) {
            tracing::warn!(
                %error,
                family,
                containers,
                "no more room for neighbours: packets may be lost; raise net.{family}.neigh.default.gc_thresh3"
            );
        }
    }
}

fn make_room_in(family: &str, containers: usize) -> io::Result<()> {
    let path = |number: usize| format!("/proc/sys/net/{family}/neigh/default/gc_thresh{number}");
    let wanted = thresholds(containers);
    // The limit first: the others are to be below it.
    for number in [3, 2, 1] {
        let present = match fs::read_to_string(path(number)) {
            // A namespace other than the machine's own has no such file: the table is the machine's.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text?.trim().parse::<usize>().unwrap_or_default(),
        };
        if present < wanted[number - 1] {
            fs::write(path(number), wanted[number - 1].to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_each_with_its_peers() {
        assert_eq!(thresholds(FEW), [256, 1024, 2048]);
        assert_eq!(thresholds(3000), [4096, 16384, 32768]);
    }
}
