//! A connection to rtnetlink ([rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html)).
use crate::address::{self, Address};
use crate::link::{self, Link};
use crate::route::{self, Route};
use crate::socket::{Answer, Socket};
use crate::{Request, Result};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

/// Bound to the network namespace of the thread that opened it.
pub struct Rtnetlink {
    socket: Socket,
}

impl std::fmt::Debug for Rtnetlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rtnetlink")
    }
}

impl Rtnetlink {
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(NETLINK_ROUTE)? })
    }

    /// Carries out changes in order, in one datagram. All are tried; the first failure is the result.
    pub fn change(&mut self, requests: Vec<Request>) -> Result<()> {
        self.socket.transact(requests, &mut Vec::new())
    }

    pub fn links(&mut self) -> Result<Vec<Link>> {
        let answers = self.socket.dump(&link::list())?;
        Ok(parse_all(&answers, link::parse))
    }

    /// The interface of that name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut answers = Vec::new();
        match self.socket.transact(vec![link::get(name)], &mut answers) {
            Err(e) if e.is(Errno::NODEV) => Ok(None),
            Err(e) => Err(e),
            Ok(()) => Ok(parse_all(&answers, link::parse).pop()),
        }
    }

    /// IPv4 and IPv6 addresses of all interfaces.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let answers = self.socket.dump(&address::list())?;
        Ok(parse_all(&answers, address::parse))
    }

    /// Unicast routes of the main table, IPv4 first. A kernel without IPv6 has none of those.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut answers = self.socket.dump(&route::list(true))?;
        answers.extend(self.socket.dump(&route::list(false)).unwrap_or_default());
        Ok(parse_all(&answers, route::parse))
    }
}

fn parse_all<T>(answers: &[Answer], parse: impl Fn(u16, &[u8]) -> Option<T>) -> Vec<T> {
    answers.iter().filter_map(|a| parse(a.kind, &a.payload)).collect()
}
