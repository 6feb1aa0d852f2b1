//! The engine: what it is made of, opening, shutting down.
use crate::blocking::Pool;
use crate::config::EngineConfig;
use crate::error::{Error, Result};
use crate::execs::Execs;
use crate::init_program::InitProgram;
use crate::lsm::Lsm;
use crate::paths::{Paths, engine_id};
use crate::record::Container;
use crate::registry::Registry;
use crate::spec::Facts;
use crate::supervisor::Spawner;
use crate::userns::Userns;
use knarr_image::Images;
use knarr_network::Networks;
use knarr_network::resolv_conf;
use knarr_snapshot::Trash;
use knarr_state::{Event, Store};
use knarr_volume::Volumes;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A container engine. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// Replaced as a whole by a reload.
    config: RwLock<Arc<EngineConfig>>,
    pub metrics: crate::metrics::Metrics,
    pub id: String,
    pub paths: Paths,
    pub store: Store,
    pub images: Images,
    pub networks: Arc<Networks>,
    pub dns: knarr_dns::Server,
    pub volumes: Volumes,
    pub spawner: Spawner,
    pub containers: Registry,
    pub execs: Execs,
    pub prober: crate::health::Prober,
    pub host: Facts,
    pub userns: Userns,
    pub lsm: Lsm,
    pub pool: Pool,
    /// For archives that come from or go to clients.
    pub streams: Pool,
    pub trash: Trash,
    pub init_program: InitProgram,
    /// Limits of open files that the engine was started with, soft and hard, if it raised them for itself.
    pub descriptor_limit: Option<(i64, i64)>,
    /// Requests being served.
    pub busy: AtomicUsize,
    /// Creating a container or a volume holds it for reading, removing images or volumes for writing.
    pub image_use: tokio::sync::RwLock<()>,
    pub edits: crate::edit::Locks,
    pub starting: crate::standing::Starting,
    _lock: File,
}

impl Engine {
    /// Opens the data root, brings back what ran, sweeps what nobody owns.
    pub async fn open(config: EngineConfig) -> Result<Self> {
        let opened = tokio::task::spawn_blocking(move || open_parts(config)).await;
        let parts = opened.map_err(|e| Error::Internal(e.to_string()))??;
        let executable = parts.executable;
        let spawner = Spawner::start(executable).await?;
        let networks = Arc::new(parts.networks);
        let dns = {
            let networks = Arc::clone(&networks);
            knarr_dns::Server::new(resolv_conf::HOST_PATH, move |look| networks.with_names(look))
        };
        let inner = Arc::new(Inner {
            spawner,
            config: RwLock::new(Arc::new(parts.config)),
            metrics: crate::metrics::Metrics::default(),
            id: parts.id,
            paths: parts.paths,
            store: parts.store,
            images: parts.images,
            networks,
            dns,
            volumes: parts.volumes,
            containers: Registry::default(),
            execs: Execs::default(),
            prober: crate::health::Prober::default(),
            host: parts.host,
            userns: parts.userns,
            lsm: parts.lsm,
            pool: Pool::new(),
            streams: Pool::of_streams(),
            trash: parts.trash,
            init_program: parts.init_program,
            descriptor_limit: parts.descriptor_limit,
            busy: AtomicUsize::new(0),
            image_use: tokio::sync::RwLock::default(),
            edits: crate::edit::Locks::default(),
            starting: crate::standing::Starting::default(),
            _lock: parts.lock,
        });
        crate::restore::run(&inner).await?;
        crate::upkeep::watch(&inner);
        let images = inner.images.clone();
        // Nobody waits for it: what it takes grows with the store.
        drop(tokio::task::spawn_blocking(move || images.tidy()));
        Ok(Self { inner })
    }

    pub fn config(&self) -> Arc<EngineConfig> {
        self.inner.config()
    }

    /// Puts what can change while the engine runs in force, and tells it by an event.
    pub async fn reload(&self, config: EngineConfig) -> Result<()> {
        self.blocking(move |engine| crate::reload::reload(engine, config)).await
    }

    /// Numbers for Prometheus.
    pub async fn metrics(&self) -> Result<String> {
        self.blocking(|engine| Ok(crate::metrics::text(engine))).await
    }

