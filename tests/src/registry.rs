//! Debian's `docker-registry` (OCI distribution-spec) over plain HTTP on a free loopback port.

use crate::command::eventually;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[derive(Debug)]
pub struct Registry {
    pub port: u16,
    pub dir: PathBuf,
    child: Child,
}

impl Registry {
    /// # Panics
    /// Where the program is missing or does not come up.
    pub fn start() -> Registry {
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("knarr-e2e-registry-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("registry directory");
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
            dir.join("data").display()
        );
        std::fs::write(&config, text).expect("registry configuration");
        let log = std::fs::File::create(dir.join("log")).expect("log");
        let mut c = Command::new("docker-registry");
        c.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = c.spawn().expect("docker-registry (Debian package of that name)");
        let r = Registry { port, dir, child };
        eventually("the registry answers", Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        r
    }

    /// `127.0.0.1:<port>/<name>`
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let l = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    l.local_addr().expect("address").port()
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
