//! The Engine API itself: versions, headers, hijacked streams, TCP with and without TLS.

use knarr_e2e::api::{demultiplex, read_head};
use knarr_e2e::registry::free_port;
use knarr_e2e::{Cli, Engine, Options, workspace};
use std::io::{BufReader, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::Command;

#[test]
fn ping_and_version() {
    let e = Engine::start();
    let r = e.api().get("/_ping").unwrap().expect(200);
    assert_eq!(r.text(), "OK");
    assert_eq!(r.header("ostype"), Some("linux"));
    let newest = r.header("api-version").unwrap().to_owned();
    let head = e.api().send("HEAD", "/_ping", &[], b"").unwrap();
    assert_eq!(head.status, 200);
    assert!(head.header("docker-experimental").is_some());
    let v = e.api().get("/version").unwrap().expect(200).json();
    assert_eq!(v["ApiVersion"], newest.as_str());
    assert_eq!(v["MinAPIVersion"], "1.24");
    if workspace::peer().is_none() {
        assert_eq!(newest, "1.55");
    }
    assert_eq!(e.api().get("/v1.24/version").unwrap().status, 200);
    assert_eq!(e.api().get(&format!("/v{newest}/version")).unwrap().status, 200);
    let m = e.api().get("/v1.23/version").unwrap().expect(400).text();
    assert!(m.contains("client version 1.23 is too old. Minimum supported API version is 1.24"), "{m}");
    let m = e.api().get("/v1.99/version").unwrap().expect(400).message();
    assert!(m.contains("client version 1.99 is too new. Maximum supported API version is"), "{m}");
}

#[test]
fn every_version_runs_a_container() {
    let e = Engine::start();
    let newest: u32 = e
        .api()
        .get("/_ping")
        .unwrap()
        .header("api-version")
        .unwrap()
        .rsplit('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    for minor in 24..=newest {
        let v = format!("/v1.{minor}");
        let body = r#"{"Image":"busybox","Cmd":["sh","-c","echo hello; exit 3"]}"#;
        let id = e.api().post(&format!("{v}/containers/create"), body).expect(201).json()["Id"]
            .as_str()
            .unwrap()
            .to_owned();
        e.api().post(&format!("{v}/containers/{id}/start"), "").expect(204);
        let code =
            e.api().post(&format!("{v}/containers/{id}/wait"), "").expect(200).json()["StatusCode"].clone();
        assert_eq!(code, 3, "{v}");
        let logs = e.api().get(&format!("{v}/containers/{id}/logs?stdout=1")).unwrap().expect(200);
        assert_eq!(demultiplex(&logs.body).0, "hello\n", "{v}");
        let i = e.api().get(&format!("{v}/containers/{id}/json")).unwrap().expect(200).json();
        assert_eq!(i["State"]["ExitCode"], 3);
        assert!(e.api().get(&format!("{v}/containers/json?all=1")).unwrap().expect(200).json().is_array());
        e.api().delete(&format!("{v}/containers/{id}")).unwrap().expect(204);
    }
}

#[test]
fn dockers_client_with_every_version() {
    let e = Engine::start();
    for v in ["1.24", "1.30", "1.35", "1.40", "1.41", "1.43", "1.44", "1.47", "1.48"] {
        let c = e.docker().env("DOCKER_API_VERSION", v);
        let o = c.run(&["run", "--rm", "busybox", "echo", v]);
        assert_eq!((o.code, o.text()), (0, v), "{}", o.stderr);
        assert_eq!(c.ok(&["ps", "-aq"]), "");
    }
}

#[test]
fn old_and_new_replies_differ_where_they_must() {
    let e = Engine::start();
    let body = r#"{"Image":"busybox","Cmd":["sleep","60"]}"#;
    let id = e.api().post("/containers/create?name=cc", body).expect(201).json()["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    e.api().post(&format!("/containers/{id}/start"), "").expect(204);
    e.api().post(&format!("/containers/{id}/start"), "").expect(304);
    let at = |v: &str, path: &str| e.api().get(&format!("/v{v}{path}")).unwrap().expect(200).json();
    assert!(at("1.24", "/info").is_object());
    let images = at("1.43", "/images/json");
    assert!(images[0].get("VirtualSize").is_some(), "VirtualSize up to 1.43");
    assert!(at("1.44", "/images/json")[0].get("VirtualSize").is_none());
    let old = at("1.44", "/containers/cc/json");
    assert!(old["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().contains('.'));
    e.api().post(&format!("/containers/{id}/stop?t=0"), "").expect(204);
    e.api().post(&format!("/containers/{id}/stop?t=0"), "").expect(304);
}

#[test]
fn go_clients_way_of_writing_is_understood() {
    let e = Engine::start();
    // Go's decoder takes any letter case, null for empty, a string where a list may be.
    let body = r#"{"image":"busybox","CMD":"true","Env":null,"hostconfig":{"Binds":null,"NetworkMode":"none"},"Unknown":{"x":1}}"#;
    let id = e.api().post("/containers/create", body).expect(201).json()["Id"].as_str().unwrap().to_owned();
    let v = e.api().get(&format!("/containers/{id}/json")).unwrap().json();
    assert_eq!(v["HostConfig"]["NetworkMode"], "none");
    assert_eq!(v["Config"]["Cmd"][0], "true");
    for query in ["all=1", "all=true", "all=True", "all=yes"] {
        let l = e.api().get(&format!("/containers/json?{query}")).unwrap().expect(200).json();
        assert_eq!(l.as_array().unwrap().len(), 1, "{query}");
    }
    for query in ["all=0", "all=false", "all=", ""] {
        let l = e.api().get(&format!("/containers/json?{query}")).unwrap().expect(200).json();
        assert_eq!(l.as_array().unwrap().len(), 0, "{query}");
    }
}

#[test]
fn attach_by_hijack_and_by_upgrade() {
    let e = Engine::start();
    let body = r#"{"Image":"busybox","Cmd":["cat"],"OpenStdin":true,"StdinOnce":true,"AttachStdin":true,"AttachStdout":true}"#;
    for (upgrade, status) in [("Connection: Upgrade\r\nUpgrade: tcp\r\n", 101), ("", 200)] {
        let id =
            e.api().post("/containers/create", body).expect(201).json()["Id"].as_str().unwrap().to_owned();
        let request = format!(
            "POST /containers/{id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n{upgrade}Content-Length: 0\r\n\r\n"
        );
        let s = e.api().raw(request.as_bytes()).unwrap();
        let mut r = BufReader::new(s.try_clone().unwrap());
        let (got, headers) = read_head(&mut r).unwrap();
        assert_eq!(got, status);
        assert!(
            headers.iter().any(|(k, v)| k.eq_ignore_ascii_case("content-type") && v.contains("vnd.docker")),
            "{headers:?}"
        );
        e.api().post(&format!("/containers/{id}/start"), "").expect(204);
        (&s).write_all(b"half-closed").unwrap();
        s.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        r.read_to_end(&mut rest).unwrap();
        assert_eq!(
            demultiplex(&rest).0,
            "half-closed",
            "half-close ends standard input, output still arrives"
        );
        e.api().delete(&format!("/containers/{id}?force=1")).unwrap().expect(204);
    }
}

/// A certificate authority, a server and a client certificate.
fn certificates(dir: &Path) {
    let script = "set -e; openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=ca 2>/dev/null
        for who in server client other; do
          openssl req -newkey rsa:2048 -nodes -keyout $who-key.pem -out $who.csr -subj /CN=$who 2>/dev/null
          printf 'subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' >ext
          openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out $who-cert.pem -days 2 -extfile ext 2>/dev/null
        done
        openssl req -x509 -newkey rsa:2048 -nodes -keyout stranger-key.pem -out stranger-cert.pem -days 2 -subj /CN=stranger 2>/dev/null
        mkdir config; cp ca.pem config/ca.pem; cp client-cert.pem config/cert.pem; cp client-key.pem config/key.pem";
    let out = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn tcp_with_mutual_tls() {
    let dir = std::env::temp_dir().join(format!("knarr-e2e-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    certificates(&dir);
    let path = |f: &str| dir.join(f).display().to_string();
    let (p4, p6) = (free_port(), free_port());
    let e = Options::new()
        .arg("--tlsverify")
        .arg(&format!("--tlscacert={}", path("ca.pem")))
        .arg(&format!("--tlscert={}", path("server-cert.pem")))
        .arg(&format!("--tlskey={}", path("server-key.pem")))
        .arg("-H")
        .arg(&format!("tcp://127.0.0.1:{p4}"))
        .arg("-H")
        .arg(&format!("tcp://[::1]:{p6}"))
        .start();
    let enter: Vec<String> = e.net.as_ref().unwrap().prefix();
    let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
    for c in e.clients() {
        for host in [format!("tcp://127.0.0.1:{p4}"), format!("tcp://[::1]:{p6}")] {
            let tls = c
                .clone()
                .under(&enter)
                .env("DOCKER_HOST", &host)
                .env("DOCKER_TLS_VERIFY", "1")
                .env("DOCKER_CERT_PATH", &path("config"));
            assert_eq!(tls.ok(&["run", "--rm", "busybox", "echo", "over tls"]), "over tls", "{host}");
            let o = tls.run_with_stdin(&["run", "--rm", "-i", "busybox", "cat"], b"stdin over tls").code(0);
            assert_eq!(o.stdout, "stdin over tls", "half-close over TLS");
            let plain = c.clone().under(&enter).env("DOCKER_HOST", &host);
            assert_ne!(plain.run(&["version"]).code, 0, "without TLS nothing is served");
            let stranger: Cli = tls.clone();
            let args = [
                "--tlsverify",
                "--tlscacert",
                &path("ca.pem"),
                "--tlscert",
                &path("stranger-cert.pem"),
                "--tlskey",
                &path("stranger-key.pem"),
                "version",
            ]
            .map(str::to_owned);
            assert_ne!(stranger.run(&args).code, 0, "a certificate of another authority is refused");
        }
    }
    drop(std::fs::remove_dir_all(&dir));
}

#[test]
fn tcp_without_tls_is_refused_but_on_loopback_by_flag() {
    if workspace::peer().is_some() {
        return;
    }
    let mut e = Engine::prepare(Options::new().arg("-H").arg("tcp://0.0.0.0:2375"));
    e.spawn_daemon();
    let code = e.wait_death(std::time::Duration::from_secs(10));
    assert_ne!(code, 0);
    assert!(e.log_tail().to_lowercase().contains("tls"), "{}", e.log_tail());
}

#[test]
fn clients_honour_hosts_and_contexts() {
    let e = Engine::start();
    for c in e.clients() {
        let away = c.clone().env("DOCKER_HOST", "unix:///nowhere");
        assert_eq!(away.ok(&["-H", &e.host(), "ps", "-q"]), "");
        assert_ne!(away.run(&["ps"]).code, 0);
        let mut none = c.clone();
        none.env.retain(|(k, _)| k != "DOCKER_HOST");
        none.ok(&[
            "context",
            "create",
            &format!("ctx-{}", c.name),
            "--docker",
            &format!("host={}", e.host()),
        ]);
        assert_eq!(
            none.ok(&[
                "--context",
                &format!("ctx-{}", c.name),
                "run",
                "--rm",
                "busybox",
                "echo",
                "by context"
            ]),
            "by context"
        );
        drop(none.run(&["context", "rm", &format!("ctx-{}", c.name)]));
    }
    if workspace::peer().is_none() {
        let k = e.knarr().env("DOCKER_HOST", "unix:///nowhere").env("KNARR_HOST", &e.host());
        let mut cmd = k.command(&["ps", "-q"]);
        cmd.env("KNARR_HOST", e.host());
        assert!(cmd.output().unwrap().status.success(), "KNARR_HOST wins over DOCKER_HOST");
    }
}
