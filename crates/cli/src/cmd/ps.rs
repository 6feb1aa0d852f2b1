//! `ps`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::Outcome;
use crate::flag::{FILTER, Flag, Ty};
use crate::format::listing::{Listing, Row, label_method, label_text};
use crate::format::{port_list, units};
use crate::spec::filter;
use knarr_docker_types::container::Summary;
use knarr_gotemplate::{Nil, Value, quote};
use knarr_oci::reference::Reference;
use std::rc::Rc;

/// What `--format` says in help, everywhere.
pub const FORMAT_HELP: &str = "Format output using a custom template:\n'table':            Print output in table format with column headers (default)\n'table TEMPLATE':   Print output in table format using the given Go template\n'json':             Print in JSON format\n'TEMPLATE':         Print output using the given Go template.\nRefer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";

pub static FLAGS: &[Flag] = &[
    Flag::new("all", Ty::Bool, "Show all containers (default shows just running)").short('a'),
    Flag::new("filter", FILTER, "Filter output based on conditions provided").short('f'),
    Flag::new("format", Ty::Str, FORMAT_HELP),
    Flag::new("last", Ty::Int, "Show n last created containers (includes all states)")
        .short('n')
        .default("-1"),
    Flag::new("latest", Ty::Bool, "Show the latest created container (includes all states)").short('l'),
    Flag::new("no-trunc", Ty::Bool, "Don't truncate output"),
    Flag::new("quiet", Ty::Bool, "Only display container IDs").short('q'),
    Flag::new("size", Ty::Bool, "Display total file sizes").short('s'),
];

pub static LISTING: Listing = Listing {
    type_name: "*formatter.ContainerContext",
    table: "{{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}",
    quiet: "{{.ID}}",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("HealthStatus", "HEALTH STATUS"),
    ],
};

const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

pub async fn ps(cli: Shared, m: Matches) -> Outcome {
    let quiet = m.flag("quiet");
    let mut format = m.text("format").to_owned();
    if format.is_empty() && !quiet {
        format = cli.config().text("psFormat").to_owned();
    }
    if quiet && !format.is_empty() && format != "table" {
        cli.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.");
        if format != "raw" {
            format.clear();
        }
    }
    if format == "raw" {
        let size = if m.flag("size") { "size: {{.Size}}\n" } else { "" };
        format = if quiet { "container_id: {{.ID}}".to_owned() } else { format!("{RAW}{size}") };
    }
    let mut table = LISTING.table.to_owned();
    if m.flag("size") {
        table.push_str("\\t{{.Size}}");
    }
    let chosen = LISTING.choose_with_table(&format, quiet, &table)?;
    // a template that shows sizes must have them, and measuring them is slow
    let shows_size = chosen.mentions("Size") || format.contains("json .}");
    let size = if m.changed("size") { m.flag("size") } else { shows_size };
    let last = if m.flag("latest") && m.int("last") == -1 { 1 } else { m.int("last") };
    let filters = filter::collect(&m.list("filter"));
    let client = cli.client().await?;
    let mut request = client.get("/containers/json").flag("all", m.flag("all")).flag("size", size);
    if last > 0 {
        request = request.query("limit", last.to_string());
    }
    let containers: Vec<Summary> = request.filters(&filters).fetch().await?;
    let truncate = !m.flag("no-trunc");
    let now = units::now();
    cli.print(&LISTING.render(&chosen, containers.iter().map(|c| row(c, truncate, now)))?)
}

/// One container as fields.
pub fn row(c: &Summary, truncate: bool, now: i64) -> Row {
    let id = if truncate { units::short_id(&c.id) } else { &c.id };
    let command = if truncate { units::ellipsis(&c.command, 20) } else { c.command.clone() };
    let mut networks: Vec<&str> = Vec::new();
    if let Some(settings) = &c.network_settings {
        networks.extend(settings.networks.keys().map(String::as_str));
    }
    let local = c.mounts.iter().filter(|m| m.driver == "local").count();
    vec![
        ("ID", id.into()),
        ("Names", names(c, truncate).into()),
        ("Image", image(c, truncate).into()),
        ("Command", quote(&command).into()),
        ("CreatedAt", units::local_time(c.created).into()),
        ("RunningFor", format!("{} ago", units::duration(now - c.created)).into()),
        ("Ports", port_list::display(&c.ports).into()),
        ("State", c.state.as_str().into()),
        ("Status", c.status.as_str().into()),
        ("Size", size(c).into()),
        ("Labels", label_text(&c.labels)),
        ("Label", label_method(&c.labels)),
        ("Mounts", mounts(c, truncate).into()),
        ("LocalVolumes", local.to_string().into()),
        ("Networks", networks.join(",").into()),
        ("Platform", platform(c)),
        ("HealthStatus", health(c)),
    ]
}

