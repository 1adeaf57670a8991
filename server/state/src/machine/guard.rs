//! Fencing tokens: whether the right that a caller was granted is still its own.

use crate::command::{Guard, Rejection, TokenScope};
use crate::limits::GUARDS_MAX;
use crate::machine::{form, kv};
use crate::object::{self, Scope};
use crate::pool;
use crate::tree;
use crate::view::View;

/// Refuses when one of the tokens is no longer current.
pub(super) fn all(view: &dyn View, guards: &[Guard]) -> Result<(), Rejection> {
    form::limit("number of guards", guards.len(), GUARDS_MAX)?;
    #[cfg(feature = "plant")]
    if crate::plant::is("ignore_guards") {
        return Ok(());
    }
    match guards.iter().find(|guard| !is_current(view, guard)) {
        None => Ok(()),
        Some(Guard { scope, token }) => Err(Rejection::Fenced { scope: scope.clone(), token: *token }),
    }
}

/// Whether the token is the revision that created what it speaks of, or that granted it.
pub(super) fn is_current(view: &dyn View, guard: &Guard) -> bool {
    #[cfg(feature = "plant")]
    if crate::plant::is("ignore_lock_guards")
        && matches!(guard.scope, TokenScope::Lock(_) | TokenScope::Election(_))
    {
        return true;
    }
    let created = match &guard.scope {
        TokenScope::Key(key) => kv::get(view, key).map(|record| record.create_revision),
        TokenScope::Node(path) => tree::token(view, path),
        TokenScope::Lock(name) => return object::is_current(view, Scope::Lock, name, guard.token),
        TokenScope::Election(name) => return object::is_current(view, Scope::Election, name, guard.token),
        TokenScope::Shard { pool, shard } => pool::epoch(view, pool, shard),
    };
    created == Some(guard.token)
}
