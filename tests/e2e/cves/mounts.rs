//! Images whose own files stand where the runtime mounts: links for `/proc`, `/sys`, `/dev`, `/dev/null`, `/dev/console`.
//! CVE-2019-16884, CVE-2019-18837, CVE-2019-19921, CVE-2021-43784, CVE-2025-31133, CVE-2025-52565, CVE-2026-41579,
//! CVE-2026-47766.

use super::{refused_or, run};
use knarr_e2e::attack::{self, Bundle};
use knarr_e2e::tarball::Entry;
use serde_json::json;
use std::path::Path;

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("directory");
    let mut all: Vec<String> =
        entries.flatten().map(|f| f.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

/// CVE-2026-41579, CVE-2026-47766, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642.
#[test]
fn dev_proc_and_sys_as_links() {
    let (e, marker) = attack::engine();
    let c = e.knarr();
    let trap = e.fresh_dir("trap");
    let host_dev = names(Path::new("/dev"));
    let outside = trap.display().to_string();
    let up = format!("{}{}", "../".repeat(20), outside.trim_start_matches('/'));
    for name in ["dev", "proc", "sys", "dev/pts", "dev/shm", "dev/mqueue", "sys/fs", "sys/fs/cgroup"] {
        for target in [&outside, &up, "/proc/1/root/dev", "/tmp", "/dev/../tmp", "/proc/self/cwd"] {
            let mut entries = Vec::new();
            if let Some((parent, _)) = name.rsplit_once('/') {
                let mut path = String::new();
                for part in parent.split('/') {
                    path.push_str(part);
                    entries.push(Entry::dir(&path, 0o755));
                    path.push('/');
                }
            }
            entries.push(Entry::symlink(name, target));
            assert_eq!(attack::load(&e, &attack::image("link:1", &entries)).code, 0);
            for options in [&[][..], &["--privileged"], &["-t"]] {
                let script = "echo inside; stat -f -c %T /proc /sys; cat /proc/self/stat >/dev/null";
                let o = run(&c, options, "link:1", &["sh", "-c", script]);
                // Where it runs at all, it runs on the real file systems.
                refused_or(&o, |o| o.stdout.contains("proc") && o.stdout.contains("sysfs"));
                // Terminals and privileges change nothing of that; one round of each is enough.
                if name.contains('/') {
                    break;
                }
            }
            assert!(names(&trap).is_empty(), "{name} -> {target}: {:?}", names(&trap));
        }
    }
    assert_eq!(names(Path::new("/dev")), host_dev);
    assert_eq!(std::fs::read_to_string(marker).unwrap(), attack::SECRET);
    // By the runtime's command line, where nobody lays a clean tree over the image's.
    for name in ["dev", "proc"] {
        for target in [&outside, &up, "/proc/1/root/dev"] {
            let bundle = Bundle::new(&e.fresh_dir(&format!("b-{name}-{}", target.len())), &["true"]);
            std::fs::remove_dir_all(bundle.rootfs().join(name)).unwrap();
            std::os::unix::fs::symlink(target, bundle.rootfs().join(name)).unwrap();
            let o = bundle.run("link");
            assert_ne!(o.code, 0, "{name} -> {target}: {o:?}");
            assert!(names(&trap).is_empty(), "{name} -> {target}");
        }
    }
}

/// CVE-2019-16884, CVE-2019-18837: a volume in the place of procfs, with files that lie.
#[test]
fn nothing_is_mounted_over_proc() {
    let (e, _marker) = attack::engine();
    let c = e.knarr();
    let fake = e.fresh_dir("fake");
    std::fs::create_dir_all(fake.join("self/attr")).unwrap();
    for file in ["self/attr/exec", "self/attr/current", "self/status", "sysrq-trigger"] {
        std::fs::write(fake.join(file), "").unwrap();
    }
    let from = fake.display().to_string();
    let refuse = [
        format!("{from}:/proc"),
        format!("{from}:/proc/"),
        format!("{from}:/proc/self"),
        format!("{from}:/proc/self/attr"),
        format!("{from}:/proc/1"),
        format!("{from}:/proc/sys"),
        format!("{from}:/proc/../proc/self/attr"),
        "lies:/proc".to_owned(),
        "lies:/proc/self/attr".to_owned(),
    ];
    for volume in &refuse {
        let o = run(&c, &["-v", volume], "attack:1", &["stat", "-f", "-c", "%T", "/proc/self/attr"]);
        assert_ne!(o.code, 0, "{volume}: {o:?}");
    }
    let mounts = [
        "type=tmpfs,target=/proc".to_owned(),
        "type=tmpfs,target=/proc/self/attr".to_owned(),
        format!("type=bind,source={from},target=/proc/thread-self/attr"),
    ];
    for mount in &mounts {
        let o = run(&c, &["--mount", mount], "attack:1", &["true"]);
        assert_ne!(o.code, 0, "{mount}: {o:?}");
    }
    for path in ["/proc", "/proc/self/attr", "//proc/./self/attr", "/x/../proc"] {
        let image = attack::image("vol:1", &[]).config("Volumes", json!({path: {}}));
        assert_eq!(attack::load(&e, &image).code, 0);
        let o = run(&c, &[], "vol:1", &["stat", "-f", "-c", "%T", "/proc/self/attr"]);
        assert_ne!(o.code, 0, "VOLUME {path}: {o:?}");
    }
    // A link in the image that leads there.
    let image = attack::image("way:1", &[Entry::symlink("way", "/proc/self")]);
    assert_eq!(attack::load(&e, &image).code, 0);
    let o = run(&c, &["-v", &format!("{from}:/way/attr")], "way:1", &["true"]);
    assert_ne!(o.code, 0, "{o:?}");
    assert_eq!(
        std::fs::read_to_string(fake.join("self/attr/exec")).unwrap(),
        "",
        "no label was written to the lie"
    );
}

/// CVE-2025-31133: what is bound over masked files is the null device, whatever the image or a volume calls so.
#[test]
fn the_null_device_of_masks_is_the_real_one() {
    let (e, _marker) = attack::engine();
    let c = e.knarr();
    let script = "for f in /proc/timer_list /proc/keys /proc/kcore; do [ -e $f ] && stat -L -c '%t:%T' $f; done; \
        (echo h > /proc/sysrq-trigger) 2>/dev/null && echo WRITTEN; (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo WRITTEN; true";
    let real = |o: &knarr_e2e::Output| o.stdout.lines().all(|l| l == "1:3");
    for target in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/self/mem"] {
        let image = attack::image("null:1", &[Entry::symlink("dev/null", target)]);
        assert_eq!(attack::load(&e, &image).code, 0);
        let o = run(&c, &[], "null:1", &["sh", "-c", script]);
        refused_or(&o, real);
        // A volume with such a link as the whole of /dev.
        let dev = e.fresh_dir(&format!("dev-{}", target.len()));
        std::os::unix::fs::symlink(target, dev.join("null")).unwrap();
        let o = run(&c, &["-v", &format!("{}:/dev", dev.display())], "attack:1", &["sh", "-c", script]);
        refused_or(&o, real);
        // By the runtime's command line, without any /dev of its own.
        let mut bundle = Bundle::new(&e.fresh_dir(&format!("b-{}", target.len())), &["sh", "-c", script]);
        bundle.config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
        std::os::unix::fs::symlink(target, bundle.rootfs().join("dev/null")).unwrap();
        refused_or(&bundle.run("null"), real);
    }
}

