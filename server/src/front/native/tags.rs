//! A request's tag on a stream's connection: what kind of answer is expected, and the client's own
//! number. Both fit into the node's 64-bit tag, so a stream keeps no table of open requests.

/// Bits of a client's number. The four above hold the kind.
const ID_BITS: u32 = 60;
/// The first number that is too large for a client to use.
pub const ID_END: u64 = 1 << ID_BITS;

/// What kind of answer a request expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A read of one key.
    Point,
    /// A read of several keys.
    Span,
    /// A put.
    Put,
    /// A delete.
    Delete,
    /// A transaction.
    Txn,
    /// A token check.
    CheckToken,
    /// A question for an outcome.
    GetOutcome,
    /// The end of the session.
    Close,
    /// A keep-alive.
    KeepAlive,
    /// A watch: its frames, and the answer to its cancellation.
    Watch,
    /// A write of locks and elections.
    Object,
    /// A question about locks and elections.
    ObjectQuery,
    /// A write of pools.
    Pool,
    /// A question about pools.
    PoolQuery,
}

/// By number; the position of each is its number.
const KINDS: [Kind; 14] = [
    Kind::Point,
    Kind::Span,
    Kind::Put,
    Kind::Delete,
    Kind::Txn,
    Kind::CheckToken,
    Kind::GetOutcome,
    Kind::Close,
    Kind::KeepAlive,
    Kind::Watch,
    Kind::Object,
    Kind::ObjectQuery,
    Kind::Pool,
    Kind::PoolQuery,
];

/// The tag of a request. `id` is below [`ID_END`].
pub fn tag(kind: Kind, id: u64) -> u64 {
    debug_assert!(id < ID_END, "numbers are checked when they come in");
    (kind as u64) << ID_BITS | id
}

/// What a tag was made of; `None` for one that [`tag`] did not make.
pub fn parts(tag: u64) -> Option<(Kind, u64)> {
    let number = usize::try_from(tag >> ID_BITS).ok()?;
    Some((*KINDS.get(number)?, tag & (ID_END - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_gives_back_what_it_was_made_of() {
        for kind in KINDS {
            for id in [0, 1, ID_END - 1] {
                assert_eq!(parts(tag(kind, id)), Some((kind, id)));
            }
        }
        assert_eq!(parts(u64::MAX), None);
    }
}
