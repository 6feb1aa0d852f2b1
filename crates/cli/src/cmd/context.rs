//! `context ls/use/show/inspect/create/update/rm`.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::cmd::ps::FORMAT_HELP;
use crate::config_file::ConfigFile;
use crate::connection;
use crate::context_store::{self, Context, DEFAULT, ENDPOINT, Store, check_name};
use crate::failure::{Failure, Outcome, joined, os_text};
use crate::flag::{Flag, Ty, parse_bool};
use crate::format::inspect::Inspector;
use crate::format::listing::Listing;
use crate::format::order::natural;
use crate::format::units::ellipsis;
use crate::spec::csv;
use knarr_gotemplate::{Value, quote};
use serde_json::json;
use std::collections::BTreeMap;

/// `--docker key=value,..`.
const ENDPOINT_FLAG: Ty = Ty::Checked("stringToString", |text| pairs(text).map(drop));

pub static LS_FLAGS: &[Flag] = &[
    Flag::new("format", Ty::Str, FORMAT_HELP),
    Flag::new("quiet", Ty::Bool, "Only show context names").short('q'),
];
pub static CREATE_FLAGS: &[Flag] = &[
    Flag::new("description", Ty::Str, "Description of the context"),
    Flag::new("docker", ENDPOINT_FLAG, "set the docker endpoint").default("[]"),
    Flag::new("from", Ty::Str, "create context from a named context"),
];
pub static UPDATE_FLAGS: &[Flag] = &[
    Flag::new("description", Ty::Str, "Description of the context"),
    Flag::new("docker", ENDPOINT_FLAG, "set the docker endpoint").default("[]"),
];
pub static RM_FLAGS: &[Flag] =
    &[Flag::new("force", Ty::Bool, "Force the removal of a context in use").short('f')];

/// Longest error of a context that the list shows.
const MAX_ERROR: usize = 45;

static LISTING: Listing = Listing {
    type_name: "*formatter.clientContextContext",
    table: "{{.Name}}{{if .Current}} *{{end}}\\t{{.Description}}\\t{{.DockerEndpoint}}\\t{{.Error}}",
    quiet: "{{.Name}}",
    titles: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ],
};

pub fn store(cli: &Cli) -> Store {
    Store::new(&cli.config_dir())
}

/// The context that flags and environment make.
pub fn default_context(cli: &Cli) -> Outcome<Context> {
    let target = connection::of_flags(cli)?;
    let skip_verify = target.tls.as_ref().is_some_and(|tls| !tls.verify);
    let mut context = Context { name: DEFAULT.into(), host: target.host, skip_verify, ..Context::default() };
    context.document = context.to_document();
    Ok(context)
}

/// A context by name.
pub fn get(cli: &Cli, name: &str) -> Outcome<Context> {
    if name == DEFAULT { default_context(cli) } else { store(cli).get(name) }
}

/// The variable that names an engine whatever the context is.
fn overriding() -> Option<&'static str> {
    ["KNARR_HOST", "DOCKER_HOST"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()))
}

pub async fn ls(cli: Shared, m: Matches) -> Outcome {
    let chosen = LISTING.choose(m.text("format"), m.flag("quiet"))?;
    let current = connection::context_name(&cli)?;
    let mut contexts = store(&cli).list()?;
    contexts.push(default_context(&cli)?);
    let mut rows: Vec<(Context, String)> = contexts.into_iter().map(|c| (c, String::new())).collect();
    if !rows.iter().any(|(context, _)| context.name == current) {
        let error = get(&cli, &current).err().map(|f| f.message).unwrap_or_default();
        rows.push((Context { name: current.clone(), ..Context::default() }, error));
    }
    rows.sort_by(|a, b| natural(&a.0.name, &b.0.name));
    let rows = rows.iter().map(|(c, error)| {
        let description = match c.name.as_str() {
            DEFAULT => "Current DOCKER_HOST based configuration",
            _ => c.description.as_str(),
        };
        vec![
            ("Current", Value::Bool(c.name == current)),
            ("Description", description.into()),
            ("DockerEndpoint", c.host.as_str().into()),
            ("Error", ellipsis(error, MAX_ERROR).into()),
            ("Name", c.name.as_str().into()),
        ]
    });
    cli.print(&LISTING.render(&chosen, rows)?)?;
    if let Some(variable) = overriding() {
        cli.warn(&format!(
            "Warning: {variable} environment variable overrides the active context. To use a context, either set the global --context flag, or unset {variable} environment variable."
        ));
    }
    Ok(())
}

pub async fn show(cli: Shared, _: Matches) -> Outcome {
    cli.println(&connection::context_name(&cli)?)
}

