//! `system df`. Engines before API 1.52 answer with lists, newer ones with totals; both are understood.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::{images, ps, volume};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::format::listing::{Listing, Row};
use crate::format::units;
use knarr_docker_types::{container, image, volume as volumes};
use knarr_gotemplate::{MissingKey, Struct, Template, Value};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::rc::Rc;

pub static FLAGS: &[Flag] = &[
    Flag::new("format", Ty::Str, ps::FORMAT_HELP),
    Flag::new("verbose", Ty::Bool, "Show detailed information on space usage").short('v'),
];

static LISTING: Listing = Listing {
    type_name: "*formatter.diskUsageContext",
    table: "{{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};
const IMAGES: &str = "{{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}\\t{{.SharedSize}}\\t{{.UniqueSize}}\\t{{.Containers}}";
const CONTAINERS: &str = "{{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.LocalVolumes}}\\t{{.Size}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Names}}";
const VOLUMES: &str = "{{.Name}}\\t{{.Links}}\\t{{.Size}}";

/// What both shapes of the answer tell.
struct Usage {
    layers_size: i64,
    /// Of images, containers, volumes, and the engine's own: from engines that tell, in bytes on the disk.
    totals: [Option<i64>; 4],
    reclaimable: [Option<i64>; 3],
    images: Vec<image::Summary>,
    containers: Vec<container::Summary>,
    volumes: Vec<volumes::Volume>,
}

fn items<T: DeserializeOwned>(document: &Json, new: &str, old: &str) -> Vec<T> {
    let list = document.pointer(&format!("/{new}/Items")).or_else(|| document.get(old));
    let list = list.and_then(Json::as_array).cloned().unwrap_or_default();
    list.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect()
}

impl Usage {
    fn read(document: &Json) -> Self {
        let size = document.pointer("/ImageUsage/TotalSize").or_else(|| document.get("LayersSize"));
        let number = |path: &str| document.pointer(path).and_then(Json::as_i64);
        let of = |member: &str| {
            ["ImageUsage", "ContainerUsage", "VolumeUsage"]
                .map(|kind| document.get(kind).map(|_| number(&format!("/{kind}/{member}")).unwrap_or(0)))
        };
        let [images, containers, volumes] = of("TotalSize");
        Self {
            totals: [images, containers, volumes, number("/EngineUsage/TotalSize")],
            reclaimable: of("Reclaimable"),
            layers_size: size.and_then(Json::as_i64).unwrap_or(0),
            images: items(document, "ImageUsage", "Images"),
            containers: items(document, "ContainerUsage", "Containers"),
            volumes: items(document, "VolumeUsage", "Volumes"),
        }
    }
}

/// `1.2MB (50%)`.
fn share(part: i64, all: i64) -> String {
    match all {
        1.. => format!("{} ({}%)", units::size(part), part.saturating_mul(100) / all),
        _ => units::size(part),
    }
}

fn is_active(state: &str) -> bool {
    matches!(state, "running" | "paused" | "restarting")
}

fn rows(usage: &Usage) -> Vec<Vec<(&'static str, Value)>> {
    let row = |kind: &str, total: usize, active: usize, size: String, reclaimable: String| {
        vec![
            ("Type", kind.into()),
            ("TotalCount", total.to_string().into()),
            ("Active", active.to_string().into()),
            ("Size", size.into()),
            ("Reclaimable", reclaimable.into()),
        ]
    };
    let used: i64 = usage
        .images
        .iter()
        .filter(|i| i.containers != 0 && i.size != -1 && i.shared_size != -1)
        .map(|i| i.size - i.shared_size)
        .sum();
    let images_active = usage.images.iter().filter(|i| i.containers > 0).count();
    let (active, stopped): (Vec<_>, Vec<_>) = usage.containers.iter().partition(|c| is_active(&c.state));
    let own = |list: &[&container::Summary]| list.iter().map(|c| c.size_rw).sum::<i64>();
    let volume_size = |all: bool| -> i64 {
        let sizes = usage.volumes.iter().filter_map(|v| v.usage_data.as_ref());
        sizes.filter(|u| u.size > 0 && (all || u.ref_count == 0)).map(|u| u.size).sum()
    };
    let in_use =
        usage.volumes.iter().filter(|v| v.usage_data.as_ref().is_some_and(|u| u.ref_count > 0)).count();
    let [images, containers, volumes, engine] = usage.totals;
    let [images_free, containers_free, volumes_free] = usage.reclaimable;
    let sized = |kind: &str, total: usize, active: usize, all: i64, free: i64| {
        row(kind, total, active, units::size(all), share(free, all))
    };
    let mut rows = vec![
        sized(
            "Images",
            usage.images.len(),
            images_active,
            images.unwrap_or(usage.layers_size),
            images_free.unwrap_or(usage.layers_size - used),
        ),
        sized(
            "Containers",
            usage.containers.len(),
            active.len(),
            containers.unwrap_or(own(&active) + own(&stopped)),
            containers_free.unwrap_or(own(&stopped)),
        ),
        sized(
            "Local Volumes",
            usage.volumes.len(),
            in_use,
            volumes.unwrap_or(volume_size(true)),
            volumes_free.unwrap_or(volume_size(false)),
        ),
        row("Build Cache", 0, 0, units::size(0), units::size(0)),
    ];
    // A row of Knarr's: with it the sizes are all that the data root has.
    rows.extend(engine.map(|size| row("Engine", 1, 1, units::size(size), units::size(0))));
    rows
}

/// What the command calls a template that cannot be used.
fn in_words_of_df(message: &str) -> String {
    message.replace("*formatter.diskUsageContext", "*formatter.diskUsageImagesContext")
}

fn image_name(image: &image::Summary) -> images::Name {
    let first = image.repo_tags.first().and_then(|text| text.rsplit_once(':'));
    let (repository, tag) = first.unwrap_or(("<none>", "<none>"));
    images::Name { repository: repository.into(), tag: tag.into(), digest: String::new() }
}

/// All lists in one document.
fn whole(usage: &Usage, format: &str, now: i64) -> Outcome<String> {
    let text = if format == "json" { "{{json .}}" } else { format };
    let failed = |e: knarr_gotemplate::Error| Failure::new(format!("template parsing error: {e}"));
    let template = Template::parse(text).map_err(failed)?;
    let list = |listing: &Listing, rows: Vec<Row>| {
        let row = |row: Row| {
            let fields = row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Value::row(listing.type_name, fields)
        };
        Value::List(Rc::new(rows.into_iter().map(row).collect()))
    };
    let images =
        usage.images.iter().map(|image| images::row(image, &image_name(image), false, now)).collect();
    let own = |container: &container::Summary| container::Summary { size_root_fs: 0, ..container.clone() };
    let containers = usage.containers.iter().map(|container| ps::row(&own(container), false, now)).collect();
    let volumes = usage.volumes.iter().map(volume::row).collect();
    let fields = vec![
        ("Images".to_owned(), list(&images::LISTING, images)),
        ("Containers".to_owned(), list(&ps::LISTING, containers)),
        ("Volumes".to_owned(), list(&volume::LISTING, volumes)),
        ("BuildCache".to_owned(), Value::List(Rc::new(Vec::new()))),
    ];
    let value = Value::Struct(Rc::new(Struct {
        type_name: "formatter.diskUsageContext",
        fields,
        omitted: Vec::new(),
        fold_case: false,
        html_json: false,
    }));
    template.execute(&value, MissingKey::NoValue).map_err(failed)
}

pub async fn df(cli: Shared, m: Matches) -> Outcome {
    let format = m.text("format");
    let chosen = LISTING.choose(format, false)?;
    let client = cli.client().await?;
    let verbose = m.flag("verbose");
    let document: Json = client.get("/system/df").flag("verbose", true).fetch().await?;
    let usage = Usage::read(&document);
    let now = units::now();
    let own = |container: &container::Summary| container::Summary { size_root_fs: 0, ..container.clone() };
    if !verbose {
        let text = LISTING.render(&chosen, rows(&usage));
        return cli.print(&text.map_err(|f| Failure::new(in_words_of_df(&f.message)))?);
    }
    if !(format.is_empty() || format == "table") {
        return cli.print(&whole(&usage, format, now)?);
    }
    let table = |listing: &Listing, text: &str| listing.choose_with_table("", false, text);
    let image_rows = usage.images.iter().map(|image| images::row(image, &image_name(image), true, now));
    let image_table = images::LISTING.render(&table(&images::LISTING, IMAGES)?, image_rows)?;
    let container_rows = usage.containers.iter().map(|container| ps::row(&own(container), true, now));
    let container_table = ps::LISTING.render(&table(&ps::LISTING, CONTAINERS)?, container_rows)?;
    let volume_table =
        volume::LISTING.render(&table(&volume::LISTING, VOLUMES)?, usage.volumes.iter().map(volume::row))?;
    cli.print(&format!(
        "Images space usage:\n\n{image_table}\nContainers space usage:\n\n{container_table}\nLocal Volumes space usage:\n\n{volume_table}\nBuild cache usage: {}\n\nCACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n",
        units::size(0)
    ))
}
