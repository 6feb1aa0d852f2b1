//! Numbers for Prometheus: Docker's names (`engine_daemon_*`) where they mean the same, Knarr's own beside them.
//!
//! Standard: the text format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>). [`render`] is pure.
use crate::engine::Inner;
use crate::machine::Phase;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What takes time and is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Changes,
    Commit,
    Create,
    Delete,
    Start,
}

const ACTIONS: [(&str, Action); 5] = [
    ("changes", Action::Changes),
    ("commit", Action::Commit),
    ("create", Action::Create),
    ("delete", Action::Delete),
    ("start", Action::Start),
];
/// Upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    actions: [Histogram; ACTIONS.len()],
    pub health_checks: AtomicU64,
    pub health_checks_failed: AtomicU64,
    /// Log messages that ended containers, which may be gone by now, had lost.
    pub log_lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Not cumulative; the last is for what is longer.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// Measures from its making to its end; what fails counts, too.
pub(crate) struct Timer<'a> {
    histogram: &'a Histogram,
    begin: Instant,
}

impl Metrics {
    pub fn time(&self, action: Action) -> Timer<'_> {
        Timer { histogram: &self.actions[action as usize], begin: Instant::now() }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let taken = self.begin.elapsed();
        let at = BOUNDS.iter().position(|bound| taken.as_secs_f64() <= *bound).unwrap_or(BOUNDS.len());
        self.histogram.buckets[at].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.histogram.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// What the text is made of.
#[derive(Debug, Default)]
struct Facts {
    info: [(&'static str, String); 8],
    cpus: usize,
    memory: u64,
    /// Running, paused, stopped.
    containers: [usize; 3],
    events: u64,
    subscribers: usize,
    requests: usize,
    images: usize,
    /// Of containers that lost log messages: id, name, how many.
    log_lost: Vec<(String, String, u64)>,
    process: Process,
}

#[derive(Debug, Default)]
struct Process {
    cpu_seconds: f64,
    resident: u64,
    descriptors: u64,
    max_descriptors: u64,
    start: f64,
    threads: u64,
}

/// The page.
pub(crate) fn text(engine: &Inner) -> String {
    render(&engine.metrics, &gather(engine))
}

fn gather(engine: &Inner) -> Facts {
    let all = engine.containers.all();
    let count = |test: fn(Phase) -> bool| all.iter().filter(|s| test(s.status.phase)).count();
    let (os, os_version) = crate::system::operating_system();
    let config = engine.config();
    let lost = all.iter().filter(|snapshot| snapshot.status.log_lost > 0).map(|snapshot| {
        (snapshot.id().to_string(), snapshot.container.name.clone(), snapshot.status.log_lost)
    });
    Facts {
        info: [
            ("architecture", std::env::consts::ARCH.to_owned()),
            ("commit", config.git_commit.clone()),
            ("daemon_id", engine.id.clone()),
            ("graphdriver", engine.images.driver().kind().name().to_owned()),
            ("kernel", engine.host.kernel.clone()),
            ("os", os),
            ("os_version", os_version),
            ("version", config.version.clone()),
        ],
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get()),
        memory: crate::host::memory(),
        containers: [
            count(|phase| matches!(phase, Phase::Running | Phase::Restarting)),
            count(|phase| phase == Phase::Paused),
            count(|phase| !matches!(phase, Phase::Running | Phase::Restarting | Phase::Paused)),
        ],
        events: *engine.store.subscribe().borrow(),
        subscribers: engine.store.subscribers(),
        requests: engine.busy.load(Ordering::SeqCst),
        images: engine.images.count().unwrap_or(0),
        log_lost: lost.collect(),
        process: process(),
    }
}

/// The engine's own process, of `/proc/self`.
fn process() -> Process {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let stat = read("stat");
    let fields: Vec<u64> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').map(|field| field.parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    // Numbers of the fields as in proc(5), which counts from one; two are before the parenthesis.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let limits = read("limits");
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    Process {
        cpu_seconds: (field(14) + field(15)) as f64 / ticks,
        resident: field(24) * rustix::param::page_size() as u64,
        descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as u64),
        max_descriptors: limit.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0),
        start: boot.unwrap_or(0.0) + field(22) as f64 / ticks,
        threads: field(20),
    }
}