    /// Short, stable name of this engine: derived from its data root.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Nothing runs and nothing is being done.
    pub fn is_idle(&self) -> bool {
        self.inner.busy.load(Ordering::SeqCst) == 0 && !self.inner.containers.any_active()
    }

    /// Counts as work for [`Engine::is_idle`] until it is dropped.
    pub fn work(&self) -> Work {
        self.inner.busy.fetch_add(1, Ordering::SeqCst);
        Work(Arc::clone(&self.inner))
    }

    /// Runs what blocks on the bounded pool.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        self.inner.pool.run(move || f(&inner)).await?
    }

    /// Ends the engine's own work. Containers go on.
    pub async fn shutdown(&self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        if !inner.containers.any_active() {
            inner
                .pool
                .run({
                    let inner = Arc::clone(&inner);
                    move || inner.networks.shutdown()
                })
                .await??;
        }
        Ok(())
    }
}

/// Something is being done.
pub struct Work(Arc<Inner>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Parts {
    config: EngineConfig,
    id: String,
    paths: Paths,
    store: Store,
    images: Images,
    networks: Networks,
    volumes: Volumes,
    trash: Trash,
    host: Facts,
    userns: Userns,
    lsm: Lsm,
    lock: File,
    executable: std::os::fd::OwnedFd,
    init_program: InitProgram,
    descriptor_limit: Option<(i64, i64)>,
}

/// Two per published port, so enough for more than there are ports; and for attached clients.
const DESCRIPTORS: u64 = 262_144;

/// A published port and an attached client hold descriptors: as many as the hard limit allows, which is raised where that is
/// allowed. Gives the limits of before, soft and hard, which are the ones for containers: a program that uses `select` breaks
/// above 1024 descriptors.
fn raise_descriptor_limit() -> Option<(i64, i64)> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map(|maximum| maximum.max(DESCRIPTORS));
    let wanted = Rlimit { current: most, maximum: most };
    if wanted == limit {
        return None;
    }
    let raised = setrlimit(Resource::Nofile, wanted)
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }));
    if let Err(error) = raised {
        tracing::warn!(%error, "limit of open files not raised");
    }
    // -1 is no limit.
    let number = |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(-1));
    Some((number(limit.current), number(limit.maximum)))
}

fn open_parts(mut config: EngineConfig) -> Result<Parts> {
    let descriptor_limit = raise_descriptor_limit();
    for dir in [&config.data_root, &config.exec_root] {
        make_dir(dir, 0o711)?;
    }
    config.data_root = canonical(&config.data_root)?;
    config.exec_root = canonical(&config.exec_root)?;
    let host = crate::host::facts();
    let userns = Userns::open(&config)?;
    let lsm = Lsm::open(&config);
    let systemd = || host.cgroup_v2 && knarr_cgroup::systemd::is_running();
    let systemd = config.systemd_cgroup.unwrap_or_else(systemd);
    config.systemd_cgroup = Some(systemd);
    if let Some(parent) = config.cgroup_parent.as_deref().filter(|_| systemd) {
        crate::cgroups::check_slice(parent)?;
    }
    let id = engine_id(&config.data_root);
    let paths = Paths { data_root: config.data_root.clone(), exec_root: config.exec_root.clone() };
    let lock = lock(&paths.lock())?;
    make_dir(&paths.containers(), 0o710)?;
    make_dir(&paths.runs(), 0o711)?;
    make_dir(&paths.seccomp(), 0o700)?;
    let executable = sealed_executable(&config.exe)?;
    let duplicate = executable.try_clone().map_err(Error::io("keep the copy of the executable"))?;
    let init_program = InitProgram::open(paths.init(), duplicate)?;
    crate::runtimes::resolve(&mut config)?;
    let store = Store::open(&paths.database())?;
    config.network.engine_id.clone_from(&id);
    let networks = Networks::open(store.clone(), config.network.clone())?;
    let volumes = Volumes::open(&config.data_root, store.clone())?;
    let images = Images::open_with(&config.data_root, store.clone(), config.storage_driver)?;
    check_driver(&images, &lsm)?;
    let downloads = crate::reload::downloads(&config);
    images.reconfigure(crate::reload::registries(&config), downloads, config.max_concurrent_uploads)?;
    let trash = images.layers().trash().clone();
    Ok(Parts {
        config,
        id,
        paths,
        store,
        images,
        networks,
        volumes,
        trash,
        host,
        userns,
        lsm,
        lock,
        executable,
        init_program,
        descriptor_limit,
    })
}