/// CVE-2025-52565: the console is bound to a place of the container, never through a link.
#[test]
fn the_console_is_not_bound_through_a_link() {
    let (e, _marker) = attack::engine();
    let c = e.knarr();
    let script = "(echo h > /proc/sysrq-trigger) 2>/dev/null && echo WRITTEN; (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo WRITTEN; \
        grep -E ' /proc/(sysrq-trigger|sys) ' /proc/self/mountinfo | grep -c -v ' ro,'";
    let target = "/proc/sysrq-trigger";
    let entries = [Entry::symlink("dev/console", target), Entry::symlink("dev/ptmx", target)];
    assert_eq!(attack::load(&e, &attack::image("con:1", &entries)).code, 0);
    for (name, link) in [("console", target), ("console", "/dev/pts/0"), ("ptmx", target), ("pts", "/proc")] {
        let dev = e.fresh_dir(&format!("con-{name}-{}", link.len()));
        std::os::unix::fs::symlink(link, dev.join(name)).unwrap();
        let volume = format!("{}:/dev", dev.display());
        for (options, image) in [(&["-t", "-v", &volume][..], "attack:1"), (&["-t"], "con:1")] {
            let o = run(&c, options, image, &["sh", "-c", script]);
            // One line: how many of those mounts can be written.
            refused_or(&o, |o| o.stdout.trim().trim_end_matches('\r') == "0");
            assert!(!o.stdout.contains("WRITTEN"), "{o:?}");
        }
    }
}

/// CVE-2021-43784: lengths that do not fit into 16 bits.
#[test]
fn long_options_are_refused_or_kept() {
    let (e, marker) = attack::engine();
    let c = e.knarr();
    for length in [0x1_0000, 0x1_0004, 0x1_8001] {
        let long = "A".repeat(length);
        for options in [
            vec!["--hostname".to_owned(), long.clone()],
            vec!["-w".to_owned(), format!("/{long}")],
            vec!["-u".to_owned(), long.clone()],
            vec!["--sysctl".to_owned(), format!("net.ipv4.{long}=1")],
            vec!["--tmpfs".to_owned(), format!("/{long}")],
            vec!["--pid".to_owned(), format!("container:{long}")],
        ] {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let o = run(&c, &options, "attack:1", &["true"]);
            assert_ne!(o.code, 0, "{} of {length}", options[0]);
        }
        let mut bundle = Bundle::new(&e.fresh_dir(&format!("b-{length}")), &["id", "-u"]);
        let good = bundle.config.clone();
        let namespaces = [
            "/proc/self/ns/net/".to_owned() + &long,
            format!("/proc/self/ns/{}net", "./".repeat(length / 2)),
        ];
        for path in namespaces {
            bundle.config["linux"]["namespaces"] =
                json!([{"type": "pid"}, {"type": "mount"}, {"type": "network", "path": path}]);
            assert_ne!(bundle.run("long").code, 0, "{length}");
        }
        bundle.config = good;
        bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        // Very many maps: the kernel takes 340, and none may be cut off silently.
        let maps: Vec<_> =
            (0..length / 16).map(|n| json!({"containerID": n, "hostID": 100_000 + n, "size": 1})).collect();
        bundle.config["linux"]["uidMappings"] = json!(maps);
        bundle.config["linux"]["gidMappings"] = json!(maps);
        assert_ne!(bundle.run("maps").code, 0, "{length}");
    }
    assert_eq!(std::fs::read_to_string(marker).unwrap(), attack::SECRET);
}
