//! Docker Compose 2 drives the engine: one project with what projects use, from `up --wait` to `down`, with nothing left after it.

use knarr_e2e::{Cli, Engine, Output, workspace};
use serde_json::Value;
use std::path::PathBuf;

const PROJECT: &str = r#"
name: shop
services:
  db:
    image: busybox
    command: ["sh", "-c", "sleep 1; echo ready > /data/state; exec sleep 600"]
    healthcheck: {test: ["CMD", "test", "-e", "/data/state"], interval: 200ms, retries: 200}
    volumes: ["data:/data", "/anonymous"]
    networks: {back: {aliases: [database]}}
    restart: unless-stopped
    stop_signal: KILL
  migrate:
    image: busybox
    command: ["sh", "-c", "cat /data/state; nslookup database | grep -q 172.30.5. && echo found"]
    depends_on: {db: {condition: service_healthy}}
    networks: [back]
    volumes: ["data:/data:ro"]
  web:
    image: busybox
    command: ["sh", "-c", "mkdir /www; cp /etc/site.conf /www/index.html; echo serving; exec httpd -f -p 80 -h /www"]
    init: true
    depends_on:
      migrate: {condition: service_completed_successfully}
      db: {condition: service_healthy, restart: true}
    ports: ["8080:80", "127.0.0.1:9000-9002:9000-9002"]
    networks:
      front: {aliases: [www, www.example.test]}
      back: {ipv4_address: 172.30.5.10}
    configs: [{source: site, target: /etc/site.conf, mode: 0444}]
    secrets: [password, {source: key, target: tls.key, uid: "1000", gid: "7", mode: 0400}]
    env_file: [./web.env]
    environment: {DB: database, COLOUR: "${COLOUR:-red}"}
    healthcheck: {test: "wget -qO- http://127.0.0.1/", interval: 30s, start_period: 60s, start_interval: 200ms}
    labels: {tier: web, com.example.odd: "a=b,c"}
    logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
    ulimits: {nofile: {soft: 1000, hard: 2000}}
    sysctls: {net.core.somaxconn: 512}
    tmpfs: ["/cache:size=1m"]
    cap_drop: [ALL]
    cap_add: [NET_BIND_SERVICE, CHOWN, DAC_OVERRIDE]
    extra_hosts: ["somehost:192.0.2.9"]
    hostname: web-host
    stop_signal: KILL
    deploy: {resources: {limits: {memory: 64M, cpus: "0.5", pids: 100}}}
    post_start: [{command: ["touch", "/www/hooked"]}]
  sidecar:
    image: busybox
    command: ["sleep", "600"]
    network_mode: "service:web"
    pid: "service:web"
    ipc: "service:share"
    stop_signal: KILL
  share:
    image: busybox
    command: ["sleep", "600"]
    ipc: shareable
    network_mode: none
    stop_signal: KILL
  worker:
    image: busybox
    command: ["sh", "-c", "echo working; exec sleep 600"]
    networks: [back, outer]
    deploy: {replicas: 2}
    volumes_from: [db]
    stop_signal: KILL
  tool:
    image: busybox
    profiles: [tools]
    command: ["echo", "from the tool"]
    networks: [back]
  legacy:
    extends: {file: base.yaml, service: base}
    links: ["db:old-name"]
    networks: [back]
networks:
  front: {}
  back: {ipam: {config: [{subnet: 172.30.0.0/16, ip_range: 172.30.5.0/24, gateway: 172.30.5.254}]}}
  outer: {external: true}
volumes:
  data: {labels: {kept: "no"}}
secrets:
  password: {file: ./password}
  key: {environment: KEY}
configs:
  site: {content: "hello from a config"}
"#;

const BASE: &str = r#"
services:
  base:
    image: busybox
    command: ["cat"]
    tty: true
    stdin_open: true
    environment: [A=1, "B=${FOO:-default}"]
    group_add: ["44"]
    stop_signal: KILL
"#;

/// An engine, and a project's directory.
struct Project {
    engine: Engine,
    dir: PathBuf,
}

