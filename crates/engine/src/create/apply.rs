//! Creating a container: resolve, validate, merge; make its directory and volumes; one transaction.
use super::mounts::Planned;
use super::{generate, merge, mounts, name, security_opt, validate};
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::{Container, IdMaps, Labels, MountKind, MountRow, NameOwner, Status, Time};
use crate::task::{self, Restored};
use crate::userns::Mode;
use knarr_base::{ContainerId, Id};
use knarr_docker_types::List;
use knarr_docker_types::container::{CreateRequest, CreateResponse};
use knarr_docker_types::container_config::Config;
use knarr_docker_types::host_config::HostConfig;
use knarr_docker_types::options::ContainerCreate;
use knarr_docker_types::resources::Resources;
use knarr_image::Image;
use knarr_linux::path::Root;
use knarr_oci::rootfs::RootfsMount;
use knarr_snapshot::driver::Keep;
use knarr_volume::{CopyUp, CreateVolume, Volume};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Names that are tried for a container without one.
const MAX_NAME_TRIES: u32 = 8;

/// Creates a container and starts its task.
pub(crate) async fn create(
    engine: &Arc<Inner>,
    request: CreateRequest,
    options: ContainerCreate,
) -> Result<CreateResponse> {
    let _image_use = engine.image_use.read().await;
    let work = Arc::clone(engine);
    let (container, warnings) = engine.pool.run(move || build(&work, request, options)).await??;
    let id = container.id.to_string();
    task::spawn(engine, container, Status::default(), Restored::default());
    Ok(CreateResponse { id, warnings: warnings.into() })
}

fn build(
    engine: &Inner,
    request: CreateRequest,
    options: ContainerCreate,
) -> Result<(Container, Vec<String>)> {
    let CreateRequest { mut config, host_config, networking_config } = request;
    let mut host = host_config.unwrap_or_default();
    let wanted_name = options.name.as_deref().filter(|n| !n.is_empty()).map(name::check).transpose()?;
    validate::config(&config)?;
    let defaults = engine.config();
    crate::log_driver::merge(&mut host.log_config, &defaults.log_driver, &defaults.log_opts);
    validate::host_config(&host)?;
    if let Some(name) = &wanted_name
        && let Some(id) = engine.containers.owner(name)
    {
        return Err(Error::NameTaken { name: name.clone(), id });
    }
    let image = resolve_image(engine, &config.image, &options)?;
    merge::merge(&mut config, &image.config.config);
    if config.entrypoint.is_empty() && config.cmd.is_empty() {
        return Err(Error::Invalid("no command specified".to_owned()));
    }
    if config.volumes.is_empty() {
        config.volumes = Default::default();
    }
    let mut warnings = adapt(engine, &mut host)?;
    if let Some(Err(why)) = config.healthcheck.as_ref().map(crate::health::check) {
        // Of the image: a request with it was refused.
        warnings.push(format!("The image's health check is not used: {why}"));
    }
    check_networks(engine, &mut host, &mut config)?;
    let from = volumes_from(engine, &host)?;
    let mut planned = mounts::plan(&config, &host, from)?;
    mounts::let_go_of(&engine.paths.data_root, &mut planned)?;
    check_sources(&planned)?;
    check_volume_driver(&host.volume_driver, &planned)?;
    let id = ContainerId::from_bytes(&random());
    let dir = engine.paths.container(&id);
    security_opt::adapt(&mut host);
    let labels = labels(engine, &host)?;
    let requires = crate::requires::resolve(engine, &host.annotations)?;
    let userns = Mode::parse(&host.userns_mode)?;
    let foreign = crate::runtimes::program(&engine.config(), &host.runtime)?.is_some();
    engine.userns.check(&host, &userns, foreign)?;
    let mut networks = networking_config.map(|n| n.endpoints_config).unwrap_or_default();
    super::links::adapt(engine, &mut host, &mut networks)?;
    let mode = host.network_mode.as_str();
    if mode == "host" && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    if !engine.networks.forwards(true) && mode != "host" && mode != "none" && !mode.starts_with("container:")
    {
        warnings.push("IPv4 forwarding is disabled. Networking will not work.".to_owned());
    }
    let undo = Undo { engine, dir: &dir, done: false };
    std::fs::create_dir_all(&dir).map_err(Error::path("make", &dir))?;
    // A power cut ends a container that removes itself, and then it is removed.
    let keep = if host.auto_remove { Keep::Volatile } else { Keep::Durable };
    let rootfs = engine.images.prepare_for(&image.id, &dir, keep)?;
    if let Err(error) = engine.images.used(&image.id) {
        tracing::warn!(%error, "use of an image not noted");
    }
    knarr_base::failpoint!("create.prepared", Error::Failpoint("create.prepared"));
    prepare_images(engine, &mut planned, &dir, keep)?;
    make_volumes(engine, &id, &mut planned, &rootfs)?;
    let rows = planned.into_iter().map(|one| one.row).collect();
    knarr_base::failpoint!("create.volumes", Error::Failpoint("create.volumes"));
    // An object also when it is empty.
    host.log_config.config = std::mem::take(&mut host.log_config.config).not_nil();
    let log_driver = host.log_config.kind.clone();
    let log_opts = host.log_config.config.clone().into_inner();
    let mut container = Container {
        id,
        name: String::new(),
        created: Time::now(),
        config,
        host_config: host,
        networks,
        off_mode_network: false,
        image: Some(image.id),
        platform: "linux".to_owned(),
        rootfs,
        id_maps: engine.userns.maps(&userns),
        labels,
        mounts: rows,
        requires,
        log_driver,
        log_opts,
    };
    if container.config.hostname.is_empty()
        && container.host_config.uts_mode != "host"
        && container.host_config.network_mode != "host"
    {
        container.config.hostname = container.id.short().to_owned();
    }
    crate::start::check_ports(&container)?;
    crate::start::check_requests(engine, &container)?;
    if keep == Keep::Durable {
        sync(&dir)?;
    }
    commit(engine, &mut container, wanted_name, &userns)?;
    undo.keep();
    Ok((container, warnings))
}

