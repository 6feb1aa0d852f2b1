//! User namespaces as descriptors, with their id maps.
//!
//! Standard: user_namespaces(7). A namespace comes into being with a process; this process does nothing but wait until the
//! maps are written and the descriptor is open. Invariant: that process makes system calls only, so the caller may have
//! other threads.
use crate::process::{Child, Clone3, flags};
use crate::{Errno, Result, fds, namespace, process, syscall};
use rustix::fs::{CWD, Mode, OFlags};
use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Ids `inside..inside + count` of a namespace are `outside..outside + count` of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// What each id of a namespace is outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub users: Vec<Range>,
    pub groups: Vec<Range>,
}

impl IdMaps {
    /// A user of the namespace as the parent namespace knows it.
    pub fn user_outside(&self, id: u32) -> Option<u32> {
        outside(&self.users, id)
    }
    pub fn group_outside(&self, id: u32) -> Option<u32> {
        outside(&self.groups, id)
    }
    /// A user of the parent namespace as the namespace knows it.
    pub fn user_inside(&self, id: u32) -> Option<u32> {
        inside(&self.users, id)
    }
    pub fn group_inside(&self, id: u32) -> Option<u32> {
        inside(&self.groups, id)
    }
}

fn outside(ranges: &[Range], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let distance = id.checked_sub(range.inside).filter(|distance| *distance < range.count)?;
        range.outside.checked_add(distance)
    })
}

fn inside(ranges: &[Range], id: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let distance = id.checked_sub(range.outside).filter(|distance| *distance < range.count)?;
        range.inside.checked_add(distance)
    })
}

/// As the kernel reads it.
fn text(ranges: &[Range]) -> String {
    ranges.iter().fold(String::new(), |mut text, range| {
        // A String takes everything.
        let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
        text
    })
}

/// As the kernel writes it; `None` if it is something else.
fn parse(text: &str) -> Option<Vec<Range>> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Range { inside: next()?, outside: next()?, count: next()? })
    };
    text.lines().map(line).collect()
}

/// How the maps of a new namespace are written.
pub enum Writer<'a> {
    /// By this process, which may map any id.
    Privileged,
    /// By this process, which may map only itself; groups cannot be changed in the namespace then.
    Own,
    /// By somebody who may (`newuidmap`): told the number of the process in the namespace.
    Other(&'a dyn Fn(i32) -> Result<()>),
}

/// A new user namespace, child of the caller's. It lives as long as the descriptor or a process in it.
pub fn create(maps: &IdMaps, writer: &Writer<'_>) -> Result<OwnedFd> {
    create_process(maps, writer, flags::NEWUSER).map(|(_, namespace)| namespace)
}

/// A new user namespace, and a new network namespace that it owns.
pub fn create_with_network(maps: &IdMaps, writer: &Writer<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let (waiting, user) = create_process(maps, writer, flags::NEWUSER | flags::NEWNET)?;
    Ok((user, open(waiting.child.pid, "ns/net", OFlags::RDONLY)?))
}

/// A new network namespace that an existing user namespace owns.
pub fn network_in(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let waiting = Waiting::new(0, Some((namespace, flags::NEWNET)))?;
    open(waiting.child.pid, "ns/net", OFlags::RDONLY)
}

fn create_process(maps: &IdMaps, writer: &Writer<'_>, flags: u64) -> Result<(Waiting, OwnedFd)> {
    let waiting = Waiting::new(flags, None)?;
    let pid = waiting.child.pid;
    match writer {
        Writer::Privileged | Writer::Own => {
            if matches!(writer, Writer::Own) {
                write(pid, "setgroups", "deny")?;
            }
            write(pid, "uid_map", &text(&maps.users))?;
            write(pid, "gid_map", &text(&maps.groups))?;
        }
        Writer::Other(write) => write(pid)?,
    }
    let namespace = open(pid, "ns/user", OFlags::RDONLY)?;
    Ok((waiting, namespace))
}

/// The maps of a namespace, in ids of the caller's.
pub fn maps(namespace: BorrowedFd<'_>) -> Result<IdMaps> {
    let waiting = Waiting::new(0, Some((namespace, 0)))?;
    maps_of(waiting.child.pid)
}

