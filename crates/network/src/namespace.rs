//! A container's network namespace
//! ([network_namespaces(7)](https://man7.org/linux/man-pages/man7/network_namespaces.7.html)): a descriptor, never a name.
//!
//! A thread of its own enters or makes the namespace, does what must be done inside, and ends; it leaves a descriptor
//! and an rtnetlink socket, which stay bound to the namespace whoever uses them.
use crate::error::{Error, Result};
use knarr_netlink::{Rtnetlink, link};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

const LOOPBACK_INDEX: u32 = 1;
/// Visits that wait.
const MAX_VISITS: usize = 1024;
/// New interfaces have no IPv6 unless their network has it; loopback keeps it.
const DISABLE_IPV6: &str = "sys/net/ipv6/conf/default/disable_ipv6";
/// Namespaces that one view of `/proc` serves: making one costs as much as looking through as many of them.
const VIEWED: u32 = 128;

/// A network namespace, held by its descriptor. It ends with the last descriptor and process in it.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    rtnetlink: Rtnetlink,
}

/// Counters of one interface, from the container's point of view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

impl Namespace {
    /// A new one with loopback only: network mode `none`.
    pub fn create() -> Result<Self> {
        Self::create_seen(&View::default())
    }

    /// The same, by a view that several of them share.
    pub(crate) fn create_seen(view: &View) -> Result<Self> {
        thread::scope(|scope| join(scope.spawn(|| create_here(view))))
    }

    /// A new one that was made elsewhere, as in a user namespace, made ready as [`Namespace::create`] does it.
    pub fn adopt(netns: OwnedFd) -> Result<Self> {
        let rtnetlink = Self::run(netns.as_fd(), || prepare_here(&View::default()))?;
        Ok(Self { fd: netns, rtnetlink })
    }

    /// The same as [`Namespace::create`], while the calling thread does something else.
    pub(crate) fn create_beside<T>(view: &View, f: impl FnOnce() -> T) -> (Result<Self>, T) {
        thread::scope(|scope| {
            let netns = scope.spawn(|| create_here(view));
            let value = f();
            (join(netns), value)
        })
    }

    /// An existing one.
    pub fn enter(netns: BorrowedFd<'_>) -> Result<Self> {
        let fd =
            netns.try_clone_to_owned().map_err(Error::io("duplicate a network namespace's descriptor"))?;
        let rtnetlink =
            thread::scope(|scope| join(scope.spawn(|| inside(netns, || Ok(Rtnetlink::open()?)))))?;
        Ok(Self { fd, rtnetlink })
    }

    /// Runs `f` on a thread inside the namespace.
    pub fn run<T: Send>(netns: BorrowedFd<'_>, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| join(scope.spawn(|| inside(netns, f))))
    }

    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Links, addresses and routes inside.
    pub fn rtnetlink(&mut self) -> &mut Rtnetlink {
        &mut self.rtnetlink
    }

    /// Counters of its interfaces but loopback, for `stats`.
    pub fn statistics(netns: BorrowedFd<'_>) -> Result<Vec<InterfaceStats>> {
        let links = Self::enter(netns)?.rtnetlink.links()?;
        let visible = links.into_iter().filter(|l| l.index != LOOPBACK_INDEX && l.up);
        Ok(visible.map(stats).collect())
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn stats(link: link::Link) -> InterfaceStats {
    let s = link.stats;
    InterfaceStats {
        name: link.name,
        rx_bytes: s.rx_bytes,
        rx_packets: s.rx_packets,
        rx_errors: s.rx_errors,
        rx_dropped: s.rx_dropped,
        tx_bytes: s.tx_bytes,
        tx_packets: s.tx_packets,
        tx_errors: s.tx_errors,
        tx_dropped: s.tx_dropped,
    }
}

/// A view of `/proc` for settings of new namespaces, renewed now and then. The common one remembers those of all namespaces under
/// the same names, and a look-up goes through them one by one: with thousands of containers each start would take longer.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// `None`: the common one. With the number of namespaces that it was used for.
    own: Mutex<(Option<OwnedFd>, u32)>,
    /// Whether there is to be one of its own.
    renewed: bool,
}

impl View {
    pub fn renewed() -> Self {
        Self { renewed: true, ..Self::default() }
    }

