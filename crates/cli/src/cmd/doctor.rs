//! Knarr's own: `system doctor`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Ty};
use crate::format::columns;
use knarr_docker_types::upkeep::{DoctorCheck, DoctorReport};
use std::fmt::Write;

pub static FLAGS: &[Flag] = &[Flag::new("format", Ty::Str, "\"table\" (default) or \"json\"")];

/// Something is missing that the engine needs.
const EXIT_FAILED: i32 = 1;

pub async fn doctor(cli: Shared, m: Matches) -> Outcome {
    let json = super::upkeep::is_json(&m)?;
    let report = match ask(&cli).await {
        Ok(report) => report,
        Err(why) => without_engine(&cli, why)?,
    };
    if json {
        cli.println(&serde_json::to_string(&report).map_err(|e| Failure::new(e.to_string()))?)?;
    } else {
        cli.print(&text(&report))?;
    }
    match report.failed {
        0 => Ok(()),
        1 => Err(Failure::with_code(EXIT_FAILED, "1 check failed")),
        n => Err(Failure::with_code(EXIT_FAILED, format!("{n} checks failed"))),
    }
}

async fn ask(cli: &Shared) -> Outcome<DoctorReport> {
    Ok(cli.client().await?.get("/knarr/system/doctor").fetch().await?)
}

/// When there is no engine the machine matters most.
fn without_engine(cli: &Shared, why: Failure) -> Outcome<DoctorReport> {
    let Some(mut report) = cli.examine() else { return Err(why) };
    let check = DoctorCheck {
        name: "engine".to_owned(),
        status: "failed".to_owned(),
        found: why.to_string(),
        advice: "what failed above may be why; else see the engine's log (journalctl -u knarr, /run/knarr/engine.log)".to_owned(),
    };
    report.failed += 1;
    report.checks.push(check);
    Ok(report)
}

fn text(report: &DoctorReport) -> String {
    let mut table = "CHECK\tSTATUS\tFOUND\n".to_owned();
    for check in report.checks.iter() {
        let _ = writeln!(table, "{}\t{}\t{}", check.name, check.status, check.found);
    }
    let mut text = columns::align(&table, &columns::LISTING);
    let advised: Vec<&DoctorCheck> = report.checks.iter().filter(|check| !check.advice.is_empty()).collect();
    if !advised.is_empty() {
        text.push('\n');
    }
    for check in advised {
        let _ = writeln!(text, "{}: {}", check.name, check.advice);
    }
    text
}
