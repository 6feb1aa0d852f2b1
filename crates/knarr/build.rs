//! Compiles the program of the built-in `hello-world` image with the same compiler, without any library, and names the entry.
use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=hello/hello.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("hello");
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    if target.starts_with("x86_64-") {
        // `knarr_linux::early`, which goes on with the C library's own.
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=knarr_start");
    }
    let status = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=bin", "--crate-name=hello", "--target", &target])
        .args(["-Cpanic=abort", "-Copt-level=s", "-Cstrip=symbols", "-Crelocation-model=static"])
        .args(["-Ctarget-feature=+crt-static", "-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib"])
        .args(["-Clink-arg=-static", "-Clink-arg=-Wl,--build-id=none,-z,noseparate-code,-N"])
        .arg("-o")
        .arg(&out)
        .arg("hello/hello.rs")
        .status()
        .expect("rustc starts");
    assert!(status.success(), "the built-in image's program (hello/hello.rs) did not compile");
}