impl Project {
    fn new(file: &str) -> Project {
        let engine = Engine::start();
        let dir = engine.fresh_dir("project");
        std::fs::write(dir.join("compose.yaml"), file).unwrap();
        Project { engine, dir }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    fn cli(&self) -> Cli {
        let cli = Cli::new("compose", &workspace::compose(), &self.engine.host(), &self.dir);
        cli.env("COMPOSE_PROGRESS", "plain").env("KEY", "key of tls")
    }

    /// `compose` with this project's file.
    fn run(&self, cli: &Cli, arguments: &[&str]) -> Output {
        let dir = self.dir.to_str().unwrap();
        cli.run(&[&["--project-directory", dir], arguments].concat())
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        self.run(&self.cli(), arguments).code(0).stdout.trim_end().to_owned()
    }

    /// Names and states of all containers, by name.
    fn states(&self, service: &str) -> Vec<String> {
        let printed = self.ok(&["ps", "-a", "--format", "{{.Name}} {{.State}} {{.ExitCode}}", service]);
        let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn id(&self, container: &str) -> String {
        self.engine.docker().field(container, "{{.Id}}")
    }
}

fn shop() -> Project {
    let p = Project::new(PROJECT);
    p.write("base.yaml", BASE);
    p.write("web.env", "X=1\nQUOTED=\"a b\"\n");
    p.write("password", "hunter2\n");
    p.engine.docker().ok(&["network", "create", "outer"]);
    p
}

#[test]
fn a_project_comes_up_and_goes() {
    let p = shop();
    let d = p.engine.docker();
    p.ok(&["up", "-d", "--wait", "--quiet-pull"]);
    // Who waits for whom.
    assert_eq!(p.ok(&["logs", "--no-color", "--no-log-prefix", "migrate"]), "ready\nfound");
    assert_eq!(p.states("migrate"), ["shop-migrate-1 exited 0"]);
    let healthy = p.ok(&["ps", "--format", "{{.Service}} {{.Health}}"]);
    assert!(healthy.contains("db healthy") && healthy.contains("web healthy"), "{healthy}");
    let listed: Value = serde_json::from_str(&p.ok(&["ps", "--format", "json", "web"])).unwrap();
    let ports: Vec<u64> =
        listed["Publishers"].as_array().unwrap().iter().filter_map(|p| p["PublishedPort"].as_u64()).collect();
    assert!([8080, 9000, 9001, 9002].iter().all(|port| ports.contains(port)), "{listed}");
    assert_eq!(p.ok(&["port", "web", "9001"]), "127.0.0.1:9001");
    assert_eq!(p.engine.on_host("curl -s http://127.0.0.1:8080/"), "hello from a config");
    // What the service has been given.
    let inside = |service: &str, script: &str| p.ok(&["exec", "-T", service, "sh", "-c", script]);
    assert_eq!(inside("web", "cat /run/secrets/password /run/secrets/tls.key"), "hunter2\nkey of tls");
    assert_eq!(
        inside("web", "stat -c '%a %u:%g' /run/secrets/tls.key /etc/site.conf"),
        "400 1000:7\n444 0:0"
    );
    assert_eq!(
        inside("web", "echo $X,$QUOTED,$DB,$COLOUR; hostname; ulimit -n"),
        "1,a b,database,red\nweb-host\n1000"
    );
    assert_eq!(
        inside("web", "cat /proc/sys/net/core/somaxconn; grep -o 192.0.2.9.* /etc/hosts; ls /www"),
        "512\n192.0.2.9\tsomehost\nhooked\nindex.html"
    );
    assert_eq!(
        inside("web", "cat /proc/1/comm; grep -c /cache /proc/mounts; grep CapEff /proc/self/status"),
        "docker-init\n1\nCapEff:\t0000000000000403"
    );
    let limits = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.LogConfig.Type}} \
                  {{json .HostConfig.LogConfig.Config}}";
    assert_eq!(
        d.field("shop-web-1", limits),
        r#"67108864 500000000 100 json-file {"max-file":"2","max-size":"1m"}"#
    );
    // Names, shared namespaces and volumes.
    assert_eq!(
        inside("worker", "wget -qO- http://web/; wget -qO- http://172.30.5.10/"),
        "hello from a confighello from a config"
    );
    assert_eq!(inside("worker", "cat /data/state; ls -d /anonymous"), "ready\n/anonymous");
    assert_eq!(
        inside("sidecar", "wget -qO- http://127.0.0.1/; cat /proc/1/comm"),
        "hello from a configdocker-init"
    );
    assert!(inside("legacy", "ping -c1 -W2 old-name && echo $A$B").ends_with("1default"));
    let groups = inside("legacy", "grep Groups /proc/self/status");
    let groups: Vec<&str> = groups.split_whitespace().skip(1).collect();
    assert!(
        groups.first() == Some(&"0") && groups.contains(&"44"),
        "its own group is one of them: {groups:?}"
    );
    assert_eq!(
        inside("legacy", "echo ${TERM-none}"),
        "none",
        "a command without terminal, in a container with one"
    );
    let exits = p.run(
        &p.cli(),
        &["exec", "-T", "-e", "Q=1", "-w", "/tmp", "-u", "1000", "web", "sh", "-c", "id -u; pwd; exit 7"],
    );
    assert_eq!(exits.code(7).stdout, "1000\n/tmp\n");
    // Profiles and single runs.
    assert_eq!(p.states("tool"), [""; 0]);
    assert_eq!(p.ok(&["run", "--rm", "-T", "tool"]), "from the tool");
    let failed = p.run(
        &p.cli(),
        &["run", "--rm", "-T", "--no-deps", "-e", "V=5", "worker", "sh", "-c", "echo $V; exit 3"],
    );
    assert_eq!(failed.code(3).stdout, "5\n");
    // Files, processes, images.
    p.write("sent", "sent\n");
    let sent = p.dir.join("sent");
    p.ok(&["cp", sent.to_str().unwrap(), "web:/tmp/sent"]);
    assert_eq!(inside("web", "cat /tmp/sent"), "sent");
    let back = p.dir.join("back");
    p.ok(&["cp", "worker:/data/state", back.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(back).unwrap(), "ready\n");
    assert!(p.ok(&["top", "web"]).contains("httpd -f -p 80"));
    assert!(p.ok(&["images"]).lines().count() >= 8);
    assert!(p.ok(&["stats", "--no-stream", "--format", "{{.Name}}"]).contains("shop-web-1"));

    p.ok(&["down", "-v", "-t", "0"]);
    assert_eq!(d.ok(&["ps", "-aq"]), "");
    assert_eq!(d.ok(&["volume", "ls", "-q"]), "");
    let networks = d.ok(&["network", "ls", "--format", "{{.Name}}"]);
    assert_eq!(
        networks.lines().collect::<Vec<_>>(),
        ["bridge", "host", "none", "outer"],
        "what is external stays"
    );
    assert_eq!(d.ok(&["image", "ls", "-q"]).lines().count(), 1);
    d.ok(&["network", "rm", "outer"]);
}

#[test]
fn changes_meet_what_changed_alone() {
    let p = shop();
    let d = p.engine.docker();
    p.ok(&["up", "-d", "--wait", "--quiet-pull"]);
    let all = ["shop-db-1", "shop-web-1", "shop-worker-1", "shop-worker-2", "shop-share-1", "shop-legacy-1"];
    let before = all.map(|name| p.id(name));
    p.ok(&["up", "-d"]);
    assert_eq!(all.map(|name| p.id(name)), before, "nothing has changed");

    // Another environment: that service, and what lives in its namespaces, are made again.
    let blue = p.cli().env("COLOUR", "blue");
    let sidecar = p.id("shop-sidecar-1");
    let _ = p.run(&blue, &["up", "-d"]).code(0);
    assert_eq!(p.ok(&["exec", "-T", "web", "sh", "-c", "echo $COLOUR"]), "blue");
    let after = all.map(|name| p.id(name));
    let same: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a == b).collect();
    assert_eq!(same, [true, false, true, true, true, true]);
    assert_ne!(p.id("shop-sidecar-1"), sidecar);

