//! Flags -> request bodies, compared with what Docker's client 28.2 sends.
//!
//! `tests/golden/create_requests.json` was recorded from `docker create` and `docker run`; recording again:
//! `KNARR_RECORD=1 cargo test -p knarr-cli --test create_requests` with that client in the path.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

/// One command line each; `{dir}` is a directory with the files that some flags name.
const CASES: &[&str] = &[
    "create busybox",
    "create busybox echo -n -it --rm hello",
    "create -it --name n busybox sh",
    "run -d busybox sleep 1",
    "run -dit --rm --name n busybox sh -c 'a b'",
    "create -a stdout -a stderr busybox",
    "create -a stdin -i busybox",
    "create --rm=false --init=false -i=false --tty=true busybox",
    "create -e A=1 -e B= -e KNARR_TEST_UNSET= --env C=3 -e A=9 busybox",
    "create --env-file {dir}/env -e A=2 busybox",
    "create --label a=b -l c --label-file {dir}/labels busybox",
    "create -w /w -u 1000:1000 -h host --domainname dom --entrypoint /bin/e busybox x",
    "create --entrypoint= busybox",
    "create -v /a:/b -v /c:/d:ro -v vol:/v -v /anon -v vol2:/w:nocopy busybox",
    "create --mount type=bind,source=/a,target=/b,readonly --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770 busybox",
    "create --mount type=volume,src=v,dst=/v,volume-nocopy,volume-label=a=b,volume-driver=local,volume-opt=o=x busybox",
    "create --mount type=bind,src=/a,dst=/b,bind-propagation=rslave,bind-recursive=disabled busybox",
    "create --mount src=v,dst=/x --mount type=image,src=i,dst=/y,image-subpath=z busybox",
    "create --tmpfs /t --tmpfs /u:size=1m,noexec busybox",
    "create -m 512m --memory-swap 1g --memory-reservation 100m --memory-swappiness 10 --kernel-memory 5m busybox",
    "create --memory-swap -1 -m 1.5g --shm-size 128m --oom-kill-disable --oom-score-adj -500 busybox",
    "create --cpus 1.5 --cpu-shares 512 --cpuset-cpus 0-1 --cpuset-mems 0 --cpu-period 1000 --cpu-quota 2000 busybox",
    "create -c 3 --cpu-rt-period 1 --cpu-rt-runtime 2 --pids-limit 100 --blkio-weight 300 busybox",
    "create --blkio-weight-device /dev/sda:100 --device-read-bps /dev/sda:1mb --device-write-iops /dev/sda:50 busybox",
    "create --ulimit nofile=1024:2048 --ulimit core=0 --ulimit nproc=-1 busybox",
    "create --cap-add NET_ADMIN --cap-add ALL --cap-drop MKNOD --privileged --read-only busybox",
    "create --security-opt no-new-privileges --security-opt label=disable --security-opt seccomp=unconfined busybox",
    "create --security-opt seccomp={dir}/seccomp.json busybox",
    "create --security-opt systempaths=unconfined --security-opt apparmor:x busybox",
    "create --init --restart on-failure:3 --stop-signal SIGINT --stop-timeout 5 busybox",
    "create --restart unless-stopped busybox",
    "create --restart always busybox",
    "create -p 80 -p 8080:80 -p 127.0.0.1:8081:81/udp -p 127.0.0.1::82 -p [::1]:8083:83 busybox",
    "create -p 8000-8002:9000-9002 -p 7000-7010:70 -p published=9090,target=90 -P --expose 100-101/udp --expose 5 busybox",
    "create --network host busybox",
    "create --network none busybox",
    "create --net container:x busybox",
    "create --network net --network-alias a --net-alias b --ip 10.0.0.2 --ip6 fd00::2 --link c:d busybox",
    "create --network name=net,alias=a,alias=b,ip=10.0.0.2,driver-opt=k=v,gw-priority=5 busybox",
    "create --network n1 --network n2 busybox",
    "create --mac-address 92:d0:c6:0a:29:33 busybox",
    "create --network net --mac-address 92:d0:c6:0a:29:33 --link-local-ip 169.254.1.1 busybox",
    "create --link a --link b:c busybox",
    "create --dns 1.1.1.1 --dns-search example.com --dns-option ndots:2 --dns-opt debug busybox",
    "create --add-host a:1.2.3.4 --add-host b=::1 --add-host c:host-gateway --add-host d:[::2] busybox",
    "create --device /dev/null --device /dev/zero:/dev/z --device /dev/a:/dev/b:r --device /dev/c:rw busybox",
    "create --device-cgroup-rule 'c 1:3 mr' --device vendor.com/class=name busybox",
    "create --sysctl net.ipv4.ip_forward=1 --sysctl kernel.sem=1 busybox",
    "create --pid host --ipc host --uts host --userns host --cgroupns host busybox",
    "create --pid container:x --ipc shareable --cgroupns private --cgroup-parent /p busybox",
    "create --group-add 10 --group-add wheel --volumes-from a:ro --volume-driver local busybox",
    "create --health-cmd 'curl x' --health-interval 5s --health-timeout 1m --health-retries 3 --health-start-period 1h --health-start-interval 200ms busybox",
    "create --no-healthcheck busybox",
    "create --log-driver json-file --log-opt max-size=1m --log-opt max-file=3 busybox",
    "create --annotation a=b --storage-opt size=1g --runtime crun --isolation default busybox",
    "create --gpus all busybox",
    "create --gpus 2 busybox",
    "create --gpus '\"device=0,1\",driver=nvidia,capabilities=compute' busybox",
    "create --gpus '\"capabilities=utility,compute\",\"device=0,2\"' busybox",
    "create --gpus 0 busybox",
    "create --oom-score-adj 0x10 --stop-timeout 010 --blkio-weight 0b1010000 busybox",
    "create --platform linux/arm64 busybox",
    "create --cidfile {dir}/cid busybox",
    "create -- busybox --name x",
    "create -v /a:/b -v /a:/b busybox",
    "create -e=X=1 -p=80 --name=y -m=1g busybox",
    "create -eA=1 -p80 -v/a:/b busybox",
];

fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    words.push(word);
    words
}

/// An engine that notes what is asked of it.
fn fake_engine(path: &Path) -> Receiver<Value> {
    let listener = UnixListener::bind(path).unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let sender = sender.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &sender));
        }
    });
    receiver
}

fn serve(mut stream: UnixStream, sender: &Sender<Value>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let (mut length, mut header) = (0, String::new());
        while reader.read_line(&mut header).unwrap_or(0) > 2 {
            if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            header.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let url = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = if url.contains("/containers/create") {
            let query = url.split_once('?').map_or("", |(_, q)| q).to_owned();
            sender
                .send(json!({"query": query, "body": serde_json::from_slice::<Value>(&body).unwrap()}))
                .unwrap();
            "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n{\"Id\":\"abc\",\"Warnings\":[]}"
        } else if url.contains("/_ping") {
            "HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nOstype: linux\r\nContent-Length: 0\r\n\r\n"
        } else {
            "HTTP/1.1 204 No Content\r\n\r\n"
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn golden_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/create_requests.json")
}

/// Members whose values do not matter to an engine: empty is as good as absent or nil.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), normal(value)))
                .filter(|(name, v)| {
                    !is_nothing(v) || matches!(name.as_str(), "MaskedPaths" | "ReadonlyPaths" | "Entrypoint")
                })
                .collect::<std::collections::BTreeMap<_, _>>()
                .into_iter()
                .collect(),
        ),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(normal).collect();
            // Docker keeps variables and binds in maps, whose order is random
            if items.iter().all(|i| i.as_str().is_some_and(|text| text.contains(['=', '/']))) {
                items.sort_by_key(ToString::to_string);
            }
            Value::Array(items)
        }
        other => other.clone(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

fn query(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split('&').filter(|p| !p.is_empty()).collect();
    parts.sort_unstable();
    parts
}

#[test]
fn bodies_equal_those_of_dockers_client() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().display().to_string();
    std::fs::write(
        dir.path().join("env"),
        "# note\nA=1\n  B=two words\nCARGO_PKG_NAME\nKNARR_TEST_UNSET\n\nC=\n",
    )
    .unwrap();
    std::fs::write(dir.path().join("labels"), "x=y\nbare\n").unwrap();
    std::fs::write(
        dir.path().join("seccomp.json"),
        "{ \"defaultAction\" : \"SCMP_ACT_ALLOW\",\n \"syscalls\": [] }",
    )
    .unwrap();
    let socket = dir.path().join("engine.sock");
    let requests = fake_engine(&socket);
    let host = format!("unix://{}", socket.display());
    let record = std::env::var_os("KNARR_RECORD").is_some();
    let golden: Value = match std::fs::read(golden_path()) {
        Ok(bytes) if !record => serde_json::from_slice(&bytes).unwrap(),
        _ => json!({}),
    };
    let mut recorded = serde_json::Map::new();
    let mut wrong = Vec::new();
    for case in CASES {
        let tail = words(&case.replace("{dir}", &files));
        // a variable that is the same on every machine stands for the client's own
        let globals = ["-H", &host, "--config", &files].map(str::to_owned);
        if record {
            let output = std::process::Command::new("docker").args(&globals).args(&tail).output().unwrap();
            assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stderr));
            let text = requests.try_recv().unwrap().to_string().replace(&files, "{dir}");
            recorded.insert((*case).to_owned(), serde_json::from_str(&text).unwrap());
            continue;
        }
        let args = std::iter::once("knarr".to_owned()).chain(globals).chain(tail);
        let code = knarr_cli::main(args.map(Into::into), None);
        assert_eq!(code, 0, "{case}");
        let text = requests.try_recv().unwrap().to_string().replace(&files, "{dir}");
        let ours: Value = serde_json::from_str(&text).unwrap();
        let theirs = &golden[*case];
        assert!(!theirs.is_null(), "not recorded: {case}");
        if normal(&ours["body"]) != normal(&theirs["body"])
            || query(ours["query"].as_str().unwrap()) != query(theirs["query"].as_str().unwrap())
        {
            wrong.push(format!("{case}\n  ours:   {}\n  docker: {}", normal(&ours), normal(theirs)));
        }
    }
    if record {
        std::fs::write(golden_path(), serde_json::to_string_pretty(&Value::Object(recorded)).unwrap())
            .unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