/// The maps of a process's namespace, in ids of the caller's.
pub fn maps_of(pid: i32) -> Result<IdMaps> {
    let read = |name: &str| {
        let mut bytes = Vec::new();
        let file = open(pid, name, OFlags::RDONLY)?;
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&file, &mut buffer)? {
                0 => break,
                n => bytes.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            }
        }
        std::str::from_utf8(&bytes).ok().and_then(parse).ok_or(Errno::INVAL)
    };
    Ok(IdMaps { users: read("uid_map")?, groups: read("gid_map")? })
}

fn open(pid: i32, name: &str, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, format!("/proc/{pid}/{name}"), flags | OFlags::CLOEXEC, Mode::empty())
}

/// The kernel takes a map by one write only.
fn write(pid: i32, name: &str, text: &str) -> Result<()> {
    let file = open(pid, name, OFlags::WRONLY)?;
    match rustix::io::write(&file, text.as_bytes())? {
        n if n == text.len() => Ok(()),
        _ => Err(Errno::INVAL),
    }
}

/// A process in the namespace; it ends with this value.
struct Waiting {
    child: Child,
    /// Its other end is read by the process, which ends when this one is closed, whatever becomes of us.
    _alive: OwnedFd,
}

impl Waiting {
    /// `join` is a user namespace to go to, and kinds of namespaces to make there.
    fn new(flags: u64, join: Option<(BorrowedFd<'_>, u64)>) -> Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (ready_read, ready) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (reader, told) = (read.as_raw_fd(), ready.as_raw_fd());
        let child = Clone3 { flags, cgroup: None }.spawn_bare(|| {
            // Locks and pipes of the caller and of its other threads are not this process's to keep.
            let other = join.map_or(reader, |(namespace, _)| namespace.as_raw_fd());
            let closed = fds::close_all_but([reader as u32, told as u32, other as u32]);
            let result = closed.and_then(|()| {
                let Some((namespace, more)) = join else { return Ok(()) };
                namespace::join(namespace, flags::NEWUSER)?;
                if more == 0 { Ok(()) } else { namespace::unshare(more) }
            });
            let errno = result.map_or_else(|errno| errno.raw_os_error(), |()| 0);
            // SAFETY: system calls on descriptors that this process inherited and nothing in it owns; the buffer is one byte.
            unsafe {
                let mut byte = errno as u8;
                libc::write(told, (&raw const byte).cast(), 1);
                libc::read(reader, (&raw mut byte).cast(), 1);
            }
            0
        })?;
        drop(ready);
        let waiting = Self { child, _alive: write };
        let mut byte = [0];
        let got = rustix::io::retry_on_intr(|| rustix::io::read(&ready_read, &mut byte));
        match (got?, byte) {
            (1, [0]) => Ok(waiting),
            (1, [errno]) => Err(Errno::from_raw_os_error(errno.into())),
            _ => Err(Errno::IO),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = process::pidfd_send_signal(self.child.pidfd.as_fd(), libc::SIGKILL);
        let _ = process::wait(self.child.pidfd.as_fd(), true);
    }
}

/// Whether a descriptor of `/proc/<pid>/ns/user` is the namespace that the caller is in.
pub fn is_own(namespace: BorrowedFd<'_>) -> Result<bool> {
    let own = rustix::fs::stat(c"/proc/self/ns/user")?;
    let other = rustix::fs::fstat(namespace)?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// The user namespace that owns a namespace of another kind.
pub fn owner(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: the request has no argument; the result is a new descriptor that nothing else owns.
    unsafe {
        let fd = libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS as _);
        syscall::check(fd.into())?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Become root of the user namespace that was joined, without groups. A namespace may have no root, or may not let groups
/// be changed; then ids stay.
pub fn become_root() -> Result<()> {
    use rustix::process::{Gid, Uid};
    let allow = |result: Result<()>| match result {
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        done => done,
    };
    allow(rustix::thread::set_thread_groups(&[]))?;
    allow(rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT))?;
    allow(rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))
}

/// Do something with other ids for files, and all permitted capabilities: what is made belongs to these ids.
pub fn with_file_ids<T>(user: u32, group: u32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let other = OtherIds { before: set_file_ids(user, group) };
    let result = crate::caps::raise_permitted().and_then(|()| work());
    drop(other);
    crate::caps::raise_permitted()?;
    result
}

/// The thread's own ids come back however the work ends.
struct OtherIds {
    before: (u32, u32),
}

impl Drop for OtherIds {
    fn drop(&mut self) {
        set_file_ids(self.before.0, self.before.1);
        let _ = crate::caps::raise_permitted();
    }
}

fn set_file_ids(user: u32, group: u32) -> (u32, u32) {
    // SAFETY: no pointers; ids that do not exist are refused and change nothing. Only this thread is concerned.
    unsafe {
        let group_before = libc::syscall(libc::SYS_setfsgid, group) as u32;
        let user_before = libc::syscall(libc::SYS_setfsuid, user) as u32;
        (user_before, group_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> IdMaps {
        let range = |inside, outside, count| Range { inside, outside, count };
        IdMaps {
            users: vec![range(0, 100_000, 1000), range(2000, 5, 1)],
            groups: vec![range(0, 200_000, 10)],
        }
    }

    #[test]
    fn ids_are_found_in_their_range() {
        let maps = maps();
        let users = [0, 999, 1000, 1999, 2000, 2001, u32::MAX].map(|id| maps.user_outside(id));
        assert_eq!(users, [Some(100_000), Some(100_999), None, None, Some(5), None, None]);
        assert_eq!(maps.group_outside(9), Some(200_009));
        assert_eq!([100_999, 101_000, 5].map(|id| maps.user_inside(id)), [Some(999), None, Some(2000)]);
        assert_eq!(maps.group_inside(200_009), Some(9));
        assert_eq!(parse("         0     100000       1000\n      2000 5 1\n"), Some(maps.users));
        assert_eq!(parse("0 x 1"), None);
    }

    /// With the threads of the test harness beside it.
    #[test]
    fn a_namespace_has_the_maps_that_it_was_given() {
        let made = create(&maps(), &Writer::Privileged).unwrap();
        assert!(!is_own(made.as_fd()).unwrap());
        assert_eq!(super::maps(made.as_fd()).unwrap(), maps());
        let double = IdMaps { users: [maps().users, maps().users].concat(), ..maps() };
        assert_eq!(create(&double, &Writer::Privileged).unwrap_err(), Errno::INVAL);
        let own = open(std::process::id() as i32, "ns/user", OFlags::RDONLY).unwrap();
        assert!(is_own(own.as_fd()).unwrap());
    }

    #[test]
    fn a_network_namespace_belongs_to_its_user_namespace() {
        let (user, network) = create_with_network(&maps(), &Writer::Privileged).unwrap();
        let owner = owner(network.as_fd()).unwrap();
        let number = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        assert_eq!(number(&owner), number(&user));
        let more = network_in(user.as_fd()).unwrap();
        assert_ne!(number(&more), number(&network));
        assert_eq!(number(&super::owner(more.as_fd()).unwrap()), number(&user));
    }

    #[test]
    fn files_are_made_with_other_ids() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let make = |_: ()| rustix::fs::open(&file, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR);
        with_file_ids(1234, 5678, || make(()).map(drop)).unwrap();
        let found = std::fs::metadata(&file).unwrap();
        assert_eq!((found.uid(), found.gid()), (1234, 5678));
        std::fs::write(dir.path().join("own"), "").unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("own")).unwrap().uid(), 0);
    }

    #[test]
    fn a_waiting_process_keeps_nothing_of_its_parent() {
        let user = create(&maps(), &Writer::Privileged).unwrap();
        let joined = Waiting::new(0, Some((user.as_fd(), flags::NEWNET))).unwrap();
        let new = Waiting::new(flags::NEWUSER, None).unwrap();
        // Its ends of two pipes, and the namespace that it was to join.
        for (waiting, most) in [(new, 2), (joined, 3)] {
            let kept = std::fs::read_dir(format!("/proc/{}/fd", waiting.child.pid)).unwrap().count();
            assert_eq!(kept, most);
        }
    }

    #[test]
    fn own_ids_come_back_after_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let panicking = || with_file_ids(1234, 5678, || -> Result<()> { panic!("on purpose") });
        assert!(std::panic::catch_unwind(panicking).is_err());
        std::fs::write(dir.path().join("own"), "").unwrap();
        use std::os::unix::fs::MetadataExt;
        let made = std::fs::metadata(dir.path().join("own")).unwrap();
        assert_eq!((made.uid(), made.gid()), (0, 0));
    }
}
