//! A gate for resources that are protected by fencing tokens.
//!
//! A holder that was paused may wake up long after somebody else has taken over, and write. The
//! resource can tell: it remembers the highest token that it has seen for each scope and refuses lower
//! ones.
//!
//! ```
//! use oarlock_client::FencingGate;
//!
//! let mut gate = FencingGate::load([("printer", 17)]);
//! gate.check("printer", 19).expect("newer than all before");
//! gate.check("printer", 19).expect("the same holder again");
//! let stale = gate.check("printer", 17).unwrap_err();
//! assert_eq!(stale.highest, 19);
//! ```

use std::collections::BTreeMap;
use thiserror::Error;

/// The highest token seen for each scope. Whoever owns the resource keeps it with the resource: a check
/// whose token is above what was stored is worth what the caller's store makes of it, so export the
/// gate, or the one scope, in the same transaction as the write that was admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FencingGate {
    highest: BTreeMap<String, u64>,
}

/// A token below the highest that was seen: its holder has a successor.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "token {token} for {scope:?} is stale: {highest} was seen. Whoever sent it has a successor and must stop"
)]
pub struct Stale {
    /// What the token is for.
    pub scope: String,
    /// The token that was refused.
    pub token: u64,
    /// The highest that was seen.
    pub highest: u64,
}

impl FencingGate {
    /// One that has seen nothing, and admits the first token of each scope.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that has seen what [`export`](Self::export) wrote.
    pub fn load<S: Into<String>>(seen: impl IntoIterator<Item = (S, u64)>) -> Self {
        let mut gate = Self::new();
        for (scope, token) in seen {
            let highest = gate.highest.entry(scope.into()).or_default();
            *highest = token.max(*highest);
        }
        gate
    }

    /// Admits a token that is the highest seen for its scope, or equal to it, and remembers it.
    ///
    /// # Errors
    /// [`Stale`] if a higher one was seen.
    pub fn check(&mut self, scope: &str, token: u64) -> Result<(), Stale> {
        match self.highest.get_mut(scope) {
            Some(highest) if token < *highest => {
                Err(Stale { scope: scope.to_owned(), token, highest: *highest })
            }
            Some(highest) => {
                *highest = token;
                Ok(())
            }
            None => {
                self.highest.insert(scope.to_owned(), token);
                Ok(())
            }
        }
    }

    /// The highest token seen for a scope; `None` if none was.
    pub fn highest(&self, scope: &str) -> Option<u64> {
        self.highest.get(scope).copied()
    }

    /// Every scope with the highest token seen, in order of scope, to be stored.
    pub fn export(&self) -> impl Iterator<Item = (&str, u64)> {
        self.highest.iter().map(|(scope, token)| (scope.as_str(), *token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_highest_token_of_a_scope_is_admitted_also_after_a_restart() {
        let mut gate = FencingGate::new();
        assert_eq!(gate.highest("a"), None);
        for token in [5, 5, 9] {
            gate.check("a", token).expect("none higher was seen");
        }
        gate.check("b", 1).expect("another scope");
        let stale = Stale { scope: "a".into(), token: 5, highest: 9 };
        assert_eq!(gate.check("a", 5), Err(stale.clone()));
        assert_eq!(gate.highest("a"), Some(9), "a refused token leaves no trace");

        let stored: Vec<(String, u64)> =
            gate.export().map(|(scope, token)| (scope.to_owned(), token)).collect();
        let mut gate = FencingGate::load(stored);
        assert_eq!(gate.check("a", 5), Err(stale));
        gate.check("a", 10).expect("a successor");
        gate.check("b", 1).expect("the same holder again");
    }

    #[test]
    fn what_was_stored_twice_counts_by_the_higher() {
        let mut gate = FencingGate::load([("a", 9), ("a", 3)]);
        assert_eq!(gate.check("a", 8).map_err(|stale| stale.highest), Err(9));
    }
}
