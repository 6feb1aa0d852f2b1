//! Interfaces on a parent that containers share end with the container's namespace, which the kernel takes apart when it finds the
//! time: for a moment their addresses and the parent are not free, though nobody has them any more.
use super::lock;
use crate::error::{Error, Result};
use rustix::io::Errno;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How long the kernel may take, and how often it is asked meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// When the last one went.
#[derive(Default)]
pub(super) struct Departed(Mutex<Option<Instant>>);

impl Departed {
    pub fn one_went(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    /// Does it again while what it needs may belong to one that went. Without one, the first answer counts.
    pub fn wait_for<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            let done = work();
            let taken = done.as_ref().is_err_and(is_taken);
            let recent = lock(&self.0).is_some_and(|went| went.elapsed() < PATIENCE);
            if !(taken && recent) {
                return done;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// A macvlan says EINVAL where the parent has another mode, EBUSY where the address is taken; an ipvlan EADDRINUSE and EBUSY.
fn is_taken(error: &Error) -> bool {
    let Error::Kernel(error) = error else { return false };
    [Errno::BUSY, Errno::INVAL, Errno::ADDRINUSE].into_iter().any(|errno| error.is(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(errno: Errno) -> Error {
        Error::Kernel(knarr_netlink::Error::Refused {
            operation: "add an address".to_owned(),
            errno: errno.raw_os_error(),
            message: None,
        })
    }

    #[test]
    fn only_what_may_become_free_is_waited_for() {
        let tries = |departed: &Departed, errno| {
            let mut tries = 0;
            let done = departed.wait_for(|| {
                tries += 1;
                if tries < 3 { Err(failing(errno)) } else { Ok(()) }
            });
            (tries, done.is_ok())
        };
        let departed = Departed::default();
        assert_eq!(tries(&departed, Errno::ADDRINUSE), (1, false), "nobody went");
        departed.one_went();
        assert_eq!(tries(&departed, Errno::ADDRINUSE), (3, true));
        assert_eq!(tries(&departed, Errno::NODEV), (1, false));
    }
}
