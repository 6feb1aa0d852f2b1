//! What the process is: limits, identity, capabilities, filter, program.
use super::{Facts, Limit, Plan, Step, inside, scheduling, text};
use crate::{Error, Result};
use knarr_linux::caps::{self, CapSet};
use knarr_linux::rlimit;
use knarr_oci::runtime::{Capabilities, Linux, Process};
use std::ffi::CString;

/// Number of kinds of resource limits.
pub const LIMITS: usize = 16;
/// Where a program is looked for when the environment does not say.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// `executes`: there is something to execute.
pub(super) fn plan(
    process: &Process,
    executes: bool,
    linux: &Linux,
    facts: &Facts<'_>,
    plan: &mut Plan,
) -> Result<()> {
    rlimits(process, facts, plan)?;
    labels(process, facts, plan)?;
    if let Some(scheduler) = &process.scheduler {
        plan.scheduling = Some(scheduling::scheduler(scheduler)?);
    }
    if let Some(policy) = &linux.memory_policy {
        plan.steps.push(scheduling::memory_policy(policy)?);
    }
    plan.steps.push(Step::Umask(process.user.umask.unwrap_or(0o022)));
    let filtered = linux.seccomp.is_some();
    // Without no_new_privs a filter may be installed only while CAP_SYS_ADMIN is held. It is kept until then, because what
    // comes before the program's execution should need nothing that the filter forbids.
    let privileged = filtered && !process.no_new_privileges;
    let sets = Sets::new(process, facts, &mut plan.warnings);
    plan.steps.push(Step::LimitBounding(sets.bounding));
    let user = &process.user;
    if user.uid == u32::MAX || user.gid == u32::MAX {
        return Err(Error::Invalid { what: "user id -1".to_owned() });
    }
    let groups = match (facts.groups, user.additional_gids.as_slice()) {
        (true, groups) => Some(groups.to_vec()),
        (false, []) => None,
        (false, _) => {
            let what = "additionalGids, which cannot be set in this user namespace".to_owned();
            return Err(Error::Invalid { what });
        }
    };
    // Once as who may enter every directory, and if that was refused once more as the user.
    let directory = inside(if process.cwd.is_empty() { "/" } else { &process.cwd })?;
    plan.steps.push(Step::WorkingDirectory { path: directory.clone(), again: false });
    plan.steps.push(Step::Identity { uid: user.uid, gid: user.gid, groups });
    let Sets { effective, mut permitted, inheritable, ambient, .. } = sets;
    if privileged && facts.bounding.contains(caps::SYS_ADMIN) {
        permitted.insert(caps::SYS_ADMIN);
    }
    plan.steps.push(Step::Capabilities { effective, permitted, inheritable, ambient });
    plan.steps.push(Step::WorkingDirectory { path: directory, again: true });
    plan.steps.push(Step::FindProgram(if executes { candidates(process)? } else { Vec::new() }));
    if process.no_new_privileges {
        plan.steps.push(Step::NoNewPrivileges);
    }
    if privileged {
        plan.steps.push(Step::PrivilegedFilter(caps::Sets {
            effective: sets.effective,
            permitted: sets.permitted,
            inheritable: sets.inheritable,
        }));
    } else if filtered {
        plan.steps.push(Step::Filter);
    }
    plan.steps.push(Step::Gate);
    plan.steps.push(Step::StartContainerHooks);
    plan.steps.push(Step::Execute);
    Ok(())
}

fn rlimits(process: &Process, facts: &Facts<'_>, plan: &mut Plan) -> Result<()> {
    for limit in &process.rlimits {
        let Some(number) = rlimit::number(&limit.kind) else {
            return Err(Error::Invalid { what: format!("resource limit {:?}", limit.kind) });
        };
        if limit.soft > limit.hard {
            let what = format!("{}: soft limit {} exceeds hard limit {}", limit.kind, limit.soft, limit.hard);
            return Err(Error::Invalid { what });
        }
        let (mut soft, mut hard) = (limit.soft, limit.hard);
        // This process may not raise its own hard limit, so neither can the container's be higher.
        if let Some(most) = facts.hard_limits.as_ref().and_then(|l| l.get(number as usize)).copied()
            && hard > most
        {
            plan.warnings
                .push(format!("{}: hard limit {hard} lowered to {most}, which cannot be raised", limit.kind));
            hard = most;
            soft = soft.min(most);
        }
        // A process in a user namespace of its own may not raise its limits.
        if facts.user.is_some() {
            plan.limits.push(Limit { number, soft, hard });
        } else {
            plan.steps.push(Step::Rlimit { number, soft, hard });
        }
    }
    Ok(())
}

