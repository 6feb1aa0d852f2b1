//! Terminals of the first process and of another one.
use crate::bundle::{Bundle, process};
use knarr_linux::process as proc;
use knarr_runtime::{Created, Stdio};
use std::io::Read;
use std::os::fd::AsFd;

pub const TESTS: &[(&str, fn())] = &[
    ("terminal::of_the_container", of_the_container),
    ("terminal::of_another_process", of_another_process),
    ("terminal::given_to_the_user", given_to_the_user),
];

fn all(created: &mut Created) -> String {
    let mut text = String::new();
    let mut master = std::fs::File::from(created.console.take().unwrap());
    let mut buffer = [0; 4096];
    // The end of a terminal is an error: EIO.
    while let Ok(n @ 1..) = master.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    proc::wait(created.pidfd.as_fd(), true).unwrap();
    text
}

fn of_the_container() {
    let bundle = Bundle::new(&[
        "sh",
        "-c",
        "tty; busybox stty size; echo x > /dev/console; echo y > /dev/tty; ls -1 /dev/pts",
    ]);
    let mut created = bundle.create(Stdio::Terminal { rows: 33, cols: 77 }).unwrap();
    knarr_linux::tty::resize(created.console.as_ref().unwrap(), 34, 78).unwrap();
    created.start().unwrap();
    let text = all(&mut created);
    bundle.cgroup().destroy().unwrap();
    assert_eq!(text, "/dev/pts/0\r\n34 78\r\nx\r\ny\r\n0\r\nptmx\r\n");
}

fn of_another_process() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let running = bundle.start();
    let inside = process(&["sh", "-c", "tty; busybox stty size; echo hi > /dev/tty"]);
    let mut created = running.exec_with(&inside, Stdio::Terminal { rows: 10, cols: 20 }).unwrap();
    created.start().unwrap();
    assert_eq!(all(&mut created), "/dev/pts/0\r\n10 20\r\nhi\r\n");
}

fn given_to_the_user() {
    let mut bundle = Bundle::new(&["stat", "-c", "%u", "/dev/pts/0"]);
    bundle.process().user.uid = 1000;
    let mut created = bundle.create(Stdio::Terminal { rows: 0, cols: 0 }).unwrap();
    created.start().unwrap();
    assert_eq!(all(&mut created), "1000\r\n");
    bundle.cgroup().destroy().unwrap();
}
