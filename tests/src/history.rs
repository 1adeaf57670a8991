//! What clients did and what came of it: the evidence that most checks judge.

use bytes::Bytes;
use oarlock_server::node::request::{Certainty, Consistency, Refusal, Request, Response, Write};
use oarlock_state::command::Answer;
use oarlock_state::command::{Compare, CompareOp, CompareTarget, KeyRange, KvOp, RangeReply, Txn};
use oarlock_state::command::{Put, RangeQuery, ReplyBody, TxnReply, Update};
use oarlock_state::tree::{Create, TreeOp};
use oarlock_state::{Command, Query, Rejection, Reply};

/// Virtual time in microseconds.
pub type Time = u64;

/// One request of one client, over all its attempts.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Unique in the history.
    pub number: u64,
    /// Who asked.
    pub client: u64,
    /// The member that answered, or was asked last.
    pub node: u64,
    /// Beginning of the first attempt.
    pub invoked: Time,
    /// When the outcome was known; `None` when it never was.
    pub returned: Option<Time>,
    /// What was asked.
    pub request: Request,
    /// How often.
    pub attempts: u32,
    /// What came of it.
    pub fate: Fate,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// Still being tried when the run ended.
    Pending,
    /// Yes.
    Done(Response),
    /// The log or the state said no.
    Rejected(Rejection),
    /// It did not happen and never will.
    NotDone(Refusal),
    /// It may have happened.
    Unknown,
}

impl Fate {
    /// The fate that a reply of a member decides.
    pub fn of(result: Result<Response, Refusal>) -> Self {
        match result {
            Ok(response) => Self::Done(response),
            Err(Refusal::Rejected(rejection)) => Self::Rejected(rejection),
            Err(refusal) => match refusal.certainty() {
                Certainty::Unknown => Self::Unknown,
                Certainty::NotProposed | Certainty::Rejected => Self::NotDone(refusal),
            },
        }
    }
}

impl Operation {
    /// The write, if it is one.
    pub fn write(&self) -> Option<&Write> {
        match &self.request {
            Request::Write(write) => Some(write),
            Request::Read { .. }
            | Request::KeepAlive { .. }
            | Request::SessionTimeLeft { .. }
            | Request::Watch(_)
            | Request::CancelWatch
            | Request::WatchProgress
            | Request::ConnProgress
            | Request::Admin(_)
            | Request::Status => None,
        }
    }

    /// The transaction, if it is one.
    pub fn txn(&self) -> Option<&Txn> {
        match self.write().map(|write| &write.command) {
            Some(Command::Txn(txn)) => Some(txn),
            _ => None,
        }
    }

    /// The read of kv with its freshness, if it is one.
    pub fn range(&self) -> Option<(&RangeQuery, Consistency)> {
        match &self.request {
            Request::Read { query: Query::Range(range), consistency, .. } => Some((range, *consistency)),
            _ => None,
        }
    }

    /// The log's reply, if there was one.
    pub fn reply(&self) -> Option<&Reply> {
        match &self.fate {
            Fate::Done(Response::Written(reply)) => Some(reply),
            _ => None,
        }
    }

    /// The transaction's results, if it ran.
    pub fn results(&self) -> Option<&TxnReply> {
        match self.reply().map(|reply| &reply.body) {
            Some(ReplyBody::Txn(results)) => Some(results),
            _ => None,
        }
    }

    /// What a read of kv returned, with the revision of the state that was read.
    pub fn ranged(&self) -> Option<(&RangeReply, u64)> {
        match &self.fate {
            Fate::Done(Response::Answer { answer: Answer::Range(reply), revision, .. }) => {
                Some((reply, revision.get()))
            }
            _ => None,
        }
    }

    /// Whether it may have had an effect without anybody knowing.
    pub fn is_uncertain(&self) -> bool {
        matches!(self.fate, Fate::Pending | Fate::Unknown)
    }
}

/// The number that a workload writes as a value, so that each write can be told from all others.
pub fn value_of(number: u64) -> Bytes {
    format!("v{number}").into()
}

/// The number in such a value.
pub fn number_in(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.strip_prefix('v')?.parse().ok()
}

/// The numbers that a command would write.
pub fn numbers_written(command: &Command) -> Vec<u64> {
    fn collect(ops: &[KvOp], into: &mut Vec<u64>) {
        for op in ops {
            match op {
                KvOp::Put(Put { value, .. }) | KvOp::PutSequential { value, .. } => {
                    into.extend(number_in(value));
                }
                KvOp::Update { update: Update::Append(bytes), .. } => {
                    into.extend(number_in(bytes.strip_suffix(b",").unwrap_or(bytes)));
                }
                KvOp::Txn(txn) => {
                    collect(&txn.then, into);
                    collect(&txn.otherwise, into);
                }
                KvOp::Update { .. } | KvOp::Range(_) | KvOp::Delete { .. } => {}
            }
        }
    }
    let mut numbers = Vec::new();
    match command {
        Command::Txn(txn) => {
            collect(&txn.then, &mut numbers);
            collect(&txn.otherwise, &mut numbers);
        }
        Command::Tree(TreeOp::Create(Create { data, .. }) | TreeOp::SetData { data, .. }) => {
            numbers.extend(number_in(data));
        }
        _ => {}
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// `key := value`, returning what was there.
pub fn put(key: &Bytes, value: Bytes) -> Txn {
    let put = Put { key: key.clone(), value, want_previous: true, ..Put::default() };
    Txn { then: vec![KvOp::Put(put)], ..Txn::default() }
}

/// `key := new` if it holds `expected` (`None`: if it is absent).
pub fn swap(key: &Bytes, expected: Option<Bytes>, new: Bytes) -> Txn {
    let target = match expected {
        Some(value) => CompareTarget::Value(value),
        None => CompareTarget::Version(0),
    };
    let compare = Compare { range: KeyRange::Key(key.clone()), target, op: CompareOp::Equal };
    Txn { compare: vec![compare], ..put(key, new) }
}

/// Removes `key`, returning what was there.
pub fn delete(key: &Bytes) -> Txn {
    let delete = KvOp::Delete { range: KeyRange::Key(key.clone()), want_previous: true };
    Txn { then: vec![delete], ..Txn::default() }
}
