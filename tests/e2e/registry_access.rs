//! Who may use a registry and where it is: `login`, helpers, certificates, mirrors, search, what a name means there.

use crate::registries::{engine, publish};
use knarr_e2e::registry::{Demands, Registry, free_port};
use knarr_e2e::{Cli, Engine, Options, workspace};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

fn login(c: &Cli, host: &str, user: &str, password: &str) -> knarr_e2e::Output {
    c.run_with_stdin(&["login", "-u", user, "--password-stdin", host], format!("{password}\n").as_bytes())
}

fn config_of(e: &Engine) -> serde_json::Value {
    let text = std::fs::read(e.dir.join("config/config.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The same steps with both clients: the same words, and the same file.
#[test]
fn login_and_logout_are_dockers() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::with(Demands { password: true, ..Demands::default() });
    let (host, e) = (r.host(), engine());
    let mut heard: Vec<Vec<(i32, String, String)>> = Vec::new();
    for c in e.clients() {
        let mut words = Vec::new();
        let mut note = |o: knarr_e2e::Output| words.push((o.code, o.stdout, o.stderr));
        let image = r.reference(&format!("{}/bb:v1", c.name));
        c.ok(&["tag", "busybox", &image]);
        c.fails(1, &["push", &image]).says("no basic auth credentials");
        let wrong = login(&c, &host, "user", "wrong");
        assert!(wrong.code == 1 && wrong.stderr.contains("unauthorized"), "{}", wrong.stderr);
        note(login(&c, &host, "user", "secret"));
        assert_eq!(config_of(&e)["auths"][&host]["auth"], "dXNlcjpzZWNyZXQ=");
        c.ok(&["push", &image]);
        c.ok(&["rmi", &image]);
        c.ok(&["pull", &image]);
        // Nothing new: nothing is warned of.
        note(login(&c, &host, "user", "secret"));
        note(c.run(&["login", &host]));
        note(c.run(&["login", "-u", "user", "-p", "secret", &format!("http://{host}/v2/")]));
        note(c.run(&["login", "-u", "user", &host]));
        note(c.run(&["login", "--password-stdin", &host]));
        note(c.run(&["login", "-u", "user", "-p", "x", "--password-stdin", &host]));
        note(c.run(&["login", "-u", "", &host]));
        note(c.run(&["login", "-u", "user", "-p", "", &host]));
        note(c.run(&["logout", &host]));
        assert_eq!(config_of(&e)["auths"], serde_json::json!({}));
        note(c.run(&["logout", &host]));
        c.ok(&["rmi", "-f", &image]);
        e.load(&workspace::image("busybox.tar"));
        c.fails(1, &["pull", &image]).says("no basic auth credentials");
        std::fs::remove_file(e.dir.join("config/config.json")).unwrap();
        heard.push(words);
    }
    assert_eq!(heard[1], heard[0]);
}

/// A credential helper that keeps what it is given in a file.
fn helper(dir: &Path) -> PathBuf {
    let script = r#"#!/bin/sh
store="$(dirname "$0")/store"
case $1 in
store) cat > "$store" ;;
get) [ -e "$store" ] && sed 's/"ServerURL":"[^"]*",//' "$store" || { echo 'credentials not found in native keychain'; exit 1; } ;;
erase) rm -f "$store" ;;
list) [ -e "$store" ] && echo '{"kept.test":"user"}' || echo '{}' ;;
esac
"#;
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let program = bin.join("docker-credential-box");
    std::fs::write(&program, script).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

