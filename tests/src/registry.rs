//! Debian's `docker-registry` (OCI distribution-spec) on a free loopback port.

use crate::command::eventually;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a registry asks of those who come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demands {
    /// The password `secret` of the user `user`.
    pub password: bool,
    /// TLS, and a certificate that [`Registry::dir`] has as `client.cert` and `client.key`.
    pub certificate: bool,
}

const HTPASSWD: &str = "user:$2b$04$EKGnOklteRem.4THu8TuAOGeAnOmWkC.Hth5M04wa2GUXl4HxAaN.\n";

#[derive(Debug)]
pub struct Registry {
    pub port: u16,
    pub dir: PathBuf,
    child: Child,
}

impl Registry {
    /// One that everybody may use.
    ///
    /// # Panics
    /// Where the program is missing or does not come up.
    pub fn start() -> Registry {
        Registry::with(Demands::default())
    }

    /// # Panics
    /// Where the program is missing or does not come up.
    pub fn with(demands: Demands) -> Registry {
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("knarr-e2e-registry-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("registry directory");
        let at = |name: &str| dir.join(name).display().to_string();
        let mut text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n",
            at("data")
        );
        if demands.password {
            std::fs::write(at("htpasswd"), HTPASSWD).expect("passwords");
            text += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", at("htpasswd"));
        }
        text += &format!("http:\n  addr: 127.0.0.1:{port}\n");
        if demands.certificate {
            certificate(&dir, "server.crt", "server.key");
            certificate(&dir, "client.cert", "client.key");
            text += &format!(
                "  tls:\n    certificate: {}\n    key: {}\n    clientcas: [{}]\n",
                at("server.crt"),
                at("server.key"),
                at("client.cert")
            );
        }
        std::fs::write(at("config.yml"), text).expect("registry configuration");
        let log = std::fs::File::create(dir.join("log")).expect("log");
        let mut c = Command::new("docker-registry");
        c.arg("serve").arg(at("config.yml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = c.spawn().expect("docker-registry (Debian package of that name)");
        let r = Registry { port, dir, child };
        eventually("the registry answers", Duration::from_secs(20), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        r
    }

    /// `127.0.0.1:<port>`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:<port>/<name>`
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }
}

/// A certificate that is its own authority.
fn certificate(dir: &Path, certificate: &str, key: &str) {
    let mut c = Command::new("openssl");
    c.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    c.args([
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        key,
        "-out",
        certificate,
    ]);
    let out = c.current_dir(dir).stdin(Stdio::null()).output().expect("openssl");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
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
