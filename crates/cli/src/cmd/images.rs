//! `images`, `history`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::image_tree;
use crate::failure::{Failure, Outcome};
use crate::flag::{FILTER, Flag, Ty};
use crate::format::listing::{Listing, Row};
use crate::format::units;
use crate::spec::filter;
use knarr_docker_types::image::{HistoryItem, Summary};
use knarr_gotemplate::quote;
use knarr_oci::platform::Platform;
use knarr_oci::reference::Reference;
use std::collections::BTreeMap;

use super::ps::FORMAT_HELP;

const NONE: &str = "<none>";

pub static FLAGS: &[Flag] = &[
    Flag::new("all", Ty::Bool, "Show all images (default hides intermediate images)").short('a'),
    Flag::new("digests", Ty::Bool, "Show digests"),
    Flag::new("filter", FILTER, "Filter output based on conditions provided").short('f'),
    Flag::new("format", Ty::Str, FORMAT_HELP),
    Flag::new("no-trunc", Ty::Bool, "Don't truncate output"),
    Flag::new("quiet", Ty::Bool, "Only show image IDs").short('q'),
    Flag::new("tree", Ty::Bool, "List multi-platform images as a tree (EXPERIMENTAL)"),
];
pub static HISTORY_FLAGS: &[Flag] = &[
    Flag::new("format", Ty::Str, FORMAT_HELP),
    Flag::new("human", Ty::Bool, "Print sizes and dates in human readable format").short('H').default("true"),
    Flag::new("no-trunc", Ty::Bool, "Don't truncate output"),
    Flag::new(
        "platform",
        Ty::Str,
        "Show history for the given platform. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
    ),
    Flag::new("quiet", Ty::Bool, "Only show image IDs").short('q'),
];

pub static LISTING: Listing = Listing {
    type_name: "*formatter.imageContext",
    table: "{{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\\t{{.Size}}",
    quiet: "{{.ID}}",
    titles: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};
const WITH_DIGEST: &str = "{{.Repository}}\\t{{.Tag}}\\t{{.Digest}}\\t{{.ID}}\\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\\t{{.Size}}";

static HISTORY: Listing = Listing {
    type_name: "*image.historyContext",
    table: "{{.ID}}\\t{{.CreatedSince}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}",
    quiet: "{{.ID}}",
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};

/// `images`, where the name of a command of `image` is more likely a slip than a repository.
pub async fn at_top(cli: Shared, m: Matches) -> Outcome {
    const COMMANDS: [&str; 13] = [
        "build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm", "save",
        "tag",
    ];
    let pattern = m.args.first().cloned().unwrap_or_default();
    let shown = listed(&cli, &m).await?;
    if shown == 0 && COMMANDS.contains(&pattern.as_str()) {
        let name = crate::program::name();
        cli.warn(&format!(
            "\nNo images found matching {}: did you mean \"{name} image {pattern}\"?",
            quote(&pattern)
        ));
    }
    Ok(())
}

pub async fn images(cli: Shared, m: Matches) -> Outcome {
    listed(&cli, &m).await.map(drop)
}

/// Lists, and gives how many images.
async fn listed(cli: &Shared, m: &Matches) -> Outcome<usize> {
    let (quiet, digests) = (m.flag("quiet"), m.flag("digests"));
    if m.flag("tree") {
        return tree(cli, m).await;
    }
    let mut format = m.text("format").to_owned();
    if format.is_empty() && !quiet {
        format = cli.config().text("imagesFormat").to_owned();
    }
    if format == "raw" {
        let digest = if digests { "digest: {{.Digest}}\n" } else { "" };
        format = if quiet {
            "image_id: {{.ID}}".to_owned()
        } else {
            format!(
                "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\ncreated_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
            )
        };
    }
    let table = if digests { WITH_DIGEST } else { LISTING.table };
    let chosen = LISTING.choose_with_table(&format, quiet, table)?;
    let mut filters = filter::collect(&m.list("filter"));
    if let Some(reference) = m.args.first() {
        filters.add("reference", reference.as_str());
    }
    let client = cli.client().await?;
    let images: Vec<Summary> =
        client.get("/images/json").flag("all", m.flag("all")).filters(&filters).fetch().await?;
    let truncate = !m.flag("no-trunc");
    let needs_digest = digests || chosen.mentions("Digest");
    let now = units::now();
    let rows = images.iter().flat_map(|image| {
        names(image, needs_digest, digests).into_iter().map(move |name| row(image, &name, truncate, now))
    });
    cli.print(&LISTING.render(&chosen, rows)?)?;
    Ok(images.len())
}

async fn tree(cli: &Shared, m: &Matches) -> Outcome<usize> {
    let other =
        [("quiet", "quiet"), ("no-trunc", "no-trunc"), ("digests", "show-digest"), ("format", "format")];
    for (flag, name) in other {
        if m.changed(flag) && m.text(flag) != "false" && !m.text(flag).is_empty() {
            return Err(Failure::new(format!("--{name} is not yet supported with --tree")));
        }
    }
    let mut filters = filter::collect(&m.list("filter"));
    if let Some(reference) = m.args.first() {
        filters.add("reference", reference.as_str());
    }
    image_tree::show(cli, m.flag("all"), &filters).await
}