pub async fn use_context(cli: Shared, m: Matches) -> Outcome {
    let [name] = &m.args[..] else {
        return Err(Failure::new(format!("accepts 1 arg(s), received {}", m.args.len())));
    };
    if name != DEFAULT {
        check_name(name)?;
        store(&cli).get(name)?;
    }
    let wanted = if name == DEFAULT { "" } else { name };
    if cli.config().text("currentContext") != wanted {
        ConfigFile::store(&cli.config_dir(), |config| {
            if wanted.is_empty() {
                config.remove("currentContext");
            } else {
                config.insert("currentContext".into(), wanted.into());
            }
        })?;
    }
    cli.println(name)?;
    cli.warn(&format!("Current context is now {}", quote(name)));
    if name != DEFAULT
        && let Some(variable) = overriding()
    {
        cli.warn(&format!(
            "Warning: {variable} environment variable overrides the active context. To use {}, either set the global --context flag, or unset {variable} environment variable.",
            quote(name)
        ));
    }
    Ok(())
}

pub async fn inspect(cli: Shared, m: Matches) -> Outcome {
    let mut inspector = Inspector::typed(m.text("format"), "context.contextWithTLSListing")?;
    let store = store(&cli);
    let names = if m.args.is_empty() { vec![connection::context_name(&cli)?] } else { m.args.clone() };
    let mut failures = Vec::new();
    for name in names {
        let context = match get(&cli, &name) {
            Ok(context) => context,
            Err(failure) => {
                failures.push(failure.message);
                continue;
            }
        };
        let mut document = context.document.clone();
        let (files, storage) = match name.as_str() {
            DEFAULT => {
                let tls = connection::of_flags(&cli)?.tls;
                let files = tls.map(|tls| {
                    let all = [("ca.pem", tls.ca), ("cert.pem", tls.cert), ("key.pem", tls.key)];
                    let present =
                        all.into_iter().filter(|(_, path)| path.as_ref().is_some_and(|p| p.exists()));
                    (ENDPOINT.to_owned(), present.map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
                });
                let memory = "<IN MEMORY>";
                (files.into_iter().collect(), json!({"MetadataPath": memory, "TLSPath": memory}))
            }
            name => (
                store.tls_names(name),
                json!({"MetadataPath": store.meta_dir(name), "TLSPath": store.tls_dir(name)}),
            ),
        };
        document["TLSMaterial"] = json!(files);
        document["Storage"] = storage;
        if let Err(message) = inspector.add(document) {
            failures.push(message);
        }
    }
    cli.print(&inspector.finish())?;
    joined(failures)
}

/// `key=value,..` as a map.
fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    for field in csv::record(text)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("{field} must be formatted as key=value"));
        };
        pairs.insert(key.to_owned(), value.to_owned());
    }
    Ok(pairs)
}

/// The pairs of all `--docker`.
fn endpoint_pairs(m: &Matches) -> BTreeMap<String, String> {
    m.list("docker").iter().filter_map(|text| pairs(text).ok()).flatten().collect()
}

/// Sets an endpoint by its pairs; what is left is the content of the files of TLS.
fn set_endpoint(
    cli: &Cli,
    pairs: &BTreeMap<String, String>,
    context: &mut Context,
) -> Outcome<BTreeMap<String, Vec<u8>>> {
    const KNOWN: [&str; 6] = ["from", "host", "ca", "cert", "key", "skip-tls-verify"];
    let unknown: Vec<String> = pairs
        .keys()
        .filter(|key| !KNOWN.contains(&key.as_str()))
        .map(|key| format!("unrecognized config key: {key}"))
        .collect();
    joined(unknown)?;
    if let Some(from) = pairs.get("from") {
        let source = get(cli, from)?;
        (context.host, context.skip_verify) = (source.host, source.skip_verify);
        return Ok(BTreeMap::new());
    }
    let mut files = BTreeMap::new();
    for (key, file) in [("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")] {
        if let Some(path) = pairs.get(key).filter(|path| !path.is_empty()) {
            let bytes =
                std::fs::read(path).map_err(|e| Failure::new(format!("open {path}: {}", os_text(&e))))?;
            files.insert(file.to_owned(), bytes);
        }
    }
    const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let is_certificate = |file: &Vec<u8>| file.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE);
    if files.get("ca.pem").is_some_and(|file| !is_certificate(file)) {
        return Err(Failure::new(
            "invalid docker endpoint options: failed to retrieve context tls info: ca.pem seems invalid",
        ));
    }
    context.skip_verify = match pairs.get("skip-tls-verify") {
        None => false,
        Some(text) => parse_bool(text).ok_or_else(|| {
            Failure::new(format!("skip-tls-verify: parsing {}: invalid syntax", quote(text)))
        })?,
    };
    context.host = pairs.get("host").cloned().unwrap_or_default();
    if !context.host.is_empty() {
        if !context.host.contains("://") || context.host.ends_with("://") {
            return Err(Failure::new(format!(
                "unable to apply docker endpoint options: unable to parse docker host `{}`",
                context.host
            )));
        }
        knarr_docker_client::Endpoint::parse(&context.host, !files.is_empty())?;
    }
    Ok(files)
}

