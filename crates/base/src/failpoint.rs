//! Failpoints: places where a test can make the program fail, named in `KNARR_FAILPOINT`.
//!
//! `KNARR_FAILPOINT=<name>[=panic|kill|error|sleep:<ms>]`, several separated by commas; the default action is `kill`.
//! Without the feature `failpoints` the macro is nothing at all.

/// What a failpoint does when its name is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Panic,
    Kill,
    Error,
    Sleep(std::time::Duration),
}

/// The action that `setting` (the value of `KNARR_FAILPOINT`) asks for at `name`.
pub fn action(setting: &str, name: &str) -> Option<Action> {
    setting.split(',').find_map(|entry| {
        let (point, action) = entry.split_once('=').unwrap_or((entry, "kill"));
        if point.trim() != name {
            return None;
        }
        match action.split_once(':').unwrap_or((action, "")) {
            ("panic", _) => Some(Action::Panic),
            ("kill", _) => Some(Action::Kill),
            ("error", _) => Some(Action::Error),
            ("sleep", ms) => Some(Action::Sleep(std::time::Duration::from_millis(ms.parse().ok()?))),
            _ => None,
        }
    })
}

/// Carries out the action for `name`; true when the place should return an error.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) -> bool {
    let Ok(setting) = std::env::var("KNARR_FAILPOINT") else { return false };
    match action(&setting, name) {
        None => false,
        Some(Action::Error) => true,
        Some(Action::Panic) => panic!("failpoint {name}"),
        Some(Action::Sleep(time)) => {
            std::thread::sleep(time);
            false
        }
        Some(Action::Kill) => {
            // Sudden death without unsafe code or a dependency: the kernel runs no destructor either.
            let _ = std::process::Command::new("/bin/kill")
                .args(["-9", &std::process::id().to_string()])
                .status();
            std::process::abort()
        }
    }
}

/// `failpoint!("start.network")` dies, panics or sleeps there when a test says so; with a second argument, `error`
/// returns `Err` of it: `failpoint!("start.network", Error::Failpoint("start.network"))`.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        let _ = $crate::failpoint::hit($name);
    };
    ($name:expr, $error:expr) => {
        if $crate::failpoint::hit($name) {
            return Err($error);
        }
    };
}

/// Compiled out.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {};
    ($name:expr, $error:expr) => {
        if false {
            return Err($error);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn settings() {
        let setting = "start.spec,start.network=error, exit.commit=sleep:20,x=nonsense";
        assert_eq!(action(setting, "start.spec"), Some(Action::Kill));
        assert_eq!(action(setting, "start.network"), Some(Action::Error));
        assert_eq!(action(setting, "exit.commit"), Some(Action::Sleep(Duration::from_millis(20))));
        assert_eq!(action(setting, "x"), None);
        assert_eq!(action(setting, "start"), None);
    }
}
