//! A whole table as a value: prints as `nft`'s language, becomes part of a batch.
use crate::firewall::entry::Entry;
use crate::firewall::rule::Rule;
use knarr_netlink::nft::{Batch, ChainSpec, Element, Family, Field, Policy, SetSpec};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// IPv4 and IPv6 have a table each, of the same name: a host without IPv6 needs none of it.
    pub family: Family,
    pub name: String,
    pub sets: Vec<SetSpec>,
    pub entries: Vec<Entry>,
    pub chains: Vec<(ChainSpec, Vec<Rule>)>,
}

impl Table {
    /// Replaces whatever is in the kernel under this name, with the entries that are wanted.
    pub fn put(&self, batch: &mut Batch, wanted: impl Fn(&Entry) -> bool) {
        batch.in_family(self.family);
        batch.replace_table();
        for set in &self.sets {
            batch.add_set(set);
            let elements: Vec<Element> =
                self.of(set.name).filter(|e| wanted(e)).map(Entry::element).collect();
            batch.add_elements(set.name, &elements);
        }
        // Chains first: rules jump to each other's.
        self.chains.iter().for_each(|(chain, _)| batch.add_chain(chain));
        for (chain, rules) in &self.chains {
            rules.iter().for_each(|rule| batch.add_rule(chain.name, &rule.expressions(self.family), ""));
        }
    }

    fn of<'a>(&'a self, set: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |e| e.set() == set)
    }
}

fn fields(fields: &[Field]) -> String {
    fields.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(" . ")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family.as_str(), self.name)?;
        for set in &self.sets {
            let key = fields(&set.key);
            if set.data.is_empty() {
                writeln!(f, "\tset {} {{\n\t\ttype {key}", set.name)?;
            } else {
                writeln!(f, "\tmap {} {{\n\t\ttype {key} : {}", set.name, fields(&set.data))?;
            }
            if set.interval {
                writeln!(f, "\t\tflags interval")?;
            }
            let entries: Vec<String> = self.of(set.name).map(ToString::to_string).collect();
            if !entries.is_empty() {
                writeln!(f, "\t\telements = {{ {} }}", entries.join(",\n\t\t\t     "))?;
            }
            writeln!(f, "\t}}\n")?;
        }
        for (chain, rules) in &self.chains {
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(hook) = &chain.hook {
                let policy = if hook.policy == Policy::Drop { "drop" } else { "accept" };
                let (kind, name) = (hook.kind.as_str(), hook.hook.as_str());
                writeln!(f, "\t\ttype {kind} hook {name} priority {}; policy {policy};", hook.priority)?;
            }
            for rule in rules {
                writeln!(f, "\t\t{}", rule.text(self.family))?;
            }
            writeln!(f, "\t}}\n")?;
        }
        writeln!(f, "}}")
    }
}