/// The directory, with what is in it by name, and its own name are on disk. The database's own sync does not bring them along:
/// it writes data in place, which need not end a file system's transaction.
fn sync(dir: &Path) -> Result<()> {
    for dir in [Some(dir), dir.parent()].into_iter().flatten() {
        std::fs::File::open(dir).and_then(|open| open.sync_all()).map_err(Error::path("sync", dir))?;
    }
    Ok(())
}

/// Takes the container's directory back when its creation fails.
struct Undo<'a> {
    engine: &'a Inner,
    dir: &'a Path,
    done: bool,
}

impl Undo<'_> {
    fn keep(mut self) {
        self.done = true;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.engine.trash.discard(self.dir);
        }
    }
}

fn resolve_image(engine: &Inner, name: &str, options: &ContainerCreate) -> Result<Image> {
    if name.is_empty() {
        return Err(Error::Invalid("config cannot be empty in order to create a container".to_owned()));
    }
    let image = engine.images.resolve(name)?;
    if let Some(wanted) = &options.platform
        && !wanted.architecture.is_empty()
    {
        let have = image.config.platform();
        if have.architecture != wanted.architecture || have.os != wanted.os {
            return Err(Error::NotFound(format!(
                "image with reference {name} was found but its platform ({}/{}) does not match the specified platform ({}/{})",
                have.os, have.architecture, wanted.os, wanted.architecture
            )));
        }
    }
    Ok(image)
}