    /// Writes a setting of the calling thread's namespace; the path is relative to `/proc`.
    pub(crate) fn write(&self, path: &str, value: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = {
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            if self.renewed && own.1.is_multiple_of(VIEWED) {
                // Not allowed everywhere, such as where parts of /proc are hidden.
                own.0 = knarr_linux::mount::filesystem(c"proc", &[], 0).ok();
            }
            own.1 = own.1.wrapping_add(1);
            match &own.0 {
                Some(view) => openat(view, path, flags, Mode::empty())?,
                None => openat(CWD, format!("/proc/{path}"), flags, Mode::empty())?,
            }
        };
        rustix::io::write(&file, value)?;
        Ok(())
    }
}

type Visit = (Arc<OwnedFd>, Box<dyn FnOnce() + Send>);

/// One thread that goes into namespaces for others, for what is done often and at once, such as opening a socket.
#[derive(Debug, Clone)]
pub struct Visitor {
    queue: SyncSender<Visit>,
}

impl Visitor {
    pub fn start() -> Result<Self> {
        let home = open_here()?;
        let (queue, visits) = sync_channel(MAX_VISITS);
        let thread = thread::Builder::new().name("netns-visitor".into());
        thread.spawn(move || visit(&home, &visits)).map_err(Error::io("start a thread"))?;
        Ok(Self { queue })
    }

    /// Runs `f` in the namespace, soon; drops it if that cannot be entered.
    pub fn visit(&self, netns: Arc<OwnedFd>, f: impl FnOnce() + Send + 'static) -> Result<()> {
        let busy = |_| Error::io("visit a network namespace")(io::ErrorKind::WouldBlock.into());
        self.queue.try_send((netns, Box::new(f))).map_err(busy)
    }
}

/// Between visits it is at home: a namespace must not live on for a thread that was there last.
fn visit(home: &OwnedFd, visits: &Receiver<Visit>) {
    for (netns, f) in visits {
        let visited = inside(netns.as_fd(), || {
            f();
            Ok(())
        });
        if let Err(error) = visited {
            tracing::debug!(%error, "a network namespace was not visited");
        }
        drop(netns);
        if let Err(error) = inside(home.as_fd(), || Ok(())) {
            return tracing::error!(%error, "no network namespace is visited any more");
        }
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Moves the calling thread, for good.
fn inside<T>(netns: BorrowedFd<'_>, f: impl FnOnce() -> Result<T>) -> Result<T> {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
        .map_err(|e| Error::io("enter a network namespace")(e.into()))?;
    f()
}

/// Moves the calling thread into a new namespace, for good.
fn create_here(view: &View) -> Result<Namespace> {
    // Deprecated for `CLONE_FILES` only, which takes descriptors away from other threads.
    #[allow(deprecated)]
    rustix::thread::unshare(UnshareFlags::NEWNET)
        .map_err(|e| Error::io("create a network namespace")(e.into()))?;
    let rtnetlink = prepare_here(view)?;
    Ok(Namespace { fd: open_here()?, rtnetlink })
}

/// The calling thread's.
fn open_here() -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty())
        .map_err(|e| Error::io("open a network namespace")(e.into()))
}

/// In a new namespace: loopback is up, and IPv6 waits until it is asked for.
fn prepare_here(view: &View) -> Result<Rtnetlink> {
    let mut rtnetlink = Rtnetlink::open()?;
    rtnetlink.change(vec![link::set_up(LOOPBACK_INDEX)])?;
    match view.write(DISABLE_IPV6, b"1") {
        // A kernel without IPv6.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(Error::io(format!("write /proc/{DISABLE_IPV6}")))?,
    }
    Ok(rtnetlink)
}
