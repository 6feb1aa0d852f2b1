//! Rules that Docker's own integration tests (`docs/moby-tests.md`) look for, a test for each class of difference that was found.

use knarr_e2e::api::read_head;
use knarr_e2e::{Engine, Options, workspace};
use std::io::{BufReader, Write};

const TOP: &str = r#""Image":"busybox","Cmd":["top"]"#;

fn create(e: &Engine, name: &str, rest: &str) -> knarr_e2e::api::Response {
    e.api().post(&format!("/containers/create?name={name}"), &format!("{{{TOP}{rest}}}"))
}

/// Go clients close the body of a load's reply unread; dockerd has no more to do by then.
#[test]
fn an_archive_is_loaded_when_the_head_of_the_reply_is_there() {
    let e = Options::new().images(&[]).start();
    let tar = std::fs::read(workspace::cache().join("images/busybox.tar")).unwrap();
    let head = format!(
        "POST /images/load?quiet=1 HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        tar.len()
    );
    let mut stream = e.api().raw(head.as_bytes()).unwrap();
    stream.write_all(&tar).unwrap();
    let (status, _) = read_head(&mut BufReader::new(&stream)).unwrap();
    assert_eq!(status, 200);
    drop(stream);
    e.api().get("/images/busybox/json").unwrap().expect(200);
}

#[test]
fn what_is_no_json_is_told_in_the_words_of_go() {
    let e = Engine::start();
    let said = e.api().post("/containers/create", "{invalid json").expect(400).message();
    assert_eq!(said, "invalid JSON: invalid character 'i' looking for beginning of object key string");
    let said = e.api().post("/volumes/create", "{\"Name\":\"a\",}").expect(400).message();
    assert_eq!(said, "invalid JSON: invalid character '}' looking for beginning of object key string");
}

