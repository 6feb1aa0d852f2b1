//! `--format`: Go templates and json as Docker's client prints them; both clients print the same.

use knarr_e2e::{Engine, workspace};

#[test]
fn both_clients_print_the_same() {
    let e = Engine::start();
    let d = e.docker();
    d.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "--label",
        "a=b",
        "-p",
        "127.0.0.1:8080:80",
        "busybox",
        "sleep",
        "600",
    ]);
    d.run(&["run", "--name", "two", "busybox", "false"]);
    let k = e.knarr();
    let commands: &[&[&str]] = &[
        &[
            "ps",
            "-a",
            "--format",
            "{{.ID}}|{{.Names}}|{{.Image}}|{{.Command}}|{{.Ports}}|{{.Labels}}|{{.State}}",
        ],
        &["ps", "-a", "--no-trunc", "--format", "table {{.ID}}\t{{.Names}}\t{{.Ports}}"],
        &["ps", "-aq", "--no-trunc"],
        &["images", "--format", "{{.Repository}}|{{.Tag}}|{{.ID}}|{{.Size}}"],
        &["images", "--digests", "--format", "{{json .Repository}}"],
        &["inspect", "-f", "{{.Name}} {{.State.Running}} {{len .Mounts}}", "one"],
        &["inspect", "-f", "{{json .Config.Labels}}", "one"],
        &[
            "inspect",
            "-f",
            "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}} {{end}}",
            "one",
        ],
        &["inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", "one"],
        &[
            "inspect",
            "-f",
            "{{index .Config.Labels \"a\"}} {{printf \"%q %d\" .Path .State.ExitCode}}",
            "one",
        ],
        &["inspect", "-f", "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "one"],
        &[
            "inspect",
            "-f",
            "{{join .Args \",\"}} {{upper .Path}} {{title .Path}} {{lower \"X\"}} {{split \"a,b\" \",\"}}",
            "one",
        ],
        &[
            "inspect",
            "-f",
            "{{if .State.Running}}up{{else}}down{{end}} {{with .Config}}{{.Image}}{{end}}",
            "two",
        ],
        &["inspect", "-f", "{{if and .State.Running (eq .Path \"sleep\")}}yes{{end}}", "one"],
        &["inspect", "-f", "{{.HostConfig.PortBindings}}", "one"],
        &["inspect", "-f", "{{.Config.Cmd}} {{.Config.ExposedPorts}}", "one"],
        &["inspect", "-f", "{{.State}}", "two"],
        &["history", "--format", "{{.CreatedBy}} {{.Size}}", "busybox"],
        &["history", "-H=false", "--format", "{{.CreatedBy}} {{.Size}}", "busybox"],
        &["port", "one"],
        &["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"],
        &["volume", "ls"],
        &["version", "--format", "{{.Server.Os}} {{.Server.Arch}}"],
        &["info", "--format", "{{json .Containers}} {{.Driver}}"],
        &["ps", "--format", "json", "-a", "--filter", "name=two", "--no-trunc"],
    ];
    for args in commands {
        let (a, b) = (d.run(args), k.run(args));
        let trim = |s: &str| s.replace("seconds", "").replace("second", "");
        assert_eq!(a.code, b.code, "{args:?}: {} / {}", a.stderr, b.stderr);
        if args.contains(&"json") && args[0] == "ps" {
            let parse = |s: &str| {
                let mut v: serde_json::Value =
                    serde_json::from_str(s).unwrap_or_else(|e| panic!("{args:?}: {e}: {s}"));
                for key in ["RunningFor", "Status", "HealthStatus"] {
                    v[key] = serde_json::Value::Null;
                }
                v
            };
            assert_eq!(parse(&a.stdout), parse(&b.stdout), "{args:?}");
        } else {
            assert_eq!(trim(&a.stdout), trim(&b.stdout), "{args:?}");
        }
    }
}

#[test]
fn template_errors() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["create", "--name", "one", "busybox"]);
        let o = c.run(&["inspect", "-f", "{{.NoSuch}}", "one"]);
        assert!(o.code != 0 && o.stderr.contains("template"), "{o:?}");
        let o = c.run(&["inspect", "-f", "{{.Unclosed", "one"]);
        assert!(o.code != 0 && o.stderr.contains("template parsing error"), "{o:?}");
        let o = c.run(&["ps", "--format", "{{nosuchfunction}}"]);
        assert!(o.code != 0, "{o:?}");
        c.ok(&["rm", "one"]);
    }
}

#[test]
fn json_of_inspect_is_whole() {
    let e = Engine::start();
    e.docker().ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
    let want: serde_json::Value = e.api().get("/containers/one/json").unwrap().json();
    let got = e.knarr().inspect("one");
    let keys = |v: &serde_json::Value| {
        let mut k: Vec<String> = v.as_object().unwrap().keys().cloned().collect();
        k.sort();
        k
    };
    if workspace::peer().is_none() {
        assert_eq!(keys(&want), keys(&got), "inspect prints the API's reply as it is");
    }
    for key in [
        "Id",
        "Created",
        "Path",
        "Args",
        "State",
        "Image",
        "ResolvConfPath",
        "HostnamePath",
        "HostsPath",
        "LogPath",
        "Name",
        "RestartCount",
        "Driver",
        "Platform",
        "MountLabel",
        "ProcessLabel",
        "AppArmorProfile",
        "ExecIDs",
        "HostConfig",
        "GraphDriver",
        "Mounts",
        "Config",
        "NetworkSettings",
    ] {
        assert!(want.get(key).is_some(), "{key}");
    }
}
