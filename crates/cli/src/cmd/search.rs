//! `search`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::credentials;
use crate::failure::Outcome;
use crate::flag::{FILTER, Flag, Ty};
use crate::format::listing::Listing;
use crate::format::units;
use crate::spec::filter;
use knarr_docker_types::image::SearchResult;

pub static FLAGS: &[Flag] = &[
    Flag::new("filter", FILTER, "Filter output based on conditions provided").short('f'),
    Flag::new("format", Ty::Str, "Pretty-print search using a Go template"),
    Flag::new("limit", Ty::Int, "Max number of search results"),
    Flag::new("no-trunc", Ty::Bool, "Don't truncate output"),
];

static SEARCH: Listing = Listing {
    type_name: "*registry.searchContext",
    table: "{{.Name}}\\t{{.Description}}\\t{{.StarCount}}\\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
    titles: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
    ],
};

pub async fn search(cli: Shared, m: Matches) -> Outcome {
    let chosen = SEARCH.choose(m.text("format"), false)?;
    let filters = filter::collect(&m.list("filter"));
    if m.list("filter").iter().any(|filter| filter.starts_with("is-automated")) {
        cli.warn(
            "WARNING: the \"is-automated\" filter is deprecated, and searching for \"is-automated=true\" will not yield any results in future.",
        );
    }
    let client = cli.client().await?;
    let auth = credentials::header_for_search(&cli, &m.args[0])?;
    let request = client
        .get("/images/search")
        .query("term", &m.args[0])
        .query_some("limit", if m.int("limit") > 0 { m.int("limit").to_string() } else { String::new() })
        .filters(&filters)
        .header("X-Registry-Auth", &auth);
    let results: Vec<SearchResult> = request.fetch().await?;
    // As JSON it is a word.
    let json = m.text("format").contains("json");
    let ok = |yes: bool| match (yes, json) {
        (true, true) => "true",
        (false, true) => "false",
        (true, false) => "[OK]",
        (false, false) => "",
    };
    let rows = results.iter().map(|r| {
        let description = r.description.replace(['\n', '\r'], " ");
        let description = if m.flag("no-trunc") { description } else { units::ellipsis(&description, 45) };
        vec![
            ("Name", r.name.as_str().into()),
            ("Description", description.into()),
            ("StarCount", r.star_count.to_string().into()),
            ("IsOfficial", ok(r.is_official).into()),
        ]
    });
    cli.print(&SEARCH.render(&chosen, rows)?)
}
