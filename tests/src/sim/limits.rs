//! What is left out of a run, so that a long failing one becomes a short one.
//!
//! Whatever stays is drawn as if nothing had been left out: each strike has numbers of its own, and
//! a client that is left out is there and does nothing. So leaving one thing out changes the rest
//! only by its consequences.

use super::faults::Fault;
use super::queue::{SECOND, Time};
use clap::ValueEnum;
use std::collections::BTreeSet;
use std::fmt;

/// What stays of a run; `None` is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Kinds of faults.
    pub faults: Option<BTreeSet<Fault>>,
    /// Strikes, by number, counted from one.
    pub strikes: Option<BTreeSet<u64>>,
    /// Clients, by number.
    pub clients: Option<BTreeSet<u64>>,
    /// Length of the phase with faults.
    pub length: Option<Time>,
}

impl Limits {
    /// Whether a kind of fault stays.
    pub fn allow(&self, fault: Fault) -> bool {
        self.faults.as_ref().is_none_or(|faults| faults.contains(&fault))
    }

    /// Whether a strike stays.
    pub fn allow_strike(&self, number: u64) -> bool {
        self.strikes.as_ref().is_none_or(|strikes| strikes.contains(&number))
    }

    /// Whether a client does anything.
    pub fn allow_client(&self, number: u64) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.contains(&number))
    }
}

/// As arguments of the simulator, each with a space behind it.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(faults) = &self.faults {
            write!(f, "--faults {} ", list(faults.iter().map(|fault| fault.name())))?;
        }
        if let Some(strikes) = &self.strikes {
            write!(f, "--strikes {} ", list(strikes.iter().map(u64::to_string)))?;
        }
        if let Some(clients) = &self.clients {
            write!(f, "--clients {} ", list(clients.iter().map(u64::to_string)))?;
        }
        if let Some(length) = self.length {
            write!(f, "--length {}s ", length / SECOND)?;
        }
        Ok(())
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(",") }
}

fn parsed<T: Ord>(
    text: &str,
    one: impl Fn(&str) -> Result<T, String>,
) -> std::result::Result<BTreeSet<T>, String> {
    if text == "none" { Ok(BTreeSet::new()) } else { text.split(',').map(one).collect() }
}

/// Reads a list of kinds of faults: names with commas between them, or `none`.
///
/// # Errors
/// A name that no fault has.
pub fn faults(text: &str) -> Result<BTreeSet<Fault>, String> {
    parsed(text, |name| Fault::from_str(name, true))
}

/// Reads a list of numbers with commas between them, or `none`.
///
/// # Errors
/// Something that is no number.
pub fn numbers(text: &str) -> Result<BTreeSet<u64>, String> {
    parsed(text, |number| number.parse().map_err(|_| format!("{number:?} is not a number")))
}

/// Reads a length in whole seconds, such as `9s`.
///
/// # Errors
/// Something else.
pub fn length(text: &str) -> Result<Time, String> {
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse::<u64>().ok());
    seconds.map(|seconds| seconds * SECOND).ok_or_else(|| format!("{text:?} is not a length such as 9s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_they_are_read() {
        let limits = Limits {
            faults: Some([Fault::Kill, Fault::PowerCutInWrite].into()),
            strikes: Some([3, 12].into()),
            clients: Some(BTreeSet::new()),
            length: Some(9 * SECOND),
        };
        let text = limits.to_string();
        assert_eq!(text, "--faults kill,power-cut-in-write --strikes 3,12 --clients none --length 9s ");
        let words: Vec<&str> = text.split_whitespace().collect();
        let read = Limits {
            faults: Some(faults(words[1]).expect("names of faults")),
            strikes: Some(numbers(words[3]).expect("numbers")),
            clients: Some(numbers(words[5]).expect("nobody")),
            length: Some(length(words[7]).expect("a length")),
        };
        assert_eq!(read, limits);
        assert!(faults("kill,flood").is_err() && numbers("1,x").is_err() && length("9").is_err());
        assert_eq!(Limits::default().to_string(), "");
    }
}
