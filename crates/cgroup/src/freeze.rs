//! Stopping all processes of a group where they are, and letting them go on.
use crate::group::Cgroup;
use crate::{Error, Hierarchies, Result, files};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A process in an uninterruptible wait keeps a group from being frozen.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);
const ROUNDS_TO_THAW: u32 = 50;

impl Cgroup {
    /// Returns when every process is frozen; gives up (and thaws) after a time.
    pub fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + FREEZE_TIMEOUT;
        for round in 1u32.. {
            // v1 can stay half frozen when processes are forked meanwhile; it has to begin again then.
            if round % ROUNDS_TO_THAW == 0 && matches!(self.hierarchies, Hierarchies::V1(_)) {
                self.set_frozen(false)?;
            }
            self.set_frozen(true)?;
            if self.is_frozen()? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.thaw()?;
                return Err(Error::Busy { path: self.path().to_owned() });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(false)
    }

    pub fn is_frozen(&self) -> Result<bool> {
        let directory = self.freezer()?;
        match &self.hierarchies {
            Hierarchies::V1(_) => Ok(files::read(&directory.join("freezer.state"))?.trim() == "FROZEN"),
            Hierarchies::V2(_) => {
                let events = files::read(&directory.join("cgroup.events"))?;
                Ok(files::pairs(&events).any(|pair| pair == ("frozen", 1)))
            }
        }
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let directory = self.freezer()?;
        match &self.hierarchies {
            Hierarchies::V1(_) => {
                files::write(&directory.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
            }
            Hierarchies::V2(_) => {
                files::write(&directory.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
        }
    }

    fn freezer(&self) -> Result<PathBuf> {
        self.directory("freezer").ok_or_else(|| Error::NoController {
            controller: "freezer".to_owned(),
            file: "freezer.state".to_owned(),
        })
    }
}
