//! Keys that processes of a session share.
//!
//! Standard: keyctl(2), session-keyring(7).
use crate::{Errno, Result, syscall};

/// A new, empty session keyring for this process and its children. A kernel without keys has none to share.
pub fn new_session() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // Never by name: somebody else could have made a keyring of that name.
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name is allowed, and stands for a new keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, no_name) };
    match syscall::check(result) {
        Err(Errno::NOSYS) => Ok(()),
        done => done.map(drop),
    }
}

/// Number of the session keyring; who has none gets the one of its user.
pub fn session() -> Result<i32> {
    const KEYCTL_GET_KEYRING_ID: libc::c_long = 0;
    const KEY_SPEC_SESSION_KEYRING: libc::c_long = -3;
    // SAFETY: no pointers.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) };
    syscall::check(result).map(|number| number as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is the thread's, so other tests do not notice.
    #[test]
    fn a_session_is_another_one() {
        let Ok(before) = session() else { return };
        new_session().unwrap();
        let first = session().unwrap();
        new_session().unwrap();
        assert!(first != before && session().unwrap() != first);
    }
}
