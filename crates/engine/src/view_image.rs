//! How images are shown. Reads only.
use crate::engine::Inner;
use crate::error::Result;
use crate::record::Time;
use knarr_base::ImageId;
use knarr_docker_types::container_config::HealthConfig;
use knarr_docker_types::container_inspect::DriverData;
use knarr_docker_types::image::{
    HistoryItem, ImageConfig, ImageProperties, ImagePropertiesSize, InspectResponse, ManifestSize,
    ManifestSummary, Metadata, RootFs, Summary,
};
use knarr_docker_types::options::ImageList;
use knarr_docker_types::platform::{Descriptor, Platform};
use knarr_docker_types::{Empty, Filters, List, Map, StrSlice};
use knarr_image::{Image, ImageFilter, Listed};
use knarr_oci::image::ContainerConfig;
use std::collections::HashMap;

const FILTERS: &[&str] = &["dangling", "label", "before", "since", "reference", "until"];

pub(crate) fn list(engine: &Inner, options: &ImageList) -> Result<Vec<Summary>> {
    options.filters.validate(FILTERS)?;
    let images = engine.images.list_filtered(&filter(&options.filters, options.all)?)?;
    let usage = if options.shared_size { Some(engine.images.shared_sizes()?) } else { None };
    let shared_of = |id: &ImageId| usage.as_ref()?.get(id).map(|(_, shared)| *shared);
    let containers = containers(engine);
    let row = |image: &std::sync::Arc<Listed>| {
        let users = containers.get(&image.id).map_or(&[][..], Vec::as_slice);
        let mut row = summary(image, users.len(), shared_of(&image.id));
        if options.manifests {
            row.manifests = vec![manifest(image, users)].into();
        }
        row
    };
    Ok(images.iter().map(row).collect())
}

/// The containers of each image.
pub(crate) fn containers(engine: &Inner) -> HashMap<ImageId, Vec<String>> {
    let mut users: HashMap<ImageId, Vec<String>> = HashMap::new();
    for snapshot in engine.containers.all() {
        if let Some(image) = &snapshot.container.image {
            users.entry(image.clone()).or_default().push(snapshot.id().to_string());
        }
    }
    users
}

