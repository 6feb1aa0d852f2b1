//! AppArmor and SELinux: what is said is what is in force, with the kernel's module and without.

use knarr_e2e::{Options, workspace};
use std::path::Path;

fn has_apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

#[test]
fn apparmor_where_the_kernel_has_it() {
    if workspace::peer().is_some() {
        return;
    }
    let e = Options::new().start();
    let c = e.docker();
    let current = "cat /proc/self/attr/apparmor/current 2>/dev/null || cat /proc/self/attr/current 2>/dev/null || echo none";
    let options = c.ok(&["info", "-f", "{{json .SecurityOptions}}"]);
    let warnings = c.ok(&["info", "-f", "{{json .Warnings}}"]);
    c.ok(&["create", "--name", "plain", "busybox"]);
    c.ok(&["create", "--name", "privileged", "--privileged", "busybox"]);
    c.ok(&["create", "--name", "own", "--security-opt", "apparmor=own", "busybox", "true"]);
    let profile = |name: &str| c.field(name, "{{.AppArmorProfile}}");
    assert_eq!(profile("own"), "own");
    if !has_apparmor() {
        assert!(!options.contains("apparmor") && !warnings.contains("AppArmor"), "{options} {warnings}");
        assert_eq!((profile("plain"), profile("privileged")), (String::new(), String::new()));
        c.ok(&["start", "-a", "own"]);
    } else if options.contains("name=apparmor") {
        assert_eq!(
            (profile("plain").as_str(), profile("privileged").as_str()),
            ("knarr-default", "unconfined")
        );
        let of = |more: &[&str]| c.ok(&[&["run", "--rm"], more, &["busybox", "sh", "-c", current]].concat());
        assert_eq!(of(&[]), "knarr-default (enforce)");
        assert_eq!(of(&["--security-opt", "apparmor=unconfined"]), "unconfined");
        assert_eq!(of(&["--privileged"]), "unconfined");
        let mount = "mkdir -p /m; mount -t tmpfs t /m 2>/dev/null && echo mounted || echo refused";
        let mounts = |profile: &str| {
            let profile = format!("apparmor={profile}");
            c.ok(&[
                "run",
                "--rm",
                "--cap-add",
                "SYS_ADMIN",
                "--security-opt",
                "seccomp=unconfined",
                "--security-opt",
                &profile,
                "busybox",
                "sh",
                "-c",
                mount,
            ])
        };
        assert_eq!((mounts("knarr-default").as_str(), mounts("unconfined").as_str()), ("refused", "mounted"));
        assert_ne!(c.run(&["start", "own"]).code, 0, "a profile that is not loaded");
    } else {
        assert!(warnings.contains("AppArmor"), "{warnings}");
        assert_eq!(profile("plain"), "unconfined");
    }
    c.ok(&["rm", "plain", "privileged", "own"]);
}

#[test]
fn options_that_make_no_sense_are_named() {
    let e = Options::new().start();
    let body = |option: &str| format!(r#"{{"Image":"busybox","HostConfig":{{"SecurityOpt":["{option}"]}}}}"#);
    for (option, number) in [("bogus", 1), ("bogus=1", 2), ("no-new-privileges=x", 2)] {
        let reply = e.api().post("/containers/create", &body(option));
        assert!(reply.status >= 400, "{}", reply.text());
        assert_eq!(reply.message(), format!("invalid --security-opt {number}: \"{option}\""));
    }
    let c = e.docker();
    c.ok(&["create", "--name", "free", "--privileged", "busybox"]);
    c.ok(&["create", "--name", "seeing", "--pid", "host", "busybox"]);
    c.ok(&["create", "--name", "own", "--privileged", "--security-opt", "label=type:x", "busybox"]);
    let options = |name: &str| c.field(name, "{{json .HostConfig.SecurityOpt}}");
    assert_eq!(options("free"), r#"["label=disable"]"#);
    assert_eq!(options("seeing"), r#"["label=disable"]"#);
    assert_eq!(options("own"), r#"["label=type:x"]"#);
    c.ok(&["rm", "free", "seeing", "own"]);
}

#[test]
fn selinux_that_the_kernel_has_not_is_said_and_hinders_nothing() {
    if workspace::peer().is_some() || Path::new("/sys/fs/selinux/enforce").exists() {
        return;
    }
    let e = Options::new().arg("--selinux-enabled").start();
    let c = e.docker();
    assert!(e.log_tail().contains("could not enable SELinux"), "{}", e.log_tail());
    assert!(!c.ok(&["info", "-f", "{{json .SecurityOptions}}"]).contains("selinux"));
    let dir = e.fresh_dir("bind");
    let bind = format!("{}:/v:Z", dir.display());
    c.ok(&[
        "run",
        "--name",
        "box",
        "--security-opt",
        "label=type:container_t",
        "-v",
        &bind,
        "busybox",
        "touch",
        "/v/f",
    ]);
    assert_eq!(c.field("box", "{{.ProcessLabel}}{{.MountLabel}}"), "");
    c.ok(&["rm", "box"]);
}

#[test]
fn the_cgroup_namespace_of_privileged_containers() {
    let e = Options::new().start();
    let c = e.docker();
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for more in [&[][..], &["--privileged"]] {
        let name = format!("box{}", more.len());
        c.ok(&[&["create", "--name", &name], more, &["busybox"]].concat());
        assert_eq!(c.field(&name, "{{.HostConfig.CgroupnsMode}}"), if v2 { "private" } else { "host" });
        c.ok(&["rm", &name]);
    }
    if workspace::peer().is_none() {
        let e = Options::new().arg("--default-cgroupns-mode").arg("private").start();
        let c = e.docker();
        c.ok(&["create", "--name", "plain", "busybox"]);
        c.ok(&["create", "--name", "free", "--privileged", "busybox"]);
        let mode = |name: &str| c.field(name, "{{.HostConfig.CgroupnsMode}}");
        let free = if v2 { "private" } else { "host" };
        assert_eq!((mode("plain").as_str(), mode("free").as_str()), ("private", free));
        c.ok(&["rm", "plain", "free"]);
    }
}
