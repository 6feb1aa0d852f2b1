//! `context ls/use/show/inspect/create/update/rm`.
use crate::arguments::Matches;
use crate::cli::{Cli, Shared};
use crate::cmd::ps::FORMAT_HELP;
use crate::config_file::ConfigFile;
use crate::connection;
use crate::context_store::{self, Context, DEFAULT, Store, check_name};
use crate::failure::{Failure, Outcome, joined};
use crate::flag::{Flag, Ty, parse_bool};
use crate::format::inspect::Inspector;
use crate::format::listing::Listing;
use knarr_gotemplate::Value;
use serde_json::json;
use std::path::PathBuf;

pub static LS_FLAGS: &[Flag] = &[
    Flag::new("format", Ty::Str, FORMAT_HELP),
    Flag::new("quiet", Ty::Bool, "Only show context names").short('q'),
];
pub static CREATE_FLAGS: &[Flag] = &[
    Flag::new("description", Ty::Str, "Description of the context"),
    Flag::new(
        "docker",
        Ty::Str,
        "set the endpoint: host=..., ca=..., cert=..., key=..., skip-tls-verify=...",
    ),
    Flag::new("from", Ty::Str, "create context from a named context"),
];
pub static UPDATE_FLAGS: &[Flag] = &[
    Flag::new("description", Ty::Str, "Description of the context"),
    Flag::new(
        "docker",
        Ty::Str,
        "set the endpoint: host=..., ca=..., cert=..., key=..., skip-tls-verify=...",
    ),
];
pub static RM_FLAGS: &[Flag] =
    &[Flag::new("force", Ty::Bool, "Force the removal of a context in use").short('f')];

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

fn store(cli: &Cli) -> Store {
    Store::new(&cli.config_dir())
}

fn default_context() -> Context {
    let host = connection::environment_host().unwrap_or_else(connection::default_host);
    Context {
        name: DEFAULT.into(),
        description: "Current DOCKER_HOST based configuration".into(),
        host: host.clone(),
        skip_verify: false,
        document: json!({
            "Name": DEFAULT, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}},
        }),
    }
}

pub async fn ls(cli: Shared, m: Matches) -> Outcome {
    let chosen = LISTING.choose(m.text("format"), m.flag("quiet"))?;
    let current = connection::context_name(&cli)?;
    let mut contexts = vec![default_context()];
    contexts.extend(store(&cli).list());
    contexts.sort_by(|a, b| a.name.cmp(&b.name));
    let rows = contexts.iter().map(|c| {
        vec![
            ("Name", c.name.as_str().into()),
            ("Current", Value::Bool(c.name == current)),
            ("Description", c.description.as_str().into()),
            ("DockerEndpoint", c.host.as_str().into()),
            ("Error", "".into()),
        ]
    });
    cli.print(&LISTING.render(&chosen, rows)?)
}

pub async fn show(cli: Shared, _: Matches) -> Outcome {
    cli.println(&connection::context_name(&cli)?)
}

pub async fn use_context(cli: Shared, m: Matches) -> Outcome {
    let name = &m.args[0];
    if name != DEFAULT {
        store(&cli).get(name)?;
    }
    ConfigFile::store(&cli.config_dir(), |config| {
        if name == DEFAULT {
            config.remove("currentContext");
        } else {
            config.insert("currentContext".into(), name.as_str().into());
        }
    })?;
    cli.println(name)?;
    cli.warn(&format!("Current context is now {}", knarr_gotemplate::quote(name)));
    if name != DEFAULT
        && let Some(host) = connection::environment_host()
    {
        cli.warn(&format!(
            "Warning: the environment (KNARR_HOST or DOCKER_HOST) overrides the active context: {host}. To use {}, unset it.",
            knarr_gotemplate::quote(name)
        ));
    }
    Ok(())
}

pub async fn inspect(cli: Shared, m: Matches) -> Outcome {
    let mut inspector = Inspector::new(m.text("format"))?;
    let store = store(&cli);
    let names = if m.args.is_empty() { vec![connection::context_name(&cli)?] } else { m.args.clone() };
    let mut failures = Vec::new();
    for name in names {
        let context = if name == DEFAULT { default_context() } else { store.get(&name)? };
        let mut document = context.document.clone();
        document["TLSMaterial"] = match store.tls(&context) {
            Some(_) => json!({"docker": ["ca.pem", "cert.pem", "key.pem"]}),
            None => json!({}),
        };
        document["Storage"] = match name.as_str() {
            DEFAULT => json!({"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"}),
            name => json!({"MetadataPath": store.meta_dir(name), "TLSPath": store.tls_dir(name)}),
        };
        if let Err(message) = inspector.add(document) {
            failures.push(message);
        }
    }
    cli.print(&inspector.finish())?;
    joined(failures)
}