#[test]
fn credential_helpers_keep_secrets() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::with(Demands { password: true, ..Demands::default() });
    let (host, e) = (r.host(), engine());
    let bin = helper(&e.dir);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let file = e.dir.join("config/config.json");
    for c in e.clients().map(|c| c.env("PATH", &path)) {
        for config in
            [format!(r#"{{"credHelpers":{{"{host}":"box"}}}}"#), r#"{"credsStore":"box"}"#.to_owned()]
        {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, config).unwrap();
            let o = login(&c, &host, "user", "secret").code(0);
            assert_eq!((o.stdout.as_str(), o.stderr.as_str()), ("Login Succeeded\n", ""));
            let kept = std::fs::read_to_string(bin.join("store")).unwrap();
            assert!(kept.contains("secret") && kept.contains(&host), "{kept}");
            let shown = std::fs::read_to_string(&file).unwrap();
            assert!(!shown.contains("secret") && !shown.contains("dXNlcjpzZWNyZXQ="), "{shown}");
            assert_eq!(config_of(&e)["auths"][&host], serde_json::json!({}));
            let image = r.reference("team/bb:v1");
            c.ok(&["tag", "busybox", &image]);
            c.ok(&["push", &image]);
            if c.name == "knarr" {
                assert!(c.ok(&["__complete", "logout", ""]).contains("kept.test"));
            }
            c.ok(&["logout", &host]);
            assert!(!bin.join("store").exists());
            c.fails(1, &["push", &image]).says("no basic auth credentials");
        }
        // A helper that is not there: nobody is anonymous without hearing of it, and what is public stays reachable.
        std::fs::write(&file, r#"{"credsStore":"gone"}"#).unwrap();
        let o = c.run(&["push", &r.reference("team/bb:v1")]).code(1).says("no basic auth credentials");
        assert!(c.name == "docker" || o.stderr.contains("docker-credential-gone"), "{}", o.stderr);
    }
}

/// Removed again, whatever happens.
struct HostCerts(PathBuf);

impl Drop for HostCerts {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_registry_may_ask_for_a_certificate() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::with(Demands { certificate: true, ..Demands::default() });
    let e = engine();
    let image = r.reference("team/bb:v1");
    let c = e.docker();
    c.ok(&["tag", "busybox", &image]);
    c.fails(1, &["push", &image]).says("certificate");
    let certs = HostCerts(Path::new("/etc/docker/certs.d").join(r.host()));
    std::fs::create_dir_all(&certs.0).unwrap();
    for file in ["client.cert", "client.key"] {
        std::fs::copy(r.dir.join(file), certs.0.join(file)).unwrap();
    }
    std::fs::copy(r.dir.join("server.crt"), certs.0.join("ca.crt")).unwrap();
    // Without a restart, as with Docker.
    c.ok(&["push", &image]);
    c.ok(&["rmi", &image]);
    c.ok(&["pull", &image]);
    assert!(e.knarr().ok(&["manifest", "inspect", &image]).contains("schemaVersion"));
    std::fs::remove_file(certs.0.join("client.key")).unwrap();
    c.fails(1, &["pull", &image]).says("missing key");
}

#[test]
fn mirrors_of_any_registry() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::start();
    publish(&r, "busybox-both.tar", "busybox:latest", "copies/team/bb:v1");
    publish(&r, "busybox-both.tar", "busybox:latest", "library/bb:v1");
    let dir = std::env::temp_dir().join(format!("knarr-e2e-mirrors-{}", r.port));
    std::fs::create_dir_all(&dir).unwrap();
    let config = dir.join("daemon.json");
    let dead = format!("http://127.0.0.1:{}", free_port());
    let text = serde_json::json!({
        "registry-mirrors": [format!("http://{}", r.host())],
        "registry-prefix-mirrors": {
            "registry.test": [dead.clone()],
            "registry.test/team": [dead, format!("http://{}/copies/team", r.host())],
        },
        "proxies": {"no-proxy": "registry.test", "https-proxy": "http://user:word@proxy.test:3128"},
    });
    std::fs::write(&config, text.to_string()).unwrap();
    let e = Options::new().host_network().arg("--config-file").arg(config.to_str().unwrap()).start();
    for c in e.clients() {
        c.ok(&["pull", "-q", "registry.test/team/bb:v1"]);
        assert!(
            c.field("registry.test/team/bb:v1", "{{index .RepoDigests 0}}")
                .starts_with("registry.test/team/bb@sha256:")
        );
        c.ok(&["pull", "-q", "bb:v1"]);
        assert_eq!(c.ok(&["run", "--rm", "bb:v1", "echo", "mirrored"]), "mirrored");
        c.fails(1, &["pull", "registry.test/other/bb:v1"]).says("registry.test");
        let info = c.ok(&["info", "--format", "{{.HTTPSProxy}}|{{.NoProxy}}|{{.RegistryConfig.Mirrors}}"]);
        assert_eq!(info, format!("http://xxxxx:xxxxx@proxy.test:3128|registry.test|[http://{}/]", r.host()));
        c.ok(&["rmi", "registry.test/team/bb:v1", "bb:v1"]);
        e.load(&workspace::image("busybox.tar"));
    }
    drop(e);
    // What cannot be meant is no engine.
    std::fs::write(&config, r#"{"registry-prefix-mirrors":{"nowhere":["https://m.test"]}}"#).unwrap();
    let o = std::process::Command::new(workspace::knarr())
        .args(["daemon", "--config-file", config.to_str().unwrap(), "--data-root"])
        .args([dir.join("data"), "--exec-root".into(), dir.join("run")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&o.stderr).into_owned();
    assert!(!o.status.success() && said.contains("invalid registry prefix"), "{said}");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// A registry with the old search: whatever it is asked for, with what it was asked.
fn index() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who tries TLS first hears at once that it is not spoken here.
            let mut first = [0];
            if !matches!(stream.peek(&mut first), Ok(1)) || first[0] == 0x16 {
                continue;
            }
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let Some(Ok(first)) = lines.next() else { continue };
            for line in lines.by_ref() {
                if line.is_ok_and(|line| line.is_empty()) {
                    break;
                }
            }
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let rows: Vec<serde_json::Value> = (1..=4)
                .map(|n| {
                    serde_json::json!({"name": format!("team/app{n}"), "star_count": n * 10, "is_official": n == 2,
                        "is_automated": true, "description": format!("{path} is a long text with\na second line <{n}>")})
                })
                .collect();
            let (status, body) = if path.starts_with("/v1/search?") {
                ("200 OK", serde_json::json!({"num_results": 4, "query": "x", "results": rows}).to_string())
            } else {
                ("404 Not Found", String::new())
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    host
}

#[test]
fn search_is_dockers() {
    if workspace::peer().is_some() {
        return;
    }
    let (host, e) = (index(), engine());
    let term = format!("{host}/some app");
    let [docker, knarr] = e.clients();
    for options in [
        &[][..],
        &["--no-trunc"],
        &["--limit", "3"],
        &["--limit", "101"],
        &["--limit", "-1"],
        &["--filter", "stars=20"],
        &["-f", "is-official=true"],
        &[
            "-f",
            "is-official=false",
            "--format",
            "{{.Name}}: {{.StarCount}} {{.IsOfficial}} {{.Description}}",
        ],
        &["-f", "is-automated=true"],
        &["-f", "stars=many"],
        &["-f", "is-official=maybe"],
        &["-f", "color=red"],
        &["--format", "table {{.Name}}\t{{.StarCount}}"],
        &["--format", "{{json .}}"],
    ] {
        let args = [&["search"], options, &[&term]].concat();
        let (theirs, ours) = (docker.run(&args), knarr.run(&args));
        assert_eq!(
            (ours.code, ours.stdout, ours.stderr),
            (theirs.code, theirs.stdout, theirs.stderr),
            "{options:?}"
        );
    }
    let o = knarr.ok(&["search", "--no-trunc", "--limit", "3", "--filter", "stars=30", &term]);
    assert!(
        o.contains("/v1/search?q=some+app&n=3 is a long text")
            && o.contains("team/app3")
            && !o.contains("app4"),
        "{o}"
    );
    knarr.fails(1, &["search", &format!("https://{term}")]).says("should not have a scheme");
    knarr.fails(1, &["search", &format!("127.0.0.1:{}/x", free_port())]).says("refused");
}

#[test]
fn a_name_is_looked_up_in_its_registry() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::with(Demands { password: true, ..Demands::default() });
    let e = engine();
    let c = e.knarr();
    login(&c, &r.host(), "user", "secret");
    let image = r.reference("team/bb:v1");
    c.ok(&["tag", "busybox", &image]);
    let pushed = c.ok(&["push", &image]);
    let digest = pushed.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let auth = |password: &str| {
        let script = format!(
            "printf %s '{{\"username\":\"user\",\"password\":\"{password}\"}}' | base64 -w0 | tr '+/' '-_'"
        );
        let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let get = |name: &str, password: &str| {
        let path = format!("/v1.47/distribution/{name}/json");
        e.api().send("GET", &path, &[("X-Registry-Auth", &auth(password))], b"").unwrap()
    };
    for name in [image.clone(), r.reference(&format!("team/bb@{digest}"))] {
        let answer = get(&name, "secret").expect(200).json();
        assert_eq!(answer["Descriptor"]["digest"], digest);
        assert!(answer["Descriptor"]["size"].as_u64().is_some_and(|size| size > 100));
        assert_eq!(answer["Platforms"], serde_json::json!([{"architecture": "amd64", "os": "linux"}]));
    }
    get(&image, "wrong").expect(401);
    get(&r.reference("team/none:v1"), "secret").expect(404);
    get("Upper/Case", "secret").expect(400);
}