/// A name that no context has.
pub fn check_new(cli: &Cli, name: &str) -> Outcome {
    check_name(name)?;
    if store(cli).get(name).is_ok() {
        return Err(Failure::new(format!("context {} already exists", quote(name))));
    }
    Ok(())
}

fn wrong_endpoint(failure: Failure) -> Failure {
    Failure::new(format!("unable to create docker endpoint config: {failure}"))
}

pub async fn create(cli: Shared, m: Matches) -> Outcome {
    let name = &m.args[0];
    check_new(&cli, name)?;
    let store = store(&cli);
    let from = m.text("from");
    if m.changed("docker") && from.is_empty() {
        let mut context = Context { name: name.clone(), ..Context::default() };
        let files = set_endpoint(&cli, &endpoint_pairs(&m), &mut context).map_err(wrong_endpoint)?;
        context.description = m.text("description").to_owned();
        store.put(&context)?;
        store.reset_tls(name, &[(ENDPOINT.to_owned(), files)].into_iter().collect())?;
    } else {
        if m.changed("docker") {
            return Err(Failure::new("cannot use --docker flag when --from is set"));
        }
        let from = if from.is_empty() { connection::context_name(&cli)? } else { from.to_owned() };
        let mut context = get(&cli, &from)?;
        context.name.clone_from(name);
        if !m.text("description").is_empty() {
            context.description = m.text("description").to_owned();
        }
        store.put(&context)?;
        store.reset_tls(name, &tls_of(&cli, &from)?)?;
    }
    cli.println(name)?;
    cli.warn(&format!("Successfully created context {}", quote(name)));
    Ok(())
}

/// The files of TLS of a context, also of the one that is in no file.
pub fn tls_of(cli: &Cli, name: &str) -> Outcome<context_store::Tls> {
    if name != DEFAULT {
        return store(cli).tls_data(name);
    }
    let Some(tls) = connection::of_flags(cli)?.tls else { return Ok(context_store::Tls::new()) };
    let mut files = BTreeMap::new();
    for (name, path) in [("ca.pem", tls.ca), ("cert.pem", tls.cert), ("key.pem", tls.key)] {
        if let Some(bytes) = path.and_then(|path| std::fs::read(path).ok()) {
            files.insert(name.to_owned(), bytes);
        }
    }
    Ok([(ENDPOINT.to_owned(), files)].into_iter().collect())
}

pub async fn update(cli: Shared, m: Matches) -> Outcome {
    let name = &m.args[0];
    check_name(name)?;
    let store = store(&cli);
    let mut context = store.get(name)?;
    if !m.text("description").is_empty() {
        context.description = m.text("description").to_owned();
    }
    let files = match m.changed("docker") {
        true => Some(set_endpoint(&cli, &endpoint_pairs(&m), &mut context).map_err(wrong_endpoint)?),
        false => None,
    };
    store.put(&context)?;
    if let Some(files) = files {
        store.reset_endpoint(name, ENDPOINT, &files)?;
    }
    cli.println(name)?;
    cli.warn(&format!("Successfully updated context {}", quote(name)));
    Ok(())
}

pub async fn rm(cli: Shared, m: Matches) -> Outcome {
    let store = store(&cli);
    let current = connection::context_name(&cli)?;
    let force = m.flag("force");
    let mut failures = Vec::new();
    for name in &m.args {
        let quoted = quote(name);
        let in_use = *name == current;
        let removed = if name == DEFAULT {
            Err(format!("context {quoted} cannot be removed"))
        } else if in_use && !force {
            Err(format!("context {quoted} is in use, set -f flag to force remove"))
        } else if !force && !store.exists(name) {
            Err(format!("context {quoted} does not exist"))
        } else {
            if in_use {
                ConfigFile::store(&cli.config_dir(), |config| drop(config.remove("currentContext")))?;
            }
            store.remove(name).map_err(|f| f.message)
        };
        match removed {
            Ok(()) => cli.println(name)?,
            Err(message) => failures.push(message),
        }
    }
    joined(failures)
}

/// Names, for completion.
pub fn names(cli: &Cli) -> Vec<String> {
    let mut names = vec![context_store::DEFAULT.to_owned()];
    names.extend(store(cli).list().unwrap_or_default().into_iter().map(|c| c.name));
    names
}