/// Repository, tag and digest of one row.
pub struct Name {
    pub repository: String,
    pub tag: String,
    pub digest: String,
}

/// The rows of an image: one for each tag (and digest, when they are shown).
fn names(image: &Summary, needs_digest: bool, digests_shown: bool) -> Vec<Name> {
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut digests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in image.repo_tags.iter().filter(|t| *t != "<none>:<none>") {
        if let Ok(reference) = Reference::parse(text)
            && let Some(tag) = reference.tag()
        {
            tags.entry(reference.familiar_name()).or_default().push(tag.to_owned());
        }
    }
    for text in image.repo_digests.iter().filter(|t| *t != "<none>@<none>") {
        if let Ok(reference) = Reference::parse(text)
            && let Some(digest) = reference.digest()
        {
            digests.entry(reference.familiar_name()).or_default().push(digest.to_string());
        }
    }
    let name = |repository: &str, tag: &str, digest: &str| Name {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: digest.to_owned(),
    };
    if tags.is_empty() && digests.is_empty() {
        return vec![name(NONE, NONE, NONE)];
    }
    let mut rows = Vec::new();
    for (repository, tags) in &tags {
        let own = digests.remove(repository).unwrap_or_default();
        for tag in tags {
            if needs_digest && !own.is_empty() {
                rows.extend(own.iter().map(|digest| name(repository, tag, digest)));
            } else {
                rows.push(name(repository, tag, NONE));
            }
        }
    }
    for (repository, own) in &digests {
        if digests_shown {
            rows.extend(own.iter().map(|digest| name(repository, NONE, digest)));
        } else {
            rows.push(name(repository, NONE, ""));
        }
    }
    rows
}

pub fn row(image: &Summary, name: &Name, truncate: bool, now: i64) -> Row {
    let known = |value: i64, text: String| if value == -1 { "N/A".to_owned() } else { text };
    let unique = image.size.min(image.shared_size);
    let id = if truncate { units::short_id(&image.id) } else { &image.id };
    vec![
        ("ID", id.into()),
        ("Repository", name.repository.as_str().into()),
        ("Tag", name.tag.as_str().into()),
        ("Digest", name.digest.as_str().into()),
        ("CreatedSince", format!("{} ago", units::duration(now - image.created)).into()),
        ("CreatedAt", units::local_time(image.created).into()),
        ("Size", units::size_short(image.size).into()),
        ("Containers", known(image.containers, image.containers.to_string()).into()),
        ("VirtualSize", units::size(image.size).into()),
        ("SharedSize", known(image.shared_size, units::size(image.shared_size)).into()),
        ("UniqueSize", known(unique, units::size(image.size - image.shared_size)).into()),
    ]
}

pub async fn history(cli: Shared, m: Matches) -> Outcome {
    let human = m.flag("human");
    let table = HISTORY.table.replace("CreatedSince", if human { "CreatedSince" } else { "CreatedAt" });
    let chosen = HISTORY.choose_with_table(m.text("format"), m.flag("quiet"), &table)?;
    let client = cli.client().await?;
    let mut request = client.get(format!("/images/{}/history", m.args[0]));
    if m.changed("platform") {
        request = request.query("platform", platform_json(m.text("platform"), "invalid platform: ")?);
    }
    let items: Vec<HistoryItem> = request.fetch().await?;
    let truncate = !m.flag("no-trunc");
    let now = units::now();
    let rows = items.iter().map(|item| {
        let by = item.created_by.replace('\t', " ");
        let at = units::rfc3339(item.created);
        // an image without a date says 1970 or the year one
        let since = match item.created {
            _ if !human => at.clone(),
            ..=946_684_800 => "N/A".to_owned(),
            created => format!("{} ago", units::duration(now - created)),
        };
        vec![
            ("ID", if truncate { units::short_id(&item.id) } else { &item.id }.into()),
            ("CreatedSince", since.into()),
            ("CreatedAt", at.into()),
            ("CreatedBy", if truncate { units::ellipsis(&by, 45) } else { by }.into()),
            ("Size", if human { units::size_short(item.size) } else { item.size.to_string() }.into()),
            ("Comment", item.comment.as_str().into()),
        ]
    });
    cli.print(&HISTORY.render(&chosen, rows)?)
}

/// `linux/arm64/v8` as the JSON that some endpoints take; `before` stands before the error.
pub fn platform_json(text: &str, before: &str) -> Outcome<String> {
    let platform =
        Platform::parse(text).map_err(|error| Failure::new(format!("{before}{error}: invalid argument")))?;
    let mut document = serde_json::json!({"architecture": platform.architecture, "os": platform.os});
    if !platform.variant.is_empty() {
        document["variant"] = platform.variant.as_str().into();
    }
    Ok(document.to_string())
}