#[test]
fn create_takes_and_shows_what_docker_does() {
    let e = Engine::start();
    create(&e, "pp", r#","WorkingDir":"/tmp//x/../","HostConfig":{"Privileged":true}"#).expect(201);
    let shown = e.api().get("/containers/pp/json").unwrap().expect(200).json();
    assert_eq!(shown["Config"]["WorkingDir"], "/tmp");
    assert!(shown["HostConfig"]["MaskedPaths"].is_null() && shown["HostConfig"]["ReadonlyPaths"].is_null());
    let other = e.api().post("/containers/create?platform=plan9/amd64", &format!("{{{TOP}}}")).expect(404);
    assert!(other.message().contains("does not match the specified platform"), "{}", other.message());
    let bad = e.api().post("/containers/create?platform=nintendo64", &format!("{{{TOP}}}")).expect(400);
    assert!(bad.message().contains("unknown operating system or architecture"), "{}", bad.message());
    let bad = create(&e, "tt", r#","HostConfig":{"Tmpfs":{".":""}}"#).expect(400).message();
    assert!(bad.contains("mount path must be absolute"), "{bad}");
}

#[test]
fn a_limit_of_processes_can_be_taken_away_again() {
    let e = Engine::start();
    create(&e, "cc", r#","HostConfig":{"PidsLimit":32}"#).expect(201);
    e.api().post("/containers/cc/start", "").expect(204);
    let limit = || {
        let file = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null";
        e.docker().run(&["exec", "cc", "sh", "-c", file]).text().trim().to_owned()
    };
    assert_eq!(limit(), "32");
    for none in [0, -1] {
        e.api().post("/containers/cc/update", r#"{"PidsLimit":32}"#).expect(200);
        e.api().post("/containers/cc/update", &format!("{{\"PidsLimit\":{none}}}")).expect(200);
        assert_eq!(limit(), "max", "{none}");
        let shown = e.api().get("/containers/cc/json").unwrap().expect(200).json();
        assert_eq!(shown["HostConfig"]["PidsLimit"], 0);
    }
}

/// CVE-2022-36109: without its first group among the others a process could drop it and pass a refusal to that group.
#[test]
fn the_first_group_is_one_of_the_groups() {
    let e = Engine::start();
    let groups = e.docker().ok(&[
        "run",
        "--rm",
        "-u",
        "1000:777",
        "--group-add",
        "50",
        "busybox",
        "grep",
        "Groups",
        "/proc/self/status",
    ]);
    let mut groups: Vec<&str> = groups.split_whitespace().skip(1).collect();
    groups.sort_unstable();
    assert_eq!(groups, ["50", "777"]);
    e.docker().ok(&["run", "-d", "--name", "cc", "-u", "root:root", "--group-add", "50", "busybox", "top"]);
    let groups = e.docker().ok(&["exec", "cc", "grep", "Groups", "/proc/self/status"]);
    let mut groups: Vec<&str> = groups.split_whitespace().skip(1).collect();
    groups.sort_unstable();
    assert_eq!(groups, ["0", "50"]);
}

#[test]
fn a_bind_of_the_engines_data_follows_what_is_unmounted() {
    let e = Engine::start();
    let root = e.data().display().to_string();
    for (name, source) in [("aa", root.clone()), ("bb", format!("{root}/volumes")), ("cc", "/".to_owned())] {
        create(&e, name, &format!(r#","HostConfig":{{"Binds":["{source}:/x"]}}"#)).expect(201);
        let shown = e.api().get(&format!("/containers/{name}/json")).unwrap().expect(200).json();
        assert_eq!(shown["Mounts"][0]["Propagation"], "rslave", "{source}");
        e.api().post(&format!("/containers/{name}/start"), "").expect(204);
    }
    for propagation in ["private", "rprivate", "slave", "shared"] {
        let mount = format!(
            r#","HostConfig":{{"Mounts":[{{"Type":"bind","Source":"{root}","Target":"/x","BindOptions":{{"Propagation":"{propagation}"}}}}]}}"#
        );
        let said = create(&e, "dd", &mount).expect(400).message();
        assert!(said.contains("must use either propagation mode \"rslave\" or \"rshared\""), "{said}");
    }
    create(&e, "ee", r#","HostConfig":{"Binds":["/etc:/x"]}"#).expect(201);
    let shown = e.api().get("/containers/ee/json").unwrap().expect(200).json();
    assert_eq!(shown["Mounts"][0]["Propagation"], "rprivate");
}

#[test]
fn a_path_in_a_volume_is_looked_for_at_the_start() {
    let e = Engine::start();
    let make = "mkdir /v/sub && echo hello >/v/sub/file && ln -s sub /v/good && ln -s / /v/root && ln -s root /v/bad";
    e.docker().ok(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", make]);
    let mounted = |path: &str| format!("type=volume,src=vol,dst=/x,volume-subpath={path}");
    let said = e.docker().ok(&["run", "--rm", "--mount", &mounted("good"), "busybox", "cat", "/x/file"]);
    assert_eq!(said.trim(), "hello");
    for (path, why) in [
        ("none", "cannot access path"),
        ("root", "path concatenation escapes the base directory"),
        ("bad", "path concatenation escapes the base directory"),
    ] {
        e.docker().ok(&["create", "--name", path, "--mount", &mounted(path), "busybox", "ls", "/x"]);
        e.docker().fails(1, &["start", path]).says(why);
    }
    e.docker().fails(127, &["run", "--rm", "--mount", &mounted("none"), "busybox", "ls"]);
    e.docker().ok(&["run", "--rm", "-v", "vol:/v", "busybox", "mkdir", "/v/none"]);
    e.docker().ok(&["start", "none"]);
}

#[test]
fn a_linked_container_has_a_second_name() {
    let e = Engine::start();
    e.docker().ok(&["run", "-d", "--name", "db", "busybox", "top"]);
    e.docker().ok(&["run", "-d", "--name", "app", "--link", "db:mysql", "busybox", "top"]);
    let names = |name: &str| {
        let rows = e.api().get("/containers/json").unwrap().expect(200).json();
        let row = rows.as_array().unwrap().iter().find(|row| row["Names"][0] == name).unwrap().clone();
        row["Names"].clone()
    };
    assert_eq!(names("/db"), serde_json::json!(["/db", "/app/mysql"]));
    assert_eq!(names("/app"), serde_json::json!(["/app"]));
    e.docker().ok(&["rename", "app", "web"]);
    let id = e.docker().field("db", "{{.Id}}");
    assert_eq!(e.docker().field("web/mysql", "{{.Id}}"), id);
    assert_eq!(e.api().get("/containers/app/mysql/json").unwrap().status, 404);
    e.docker().ok(&["rm", "--link", "web/mysql"]);
    assert_eq!(names("/db"), serde_json::json!(["/db"]));
}

#[test]
fn images_are_named_changed_and_imported_by_dockers_rules() {
    let e = Engine::start();
    let said = e.api().post("/images/busybox/tag?repo=sha256&tag=x", "").expect(400).message();
    assert_eq!(said, "refusing to create an ambiguous tag using digest algorithm as name");
    e.docker().ok(&["create", "--name", "cc", "busybox"]);
    e.docker().ok(&["commit", "-c", "ENV PATH=/bin", "cc", "one"]);
    e.docker().ok(&["create", "--name", "dd", "one"]);
    e.docker().ok(&["commit", "-c", "ENV PATH=/usr/bin:$PATH", "dd", "two"]);
    assert_eq!(e.docker().field("two", "{{json .Config.Env}}").trim(), r#"["PATH=/usr/bin:/bin"]"#);
    let import = |platform: &str| {
        let path = format!("/images/create?fromSrc=-&repo=empty&platform={platform}");
        e.api().send("POST", &path, &[("Content-Type", "application/x-tar")], &[0; 1024]).unwrap()
    };
    for (platform, why) in [
        ("%20", "is an invalid OS component"),
        ("/", "is an invalid OS component"),
        ("macos", "operating system is not supported"),
        ("nintendo64", "unknown operating system or architecture"),
    ] {
        let said = import(platform).expect(400).message();
        assert!(said.contains(why), "{platform}: {said}");
    }
    import("linux").expect(200);
    let own = e.docker().field("busybox", "{{.Architecture}}");
    assert_eq!(e.docker().field("empty", "{{.Architecture}}"), own);
}

#[test]
fn the_engine_tells_of_itself_as_dockerd() {
    let e = Options::new()
        .args(&["--debug", "--registry-mirror", "http://127.0.0.1:9", "--containerd=/run/x.sock"])
        .start();
    let info = e.api().get("/info").unwrap().expect(200).json();
    assert_eq!(info["RegistryConfig"]["Mirrors"], serde_json::json!(["http://127.0.0.1:9/"]));
    assert!(info["NGoroutines"].as_i64().unwrap() > 0);
}

#[test]
fn joining_the_processes_of_a_stopped_container_fails_at_the_start() {
    let e = Engine::start();
    create(&e, "other", "").expect(201);
    let id = e.docker().field("other", "{{.Id}}");
    create(&e, "cc", r#","HostConfig":{"PidMode":"container:other"}"#).expect(201);
    let said = e.api().post("/containers/cc/start", "").expect(500).message();
    assert!(
        said.contains(&format!("failed to join PID namespace: container {} is not running", id.trim())),
        "{said}"
    );
}

#[test]
fn the_size_of_a_terminal_is_a_number_in_range() {
    let e = Engine::start();
    create(&e, "cc", "").expect(201);
    e.api().post("/containers/cc/start", "").expect(204);
    for (height, why) in
        [("-100", "value out of range"), ("4294967296", "value out of range"), ("x", "invalid syntax")]
    {
        let said = e.api().post(&format!("/containers/cc/resize?h={height}&w=10"), "").expect(400).message();
        assert_eq!(said, format!("invalid resize height \"{height}\": {why}"));
    }
}