/// What the process inherits from the one that makes it, and what only the host's privileges allow.
pub(super) fn inherited(process: &Process, linux: &Linux) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(score) = process.oom_score_adj {
        steps.push(Step::OomScore(text(&score.to_string(), "oom_score_adj")?));
    }
    if let Some(priority) = &process.io_priority {
        steps.push(scheduling::io_priority(priority)?);
    }
    if let Some(personality) = &linux.personality {
        let domain = match personality.domain.as_str() {
            "LINUX" => 0,
            "LINUX32" => 8,
            other => return Err(Error::Invalid { what: format!("personality {other:?}") }),
        };
        if let Some(flag) = personality.flags.first() {
            return Err(Error::Invalid { what: format!("personality flag {flag:?}") });
        }
        steps.push(Step::Personality(domain));
    }
    Ok(steps)
}

/// A label means nothing to a kernel without the security module; that is said, not failed for.
fn labels(process: &Process, facts: &Facts<'_>, plan: &mut Plan) -> Result<()> {
    if let Some(profile) = process.apparmor_profile.as_deref().filter(|p| !p.is_empty()) {
        if facts.apparmor {
            plan.steps.push(Step::SecurityLabel {
                file: c"thread-self/attr/apparmor/exec".to_owned(),
                label: text(&format!("exec {profile}"), "AppArmor profile")?,
            });
        } else {
            plan.warnings.push(format!("AppArmor is not enabled: profile {profile} is not applied"));
        }
    }
    if let Some(label) = process.selinux_label.as_deref().filter(|l| !l.is_empty()) {
        if facts.selinux {
            let file = c"thread-self/attr/exec".to_owned();
            plan.steps.push(Step::SecurityLabel { file, label: text(label, "SELinux label")? });
        } else {
            plan.warnings.push(format!("SELinux is not enabled: label {label} is not applied"));
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Sets {
    bounding: CapSet,
    effective: CapSet,
    permitted: CapSet,
    inheritable: CapSet,
    ambient: CapSet,
}

impl Sets {
    /// What is not named is not given: a configuration without capabilities is one without any.
    fn new(process: &Process, facts: &Facts<'_>, warnings: &mut Vec<String>) -> Self {
        let none = Capabilities::default();
        let capabilities = process.capabilities.as_ref().unwrap_or(&none);
        let mut set = |names: &[String]| {
            let mut set = CapSet::default();
            for name in names {
                match caps::number(name) {
                    Some(number) if facts.bounding.contains(number) => set.insert(number),
                    Some(_) => {
                        note(warnings, format!("capability {name} cannot be given: it is not held here"))
                    }
                    None => note(warnings, format!("unknown capability {name} is ignored")),
                }
            }
            set
        };
        let bounding = set(&capabilities.bounding);
        let permitted = set(&capabilities.permitted);
        let inheritable = set(&capabilities.inheritable);
        let effective = set(&capabilities.effective).intersection(permitted);
        let raisable = permitted.intersection(inheritable);
        let ambient = set(&capabilities.ambient).intersection(raisable);
        for name in &capabilities.ambient {
            if caps::number(name).is_some_and(|n| facts.bounding.contains(n) && !raisable.contains(n)) {
                let why = "it is not both permitted and inheritable";
                note(warnings, format!("can't raise ambient capability {name}: {why}"));
            }
        }
        Self { bounding, effective, permitted, inheritable, ambient }
    }
}

fn note(warnings: &mut Vec<String>, text: String) {
    if !warnings.contains(&text) {
        warnings.push(text);
    }
}

/// A name without slash is looked for in the directories of PATH; an empty one among them is the working directory.
fn candidates(process: &Process) -> Result<Vec<CString>> {
    let Some(program) = process.args.first().filter(|p| !p.is_empty()) else {
        return Err(Error::Invalid { what: "args must not be empty".to_owned() });
    };
    if program.contains('/') {
        return Ok(vec![text(program, "args")?]);
    }
    let path = process.env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let join = |directory: &str| match directory {
        "" => format!("./{program}"),
        directory => format!("{}/{program}", directory.trim_end_matches('/')),
    };
    path.split(':').map(|directory| text(&join(directory), "PATH")).collect()
}
