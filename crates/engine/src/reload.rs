//! A new configuration for an engine that runs: what Docker can reload, and the event that tells what is in force.
use crate::config::EngineConfig;
use crate::engine::Inner;
use crate::error::Result;
use knarr_image::RegistryConfig;
use knarr_state::Event;
use std::sync::Arc;

/// Puts the parts of a configuration in force that can change while the engine runs. All or nothing.
pub(crate) fn reload(engine: &Inner, new: EngineConfig) -> Result<()> {
    let mut config = EngineConfig::clone(&engine.config());
    let EngineConfig {
        debug,
        labels,
        registry_mirrors,
        insecure_registries,
        registry_prefix_mirrors,
        max_concurrent_downloads,
        max_concurrent_uploads,
        runtimes,
        default_runtime,
        shutdown_timeout_s,
        default_stop_timeout_s,
        default_shm_size,
        default_ipc_mode,
        cgroupns_mode,
        clean_up,
        ..
    } = new;
    config.debug = debug;
    config.labels = labels;
    config.registry_mirrors = registry_mirrors;
    config.insecure_registries = insecure_registries;
    config.registry_prefix_mirrors = registry_prefix_mirrors;
    config.max_concurrent_downloads = max_concurrent_downloads;
    config.max_concurrent_uploads = max_concurrent_uploads;
    config.runtimes = runtimes;
    config.default_runtime = default_runtime;
    config.shutdown_timeout_s = shutdown_timeout_s;
    config.default_stop_timeout_s = default_stop_timeout_s;
    config.default_shm_size = default_shm_size;
    config.default_ipc_mode = default_ipc_mode;
    config.cgroupns_mode = cgroupns_mode;
    config.clean_up = clean_up;
    crate::runtimes::resolve(&mut config)?;
    engine.images.reconfigure(registries(&config), downloads(&config), config.max_concurrent_uploads)?;
    let event = event(engine, &config);
    engine.set_config(Arc::new(config));
    engine.emit_now(event)
}

pub(crate) fn registries(config: &EngineConfig) -> RegistryConfig {
    RegistryConfig {
        mirrors: config.registry_mirrors.clone(),
        insecure: config.insecure_registries.clone(),
        prefix_mirrors: config.registry_prefix_mirrors.clone(),
        certs_dirs: ["/etc/knarr/certs.d", "/etc/docker/certs.d"].map(Into::into).into(),
        proxies: config.proxies.clone(),
        user_agent: format!("knarr/{}", config.version),
    }
}

pub(crate) fn downloads(config: &EngineConfig) -> usize {
    usize::try_from(config.max_concurrent_downloads).unwrap_or(usize::MAX)
}

/// Docker's event, with the values in force.
fn event(engine: &Inner, config: &EngineConfig) -> Event {
    let list = |items: &[String]| serde_json::to_string(items).unwrap_or_default();
    let mut runtimes: Vec<String> =
        config.runtimes.iter().map(|(name, runtime)| format!("{name}:{}", runtime.path.display())).collect();
    runtimes.insert(0, crate::runtimes::OWN.to_owned());
    Event::now("daemon", "reload", &engine.id)
        .with("name", &engine.host.hostname)
        .with("debug", config.debug.to_string())
        .with("labels", list(&config.labels))
        .with("registry-mirrors", list(&config.registry_mirrors))
        .with("insecure-registries", list(&config.insecure_registries))
        .with("max-concurrent-downloads", config.max_concurrent_downloads.to_string())
        .with("max-concurrent-uploads", config.max_concurrent_uploads.to_string())
        .with("runtimes", runtimes.join(" "))
        .with("default-runtime", &config.default_runtime)
        .with("default-shm-size", config.default_shm_size.to_string())
        .with("default-ipc-mode", &config.default_ipc_mode)
        .with("default-cgroupns-mode", &config.cgroupns_mode)
        .with("default-stop-timeout", config.default_stop_timeout_s.to_string())
        .with("shutdown-timeout", config.shutdown_timeout_s.to_string())
        .with("live-restore", "true")
}
