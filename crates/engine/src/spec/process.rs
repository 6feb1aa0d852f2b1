//! The program: arguments, environment, user, limits of the process itself.
use super::{Draft, Input};
use crate::user::User;
use knarr_docker_types::container_config::Config;
use knarr_oci::runtime::{ConsoleSize, Rlimit};

/// Docker's `PATH` when nothing sets one.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the init is mounted.
pub const INIT_PATH: &str = "/sbin/docker-init";

pub(super) fn command(input: &Input, draft: &mut Draft) {
    let program = input.container.command().into_iter().map(str::to_owned);
    let init = input.init.is_some().then(|| [INIT_PATH.to_owned(), "--".to_owned()]);
    draft.process.args = init.into_iter().flatten().chain(program).collect();
}

pub(super) fn terminal(input: &Input, draft: &mut Draft) {
    let config = &input.container.config;
    draft.process.terminal = config.tty;
    let [height, width] = input.container.host_config.console_size;
    if config.tty && height > 0 && width > 0 {
        let clamp = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        draft.process.console_size = Some(ConsoleSize { height: clamp(height), width: clamp(width) });
    }
}

pub(super) fn environment(input: &Input, draft: &mut Draft) {
    let hostname = hostname(input);
    draft.process.env = variables(&input.container.config, hostname, input.user);
}

pub(super) fn hostname<'a>(input: &'a Input) -> &'a str {
    let shares_host =
        input.container.host_config.uts_mode == "host" || input.container.host_config.network_mode == "host";
    if shares_host && input.container.config.hostname.is_empty() {
        &input.facts.hostname
    } else {
        input.container.hostname()
    }
}

/// Docker's variables, those of the container, `HOME`. An entry without `=` removes a variable.
pub fn variables(config: &Config, hostname: &str, user: &User) -> Vec<String> {
    let mut env = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    override_with(&mut env, &config.env);
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    env
}

/// Later entries replace earlier ones of the same name in place.
pub fn override_with(env: &mut Vec<String>, entries: &[String]) {
    for entry in entries {
        let Some((name, _)) = entry.split_once('=') else {
            env.retain(|have| have.split('=').next() != Some(entry));
            continue;
        };
        match env.iter_mut().find(|have| have.split('=').next() == Some(name)) {
            Some(have) => entry.clone_into(have),
            None => env.push(entry.clone()),
        }
    }
}

pub(super) fn user(input: &Input, draft: &mut Draft) {
    draft.process.user = input.user.oci();
}

pub(super) fn working_directory(input: &Input, draft: &mut Draft) {
    let dir = &input.container.config.working_dir;
    draft.process.cwd = if dir.is_empty() { "/".to_owned() } else { dir.clone() };
}

pub(super) fn rlimits(input: &Input, draft: &mut Draft) {
    let own = &input.container.host_config.resources.ulimits;
    let given = own.iter().map(|u| (u.name.as_str(), u.soft, u.hard));
    let defaults = input.default_ulimits.iter().map(|(name, soft, hard)| (name.as_str(), *soft, *hard));
    let defaults = defaults.filter(|(name, ..)| !own.iter().any(|u| u.name == *name));
    draft.process.rlimits = given
        .chain(defaults)
        .map(|(name, soft, hard)| Rlimit {
            kind: format!("RLIMIT_{}", name.to_ascii_uppercase()),
            soft: limit(soft),
            hard: limit(hard),
        })
        .collect();
}

/// -1 is no limit.
fn limit(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

pub(super) fn oom_score(input: &Input, draft: &mut Draft) {
    let adjustment = input.container.host_config.oom_score_adj;
    draft.process.oom_score_adj = (adjustment != 0).then(|| i32::try_from(adjustment).unwrap_or(0));
}
