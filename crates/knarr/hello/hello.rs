//! The program of the built-in `hello-world` image: it writes one text and ends. No library, no allocation, so
//! that the whole image is a few kilobytes inside the `knarr` binary.
#![no_std]
#![no_main]
use core::arch::{asm, global_asm};

const TEXT: &str = "
Hello from Knarr!
This message comes from inside a container, so the engine works here:

 1. The client asked the engine for the image \"hello-world\" (built into
    the knarr binary, so no network was needed).
 2. The engine unpacked it, mounted it copy-on-write, and gave the process
    its own PID, mount, network, UTS, IPC and cgroup namespaces.
 3. The program wrote this text; the engine carried it to your terminal.

Next, a shell in a larger image:
 $ knarr run -it debian bash

";

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym run);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x30, #0", "bl {main}", "brk #1", main = sym run);

#[cfg(target_arch = "x86_64")]
unsafe fn syscall3(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: the x86_64 system call convention; rcx and r11 are clobbered by the instruction.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
             out("rcx") _, out("r11") _, options(nostack));
    }
    result
}
#[cfg(target_arch = "x86_64")]
const NUMBERS: (usize, usize) = (1, 231);

#[cfg(target_arch = "aarch64")]
unsafe fn syscall3(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: the aarch64 system call convention.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, options(nostack));
    }
    result
}
#[cfg(target_arch = "aarch64")]
const NUMBERS: (usize, usize) = (64, 94);

extern "C" fn run() -> ! {
    let (write, exit_group) = NUMBERS;
    let mut left = TEXT.as_bytes();
    let mut code = 0;
    while !left.is_empty() {
        // SAFETY: `left` is a valid buffer of that length; descriptor 1 is standard output.
        let n = unsafe { syscall3(write, 1, left.as_ptr() as usize, left.len()) };
        if n <= 0 {
            code = 1;
            break;
        }
        // No slicing that could panic: nothing of `core` that needs unwinding may be linked in.
        left = left.get(n as usize..).unwrap_or(&[]);
    }
    // SAFETY: exit_group does not return.
    unsafe { syscall3(exit_group, code, 0, 0) };
    loop {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
