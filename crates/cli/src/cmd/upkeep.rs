//! Knarr's own: `system check`, `system clean`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::format::columns;
use crate::format::units;
use knarr_docker_types::upkeep::{CheckReport, CleanReport};
use std::fmt::Write;

pub static CHECK_FLAGS: &[Flag] = &[
    Flag::new("deep", Ty::Bool, "Compare every layer, also those that nothing touched since the last check"),
    Flag::new("format", Ty::Str, "\"table\" (default) or \"json\""),
    Flag::new("repair", Ty::Bool, "Repair what can be, remove what nobody owns"),
];
pub static CLEAN_FLAGS: &[Flag] = &[
    Flag::new("dry-run", Ty::Bool, "Show what would be removed"),
    Flag::new("format", Ty::Str, "\"table\" (default) or \"json\""),
    Flag::new(
        "policy",
        Ty::List,
        "Another policy than the engine's: unused-for=720h, high-watermark=85%, low-watermark=75%, keep=FILTER",
    ),
];

/// Damage is left.
const EXIT_DAMAGED: i32 = 1;

pub fn is_json(m: &Matches) -> Outcome<bool> {
    match m.text("format") {
        "" | "table" => Ok(false),
        "json" => Ok(true),
        other => Err(Failure::new(format!("unknown format {other:?}: table or json"))),
    }
}

fn bytes(number: u64) -> String {
    units::size(i64::try_from(number).unwrap_or(i64::MAX))
}

pub async fn check(cli: Shared, m: Matches) -> Outcome {
    let json = is_json(&m)?;
    let client = cli.client().await?;
    let request =
        client.post("/knarr/system/check").flag("deep", m.flag("deep")).flag("repair", m.flag("repair"));
    let report: CheckReport = request.fetch().await?;
    if json {
        cli.println(&serde_json::to_string(&report).map_err(|e| Failure::new(e.to_string()))?)?;
    } else {
        cli.print(&check_text(&report))?;
    }
    match report.damaged {
        0 => Ok(()),
        1 => Err(Failure::with_code(EXIT_DAMAGED, "1 damaged object is left")),
        n => Err(Failure::with_code(EXIT_DAMAGED, format!("{n} damaged objects are left"))),
    }
}

fn check_text(report: &CheckReport) -> String {
    let mut text = String::new();
    if !report.findings.is_empty() {
        let mut table = "OUTCOME\tSUBJECT\tOBJECT\tPROBLEM\tUSED BY\n".to_owned();
        for finding in &report.findings {
            let mut problem = finding.problem.clone();
            if !finding.detail.is_empty() {
                let _ = write!(problem, "; {}", finding.detail);
            }
            let _ = writeln!(
                table,
                "{}\t{}\t{}\t{problem}\t{}",
                finding.outcome,
                finding.subject,
                short(&finding.object),
                finding.used_by.join(", ")
            );
        }
        text.push_str(&columns::align(&table, &columns::LISTING));
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "Checked: {} images, {} blobs ({}), {} layers ({} of them file by file), {} containers, {} volumes",
        report.images,
        report.blobs,
        bytes(report.blob_bytes),
        report.layers,
        report.layers_compared,
        report.containers,
        report.volumes
    );
    text
}

/// Digests as they are shown elsewhere.
fn short(object: &str) -> &str {
    if object.starts_with("sha256:") { units::short_id(object) } else { object }
}

pub async fn clean(cli: Shared, m: Matches) -> Outcome {
    let json = is_json(&m)?;
    let client = cli.client().await?;
    let mut request = client.post("/knarr/system/clean").flag("dry-run", m.flag("dry-run"));
    for option in m.list("policy") {
        let Some((key, value)) = option.split_once('=') else {
            return Err(Failure::new(format!("invalid policy {option:?}: expected KEY=VALUE")));
        };
        request = request.query(key, value);
    }
    let report: CleanReport = request.fetch().await?;
    if json {
        return cli.println(&serde_json::to_string(&report).map_err(|e| Failure::new(e.to_string()))?);
    }
    let mut text = String::new();
    if !report.images.is_empty() {
        let mut table = "IMAGE\tIMAGE ID\tLAST USED\tREASON\tSIZE\n".to_owned();
        for image in &report.images {
            let id = units::short_id(&image.id);
            let _ = writeln!(
                table,
                "{}\t{id}\t{}\t{}\t{}",
                image.name,
                image.last_used,
                image.reason,
                bytes(image.size)
            );
        }
        text.push_str(&columns::align(&table, &columns::LISTING));
        text.push('\n');
    }
    let what = if report.dry_run { "Would reclaim" } else { "Total reclaimed space" };
    let _ = writeln!(
        text,
        "Disk in use: {}%\n{what}: {}",
        report.disk_used_percent,
        bytes(report.space_reclaimed)
    );
    cli.print(&text)
}
