//! Go's `text/template` as Docker's `--format` uses it.
//!
//! Standard: <https://pkg.go.dev/text/template> with the functions of
//! <https://docs.docker.com/engine/cli/formatting/>. Texts of errors are Go's, because scripts read them.
//!
//! Invariant: no input makes this crate panic, and nesting, steps and output are bounded by the constants below.
mod error;
mod exec;
mod function;
mod go_fmt;
mod go_json;
mod lex;
mod node;
mod parse;
mod print;
mod value;

pub use error::{Error, ErrorKind};
pub use exec::MissingKey;
pub use go_fmt::quote;
pub use go_json::{to_json, to_json_html};
pub use value::{Function, Nil, Struct, Value};

use node::Tree;

/// Longest template text.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Deepest nesting of blocks, parentheses and template calls.
pub const MAX_DEPTH: usize = 100;
/// Most node evaluations in one execution.
pub const MAX_STEPS: u64 = 20_000_000;
/// Longest output of one execution.
pub const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    tree: Tree,
}

impl Template {
    /// Parses `text`; the error prints as `template: :LINE: what`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(Error::parse(1, "template is too long".to_owned()));
        }
        Ok(Self { tree: parse::parse(text)? })
    }

    /// Runs the template over `data`.
    pub fn execute(&self, data: &Value, missing: MissingKey) -> Result<String, Error> {
        exec::execute(&self.tree, data, missing, false)
    }

    /// Runs the template over the titles of columns: the functions that change values leave titles alone.
    pub fn execute_header(&self, titles: &Value) -> Result<String, Error> {
        exec::execute(&self.tree, titles, MissingKey::NoValue, true)
    }

    /// Whether the text of the template mentions the field `name` (of any receiver).
    pub fn mentions_field(&self, name: &str) -> bool {
        self.tree.mentions_field(name)
    }
}
