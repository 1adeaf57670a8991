//! What a run did, in numbers: proof that the interesting things happened.

use std::collections::BTreeMap;
use std::fmt;

/// Counters by name. A name is `group: thing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    counts: BTreeMap<String, u64>,
}

impl Stats {
    /// Counts something.
    pub fn count(&mut self, name: &str) {
        self.add(name, 1);
    }

    /// Counts several.
    pub fn add(&mut self, name: &str, more: u64) {
        match self.counts.get_mut(name) {
            Some(count) => *count += more,
            None => {
                self.counts.insert(name.to_owned(), more);
            }
        }
    }

    /// Takes another run's counts in.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            self.add(name, *count);
        }
    }

    /// How often something was counted.
    pub fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = "";
        for (name, count) in &self.counts {
            let (of, thing) = name.split_once(": ").unwrap_or(("other", name));
            if of != group {
                group = of;
                writeln!(f, "{group}")?;
            }
            writeln!(f, "  {count:>12}  {thing}")?;
        }
        Ok(())
    }
}
