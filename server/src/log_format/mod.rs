//! The one bridge between the vocabulary of the state and the bytes of the log.
//!
//! [`encode_batch`] and [`decode_batch`] are for the payload of a normal Raft entry,
//! [`encode_membership`] and [`decode_membership`] for the context of a configuration entry, and
//! [`proposal_to_proto`] and [`proposal_from_proto`] for proposals on their way to the leader.
//!
//! # Compatibility
//! The bytes are Protobuf messages of `proto/oarlock/internal/log.proto`, where fields are only ever
//! added. What this program wrote it can read for ever. What a later program wrote is either read
//! in full or refused with [`FormatError`]: an unknown command or number stops the replica, because
//! one that guesses would compute another state than its peers. So a field that changes what
//! `apply` does may be *written* only once every member's program knows it. `tests` pins the bytes
//! of each command; a red test there means a new format, not a new expectation.
//!
//! # Rules
//! Matches are exhaustive: a new variant of the vocabulary breaks the build here. A transaction of
//! exactly one put, the commonest command by far, is written in a short form that saves two levels
//! of nesting; it is read back as the same transaction.

mod auth;
mod command;
mod kv;
mod member;
mod object;
mod pool;
mod proposal;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod tree;

pub use member::{Membership, decode_membership, encode_membership};
pub use member::{member_from_proto, member_to_proto, membership_from_proto, membership_to_proto};
pub use proposal::{id_from_proto, id_to_proto, proposal_from_proto, proposal_to_proto};

use bytes::Bytes;
use oarlock_proto::internal::log as pb;
use oarlock_state::Proposal;
use prost::Message;
use thiserror::Error;

/// Bytes that this program cannot read as the log's format. They come from a later program or from
/// damage; either way nothing of the entry may be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// Not Protobuf at all.
    #[error("not in the log's format: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Something that is always written is not there, or is of a kind unknown here.
    #[error(
        "{what} is missing or of a kind that only a later version of this program knows; upgrade this member"
    )]
    Missing {
        /// What.
        what: &'static str,
    },
    /// A number outside of those known here.
    #[error(
        "{what} has the value {number}, which this version of the program does not know; upgrade this member"
    )]
    Unknown {
        /// Which number.
        what: &'static str,
        /// Its value.
        number: i64,
    },
    /// A field of fixed length, or a pair of parallel lists, has another length.
    #[error("{what} has {length} elements instead of {expected}")]
    WrongLength {
        /// Which field.
        what: &'static str,
        /// Elements found.
        length: usize,
        /// Elements needed.
        expected: usize,
    },
}

/// Result of reading the log's format.
pub type FormatResult<T> = Result<T, FormatError>;

/// The payload of one log entry: proposals in their order, with the leader's wall clock in
/// milliseconds since 1970.
pub fn encode_batch(stamp_ms: u64, proposals: &[Proposal]) -> Bytes {
    let proposals = proposals.iter().map(proposal_to_proto).collect();
    pb::Batch { stamp_ms, proposals }.encode_to_vec().into()
}

/// Reads the payload of one log entry. Keys and values are slices of `payload`, not copies.
///
/// # Errors
/// The bytes are of a later version or damaged.
pub fn decode_batch(payload: Bytes) -> FormatResult<(u64, Vec<Proposal>)> {
    let batch = pb::Batch::decode(payload)?;
    let proposals = batch.proposals.into_iter().map(proposal_from_proto).collect::<FormatResult<_>>()?;
    Ok((batch.stamp_ms, proposals))
}

fn required<T>(field: Option<T>, what: &'static str) -> FormatResult<T> {
    field.ok_or(FormatError::Missing { what })
}