/// Fills in what follows from what was asked, as Docker does at creation.
fn adapt(engine: &Inner, host: &mut HostConfig) -> Result<Vec<String>> {
    let resources = &mut host.resources;
    if resources.memory > 0 && resources.memory_swap == 0 {
        resources.memory_swap = resources.memory.saturating_mul(2);
    }
    if resources.memory_swappiness == Some(-1) {
        resources.memory_swappiness = None;
    }
    if host.privileged {
        (host.masked_paths, host.readonly_paths) = (List::nil(), List::nil());
    } else {
        if host.masked_paths.is_nil() {
            host.masked_paths = crate::spec::masked_paths(&engine.host).into();
        }
        if host.readonly_paths.is_nil() {
            host.readonly_paths = crate::spec::readonly_paths().into();
        }
    }
    if resources.pids_limit == Some(-1) {
        resources.pids_limit = Some(0);
    }
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".to_owned();
    }
    if host.network_mode.is_empty() || host.network_mode == "default" {
        host.network_mode = knarr_network::network::DEFAULT_NETWORK.to_owned();
    }
    if host.ipc_mode.is_empty() {
        host.ipc_mode.clone_from(&engine.config().default_ipc_mode);
    }
    if host.shm_size == 0 && (host.ipc_mode == "private" || host.ipc_mode == "shareable") {
        host.shm_size = engine.config().default_shm_size;
    }
    if host.cgroupns_mode.is_empty() {
        // With version 2 privileged containers have their own, too.
        host.cgroupns_mode = match (engine.host.cgroup_v2, engine.config().cgroupns_mode.as_str()) {
            (false, _) if host.privileged => "host",
            (true, "") => "private",
            (false, "") => "host",
            (_, mode) => mode,
        }
        .to_owned();
    }
    if host.runtime.is_empty() {
        host.runtime.clone_from(&engine.config().default_runtime);
    }
    crate::runtimes::program(&engine.config(), &host.runtime)?;
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let wanted = resources.nano_cpus;
    if wanted < 0 || wanted > i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000) {
        return Err(Error::Invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    cpusets_available(resources)?;
    if engine.systemd_cgroup() && !resources.cgroup_parent.is_empty() {
        crate::cgroups::check_slice(resources.cgroup_parent.trim_matches('/'))?;
    }
    let mut warnings = Vec::new();
    if resources.oom_kill_disable == Some(true) && engine.host.cgroup_v2 {
        resources.oom_kill_disable = None;
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
    }
    if !engine.host.cgroup_v2 {
        resources.oom_kill_disable.get_or_insert(false);
        if resources.oom_kill_disable == Some(true) && resources.memory == 0 {
            let text = "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.";
            warnings.push(text.to_owned());
        }
    }
    Ok(warnings)
}

pub(crate) fn cpusets_available(resources: &Resources) -> Result<()> {
    available("CPUs", &resources.cpuset_cpus, "/sys/devices/system/cpu/online")?;
    available("memory nodes", &resources.cpuset_mems, "/sys/devices/system/node/online")
}

/// Only what is there can be asked for.
fn available(what: &str, asked: &str, file: &str) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(file) else { return Ok(()) };
    let there = crate::host::list_of(&text);
    if crate::host::list_of(asked).is_subset(&there) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "Requested {what} are not available - requested {asked}, available: {}",
        text.trim()
    )))
}

/// Other containers that are named are named by their full id from now on.
fn check_networks(engine: &Inner, host: &mut HostConfig, config: &mut Config) -> Result<()> {
    for mode in [&mut host.network_mode, &mut host.pid_mode, &mut host.ipc_mode] {
        // One that does not exist is the start's failure, as in Docker: a client takes "not found" here for the image.
        if mode == "container:" {
            let text = "invalid network mode: invalid container format container:<name|id>";
            return Err(Error::Invalid(text.to_owned()));
        }
        if let Some(other) = mode.strip_prefix("container:")
            && let Ok(found) = engine.containers.resolve(other)
        {
            *mode = format!("container:{}", found.snapshot.id());
        }
    }
    for mode in [&host.pid_mode, &host.ipc_mode] {
        if let Some(other) = mode.strip_prefix("container:") {
            engine.containers.resolve(other).map_err(|error| Error::Invalid(error.to_string()))?;
        }
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return Err(Error::Invalid("conflicting options: hostname and the UTS mode".to_owned()));
    }
    let mode = host.network_mode.as_str();
    if let Some(other) = mode.strip_prefix("container:") {
        if !config.hostname.is_empty() && host.uts_mode != "host" {
            return Err(Error::Invalid("conflicting options: hostname and the network mode".to_owned()));
        }
        if let Ok(found) = engine.containers.resolve(other) {
            config.hostname.clone_from(&found.snapshot.container.config.hostname);
            config.domainname.clone_from(&found.snapshot.container.config.domainname);
        }
    }
    if mode.starts_with("container:") && !host.port_bindings.is_empty() {
        return Err(Error::Invalid(
            "conflicting options: port publishing and the container type network mode".to_owned(),
        ));
    }
    Ok(())
}