/// A method, so that JSON has the fields that Docker 28 has.
fn health(c: &Summary) -> Value {
    let status = c.health.as_ref().map_or_else(String::new, |h| h.status.to_string());
    Value::Func(Rc::new(move |_| Ok(Value::str(status.clone()))))
}

fn platform(c: &Summary) -> Value {
    let found = c.image_manifest_descriptor.as_ref().and_then(|d| d.platform.as_ref());
    let Some(platform) = found else { return Value::Nil(Nil::Pointer) };
    let variant = if platform.variant.is_empty() { String::new() } else { format!("/{}", platform.variant) };
    let json = serde_json::to_value(platform).unwrap_or_default();
    let text = format!("{}/{}{variant}", platform.os, platform.architecture);
    Value::Text(text.into(), std::rc::Rc::new(Value::from(&json)))
}

/// Links show up as names with a slash inside; the short table shows only the container's own.
fn names(c: &Summary, truncate: bool) -> String {
    let all: Vec<&str> = c.names.iter().map(|n| n.strip_prefix('/').unwrap_or(n)).collect();
    if truncate {
        return all.iter().find(|n| !n.contains('/')).copied().unwrap_or_default().to_owned();
    }
    all.join(",")
}

fn image(c: &Summary, truncate: bool) -> String {
    if c.image.is_empty() {
        return "<no image>".into();
    }
    if !truncate {
        return c.image.clone();
    }
    let short = units::short_id(&c.image_id);
    if short == units::short_id(&c.image) {
        return short.to_owned();
    }
    match Reference::parse_name(&c.image) {
        Ok(reference) if reference.digest().is_some() => match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.familiar_name()),
            None => reference.familiar_name(),
        },
        _ => c.image.clone(),
    }
}

fn mounts(c: &Summary, truncate: bool) -> String {
    let names = c.mounts.iter().map(|m| if m.name.is_empty() { &m.source } else { &m.name });
    names.map(|n| if truncate { units::ellipsis(n, 15) } else { n.clone() }).collect::<Vec<_>>().join(",")
}

pub fn size(c: &Summary) -> String {
    let own = units::size_short(c.size_rw);
    if c.size_root_fs > 0 { format!("{own} (virtual {})", units::size_short(c.size_root_fs)) } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_docker_types::container::PortSummary;

    fn container() -> Summary {
        Summary {
            id: "5551684de20206043ecbef23c7792f2e42004645758a7ed442a9de1b179f3613".into(),
            names: vec!["/b1".to_owned(), "/other/link".to_owned()].into(),
            image: "busybox@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
            command: "sh -c 'echo a very long command'".into(),
            created: 1_000,
            ports: vec![PortSummary {
                ip: "0.0.0.0".into(),
                private_port: 80,
                public_port: 8080,
                kind: "tcp".into(),
                ..PortSummary::default()
            }]
            .into(),
            status: "Up 2 minutes".into(),
            state: "running".into(),
            size_rw: 12,
            size_root_fs: 2_306_000,
            labels: [("com.x", "y".to_owned())].into_iter().collect(),
            ..Summary::default()
        }
    }

    fn render(format: &str, quiet: bool, truncate: bool) -> String {
        let chosen = LISTING.choose(format, quiet).unwrap();
        LISTING.render(&chosen, [row(&container(), truncate, 1_130)]).unwrap()
    }

    #[test]
    fn the_table_is_dockers() {
        assert_eq!(
            render("", false, true),
            "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS                  NAMES\n\
             5551684de202   busybox   \"sh -c 'echo a very …\"   2 minutes ago   Up 2 minutes   0.0.0.0:8080->80/tcp   b1\n"
        );
    }

    #[test]
    fn formats_of_ps() {
        assert_eq!(render("", true, true), "5551684de202\n");
        assert_eq!(
            render("table {{.Names}}\\t{{.Label \"com.x\"}}", false, true),
            "NAMES     x\nb1        y\n"
        );
        assert_eq!(render("{{.Names}} {{.Size}}", false, false), "b1,other/link 12B (virtual 2.31MB)\n");
        let json: serde_json::Value = serde_json::from_str(&render("json", false, true)).unwrap();
        assert_eq!(
            (&json["Ports"], &json["Platform"]),
            (&"0.0.0.0:8080->80/tcp".into(), &serde_json::Value::Null)
        );
        assert!(LISTING.choose("{{.Names", false).is_err());
    }
}
