//! What a client may ask of a server, in no API's words, and what follows from the answer. Pure.
//!
//! An operation is a request and those that must follow it: a swap reads, then writes if nothing has
//! changed, and again if something has. Its latency is that of all of them.

use super::tally::Done;
use bytes::Bytes;

/// A request. Keys are numbers of the key space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Writes a key.
    Put {
        /// Which.
        key: u64,
    },
    /// Writes a key that is likely not there.
    Create {
        /// Which.
        key: u64,
    },
    /// Reads a key.
    Get {
        /// Which.
        key: u64,
    },
    /// Asks whether a key is there, without its value.
    Exists {
        /// Which.
        key: u64,
    },
    /// Reads a key that is to be swapped.
    Look {
        /// Which.
        key: u64,
        /// What the swap will depend on.
        by: SwapBy,
    },
    /// Writes a key if it is still as it was seen.
    Swap {
        /// Which.
        key: u64,
        /// What the swap depends on.
        by: SwapBy,
        /// How it was.
        seen: Seen,
    },
    /// Reads the first `reads` of the keys and writes the others, all at once.
    Txn {
        /// Which; no two are the same.
        keys: Box<[u64]>,
        /// How many of them.
        reads: usize,
    },
    /// Reads neighbouring keys.
    Range {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Keeps a session of this client alive.
    KeepAlive {
        /// Its number among those of the client.
        session: usize,
    },
    /// Asks where a service is.
    Resolve {
        /// Its number.
        service: u64,
    },
}

/// What a swap depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SwapBy {
    /// That the key was not written since (ZooKeeper: that its version is the same).
    Revision,
    /// That its value is the same.
    Value,
}

/// How a key was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was not there.
    Absent,
    /// It was last written then.
    Revision(u64),
    /// It had this value.
    Value(Bytes),
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It was a read, and nothing was there.
    Missing,
    /// To a look, or to a swap that others were before: how the key is.
    Seen(Seen),
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The operation is over.
    Over {
        /// It read, and nothing was there.
        is_missing: bool,
    },
    /// It goes on with another request.
    Ask(Request),
    /// The same, because others were before it.
    Retry(Request),
}

impl Request {
    /// What follows from the answer to it.
    pub fn then(&self, answer: Answer) -> Then {
        match (self, answer) {
            (Self::Look { key, by }, Answer::Seen(seen)) => {
                Then::Ask(Self::Swap { key: *key, by: *by, seen })
            }
            (Self::Swap { key, by, .. }, Answer::Seen(seen)) => {
                Then::Retry(Self::Swap { key: *key, by: *by, seen })
            }
            (_, Answer::Missing) => Then::Over { is_missing: true },
            (_, Answer::Done | Answer::Seen(_)) => Then::Over { is_missing: false },
        }
    }

    /// Whether it changes anything.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Create { .. } | Self::Swap { .. } => true,
            Self::Txn { keys, reads } => *reads < keys.len(),
            Self::Get { .. } | Self::Exists { .. } | Self::Look { .. } | Self::Range { .. } => false,
            Self::KeepAlive { .. } | Self::Resolve { .. } => false,
        }
    }
}

/// An operation on its way: the request that is asked now, and what it has cost so far.
#[derive(Clone, Debug)]
pub struct Underway {
    /// What is asked now.
    pub request: Request,
    retries: u64,
}

impl Underway {
    /// Begins.
    pub fn new(request: Request) -> Self {
        Self { request, retries: 0 }
    }

    /// Takes an answer. `Some` when the operation is over; else the next request stands in `request`.
    pub fn answered(&mut self, answer: Answer) -> Option<Done> {
        match self.request.then(answer) {
            Then::Over { is_missing } => return Some(Done { is_missing, retries: self.retries }),
            Then::Ask(next) => self.request = next,
            Then::Retry(next) => {
                self.retries += 1;
                self.request = next;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_looks_first_and_again_when_others_were_before_it() {
        let by = SwapBy::Revision;
        let swap = |seen| Request::Swap { key: 7, by, seen };
        let mut operation = Underway::new(Request::Look { key: 7, by });
        assert_eq!(operation.answered(Answer::Seen(Seen::Absent)), None);
        assert_eq!(operation.request, swap(Seen::Absent));
        for revision in [3, 9] {
            assert_eq!(operation.answered(Answer::Seen(Seen::Revision(revision))), None);
            assert_eq!(operation.request, swap(Seen::Revision(revision)));
        }
        assert_eq!(operation.answered(Answer::Done), Some(Done { is_missing: false, retries: 2 }));
    }

    #[test]
    fn all_else_is_one_request() {
        let mut get = Underway::new(Request::Get { key: 1 });
        assert_eq!(get.clone().answered(Answer::Done), Some(Done::PLAIN));
        assert_eq!(get.answered(Answer::Missing), Some(Done { is_missing: true, retries: 0 }));
    }

    #[test]
    fn a_transaction_that_only_reads_is_no_write() {
        let txn = |reads| Request::Txn { keys: vec![1, 2].into(), reads };
        assert!(txn(0).is_write() && txn(1).is_write() && !txn(2).is_write());
    }
}
