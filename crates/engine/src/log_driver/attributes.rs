//! What is logged beside a message: labels, variables, the tag.
use super::options::text;
use crate::expression::Expression;
use crate::record::Container;
use knarr_gotemplate::{MissingKey, Template, Value};
use std::collections::BTreeMap;

/// Attributes of every line in a file.
pub(super) fn of_lines(container: &Container) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = extra(container, str::to_owned);
    if !text(&container.log_opts, "tag").is_empty() {
        let tag = tag(container)?;
        if !tag.is_empty() {
            attributes.insert("tag".to_owned(), tag);
        }
    }
    Ok(attributes)
}

/// Labels and variables that the options name, under changed names.
pub(super) fn extra(container: &Container, rename: impl Fn(&str) -> String) -> BTreeMap<String, String> {
    let options = &container.log_opts;
    let labels: BTreeMap<&str, &str> =
        container.config.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let variables: BTreeMap<&str, &str> =
        container.config.env.iter().filter_map(|variable| variable.split_once('=')).collect();
    let mut all = BTreeMap::new();
    for (names, pattern, values) in [("labels", "labels-regex", &labels), ("env", "env-regex", &variables)] {
        for name in text(options, names).split(',') {
            if let Some(value) = values.get(name) {
                all.insert(rename(name), (*value).to_owned());
            }
        }
        let pattern = text(options, pattern);
        if let Some(expression) = Expression::parse(pattern).filter(|_| !pattern.is_empty()) {
            for (name, value) in values.iter().filter(|(name, _)| expression.finds(name)) {
                all.insert(rename(name), (*value).to_owned());
            }
        }
    }
    all
}

/// The `tag` option, a template; the short id when there is none.
pub(super) fn tag(container: &Container) -> Result<String, String> {
    let template = match text(&container.log_opts, "tag") {
        "" => "{{.ID}}",
        template => template,
    };
    let image = container.image.as_ref().map_or_else(String::new, |id| format!("sha256:{id}"));
    let short = image.strip_prefix("sha256:").unwrap_or(&image);
    let short = short.get(..12).unwrap_or(short);
    let command = container.command().join(" ");
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fields = [
        ("ID", container.id.short()),
        ("FullID", container.id.as_str()),
        ("Name", &container.name),
        ("ImageID", short),
        ("ImageFullID", &image),
        ("ImageName", &container.config.image),
        ("DaemonName", "docker"),
        ("Command", &command),
        ("Hostname", &hostname),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), Value::str(value))).to_vec();
    let parsed = Template::parse(template).map_err(|error| error.to_string())?;
    parsed.execute(&Value::object("Info", fields), MissingKey::NoValue).map_err(|error| error.to_string())
}
