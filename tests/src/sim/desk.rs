//! What clients and the world share: where clients write down what happened, and ask for things.

use super::coverage::Coverage;
use super::queue::Time;
use super::report::Stats;
use super::workload::Menu;
use crate::checks::lock_exclusive::Tenure;
use crate::checks::session_not_early::Promise;
use crate::history::Operation;
use crate::watched::Watched;
use oarlock_server::node::request::{Refusal, Request, Response, Result as Answered};
use std::collections::BTreeMap;

/// What a client shares with the world while it acts.
pub struct Desk<'w> {
    /// The moment.
    pub now: Time,
    /// Members that it knows.
    pub nodes: &'w [u64],
    /// What clients write.
    pub menu: &'w Menu,
    /// Everything that was asked.
    pub history: &'w mut Vec<Operation>,
    /// Everything that was watched.
    pub watched: &'w mut Vec<Watched>,
    /// Everything that was promised.
    pub promises: &'w mut Vec<Promise>,
    /// Every hold, as its holder saw it.
    pub tenures: &'w mut Vec<Tenure>,
    /// When each session's holder last showed life, by the principal it opened the session as.
    pub signs: &'w mut BTreeMap<String, Time>,
    /// Counters.
    pub stats: &'w mut Stats,
    /// Which features met which faults.
    pub coverage: &'w mut Coverage,
    /// Members that lead, for counting.
    pub leaders: &'w BTreeMap<u64, u64>,
    /// The next connection's number.
    pub next_conn: &'w mut u64,
    /// Requests to send: member, connection, tag.
    pub sends: Vec<(u64, u64, u64, Request)>,
    /// Connections that the client closes.
    pub closes: Vec<u64>,
}

/// What an answer is, for counting.
pub(super) fn outcome_name(result: &Answered) -> &'static str {
    match result {
        Ok(Response::Written(reply)) if reply.repeated => "answer: written, remembered",
        Ok(Response::Written(_)) => "answer: written",
        Ok(Response::Answer { .. }) => "answer: read",
        Ok(Response::Alive { .. } | Response::TimeLeft { .. }) => "answer: alive",
        Ok(Response::Members { .. } | Response::Done | Response::Status(_)) => "answer: done",
        Err(Refusal::Rejected(_)) => "answer: rejected",
        Err(Refusal::NoLeader) => "answer: no leader",
        Err(Refusal::Busy { .. }) => "answer: busy",
        Err(Refusal::NotProposed { .. }) => "answer: not proposed",
        Err(Refusal::Unknown { .. }) => "answer: unknown",
        Err(Refusal::TimedOut { .. }) => "answer: timed out",
        Err(
            Refusal::ShuttingDown
            | Refusal::NoSpace { .. }
            | Refusal::OverQuota { .. }
            | Refusal::Alarmed { .. },
        ) => "answer: unwilling",
        Err(Refusal::Lagging { .. } | Refusal::Invalid { .. }) => "answer: other",
    }
}
