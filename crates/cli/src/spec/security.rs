//! `--security-opt`: a seccomp profile is read here and sent as its content.

/// What the engine is sent: options, and whether `systempaths=unconfined` was among them.
#[derive(Debug, PartialEq)]
pub struct SecurityOptions {
    pub options: Vec<String>,
    pub unconfined_paths: bool,
}

pub fn parse(values: &[String]) -> Result<SecurityOptions, String> {
    let mut options = Vec::new();
    let mut unconfined_paths = false;
    for value in values {
        let cut = value
            .split_once('=')
            .or_else(|| if value == "no-new-privileges" { None } else { value.split_once(':') });
        let (key, argument) = cut.unwrap_or((value, ""));
        if argument.is_empty() && key != "no-new-privileges" {
            return Err(format!("Invalid --security-opt: {}", knarr_gotemplate::quote(value)));
        }
        match (key, argument) {
            _ if value == "systempaths=unconfined" => unconfined_paths = true,
            ("seccomp", "builtin" | "unconfined") => options.push(value.clone()),
            ("seccomp", path) => options.push(format!("seccomp={}", profile(path)?)),
            _ => options.push(value.clone()),
        }
    }
    Ok(SecurityOptions { options, unconfined_paths })
}

/// The file's JSON without white space.
fn profile(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        format!("opening seccomp profile ({path}) failed: open {path}: {}", crate::failure::os_text(&e))
    })?;
    let failed = |e: serde_json::Error| format!("compacting json for seccomp profile ({path}) failed: {e}");
    let json: serde_json::Value = serde_json::from_str(&text).map_err(failed)?;
    serde_json::to_string(&json).map_err(failed)
}
