//! How images are shown. Reads only.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Time;
use knarr_docker_types::container_config::HealthConfig;
use knarr_docker_types::container_inspect::DriverData;
use knarr_docker_types::image::{HistoryItem, ImageConfig, InspectResponse, Metadata, RootFs, Summary};
use knarr_docker_types::options::ImageList;
use knarr_docker_types::platform::Descriptor;
use knarr_docker_types::{Empty, Filters, List, Map, StrSlice};
use knarr_image::{Image, ImageFilter};
use knarr_oci::image::ContainerConfig;

const FILTERS: &[&str] = &["dangling", "label", "before", "since", "reference", "until"];

pub(crate) fn list(engine: &Inner, options: &ImageList) -> Result<Vec<Summary>> {
    options.filters.validate(FILTERS)?;
    let images = engine.images.list_filtered(&filter(&options.filters, options.all)?)?;
    let shared = if options.shared_size { Some(engine.images.usage()?) } else { None };
    let shared_of = |image: &Image| {
        let usage = shared.as_ref()?;
        usage.images.iter().find(|(id, ..)| *id == image.id).map(|(_, _, shared)| *shared)
    };
    Ok(images.iter().map(|image| summary(engine, image, shared_of(image))).collect())
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
        until_nanos: filters.get("until").next().map(until).transpose()?,
    })
}

/// A time, or how long ago: `24h`, RFC 3339, seconds since the epoch.
pub(crate) fn until(text: &str) -> Result<i64> {
    if let Some(nanos) = crate::duration::parse(text) {
        return Ok(Time::now().0 - nanos);
    }
    let time = crate::logs::time(text)?;
    time.map(|t| Time::from(t).0).ok_or_else(|| Error::Invalid(format!("invalid filter 'until={text}'")))
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn summary(engine: &Inner, image: &Image, shared: Option<u64>) -> Summary {
    let containers =
        engine.containers.all().iter().filter(|s| s.container.image.as_ref() == Some(&image.id)).count();
    Summary {
        containers: i64::try_from(containers).unwrap_or(-1),
        created: image.created_nanos().unwrap_or(0).div_euclid(1_000_000_000),
        id: format!("sha256:{}", image.id),
        labels: labels(image),
        parent_id: image.parent.as_ref().map_or_else(String::new, |id| format!("sha256:{id}")),
        repo_tags: image.repo_tags.clone().into(),
        repo_digests: image.repo_digests.clone().into(),
        shared_size: shared.map_or(-1, number),
        size: number(image.size),
        ..Summary::default()
    }
}

fn labels(image: &Image) -> Map<String> {
    let labels = &image.config.config.labels;
    if labels.is_empty() { Map::nil() } else { labels.clone().into() }
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
