//! Removes veths of ended containers that outlive their namespace, behind everybody's back.
//!
//! A veth dies with the container's namespace, soon after its last process; deleting it at once would only make the
//! next start wait for the kernel's lock. But a namespace that somebody holds open must not keep a stale address on
//! the bridge, so after a while the veth is deleted.
use crate::error::{Error, Result};
use crate::kernel;
use knarr_netlink::Rtnetlink;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a namespace may take to go.
const GRACE: Duration = Duration::from_secs(2);
/// More than this many wait for `restore` to sweep them.
const MAX_QUEUED: usize = 4096;

pub(super) struct Reaper {
    queue: SyncSender<(Instant, Veth)>,
}

pub(super) struct Veth {
    pub name: String,
    /// The next run of the container may have made a veth of the same name, with another index.
    pub index: u32,
}

impl Reaper {
    pub fn start() -> Result<Self> {
        let (queue, incoming) = sync_channel(MAX_QUEUED);
        let rtnetlink = Rtnetlink::open()?;
        let thread = thread::Builder::new().name("veth-reaper".into());
        thread.spawn(move || reap(&incoming, rtnetlink)).map_err(Error::io("start a thread"))?;
        Ok(Self { queue })
    }

    pub fn put(&self, veth: Veth) {
        // A full queue is no loss: see `restore`.
        let _ = self.queue.try_send((Instant::now() + GRACE, veth));
    }
}

fn reap(incoming: &Receiver<(Instant, Veth)>, mut rtnetlink: Rtnetlink) {
    while let Ok((due, veth)) = incoming.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let same = match rtnetlink.link(&veth.name) {
            Ok(Some(link)) => veth.index == link.index,
            _ => false,
        };
        if same && let Err(error) = kernel::delete_link(&mut rtnetlink, &veth.name) {
            tracing::warn!(%error, veth = veth.name, "could not delete a leftover interface");
        }
    }
}