/// An overlay's files are labelled by its mount; those of a container's own directory would have to be labelled one by one.
fn check_driver(images: &Images, lsm: &Lsm) -> Result<()> {
    let kind = images.driver().kind();
    if lsm.selinux.is_some() && kind != crate::config::StorageDriver::Overlay {
        let name = kind.name();
        return Err(Error::Invalid(format!("SELinux is not supported with the {name} storage driver")));
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::path("make", path))
}

fn canonical(path: &Path) -> Result<std::path::PathBuf> {
    path.canonicalize().map_err(Error::path("resolve", path))
}

/// One engine per data root.
fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::path("open", path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::Conflict(format!(
            "another engine uses the data root {}",
            path.parent().unwrap_or(path).display()
        ))),
    }
}

/// A copy of the executable that nobody can change, to run everything near a container from (CVE-2019-5736).
fn sealed_executable(exe: &Path) -> Result<std::os::fd::OwnedFd> {
    use knarr_linux::memfd;
    let mut source = File::open(exe).map_err(Error::path("open", exe))?;
    let fd = memfd::create(c"knarr", true)
        .map_err(|e| Error::io("make a sealed copy of the executable")(e.into()))?;
    let mut copy = File::from(fd);
    std::io::copy(&mut source, &mut copy).map_err(Error::io("make a sealed copy of the executable"))?;
    memfd::seal(&copy).map_err(|e| Error::io("seal the copy of the executable")(e.into()))?;
    Ok(copy.into())
}

impl Inner {
    /// What is in force now.
    pub fn config(&self) -> Arc<EngineConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_config(&self, config: Arc<EngineConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// `/<parent>/<id>`, or `<slice>:knarr-<engine id>:<id>` for a scope of systemd.
    pub fn cgroup_path(&self, container: &Container) -> String {
        let own = container.host_config.resources.cgroup_parent.trim_matches('/');
        if self.systemd_cgroup() {
            let slice = if own.is_empty() { self.cgroup_parent() } else { own.to_owned() };
            return format!("{slice}:{}:{}", self.scope_prefix(), container.id);
        }
        match own {
            "" => format!("{}/{}", self.cgroup_parent(), container.id),
            own => format!("/{own}/{}", container.id),
        }
    }

    /// Where containers go that name no parent of their own: a group, or a slice of systemd.
    pub fn cgroup_parent(&self) -> String {
        match &self.config().cgroup_parent {
            Some(slice) if self.systemd_cgroup() => slice.clone(),
            None if self.systemd_cgroup() => "system.slice".to_owned(),
            Some(parent) => format!("/{}", parent.trim_matches('/')),
            None => format!("/knarr-{}", self.id),
        }
    }

    /// What the names of this engine's scopes begin with.
    pub fn scope_prefix(&self) -> String {
        format!("knarr-{}", self.id)
    }

    /// Whether systemd makes the control groups.
    pub fn systemd_cgroup(&self) -> bool {
        self.config().systemd_cgroup == Some(true)
    }

    /// Writes an event that no row change goes with and nobody waits for: an engine that is killed within the next moments loses it.
    pub async fn emit(&self, event: Event) {
        let store = self.store.clone();
        let written = move || {
            store.write_behind(|tx| {
                tx.emit(event);
                Ok::<_, knarr_state::Error>(())
            })
        };
        if let Ok(Err(error)) = self.pool.run(written).await {
            tracing::error!(%error, "event not written");
        }
    }

    /// The same before somebody is answered: who was told that it is done finds the event, whatever becomes of the engine.
    pub async fn emit_done(&self, event: Event) {
        let store = self.store.clone();
        if let Ok(Err(error)) = self.pool.run(move || write_event(&store, event)).await {
            tracing::error!(%error, "event not written");
        }
    }

    /// The same on a thread that may block.
    pub fn emit_now(&self, event: Event) -> Result<()> {
        Ok(write_event(&self.store, event)?)
    }
}

/// Durable on return.
fn write_event(store: &Store, event: Event) -> knarr_state::Result<()> {
    store.write(|tx| {
        tx.emit(event);
        Ok(())
    })
}
