//! `push`.
use crate::arguments::Matches;
use crate::cli::Shared;
use crate::cmd::content_trust;
use crate::cmd::images::platform_json;
use crate::cmd::transfer::{full_name, wanted};
use crate::credentials;
use crate::failure::Outcome;
use crate::flag::{Flag, Ty};
use crate::format::note;
use crate::format::progress::{Display, Screen};
use std::io::Write;

const PLATFORM_NOTE: &str =
    "Using --platform pushes only the specified platform manifest of a multi-platform image index.
Other components, like attestations, will not be included.
To push the complete multi-platform image, remove the --platform flag.
";

pub static FLAGS: &[Flag] = &[
    Flag::new("all-tags", Ty::Bool, "Push all tags of an image to the repository").short('a'),
    content_trust::flag("Skip image signing"),
    Flag::new(
        "platform",
        Ty::Str,
        "Push a platform-specific manifest as a single-platform image to the registry.\nImage index won't be pushed, meaning that other manifests, including attestations won't be preserved.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
    ),
    Flag::new("quiet", Ty::Bool, "Suppress verbose output").short('q'),
];
pub async fn push(cli: Shared, m: Matches) -> Outcome {
    let quiet = m.flag("quiet");
    if m.changed("platform") {
        // A platform that cannot be meant is told before anything else.
        platform_json(m.text("platform"), &format!("Invalid platform {}", m.text("platform")))?;
        note::print(PLATFORM_NOTE, false)?;
    }
    let reference = wanted(&cli, &m)?;
    content_trust::check(&m, &m.args[0])?;
    let client = cli.client().await?;
    let auth = credentials::header_for_image(&cli, &m.args[0])?;
    let mut request = client
        .post(format!("/images/{}/push", reference.name()))
        .query_some("tag", reference.tag().unwrap_or_default())
        .header("X-Registry-Auth", &auth);
    if m.changed("platform") {
        request = request.query("platform", platform_json(m.text("platform"), "")?);
    }
    let stream = request.lines().await?;
    let mut notes = Vec::new();
    let done = {
        let mut stdout = std::io::stdout();
        let mut sink = std::io::sink();
        let out: &mut dyn Write = if quiet { &mut sink } else { &mut stdout };
        Display::new(out, Screen::stdout()).follow(stream, |aux| notes.extend(note_of(aux))).await
    };
    if done.is_ok() && quiet {
        cli.println(&full_name(&reference))?;
    }
    for text in notes {
        note::print(&text, false)?;
    }
    done
}

/// What the engine says about an image of several platforms.
fn note_of(aux: &serde_json::Value) -> Option<String> {
    if aux.get("manifestPushedInsteadOfIndex")?.as_bool()? {
        let digest = |name: &str| aux.get(name)?.get("digest")?.as_str().map(str::to_owned);
        return Some(format!(
            "Not all multiplatform-content is present and only the available single-platform image was pushed\n{} -> {}",
            digest("originalIndex")?,
            digest("selectedManifest")?
        ));
    }
    None
}
