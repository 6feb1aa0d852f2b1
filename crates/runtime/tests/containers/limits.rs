//! Limits that are seen to bind.
use crate::bundle::{Bundle, process};
use knarr_linux::process::Exit;
use knarr_oci::runtime::{Cpu, Memory, Pids, Rlimit};
use std::time::{Duration, Instant};

pub const TESTS: &[(&str, fn())] = &[
    ("limits::memory_kills_and_is_counted", memory_kills_and_is_counted),
    ("limits::pids_are_refused", pids_are_refused),
    ("limits::cpu_is_throttled", cpu_is_throttled),
    ("limits::cpus_are_pinned", cpus_are_pinned),
    ("limits::freeze_and_thaw", freeze_and_thaw),
    ("limits::kill_all_and_destroy", kill_all_and_destroy),
    ("limits::update_of_a_running_container", update_of_a_running_container),
    ("limits::statistics", statistics),
    ("limits::rlimits", rlimits),
    ("limits::out_of_memory_score", out_of_memory_score),
    ("limits::missing_controller_is_an_error", missing_controller_is_an_error),
];

fn memory_kills_and_is_counted() {
    let mut bundle = Bundle::new(&["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"]);
    let memory = Memory { limit: Some(16 << 20), swap: Some(16 << 20), ..Memory::default() };
    bundle.linux().resources.as_mut().unwrap().memory = Some(memory);
    let (stdio, ..) = crate::bundle::pipes();
    let mut created = bundle.create(stdio).unwrap();
    let cgroup = bundle.cgroup();
    let watch = cgroup.watch_oom().unwrap().unwrap();
    assert_eq!(cgroup.oom_kills().unwrap(), 0);
    created.start().unwrap();
    let exit = knarr_linux::process::wait(std::os::fd::AsFd::as_fd(&created.pidfd), true).unwrap();
    assert_eq!(exit, Some(Exit::Signal(9)));
    assert_eq!(cgroup.oom_kills().unwrap(), 1);
    let mut poll = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
    let second = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut poll, Some(&second)).unwrap(), 1);
    watch.clear();
    cgroup.destroy().unwrap();
    assert!(!cgroup.exists());
}

fn pids_are_refused() {
    let mut bundle = Bundle::new(&["sh", "-c", "for i in 1 2 3 4 5 6; do sleep 1 & done; wait"]);
    bundle.linux().resources.as_mut().unwrap().pids = Some(Pids { limit: 4 });
    let outcome = bundle.run().unwrap();
    assert!(outcome.stderr.contains("can't fork"), "{}", outcome.stderr);
}

fn cpu_is_throttled() {
    let mut bundle = Bundle::new(&["sh", "-c", "while :; do :; done"]);
    let cpu = Cpu { quota: Some(10_000), period: Some(100_000), shares: Some(512), ..Cpu::default() };
    bundle.linux().resources.as_mut().unwrap().cpu = Some(cpu);
    let running = bundle.start();
    let cgroup = running.bundle.cgroup();
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(1000));
    let stats = cgroup.stats().unwrap();
    let share = stats.cpu.usage as f64 / begin.elapsed().as_nanos() as f64;
    assert!(share < 0.25, "a tenth of a CPU was allowed, {share} was used");
    assert!(stats.cpu.throttled_periods > 0);
}

fn cpus_are_pinned() {
    let mut bundle = Bundle::new(&["grep", "Cpus_allowed_list", "/proc/self/status"]);
    bundle.linux().resources.as_mut().unwrap().cpu =
        Some(Cpu { cpus: Some("0".to_owned()), ..Cpu::default() });
    assert_eq!(bundle.output(), "Cpus_allowed_list:\t0\n");
}

fn freeze_and_thaw() {
    let bundle = Bundle::new(&["sh", "-c", "while :; do :; done"]);
    let running = bundle.start();
    let cgroup = running.bundle.cgroup();
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    let used = || cgroup.stats().unwrap().cpu.usage;
    let before = used();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(used(), before);
    cgroup.thaw().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(used() > before);
    // A frozen container can be killed.
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
}

fn kill_all_and_destroy() {
    let bundle = Bundle::new(&["sh", "-c", "for i in 1 2 3; do sleep 1000 & done; wait"]);
    let running = bundle.start();
    let cgroup = running.bundle.cgroup();
    let deadline = Instant::now() + Duration::from_secs(5);
    while cgroup.pids().unwrap().len() < 4 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(cgroup.all_pids().unwrap().len(), 4);
    cgroup.kill_all().unwrap();
    assert!(cgroup.all_pids().unwrap().is_empty());
}

fn update_of_a_running_container() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let limit = |bytes: i64| Memory { limit: Some(bytes), swap: Some(2 * bytes), ..Memory::default() };
    bundle.linux().resources.as_mut().unwrap().memory = Some(limit(32 << 20));
    let running = bundle.start();
    let cgroup = running.bundle.cgroup();
    assert_eq!(cgroup.stats().unwrap().memory.limit, 32 << 20);
    for mebibytes in [256, 16, 64] {
        let resources =
            knarr_oci::runtime::Resources { memory: Some(limit(mebibytes << 20)), ..Default::default() };
        cgroup.apply(&resources).unwrap();
        assert_eq!(cgroup.stats().unwrap().memory.limit, (mebibytes << 20) as u64);
    }
}

fn statistics() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let running = bundle.start();
    running.exec(&process(&["dd", "if=/dev/zero", "of=/big", "bs=1M", "count=8"])).unwrap();
    let stats = running.bundle.cgroup().stats().unwrap();
    assert_eq!(stats.pids.current, 1);
    assert_eq!(stats.pids.limit, u64::MAX);
    assert!(stats.memory.usage > 8 << 20 && stats.memory.limit == u64::MAX, "{:?}", stats.memory);
    assert!(stats.memory.detail.len() > 10 && stats.cpu.usage > 0);
}

fn rlimits() {
    let mut bundle = Bundle::new(&["sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c"]);
    let limit = |kind: &str, soft, hard| Rlimit { kind: kind.to_owned(), soft, hard };
    bundle.process().rlimits = vec![limit("RLIMIT_NOFILE", 100, 200), limit("RLIMIT_CORE", 0, 0)];
    assert_eq!(bundle.output(), "100\n200\n0\n");
    bundle.process().rlimits = vec![limit("RLIMIT_NOFILE", 300, 200)];
    assert!(bundle.run().is_err());
    bundle.process().rlimits = vec![limit("RLIMIT_FUN", 1, 2)];
    assert!(bundle.run().is_err());
}

fn out_of_memory_score() {
    let mut bundle = Bundle::new(&["cat", "/proc/self/oom_score_adj"]);
    bundle.process().oom_score_adj = Some(500);
    assert_eq!(bundle.output(), "500\n");
}

fn missing_controller_is_an_error() {
    let mut bundle = Bundle::new(&["true"]);
    let resources = bundle.linux().resources.as_mut().unwrap();
    resources.network = Some(knarr_oci::runtime::Network { class_id: Some(1), ..Default::default() });
    let has = bundle.cgroup().hierarchies().mountpoint("net_cls").is_some();
    let result = bundle.run();
    assert!(has || result.is_err_and(|e| e.to_string().contains("net_cls")));
    assert!(has || !bundle.cgroup().exists(), "a failed start leaves no group behind");
}
