//! `--sysctl name=value`: only those that belong to a namespace.

const ALLOWED: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub fn check(value: &str) -> Result<(), String> {
    match value.split_once('=') {
        Some((name, _))
            if ALLOWED.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.") =>
        {
            Ok(())
        }
        _ => Err(format!("sysctl '{value}' is not allowed")),
    }
}
