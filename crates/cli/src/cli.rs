//! What every command has at hand: global flags, the configuration file, the connection, the streams.
use crate::arguments::Matches;
use crate::command::GLOBAL_TABLE;
use crate::config_file::ConfigFile;
use crate::connection;
use crate::failure::{Failure, Outcome};
use crate::term::output;
use knarr_docker_client::Client;
use knarr_docker_types::upkeep::DoctorReport;
use std::cell::OnceCell;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;

/// Why an engine could not be started on demand; printed as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(pub String);

/// Supplies an engine when none is configured and none runs.
pub trait EngineStarter {
    /// Makes sure that an engine runs, and gives the path of its socket.
    fn ensure(&self) -> Pin<Box<dyn Future<Output = Result<PathBuf, StartError>> + '_>>;
    /// Checks this machine, without an engine.
    fn examine(&self) -> DoctorReport;
}

/// State of one run of the client.
pub struct Cli {
    pub globals: Matches,
    /// The same flags as they were written.
    pub global_words: Vec<String>,
    starter: Option<Box<dyn EngineStarter>>,
    config: OnceCell<ConfigFile>,
    client: OnceCell<Client>,
}

/// Commands share it.
pub type Shared = Rc<Cli>;

impl Cli {
    pub fn new(
        globals: Matches,
        global_words: Vec<String>,
        starter: Option<Box<dyn EngineStarter>>,
    ) -> Shared {
        Rc::new(Self { globals, global_words, starter, config: OnceCell::new(), client: OnceCell::new() })
    }

    /// The configuration file, read at the first use.
    pub fn config(&self) -> &ConfigFile {
        self.config.get_or_init(|| ConfigFile::load(&self.config_dir()))
    }

    pub fn config_dir(&self) -> PathBuf {
        let flag = if self.globals.changed("config") { self.globals.text("config") } else { "" };
        crate::config_file::directory(flag)
    }

    /// The client of the chosen engine; starts an engine when that is left to us.
    pub async fn client(&self) -> Outcome<Client> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let target = connection::choose(self)?;
        let client = connection::open(&target, self.starter.as_deref(), self.config()).await?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// A client of the chosen engine, which is not started if it does not run.
    pub fn running_client(&self) -> Outcome<Client> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = connection::client_of(&connection::choose(self)?, self.config())?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// The same with other global flags, for a command line that is not ours; wrong ones change nothing.
    pub fn with_globals(self: &Rc<Self>, words: &[String]) -> Shared {
        match Matches::parse(GLOBAL_TABLE, words, false) {
            Ok(globals) if !words.is_empty() => Self::new(globals, words.to_vec(), None),
            _ => Rc::clone(self),
        }
    }

    /// Checks this machine, without an engine; none: this program has no engine.
    pub fn examine(&self) -> Option<DoctorReport> {
        self.starter.as_ref().map(|starter| starter.examine())
    }

    /// Prints on standard output.
    pub fn print(&self, text: &str) -> Outcome {
        output::print(text)
    }
    pub fn println(&self, text: &str) -> Outcome {
        self.print(&format!("{text}\n"))
    }
    /// Prints a line on standard error.
    pub fn warn(&self, text: &str) {
        output::complain(text);
    }

    /// Asks a question that takes `y`; anything else, and no terminal, is no.
    pub fn confirm(&self, question: &str) -> Outcome<bool> {
        self.print(&format!("{question} [y/N] "))?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Failure::from)?;
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }
}