type TlsSources = Vec<(&'static str, PathBuf)>;

/// `host=tcp://..,ca=..,cert=..,key=..,skip-tls-verify=true`.
fn endpoint(text: &str, context: &mut Context) -> Outcome<TlsSources> {
    let mut tls = Vec::new();
    for field in crate::spec::csv::record(text).map_err(Failure::new)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(Failure::new(format!("invalid field '{field}' must be a key=value pair")));
        };
        match key {
            "host" => {
                knarr_docker_client::Endpoint::parse(value, false)?;
                context.host = value.to_owned();
            }
            "ca" => tls.push(("ca.pem", PathBuf::from(value))),
            "cert" => tls.push(("cert.pem", PathBuf::from(value))),
            "key" => tls.push(("key.pem", PathBuf::from(value))),
            "skip-tls-verify" => {
                context.skip_verify = parse_bool(value)
                    .ok_or_else(|| Failure::new(format!("invalid value for skip-tls-verify: {value}")))?;
            }
            "from" => {}
            key => return Err(Failure::new(format!("{key}: unrecognized config key"))),
        }
    }
    Ok(tls)
}

pub async fn create(cli: Shared, m: Matches) -> Outcome {
    let name = &m.args[0];
    check_name(name)?;
    let store = store(&cli);
    if store.get(name).is_ok() {
        return Err(Failure::new(format!("context {} already exists", knarr_gotemplate::quote(name))));
    }
    let mut context = Context { name: name.clone(), ..Context::default() };
    let mut tls = Vec::new();
    match m.text("from") {
        "" if !m.changed("docker") => return Err(Failure::new("docker endpoint configuration is required")),
        "" => tls = endpoint(m.text("docker"), &mut context)?,
        from => {
            let source = if from == DEFAULT { default_context() } else { store.get(from)? };
            (context.host, context.skip_verify) = (source.host.clone(), source.skip_verify);
            context.description = source.description;
        }
    }
    if m.changed("description") {
        context.description = m.text("description").to_owned();
    }
    store.put(&context, &tls)?;
    cli.println(name)?;
    cli.warn(&format!("Successfully created context {}", knarr_gotemplate::quote(name)));
    Ok(())
}

pub async fn update(cli: Shared, m: Matches) -> Outcome {
    let name = &m.args[0];
    check_name(name)?;
    let store = store(&cli);
    let mut context = store.get(name)?;
    if m.changed("description") {
        context.description = m.text("description").to_owned();
    }
    let tls = if m.changed("docker") { endpoint(m.text("docker"), &mut context)? } else { Vec::new() };
    store.put(&context, &tls)?;
    cli.println(name)?;
    cli.warn(&format!("Successfully updated context {}", knarr_gotemplate::quote(name)));
    Ok(())
}

pub async fn rm(cli: Shared, m: Matches) -> Outcome {
    let store = store(&cli);
    let current = cli.config()?.text("currentContext").to_owned();
    let mut failures = Vec::new();
    for name in &m.args {
        let quoted = knarr_gotemplate::quote(name);
        let removed = if name == DEFAULT {
            Err(format!("context {quoted} cannot be removed"))
        } else if *name == current && !m.flag("force") {
            Err(format!("context {quoted} is in use, set -f flag to force remove"))
        } else {
            store.get(name).and_then(|_| store.remove(name)).map_err(|f| f.message)
        };
        match removed {
            Ok(()) => {
                if *name == current {
                    ConfigFile::store(&cli.config_dir(), |config| drop(config.remove("currentContext")))?;
                }
                cli.println(name)?;
            }
            Err(message) => failures.push(message),
        }
    }
    joined(failures)
}

/// Names, for completion.
pub fn names(cli: &Cli) -> Vec<String> {
    let mut names = vec![context_store::DEFAULT.to_owned()];
    names.extend(store(cli).list().into_iter().map(|c| c.name));
    names
}
