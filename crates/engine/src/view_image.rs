//! How images are shown. Reads only.
use crate::engine::Inner;
use crate::error::{Error, Result};
use knarr_docker_types::container_config::HealthConfig;
use knarr_docker_types::container_inspect::DriverData;
use knarr_docker_types::image::{ImageConfig, InspectResponse, Metadata, RootFs, Summary};
use knarr_docker_types::options::ImageList;
use knarr_docker_types::platform::Descriptor;
use knarr_docker_types::{Empty, List, Map, StrSlice};
use knarr_image::Image;
use knarr_oci::reference::Reference;

const FILTERS: &[&str] = &["dangling", "label", "before", "since", "reference", "until"];

pub(crate) fn list(engine: &Inner, options: &ImageList) -> Result<Vec<Summary>> {
    let filters = &options.filters;
    filters.validate(FILTERS)?;
    let dangling = filters.boolean("dangling")?;
    let created = |name: &str| -> Result<Option<i64>> {
        match filters.get(name).next() {
            None => Ok(None),
            Some(image) => Ok(Some(engine.images.resolve(image)?.created_nanos().unwrap_or(0))),
        }
    };
    let (before, since) = (created("before")?, created("since")?);
    let until = filters.get("until").next().map(until).transpose()?;
    let mut rows = Vec::new();
    for image in engine.images.list()? {
        let at = image.created_nanos().unwrap_or(0);
        let passes = dangling.is_none_or(|d| d == image.is_dangling())
            && before.is_none_or(|b| at < b)
            && since.is_none_or(|s| at > s)
            && until.is_none_or(|u| at < u)
            && filters.labels_match("label", &image.config.config.labels)
            && (!filters.contains("reference") || filters.get("reference").any(|p| any_name(&image, p)));
        if passes {
            rows.push(summary(engine, &image, options, filters.contains("reference").then_some(filters)));
        }
    }
    Ok(rows)
}

/// A time, or how long ago: `24h`, RFC 3339, seconds since the epoch.
pub(crate) fn until(text: &str) -> Result<i64> {
    if let Some(nanos) = crate::duration::parse(text) {
        return Ok(crate::record::Time::now().0 - nanos);
    }
    let time = crate::logs::time(text)?;
    time.map(|t| crate::record::Time::from(t).0)
        .ok_or_else(|| Error::Invalid(format!("invalid filter 'until={text}'")))
}

fn any_name(image: &Image, pattern: &str) -> bool {
    image.repo_tags.iter().chain(&image.repo_digests).any(|name| name_matches(pattern, name))
}

/// `path.Match` on the familiar name, with or without its tag.
fn name_matches(pattern: &str, name: &str) -> bool {
    let bare = name.rsplit_once('@').or_else(|| name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')));
    crate::glob::matches(pattern, name) || bare.is_some_and(|(repo, _)| crate::glob::matches(pattern, repo))
}

fn summary(
    engine: &Inner,
    image: &Image,
    _options: &ImageList,
    only: Option<&knarr_docker_types::Filters>,
) -> Summary {
    let wanted = |name: &&String| only.is_none_or(|f| f.get("reference").any(|p| name_matches(p, name)));
    let containers =
        engine.containers.all().iter().filter(|s| s.container.image.as_ref() == Some(&image.id)).count();
    Summary {
        containers: i64::try_from(containers).unwrap_or(-1),
        created: image.created_nanos().unwrap_or(0).div_euclid(1_000_000_000),
        id: format!("sha256:{}", image.id),
        labels: labels(image),
        parent_id: image.parent.as_ref().map_or_else(String::new, |id| format!("sha256:{id}")),
        repo_tags: image.repo_tags.iter().filter(wanted).cloned().collect(),
        repo_digests: image.repo_digests.iter().filter(wanted).cloned().collect(),
        shared_size: -1,
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        ..Summary::default()
    }
}

fn labels(image: &Image) -> Map<String> {
    let labels = &image.config.config.labels;
    if labels.is_empty() { Map::nil() } else { labels.clone().into() }
}

pub(crate) fn inspect(image: &Image) -> InspectResponse {
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
        config: Some(config(image)),
        architecture: document.architecture.clone(),
        variant: document.variant.clone(),
        os: document.os.clone(),
        os_version: document.os_version.clone().unwrap_or_default(),
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        graph_driver: Some(DriverData { name: "overlay2".to_owned(), data: Map::nil() }),
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: image.layers().map(ToString::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: Some(crate::record::Time(image.updated_nanos).rfc3339()) },
        descriptor: image.manifest().map(descriptor),
        ..InspectResponse::default()
    }
}

fn descriptor(d: &knarr_oci::image::Descriptor) -> Descriptor {
    Descriptor {
        media_type: d.media_type.clone(),
        digest: d.digest.to_string(),
        size: i64::try_from(d.size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    }
}

fn config(image: &Image) -> ImageConfig {
    let config = &image.config.config;
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
        labels: labels(image),
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

/// The full form of what a user wrote, for events and messages.
pub(crate) fn reference(text: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|e| Error::Image(e.into()))
}
