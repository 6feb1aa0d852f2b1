//! Writing limits to the files of a group, also of one whose processes run.
//!
//! Some values bound others (memory and memory with swap, quota, period and burst), so which may be written first depends on
//! what is set now. Invariant: what the kernel refuses is tried again after the rest, as long as the rest changes something;
//! then the first refusal is the error.
use crate::group::Cgroup;
use crate::plan::{self, Write, devices::Policy};
use crate::{Error, Hierarchies, Result, devices, files};
use knarr_linux::Errno;
use knarr_oci::runtime::{Cpu, DeviceRule, Memory, Resources};

impl Cgroup {
    /// Set limits; limits that are not mentioned stay as they are.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        let whole;
        let resources = match self.with_other_half(resources)? {
            Some(found) => {
                whole = found;
                &whole
            }
            None => resources,
        };
        let writes = match &self.hierarchies {
            Hierarchies::V1(_) => plan::v1::writes(resources)?,
            Hierarchies::V2(_) => plan::v2::writes(resources)?,
        };
        if let Some(memory) = resources.memory.as_ref().filter(|m| m.check_before_update == Some(true)) {
            self.check_memory(memory)?;
        }
        if let Some(unit) = &self.unit {
            unit.set(self.hierarchies.version(), resources)?;
        }
        if !resources.devices.is_empty() {
            self.devices(&resources.devices)?;
        }
        self.write_all(writes.iter().collect())
    }

    /// Quota and period are one value for version 2 and for systemd: the one that is not mentioned stays as it is.
    fn with_other_half(&self, resources: &Resources) -> Result<Option<Resources>> {
        let Some(cpu) = &resources.cpu else { return Ok(None) };
        let (quota, period) = (cpu.quota.filter(|&q| q != 0), cpu.period.filter(|&p| p != 0));
        let now = match (&self.hierarchies, self.directory("cpu")) {
            (Hierarchies::V2(_), Some(directory)) if quota.is_some() != period.is_some() => {
                files::read_optional(&directory.join("cpu.max"))?
            }
            _ => None,
        };
        let Some((quota_now, period_now)) = now.as_deref().and_then(plan::v2::cpu_max) else {
            return Ok(None);
        };
        let cpu =
            Cpu { quota: quota.or(Some(quota_now)), period: period.or(Some(period_now)), ..cpu.clone() };
        Ok(Some(Resources { cpu: Some(cpu), ..resources.clone() }))
    }

    fn devices(&self, rules: &[DeviceRule]) -> Result<()> {
        let directory = self.required("devices", "devices.allow")?;
        match &self.hierarchies {
            Hierarchies::V1(_) => {
                let list = files::read(&directory.join("devices.list"))?;
                let current = Policy::of_list(&list);
                let writes = Policy::of_rules(rules)?.writes(current.as_ref());
                writes.iter().try_for_each(|write| self.write(write))
            }
            Hierarchies::V2(_) => devices::attach(&directory, rules),
        }
    }

    fn write_all(&self, mut pending: Vec<&Write>) -> Result<()> {
        loop {
            let mut refused = Vec::new();
            let mut first = None;
            for write in &pending {
                match self.write(write) {
                    Ok(()) => {}
                    Err(error @ Error::Write { errno: Errno::INVAL | Errno::BUSY | Errno::RANGE, .. }) => {
                        first.get_or_insert(error);
                        refused.push(*write);
                    }
                    Err(error) => return Err(error),
                }
            }
            match first {
                None => return Ok(()),
                Some(error) if refused.len() == pending.len() => return Err(error),
                Some(_) => pending = refused,
            }
        }
    }

    fn write(&self, write: &Write) -> Result<()> {
        if asks_nothing(write) && self.directory(&write.controller).is_none() {
            return Ok(());
        }
        let directory = self.required(&write.controller, &write.file)?;
        let put = |file: &str, value: &str| files::write(&directory.join(file), value);
        let result = match write.file.as_str() {
            // Two schedulers may be there, each with its own file.
            "io.weight" => either(
                put("io.weight", &write.value),
                put("io.bfq.weight", &plan::v2::bfq_weight(&write.value)),
            ),
            "blkio.weight" | "blkio.weight_device" => {
                let bfq = write.file.replace("blkio.", "blkio.bfq.");
                either(put(&write.file, &write.value), put(&bfq, &write.value))
            }
            file => put(file, &write.value),
        };
        match result {
            // A file that is not there means that the kernel lacks the controller or this part of it.
            Err(Error::File { errno: Errno::NOENT, .. }) if asks_nothing(write) => Ok(()),
            Err(Error::File { errno: Errno::NOENT | Errno::ACCESS, action: "open", .. })
                if !directory.join(&write.file).exists() =>
            {
                Err(Error::NoController { controller: write.controller.clone(), file: write.file.clone() })
            }
            result => result,
        }
    }

    /// What is in use must fit into the new limit: the kernel would kill for it.
    fn check_memory(&self, memory: &Memory) -> Result<()> {
        let usage = match &self.hierarchies {
            Hierarchies::V1(_) => "memory.usage_in_bytes",
            Hierarchies::V2(_) => "memory.current",
        };
        let Some(directory) = self.directory("memory") else { return Ok(()) };
        let Some(usage) = files::read_optional(&directory.join(usage))? else { return Ok(()) };
        let usage = files::number(&usage);
        for (what, limit) in [("memory and swap", memory.swap), ("memory", memory.limit)] {
            if let Some(limit) = limit.filter(|&l| l > 0 && l as u64 <= usage) {
                return Err(Error::InUse { what, limit, usage });
            }
        }
        Ok(())
    }

    fn required(&self, controller: &str, file: &str) -> Result<std::path::PathBuf> {
        self.directory(controller)
            .ok_or_else(|| Error::NoController { controller: controller.to_owned(), file: file.to_owned() })
    }
}

/// One of two is enough; of two errors the one that is not about a missing file.
fn either(a: Result<()>, b: Result<()>) -> Result<()> {
    match (a, b) {
        (Ok(()), _) | (_, Ok(())) => Ok(()),
        (Err(Error::File { errno: Errno::NOENT, .. }), Err(b @ Error::Write { .. })) => Err(b),
        (Err(a), Err(_)) => Err(a),
    }
}

/// A limit that says what holds anyway where its file is missing.
fn asks_nothing(write: &Write) -> bool {
    match (write.file.as_str(), write.value.as_str()) {
        (_, "max" | "-1") | ("memory.swap.max" | "memory.oom_control" | "cpu.idle", "0") => true,
        // Limits of reservations are newer than limits of use.
        (file, _) => file.starts_with("hugetlb.") && file.contains(".rsvd."),
    }
}