/// What security modules know it by; containers that share processes or memory share the level.
fn labels(engine: &Inner, host: &HostConfig) -> Result<Labels> {
    let options = security_opt::parse(&host.security_opt)?;
    let all = engine.containers.all();
    let taken: Vec<String> = all.iter().map(|other| other.container.labels.process.clone()).collect();
    let shared = [&host.ipc_mode, &host.pid_mode].into_iter().find_map(|mode| {
        let other = engine.containers.resolve(mode.strip_prefix("container:")?).ok()?;
        Some(other.snapshot.container.labels.process.clone())
    });
    engine.lsm.labels(host, &options, &taken, shared.as_deref())
}

fn volumes_from(engine: &Inner, host: &HostConfig) -> Result<Vec<MountRow>> {
    let mut rows = Vec::new();
    for text in &host.volumes_from {
        let (container, rw) = mounts::parse_volumes_from(text)?;
        // Not "not found", which a client takes for the image.
        let found = engine.containers.resolve(container).map_err(|e| Error::Invalid(e.to_string()))?;
        for row in found.snapshot.container.mounts.iter().filter(|row| row.kind != MountKind::Tmpfs) {
            // Filled is what it is filled with already. Docker keeps no mode.
            let mode = if row.kind == MountKind::Volume { row.mode.clone() } else { String::new() };
            rows.push(MountRow { rw: row.rw && rw, no_copy: true, mode, ..row.clone() });
        }
    }
    Ok(rows)
}

/// `--mount` wants its source to exist already now.
fn check_sources(planned: &[Planned]) -> Result<()> {
    let strict =
        planned.iter().map(|one| &one.row).filter(|row| row.kind == MountKind::Bind && !row.create_source);
    for row in strict {
        crate::start::check_bind(row)?;
    }
    Ok(())
}

/// The trees of images that are mounted, each in a directory of its own below the container's.
fn prepare_images(engine: &Inner, planned: &mut [Planned], dir: &Path, keep: Keep) -> Result<()> {
    for (number, one) in planned.iter_mut().filter(|one| one.row.kind == MountKind::Image).enumerate() {
        let row = &mut one.row;
        // Of another container's mount the image is known, whatever has its name now.
        let reference = row.image.as_ref().map_or_else(|| row.name.clone(), ToString::to_string);
        let image = engine.images.resolve(&reference)?;
        let place = dir.join(crate::start::IMAGES).join(number.to_string());
        std::fs::create_dir_all(&place).map_err(Error::path("make", &place))?;
        row.tree = Some(engine.images.prepare_beside(&image.id, &place, dir, keep)?);
        row.image = Some(image.id);
    }
    Ok(())
}

/// Asked for only when there is a volume to make, as with Docker.
fn check_volume_driver(driver: &str, planned: &[Planned]) -> Result<()> {
    match planned.iter().map(|one| &one.row).find(|row| row.kind == MountKind::Volume) {
        Some(row) if !matches!(driver, "" | "local") => Err(Error::NotFound(format!(
            "create {}: error looking up volume plugin {driver}: plugin \"{driver}\" not found",
            row.name
        ))),
        _ => Ok(()),
    }
}