    p.ok(&["scale", "worker=4"]);
    assert_eq!(p.states("worker"), (1..=4).map(|n| format!("shop-worker-{n} running 0")).collect::<Vec<_>>());
    p.ok(&["scale", "worker=1"]);
    assert_eq!(p.states("worker").len(), 1);

    p.ok(&["pause", "legacy"]);
    assert_eq!(p.states("legacy"), ["shop-legacy-1 paused 0"]);
    p.ok(&["unpause", "legacy"]);
    p.ok(&["kill", "-s", "KILL", "legacy"]);
    assert_eq!(p.states("legacy"), ["shop-legacy-1 exited 137"]);
    p.ok(&["start", "legacy"]);
    assert_eq!(p.states("legacy"), ["shop-legacy-1 running 0"]);

    // A restart of what it depends on restarts the web service, too (`restart: true`).
    let started = |name: &str| d.field(name, "{{.State.StartedAt}}");
    let (web, share) = (started("shop-web-1"), started("shop-share-1"));
    let _ = p.run(&blue, &["restart", "-t", "0", "db"]).code(0);
    assert_ne!(started("shop-web-1"), web);
    assert_eq!(started("shop-share-1"), share);
    p.ok(&["stop", "-t", "0", "share"]);
    assert_eq!(p.states("share"), ["shop-share-1 exited 137"]);

    // A service that is no longer in the file.
    let orphan = PROJECT.replace("  legacy:\n    extends: {file: base.yaml, service: base}\n    links: [\"db:old-name\"]\n    networks: [back]\n", "");
    assert_ne!(orphan, PROJECT);
    p.write("compose.yaml", &orphan);
    let _ = p.run(&blue, &["up", "-d", "--remove-orphans"]).code(0);
    assert_eq!(d.ok(&["ps", "-aq", "--filter", "name=legacy"]), "");
    p.ok(&["down", "-v", "-t", "0"]);
    assert_eq!(d.ok(&["ps", "-aq"]), "");
    d.ok(&["network", "rm", "outer"]);
}

/// Docker's library for Python reads the output of `json-file` and `journald` alone.
#[test]
fn what_a_client_can_read_is_what_it_gets() {
    let e = Engine::start();
    let made = |name: &str, agent: &str| {
        let script = format!(
            "curl -sf --unix-socket {} -A '{agent}' -H 'Content-Type: application/json' -d '{{\"Image\": \"busybox\"}}' \
             http://localhost/v1.51/containers/create?name={name}",
            e.socket().display()
        );
        e.on_host(&script);
        e.docker().field(name, "{{.HostConfig.LogConfig.Type}}")
    };
    assert_eq!(made("python", "docker-sdk-python/7.1.0"), "json-file");
    assert_eq!(made("other", "curl/8"), "local");
    e.docker().ok(&["rm", "python", "other"]);
}
