//! Room in the kernel's tables of neighbours (ARP, neighbour discovery), and in the queue that frames to everybody pass.
//!
//! Each container has the gateway there, and the host each container. The tables are shared by all network namespaces and
//! hold 1,024 entries unless somebody says otherwise; then packets are lost. So they are made larger when containers become many.
//!
//! Who looks for a neighbour asks everybody: one frame becomes one per container, all of them at once in the queue of the processor that
//! is at it (`net.core.netdev_max_backlog`, 1,000 unless somebody says otherwise). What finds no room is lost, the same containers' each time.
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

const BACKLOG: &str = "/proc/sys/net/core/netdev_max_backlog";

/// Makes room; never less than there was.
pub(crate) fn make_room(containers: usize) {
    if let Err(error) = raise(BACKLOG, thresholds(containers)[2]) {
        tracing::warn!(
            %error,
            containers,
            "no more room for frames that go to all containers: some may not be found; raise net.core.netdev_max_backlog"
        );
    }
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
    let wanted = thresholds(containers);
    // The limit first: the others are to be below it.
    for number in [3, 2, 1] {
        raise(&format!("/proc/sys/net/{family}/neigh/default/gc_thresh{number}"), wanted[number - 1])?;
    }
    Ok(())
}

fn raise(path: &str, wanted: usize) -> io::Result<()> {
    let present = match fs::read_to_string(path) {
        // A namespace other than the machine's own has no such file: the setting is the machine's.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?.trim().parse::<usize>().unwrap_or_default(),
    };
    if present < wanted {
        fs::write(path, wanted.to_string())?;
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
