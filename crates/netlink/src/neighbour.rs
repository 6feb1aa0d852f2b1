//! Entries of a bridge's forwarding table (`RTM_*NEIGH` of the family `AF_BRIDGE`, `linux/neighbour.h`).
use crate::Request;
use crate::request::flag;
use crate::socket::CHANGE;

const RTM_NEWNEIGH: u16 = 28;
const NDA_LLADDR: u16 = 2;
const AF_BRIDGE: u8 = 7;
const NUD_NOARP: u16 = 0x40;
const NTF_MASTER: u8 = 0x04;
const NTF_STICKY: u8 = 0x40;

/// Says behind which port of a bridge an address is, whatever the bridge sees of it elsewhere. It goes with the port.
pub fn pin(port: u32, mac: [u8; 6]) -> Request {
    let [a, b, c, d] = port.to_ne_bytes();
    let [low, high] = NUD_NOARP.to_ne_bytes();
    let fixed = [AF_BRIDGE, 0, 0, 0, a, b, c, d, low, high, NTF_MASTER | NTF_STICKY, 0];
    Request::new(format!("pin an address to port {port}"), RTM_NEWNEIGH, CHANGE | flag::CREATE, &fixed)
        .bytes(NDA_LLADDR, &mac)
}
