//! What a container takes from its image: everything that the request does not say.
use knarr_docker_types::container_config::{Config, HealthConfig};
use knarr_docker_types::{Empty, List, StrSlice};
use knarr_oci::image::{ContainerConfig, Healthcheck};

/// Merges the image's configuration into the request, by Docker's rules.
pub fn merge(request: &mut Config, image: &ContainerConfig) {
    if request.user.is_empty() {
        request.user.clone_from(&image.user);
    }
    for port in &image.exposed_ports {
        request.exposed_ports.entry(normal_port(port)).or_insert(Empty);
    }
    for (name, value) in image.environment() {
        let given = request.env.iter().any(|entry| variable(entry) == name);
        if !given {
            request.env.push(format!("{name}={value}"));
        }
    }
    for (key, value) in &image.labels {
        if !request.labels.contains_key(key) {
            request.labels.insert(key.clone(), value.clone());
        }
    }
    // An object also when it is empty.
    request.labels = std::mem::take(&mut request.labels).not_nil();
    merge_command(request, image);
    merge_health(request, image.healthcheck.as_ref());
    if request.working_dir.is_empty() {
        request.working_dir.clone_from(&image.working_dir);
    }
    if request.working_dir.starts_with('/') {
        request.working_dir = super::mounts::clean_path(&request.working_dir);
    }
    for volume in &image.volumes {
        request.volumes.entry(volume.clone()).or_insert(Empty);
    }
    if request.stop_signal.is_empty() {
        request.stop_signal.clone_from(&image.stop_signal);
    }
    if request.shell.is_empty()
        && let Some(shell) = &image.shell
    {
        request.shell = StrSlice::from(shell.clone());
    }
}

/// The image's command counts only when neither the entrypoint nor the command was given. An entrypoint of one empty
/// string removes the image's.
fn merge_command(request: &mut Config, image: &ContainerConfig) {
    if request.entrypoint.is_empty() {
        if request.cmd.is_empty() {
            request.cmd = image.cmd.clone().map(StrSlice::from).unwrap_or_default();
            request.args_escaped = image.args_escaped;
        }
        if let Some(entrypoint) = &image.entrypoint {
            request.entrypoint = StrSlice::from(entrypoint.clone());
        }
    } else if request.entrypoint.len() == 1 && request.entrypoint[0].is_empty() {
        request.entrypoint = StrSlice::default();
    }
}

fn merge_health(request: &mut Config, image: Option<&Healthcheck>) {
    let Some(image) = image else { return };
    match &mut request.healthcheck {
        None => request.healthcheck = Some(health(image)),
        Some(own) => {
            let inherited = health(image);
            if own.test.is_empty() {
                own.test = inherited.test;
            }
            for (own, inherited) in [
                (&mut own.interval_ns, inherited.interval_ns),
                (&mut own.timeout_ns, inherited.timeout_ns),
                (&mut own.start_period_ns, inherited.start_period_ns),
                (&mut own.start_interval_ns, inherited.start_interval_ns),
                (&mut own.retries, inherited.retries),
            ] {
                if *own == 0 {
                    *own = inherited;
                }
            }
        }
    }
}

fn health(image: &Healthcheck) -> HealthConfig {
    HealthConfig {
        test: List::from(image.test.clone()),
        interval_ns: image.interval,
        timeout_ns: image.timeout,
        start_period_ns: image.start_period,
        start_interval_ns: image.start_interval,
        retries: image.retries,
    }
}

/// `80` is `80/tcp`.
pub fn normal_port(port: &str) -> String {
    if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") }
}

fn variable(entry: &str) -> &str {
    entry.split('=').next().unwrap_or(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ContainerConfig {
        ContainerConfig {
            user: "app".into(),
            env: vec!["PATH=/bin".into(), "A=image".into(), "NOVALUE".into()],
            cmd: Some(vec!["serve".into()]),
            entrypoint: Some(vec!["/entry".into()]),
            working_dir: "/srv".into(),
            exposed_ports: ["80".to_owned()].into(),
            labels: [("l".to_owned(), "image".to_owned())].into(),
            ..ContainerConfig::default()
        }
    }

    fn merged(entrypoint: &[&str], cmd: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut config =
            Config { entrypoint: StrSlice::from(entrypoint), cmd: StrSlice::from(cmd), ..Config::default() };
        merge(&mut config, &image());
        (config.entrypoint.into(), config.cmd.into())
    }

    #[test]
    fn entrypoint_and_command() {
        let pair = |e: &[&str], c: &[&str]| -> (Vec<String>, Vec<String>) {
            (e.iter().map(|s| (*s).into()).collect(), c.iter().map(|s| (*s).into()).collect())
        };
        assert_eq!(merged(&[], &[]), pair(&["/entry"], &["serve"]));
        assert_eq!(merged(&[], &["other"]), pair(&["/entry"], &["other"]));
        assert_eq!(merged(&["sh"], &[]), pair(&["sh"], &[]), "an entrypoint resets the image's command");
        assert_eq!(merged(&["sh"], &["-c"]), pair(&["sh"], &["-c"]));
        assert_eq!(merged(&[""], &["ls"]), pair(&[], &["ls"]));
    }

    #[test]
    fn the_request_wins_and_an_entry_without_a_value_is_not_inherited() {
        let mut config = Config { env: ["A=own".to_owned(), "B".to_owned()].into(), ..Config::default() };
        config.labels.insert("l".into(), "own".into());
        merge(&mut config, &image());
        assert_eq!(config.env, vec!["A=own".to_owned(), "B".into(), "PATH=/bin".into()]);
        assert_eq!(config.labels["l"], "own");
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app", "/srv"));
        assert!(config.exposed_ports.contains_key("80/tcp"));
    }
}