/// Makes the volumes that do not exist and fills the empty ones from the image.
fn make_volumes(
    engine: &Inner,
    id: &ContainerId,
    planned: &mut [Planned],
    rootfs: &RootfsMount,
) -> Result<()> {
    let mut image: Option<Root> = None;
    for one in planned.iter_mut().filter(|one| one.row.kind == MountKind::Volume) {
        let row = &mut one.row;
        let volume = match &row.volume {
            // Another container's.
            Some(_) => engine.volume_of(row)?,
            None => engine.volumes.create(&CreateVolume { name: row.name.clone(), ..one.volume.clone() })?,
        };
        row.volume = Some(volume.id.clone());
        row.name.clone_from(&volume.name);
        let copies = !row.no_copy && row.subpath.is_empty();
        if image.is_none() && (copies || one.needs_directory) {
            image = Some(crate::start::view(rootfs, None)?);
        }
        let place = Path::new(&row.destination);
        let in_image = image.as_ref().and_then(|image| image.metadata(place).ok());
        let is_directory = in_image.map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if one.needs_directory && is_directory == Some(false) {
            let place = place.display();
            return Err(Error::Invalid(format!(
                "cannot mount volume over existing file, file exists {place}"
            )));
        }
        let copies = copies && is_directory == Some(true);
        if !copies && row.subpath.is_empty() {
            continue;
        }
        engine.acquire_volume(&volume, id.as_str())?;
        let done = match &image {
            Some(image) if copies => {
                let how = match is_mounted(engine, &volume) {
                    true => CopyUp::InPlace,
                    false => CopyUp::AtOnce,
                };
                engine.volumes.copy_up(&volume, image, place, how).map_err(Error::from)
            }
            // A path inside of it is looked for when the container starts: it may be made until then.
            _ => Ok(()),
        };
        engine.volumes.release(&volume, id.as_str())?;
        done?;
    }
    Ok(())
}

/// A running container sees the volume's directory as it is now, not one that takes its place.
fn is_mounted(engine: &Inner, volume: &Volume) -> bool {
    let users = engine.volume_users(volume, None);
    users.iter().any(|id| engine.containers.resolve(id).is_ok_and(|entry| entry.snapshot.is_live()))
}

/// What lies inside of the volume, reached without following links out of it.
pub(crate) fn open_subpath(mountpoint: &Path, subpath: &str) -> Result<OwnedFd> {
    let root = Root::open_inside(mountpoint).map_err(|e| Error::path("open", mountpoint)(e.into()))?;
    root.open_path(subpath).map_err(|errno| {
        Error::Invalid(match errno {
            Errno::XDEV => format!(
                "path concatenation escapes the base directory, base: {}, subpath: {subpath}",
                mountpoint.display()
            ),
            // Go's words: Docker's client makes its exit code of them.
            Errno::NOENT => {
                format!(
                    "cannot access path {}: no such file or directory",
                    mountpoint.join(subpath).display()
                )
            }
            errno => format!("cannot access path {}: {errno}", mountpoint.join(subpath).display()),
        })
    })
}

/// One transaction: name, rows, event. A name that was made up is made up again when it is taken.
fn commit(engine: &Inner, container: &mut Container, wanted: Option<String>, userns: &Mode) -> Result<()> {
    for attempt in 0..MAX_NAME_TRIES {
        let seed = random();
        let random = u64::from_le_bytes(*seed.first_chunk().unwrap_or(&[0; 8]));
        container.name = wanted.clone().unwrap_or_else(|| generate::name(random, attempt));
        match commit_as(engine, container, userns) {
            Err(Error::NameTaken { .. }) if wanted.is_none() => {}
            done => return done,
        }
    }
    Err(Error::Internal("no free name found".to_owned()))
}

/// Of a container that removes itself the row is durable before its process runs; before that nothing is lost with it. Ids of
/// its own are taken in the same transaction, so nobody else takes them.
fn commit_as(engine: &Inner, container: &mut Container, userns: &Mode) -> Result<()> {
    let remove = container.host_config.auto_remove;
    let change = |tx: &mut knarr_state::WriteTx<'_>| {
        if let Mode::Auto(asked) = userns {
            let others = tx.list::<Container>()?.into_iter().filter_map(|(_, other)| other.id_maps);
            let others: Vec<IdMaps> = others.collect();
            container.id_maps = Some(crate::userns::auto_maps(engine.userns.pool(), asked, &others)?);
        }
        if let Some(owner) = tx.get::<NameOwner>(&container.name)? {
            return Err(Error::NameTaken { name: container.name.clone(), id: owner.id.to_string() });
        }
        tx.put(&container.name, &NameOwner { id: container.id.clone() })?;
        tx.put(container.id.as_str(), &*container)?;
        tx.put(container.id.as_str(), &Status::default())?;
        tx.emit(container.event("create"));
        Ok(())
    };
    if remove { engine.store.write_behind(change) } else { engine.store.write(change) }
}

/// 32 bytes from the kernel.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

/// A new random id.
pub(crate) fn random_id() -> Id {
    Id::from_bytes(&random())
}
