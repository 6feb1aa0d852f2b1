//! The program's entry: the OCI runtime's protection ([`crate::protected`]) before the C library is there.
//!
//! A command that comes near a container is executed twice. What the C library does at its start (a processor's features alone cost
//! some fifty `cpuid`, each a trap in a virtual machine) is needed once only, so the first execution ends here, after four system
//! calls. Invariants: only raw system calls and loops over bytes, because neither thread-local storage nor indirect functions (`memcpy`)
//! work yet, and no array, which is filled by one of those; whatever is not as expected is left to the ordinary way, which decides again and reports.
//!
//! The linker is told of this entry by the build script of the crate `knarr`.
use std::arch::{asm, global_asm};
use std::ffi::{c_char, c_int};

// The kernel's stack pointer is kept for the C library's own entry, as is rdx.
global_asm!(
    ".globl knarr_start",
    ".type knarr_start, @function",
    "knarr_start:",
    "xor ebp, ebp",
    "mov rbx, rsp",
    "mov r12, rdx",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {before}",
    "mov rsp, rbx",
    "mov rdx, r12",
    "jmp _start",
    ".size knarr_start, . - knarr_start",
    before = sym before,
);

/// `MOUNT_ATTR_RDONLY` to be set, nothing else.
static READ_ONLY: [u64; 4] = [1, 0, 0, 0];
const PROGRAM: *const c_char = c"/proc/self/exe".as_ptr();
/// How the link of a sealed copy begins.
const SEALED: u64 = u64::from_le_bytes(*b"/memfd:k");
const EMPTY: *const c_char = c"".as_ptr();

/// `stack` is as the kernel leaves it: the count of arguments, the arguments, a null, the environment.
unsafe extern "C" fn before(stack: *const usize) {
    // SAFETY: the kernel put the count there, and as many strings and a null behind it; the environment follows.
    unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<*const c_char>();
        if comes_near_a_container(count, arguments) {
            execute_protected(arguments, arguments.add(count + 1));
        }
    }
}

/// Whether one of the words could be the command. One too many is executed again for nothing.
///
/// # Safety
/// `arguments` are `count` C strings.
unsafe fn comes_near_a_container(count: usize, arguments: *const *const c_char) -> bool {
    // SAFETY: by contract.
    unsafe {
        if count < 2 {
            return false;
        }
        let first = if ends_with(*arguments, c"knarr-runtime".as_ptr()) {
            1
        } else if is(*arguments.add(1), c"runtime".as_ptr()) {
            2
        } else {
            return false;
        };
        let mut number = first;
        while number < count {
            let word = *arguments.add(number);
            if is(word, c"create".as_ptr()) || is(word, c"run".as_ptr()) || is(word, c"exec".as_ptr()) {
                return true;
            }
            number += 1;
        }
        false
    }
}

/// Volatile, so that no compiler makes a call of the C library out of a loop.
///
/// # Safety
/// The string is as long as that, or longer.
unsafe fn byte(text: *const c_char, at: usize) -> c_char {
    // SAFETY: by contract.
    unsafe { text.add(at).read_volatile() }
}

/// # Safety
/// Both are C strings.
unsafe fn is(one: *const c_char, other: *const c_char) -> bool {
    let mut at = 0;
    // SAFETY: neither is read behind its end: the loop ends at the first difference, and at the end of both.
    unsafe {
        while byte(one, at) == byte(other, at) {
            if byte(one, at) == 0 {
                return true;
            }
            at += 1;
        }
    }
    false
}

/// Whether `name` is the last component of `path`.
///
/// # Safety
/// Both are C strings.
unsafe fn ends_with(path: *const c_char, name: *const c_char) -> bool {
    let (mut at, mut last) = (0, 0);
    // SAFETY: read up to the end only.
    unsafe {
        while byte(path, at) != 0 {
            let is_slash = byte(path, at) == b'/' as c_char;
            at += 1;
            if is_slash {
                last = at;
            }
        }
        is(path.add(last), name)
    }
}

/// As [`crate::protected::execute`]; returns where that is done already or cannot be done this way.
///
/// # Safety
/// Both are lists of C strings with a null at the end.
unsafe fn execute_protected(arguments: *const *const c_char, environment: *const *const c_char) {
    let mut link = 0u64;
    // SAFETY: pointers to static strings, to a buffer of that length, and to what the kernel gave to this program.
    unsafe {
        let length =
            call(libc::SYS_readlink, PROGRAM as usize, (&raw mut link) as usize, size_of::<u64>(), 0, 0);
        // The root of a mount that is nowhere, and a sealed copy, are what it is to become.
        if length < 2 || link == SEALED {
            return;
        }
        let flags = libc::OPEN_TREE_CLONE as usize | libc::OPEN_TREE_CLOEXEC as usize;
        let here = libc::AT_FDCWD as isize as usize;
        let mount = call(libc::SYS_open_tree, here, PROGRAM as usize, flags, 0, 0);
        if mount < 0 {
            return;
        }
        let (mount, empty) = (mount as usize, libc::AT_EMPTY_PATH as usize);
        let attributes = (&raw const READ_ONLY) as usize;
        let size = size_of::<libc::mount_attr>();
        if call(libc::SYS_mount_setattr, mount, EMPTY as usize, empty, attributes, size) == 0 {
            let (arguments, environment) = (arguments as usize, environment as usize);
            call(libc::SYS_execveat, mount, EMPTY as usize, arguments, environment, empty);
        }
        call(libc::SYS_close, mount, 0, 0, 0, 0);
    }
}

/// A system call without the C library.
///
/// # Safety
/// The arguments are what the call takes.
unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: by contract; the kernel changes only the named registers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

const _: () = assert!(size_of::<libc::mount_attr>() == size_of_val(&READ_ONLY) && size_of::<c_int>() == 4);

#[cfg(test)]
mod tests {
    use super::*;

    fn near(words: &[&std::ffi::CStr]) -> bool {
        let pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
        // SAFETY: as many C strings.
        unsafe { comes_near_a_container(pointers.len(), pointers.as_ptr()) }
    }

    #[test]
    fn commands_are_seen_among_the_words() {
        assert!(near(&[c"/usr/bin/knarr", c"runtime", c"--root", c"/x", c"create", c"c"]));
        assert!(near(&[c"knarr-runtime", c"exec", c"c", c"sh"]));
        assert!(near(&[c"/usr/sbin/knarr-runtime", c"--root=/x", c"run", c"c"]));
        assert!(!near(&[c"/usr/bin/knarr", c"run", c"busybox"]));
        assert!(!near(&[c"knarr", c"runtime", c"state", c"created"]));
        assert!(!near(&[c"knarr-runtime/knarr", c"create", c"x"]));
        assert!(!near(&[c"knarr-runtime"]));
        assert!(!near(&[c"", c""]));
        assert!(!near(&[]));
    }
}
