//! Regular expressions of clients: filters of lists, and options of log drivers.
use regex_automata::Input;
use regex_automata::dfa::{Automaton, StartKind, dense};

/// A regular expression of bounded size and linear time.
pub(crate) struct Expression(dense::DFA<Vec<u32>>);

/// Most memory that an expression's automaton may take, in bytes.
const MAX_AUTOMATON: usize = 4 << 20;

impl Expression {
    pub fn parse(pattern: &str) -> Option<Self> {
        let limits = dense::Config::new()
            .dfa_size_limit(Some(MAX_AUTOMATON))
            .determinize_size_limit(Some(MAX_AUTOMATON))
            .start_kind(StartKind::Unanchored);
        dense::Builder::new().configure(limits).build(pattern).ok().map(Self)
    }

    pub fn finds(&self, text: &str) -> bool {
        self.0.try_search_fwd(&Input::new(text)).is_ok_and(|found| found.is_some())
    }
}