fn filter(filters: &Filters, all: bool) -> Result<ImageFilter> {
    let values = |name: &str| filters.get(name).map(str::to_owned).collect::<Vec<_>>();
    Ok(ImageFilter {
        all,
        dangling: filters.boolean("dangling")?,
        labels: values("label"),
        references: values("reference"),
        before: values("before").pop(),
        since: values("since").pop(),
        until_nanos: filters.get("until").next().map(crate::prune::until).transpose()?,
    })
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn summary(image: &Listed, containers: usize, shared: Option<u64>) -> Summary {
    Summary {
        containers: i64::try_from(containers).unwrap_or(-1),
        created: image.created_nanos.unwrap_or(0).div_euclid(1_000_000_000),
        id: format!("sha256:{}", image.id),
        labels: if image.labels.is_empty() { Map::nil() } else { image.labels.clone().into() },
        parent_id: image.parent.as_ref().map_or_else(String::new, |id| format!("sha256:{id}")),
        repo_tags: image.repo_tags.clone().into(),
        repo_digests: image.repo_digests.clone().into(),
        shared_size: shared.map_or(-1, number),
        size: number(image.size),
        ..Summary::default()
    }
}

/// The manifests of one image.
pub(crate) fn manifests_of(engine: &Inner, id: &ImageId) -> Result<Vec<ManifestSummary>> {
    let all = engine.images.list()?;
    let containers = containers(engine).remove(id).unwrap_or_default();
    Ok(all.iter().filter(|image| image.id == *id).map(|image| manifest(image, &containers)).collect())
}

/// The one manifest that is here of an image, with what it takes: what clients draw as a tree.
fn manifest(image: &Listed, containers: &[String]) -> ManifestSummary {
    let platform = Platform {
        architecture: image.architecture.clone(),
        os: image.os.clone(),
        variant: image.variant.clone(),
        ..Platform::default()
    };
    // An image that came without a manifest is known by its configuration.
    let own = image.manifest.as_ref().map_or_else(
        || Descriptor { digest: format!("sha256:{}", image.id), ..Descriptor::default() },
        descriptor,
    );
    ManifestSummary {
        id: own.digest.clone(),
        descriptor: Descriptor { platform: Some(platform.clone()), ..own },
        available: true,
        size: ManifestSize {
            content: number(image.content_size),
            total: number(image.content_size.saturating_add(image.size)),
        },
        kind: "image".to_owned(),
        image_data: Some(ImageProperties {
            platform,
            size: ImagePropertiesSize { unpacked: number(image.size) },
            containers: containers.to_vec().into(),
            ..ImageProperties::default()
        }),
        ..ManifestSummary::default()
    }
}

pub(crate) fn history(engine: &Inner, name: &str) -> Result<Vec<HistoryItem>> {
    let lines = engine.images.history(name)?;
    let item = |line: knarr_image::HistoryLine| HistoryItem {
        comment: line.comment,
        created: line.created,
        created_by: line.created_by,
        id: line.id,
        size: number(line.size),
        tags: if line.tags.is_empty() { List::nil() } else { line.tags.into() },
    };
    Ok(lines.into_iter().map(item).collect())
}

pub(crate) fn inspect(engine: &Inner, image: &Image) -> InspectResponse {
    let document = image.config.document();
    InspectResponse {
        id: format!("sha256:{}", image.id),
        repo_tags: image.repo_tags.clone().into(),
        repo_digests: image.repo_digests.clone().into(),
        parent: image.parent.as_ref().map_or_else(String::new, |id| format!("sha256:{id}")),
        comment: document.comment.clone().unwrap_or_default(),
        created: document.created.clone().unwrap_or_default(),
        docker_version: document.docker_version.clone().unwrap_or_default(),
        author: document.author.clone().unwrap_or_default(),
        config: Some(config(&document.config)),
        architecture: document.architecture.clone(),
        variant: document.variant.clone(),
        os: document.os.clone(),
        os_version: document.os_version.clone().unwrap_or_default(),
        size: number(image.size),
        graph_driver: Some(DriverData {
            name: engine.images.driver().kind().name().to_owned(),
            data: Map::nil(),
        }),
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: image.layers().map(ToString::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: Some(Time(image.updated_nanos).rfc3339()) },
        descriptor: image.manifest().map(descriptor),
        ..InspectResponse::default()
    }
}

fn descriptor(d: &knarr_oci::image::Descriptor) -> Descriptor {
    Descriptor {
        media_type: d.media_type.clone(),
        digest: d.digest.to_string(),
        size: number(d.size),
        ..Descriptor::default()
    }
}

fn config(config: &ContainerConfig) -> ImageConfig {
    let slice = |list: &Option<Vec<String>>| list.clone().map(StrSlice::from).unwrap_or_default();
    let set = |keys: &std::collections::BTreeSet<String>| -> Map<Empty> {
        if keys.is_empty() { Map::nil() } else { keys.iter().map(|key| (key.clone(), Empty)).collect() }
    };
    ImageConfig {
        user: config.user.clone(),
        exposed_ports: set(&config.exposed_ports),
        env: List::from(config.env.clone()),
        entrypoint: slice(&config.entrypoint),
        cmd: slice(&config.cmd),
        volumes: set(&config.volumes),
        working_dir: config.working_dir.clone(),
        labels: if config.labels.is_empty() { Map::nil() } else { config.labels.clone().into() },
        stop_signal: config.stop_signal.clone(),
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck.as_ref().map(|h| HealthConfig {
            test: List::from(h.test.clone()),
            interval_ns: h.interval,
            timeout_ns: h.timeout,
            start_period_ns: h.start_period,
            start_interval_ns: h.start_interval,
            retries: h.retries,
        }),
        on_build: List::from(config.on_build.clone()),
        shell: slice(&config.shell),
    }
}
