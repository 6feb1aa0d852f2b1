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

/// What the version history says of 1.52 to 1.55, which no released daemon of this suite speaks: members that came and
/// went, each on both sides of its version.
#[test]
fn members_that_came_and_went_since_1_51() {
    let e = Engine::start();
    let d = e.docker();
    d.ok(&["run", "-d", "--name", "web", "-p", "80", "--health-cmd", "true", "busybox", "sleep", "600"]);
    let a = e.api();
    let get = |minor: u32, path: &str| a.get(&format!("/v1.{minor}{path}")).unwrap().expect(200).json();
    // resource, pointer, the versions that have the member
    let members: &[(&str, &str, std::ops::RangeInclusive<u32>)] = &[
        ("/containers/web/json", "/NetworkSettings/Bridge", 24..=51),
        ("/containers/web/json", "/NetworkSettings/HairpinMode", 24..=51),
        ("/containers/web/json", "/NetworkSettings/LinkLocalIPv6Address", 24..=51),
        ("/containers/web/json", "/NetworkSettings/LinkLocalIPv6PrefixLen", 24..=51),
        ("/containers/web/json", "/NetworkSettings/SecondaryIPAddresses", 24..=51),
        ("/containers/web/json", "/NetworkSettings/SecondaryIPv6Addresses", 24..=51),
        ("/containers/web/json", "/NetworkSettings/EndpointID", 24..=51),
        ("/containers/web/json", "/NetworkSettings/Gateway", 24..=51),
        ("/containers/web/json", "/NetworkSettings/GlobalIPv6Address", 24..=51),
        ("/containers/web/json", "/NetworkSettings/GlobalIPv6PrefixLen", 24..=51),
        ("/containers/web/json", "/NetworkSettings/IPAddress", 24..=51),
        ("/containers/web/json", "/NetworkSettings/IPPrefixLen", 24..=51),
        ("/containers/web/json", "/NetworkSettings/IPv6Gateway", 24..=51),
        ("/containers/web/json", "/NetworkSettings/MacAddress", 24..=51),
        ("/containers/web/json", "/NetworkSettings/Networks/bridge/IPAddress", 24..=55),
        ("/containers/web/json", "/Config/OnBuild", 24..=51),
        ("/containers/web/json", "/HostConfig/KernelMemoryTCP", 24..=41),
        ("/containers/json", "/0/Health/Status", 52..=55),
        ("/images/busybox/json", "/Config/User", 24..=51),
        ("/images/busybox/json", "/Config/WorkingDir", 24..=51),
        ("/images/busybox/json", "/Config/Volumes", 24..=51),
        ("/images/busybox/json", "/Config/Entrypoint", 24..=51),
        ("/images/busybox/json", "/Config/OnBuild", 24..=51),
        ("/images/busybox/json", "/Config/Labels", 24..=51),
        ("/images/busybox/json", "/Parent", 24..=51),
        ("/images/busybox/json", "/Comment", 24..=51),
        ("/images/busybox/json", "/DockerVersion", 24..=51),
        ("/images/busybox/json", "/Author", 24..=51),
        ("/networks/bridge", "/Status/IPAM/Subnets", 52..=55),
        ("/system/df", "/ImageUsage/TotalCount", 52..=55),
        ("/system/df?verbose=1", "/ImageUsage/Items", 52..=55),
        ("/system/df?verbose=1", "/Images", 25..=51),
        ("/system/df", "/Images", 25..=55),
        ("/info", "/KernelMemoryTCP", 24..=41),
    ];
    for minor in [24, 41, 42, 51, 52, 53, 54, 55] {
        for (path, pointer, versions) in
            members.iter().filter(|(path, ..)| minor > 24 || !path.contains("/df"))
        {
            let there = get(minor, path).pointer(pointer).is_some();
            assert_eq!(there, versions.contains(&minor), "1.{minor} {path} {pointer}");
        }
        let events =
            a.get(&format!("/v1.{minor}/events?since=0&until=1&filters=%7B%7D")).unwrap().expect(200);
        assert_eq!(events.header("content-type"), Some("application/json"), "1.{minor}");
        // an event of a container had three members more
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1;
        let filter = "filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22start%22%5D%7D";
        let text =
            a.get(&format!("/v1.{minor}/events?since=1&until={now}&{filter}")).unwrap().expect(200).text();
        let event: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        for name in ["status", "id", "from"] {
            assert_eq!(event.get(name).is_some(), minor <= 51, "1.{minor} {name}: {event}");
        }
        assert_eq!(event["Action"], "start", "1.{minor}");
    }

    // requests: a container-wide address is nothing from 1.52 on, and who lists no bindings is told
    let body =
        r#"{"Image":"busybox","MacAddress":"02:42:ac:11:00:09","HostConfig":{"PortBindings":{"81/tcp":[]}}}"#;
    for minor in [51, 52, 55] {
        let created = a.post(&format!("/v1.{minor}/containers/create"), body).expect(201).json();
        let id = created["Id"].as_str().unwrap();
        let settings = get(minor, &format!("/containers/{id}/json"));
        let mac =
            settings["NetworkSettings"]["Networks"]["bridge"]["MacAddress"].as_str().unwrap_or_default();
        assert_eq!(mac == "02:42:ac:11:00:09", minor == 51, "1.{minor}: {settings}");
        let warned = created["Warnings"].to_string().contains("empty list of port-bindings: 81/tcp");
        assert_eq!(warned, minor >= 52, "1.{minor}: {created}");
        a.delete(&format!("/containers/{id}")).unwrap().expect(204);
    }
    // endpoints that came
    let attestations =
        |minor: u32| a.get(&format!("/v1.{minor}/images/busybox/attestations")).unwrap().status;
    assert_eq!((attestations(54), attestations(55)), (404, 501));
}

/// An image has one platform: what is asked of another one finds nothing, and removes nothing.
#[test]
fn platforms_that_an_image_does_not_have() {
    let e = Engine::start();
    let a = e.api();
    let arm = "%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22arm64%22%7D";
    let own = a.get("/images/busybox/json").unwrap().expect(200).json()["Architecture"]
        .as_str()
        .unwrap()
        .to_owned();
    let own = format!("%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22{own}%22%7D");
    let message = "was found but its platform (linux/";
    let history = |minor: u32, platform: &str| {
        a.get(&format!("/v1.{minor}/images/busybox/history?platform={platform}")).unwrap()
    };
    assert!(history(48, arm).expect(404).message().contains(message));
    history(47, arm).expect(200);
    history(55, &own).expect(200);
    let remove = |minor: u32, query: &str| a.delete(&format!("/v1.{minor}/images/busybox?{query}")).unwrap();
    assert!(remove(50, &format!("platforms={arm}")).expect(404).message().contains(message));
    let several = remove(50, &format!("platforms={arm}&platforms={own}")).expect(400);
    assert_eq!(several.message(), "multiple platforms are not supported");
    remove(50, "platforms=nonsense").expect(400);
    a.get("/images/busybox/json").unwrap().expect(200);
    remove(50, &format!("platforms={own}")).expect(200);
    a.get("/images/busybox/json").unwrap().expect(404);
}
