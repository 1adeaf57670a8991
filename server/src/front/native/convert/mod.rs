//! The native API's messages to the service's own vocabulary, and back.
//!
//! One file per subject. What comes in is checked for form here (present, within bounds, numbers
//! that are known) and nowhere else; whether it makes sense is the state's to say. What goes out
//! is matched exhaustively, so that a new kind of reply cannot be forgotten.

pub mod key;
pub mod member;
pub mod object;
pub mod object_reply;
pub mod outcome;
pub mod pool;
pub mod pool_event;
pub mod pool_plan;
pub mod pool_reply;
pub mod range;
pub mod read;
pub mod route;
pub mod session;
pub mod txn;
pub mod watch;
pub mod write;

#[cfg(test)]
mod tests;

use crate::node::request::Refusal;

/// A message that was checked for form, or what is wrong with it.
pub type Form<T> = Result<T, Refusal>;

/// The refusal of a malformed message. `what` is a sentence: what is wrong, and how it should be.
pub fn invalid(what: impl Into<String>) -> Refusal {
    Refusal::Invalid { what: what.into() }
}

/// An enumeration's value from its number on the wire.
pub fn known<T: TryFrom<i32>>(number: i32, field: &str) -> Form<T> {
    T::try_from(number).map_err(|_| {
        invalid(format!("{field} {number} is not known to this version; upgrade the server or ask for less"))
    })
}