fn render(metrics: &Metrics, facts: &Facts) -> String {
    let mut page = Page::default();
    page.head(
        "engine_daemon_engine_info",
        "gauge",
        "The information related to the engine and the OS it is running on",
    );
    page.sample("engine_daemon_engine_info", &facts.info, 1.0);
    page.gauge(
        "engine_daemon_engine_cpus_cpus",
        "The number of cpus that the host system of the engine has",
        facts.cpus as f64,
    );
    page.gauge(
        "engine_daemon_engine_memory_bytes",
        "The number of bytes of memory that the host system of the engine has",
        facts.memory as f64,
    );
    let name = "engine_daemon_container_states_containers";
    page.head(name, "gauge", "The count of containers in various states");
    for (state, count) in ["running", "paused", "stopped"].into_iter().zip(facts.containers) {
        page.sample(name, &[("state", state.to_owned())], count as f64);
    }
    let name = "engine_daemon_container_actions_seconds";
    page.head(name, "histogram", "The number of seconds it takes to process each container action");
    for (action, histogram) in ACTIONS.iter().map(|(name, _)| name).zip(&metrics.actions) {
        let mut total = 0;
        for (at, bucket) in histogram.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = BOUNDS.get(at).map_or("+Inf".to_owned(), f64::to_string);
            let labels = [("action", (*action).to_owned()), ("le", bound)];
            page.sample(&format!("{name}_bucket"), &labels, total as f64);
        }
        let labels = [("action", (*action).to_owned())];
        page.sample(&format!("{name}_sum"), &labels, histogram.micros.load(Ordering::Relaxed) as f64 / 1e6);
        page.sample(&format!("{name}_count"), &labels, total as f64);
    }
    page.counter("engine_daemon_events_total", "The number of events logged", facts.events as f64);
    page.gauge(
        "engine_daemon_events_subscribers_total",
        "The number of current subscribers to events",
        facts.subscribers as f64,
    );
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
    page.counter(
        "engine_daemon_health_checks_total",
        "The total number of health checks",
        load(&metrics.health_checks),
    );
    page.counter(
        "engine_daemon_health_checks_failed_total",
        "The total number of failed health checks",
        load(&metrics.health_checks_failed),
    );
    page.gauge("knarr_images", "Images in the store", facts.images as f64);
    page.gauge("knarr_work_in_progress", "Requests and tasks that are being served", facts.requests as f64);
    let name = "knarr_container_log_lost_messages";
    page.head(name, "gauge", "Log messages that the last run of a container has lost");
    for (id, container, lost) in &facts.log_lost {
        page.sample(
            name,
            &[("container_id", id.clone()), ("container_name", container.clone())],
            *lost as f64,
        );
    }
    page.counter(
        "knarr_log_lost_messages_total",
        "Log messages that ended runs of containers had lost",
        load(&metrics.log_lost),
    );
    let process = &facts.process;
    page.counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        process.cpu_seconds,
    );
    page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", process.resident as f64);
    page.gauge("process_open_fds", "Number of open file descriptors.", process.descriptors as f64);
    page.gauge("process_max_fds", "Maximum number of open file descriptors.", process.max_descriptors as f64);
    page.gauge("process_threads", "Number of threads.", process.threads as f64);
    page.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        process.start,
    );
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, String)], value: f64) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{open}{label}=\"{text}\"");
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_in_prometheus_format() {
        let metrics = Metrics::default();
        drop(metrics.time(Action::Start));
        metrics.health_checks.fetch_add(3, Ordering::Relaxed);
        let lost = vec![("abc".to_owned(), "a \"b\"".to_owned(), 7)];
        let page = render(&metrics, &Facts { containers: [2, 0, 5], log_lost: lost, ..Facts::default() });
        for line in [
            "engine_daemon_container_states_containers{state=\"running\"} 2",
            "engine_daemon_container_states_containers{state=\"stopped\"} 5",
            "engine_daemon_container_actions_seconds_bucket{action=\"start\",le=\"+Inf\"} 1",
            "engine_daemon_container_actions_seconds_count{action=\"start\"} 1",
            "engine_daemon_container_actions_seconds_count{action=\"delete\"} 0",
            "engine_daemon_health_checks_total 3",
            "knarr_container_log_lost_messages{container_id=\"abc\",container_name=\"a \\\"b\\\"\"} 7",
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
        // Each name is described once, and before its samples.
        let mut described = Vec::new();
        for line in page.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => {
                    let name = rest.split(' ').next().unwrap();
                    assert!(!described.contains(&name), "{name} twice");
                    described.push(name);
                }
                None if line.starts_with('#') => {}
                None => assert!(line.starts_with(described.last().unwrap()), "{line}"),
            }
        }
    }
}
