//! What a member's round did to its log and its state, what it was asked and what it answered.

use super::node::{Node, Tuning};
use super::queue::{MS, SECOND, Time};
use super::world::World;
use crate::checks::Checked;
use oarlock_server::node::request::Request;

/// Time awake that an answer may take beyond its request's timeout: deadlines are looked at when the
/// clock ticks, and a request that comes while a snapshot is installed waits for that first.
const ANSWER_BOUND: Time = 2 * SECOND;
/// Timeouts that a change of the members may take, as the server promises.
const ADMIN_TIMEOUTS: u64 = 4;

impl World {
    /// Reads what a member's round did to its log and state.
    pub fn take_notes(&mut self, id: u64) -> Checked {
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        for note in node.log_notes() {
            self.ledger.log_note(id, note)?;
        }
        for note in node.apply_notes() {
            let index = note.entry.index.get();
            self.trace.note(format_args!("apply {id} {index} {:x}", note.digest));
            let is_first = index > self.ledger.last_applied();
            let from = self.ledger.executions.len();
            let now = self.queue.now();
            self.ledger.applied(id, now, &note.entry, &note.applied, note.digest)?;
            self.applied.insert(id, index);
            if is_first {
                self.coverage.applied(&note, &self.ledger.executions[from..], now);
            }
        }
        let Some(notes) = self.nodes.get_mut(&id).and_then(Node::answer_notes) else { return Ok(()) };
        let answers = &mut self.ledger.answers;
        answers.acts(id, notes.awake);
        for (origin, request) in notes.asked {
            let within = answered_within(&request, &self.mix.tuning);
            answers.asked(id, origin.conn, origin.tag, request, within);
        }
        for origin in notes.answered {
            answers.answered(id, origin.conn, origin.tag)?;
        }
        answers.rests(id)
    }
}

/// Microseconds awake within which a member must answer a request, or refuse it.
fn answered_within(request: &Request, tuning: &Tuning) -> u64 {
    let of = |timeout_ms: u32| match u64::from(timeout_ms) {
        0 => tuning.request_timeout_ms,
        timeout_ms => timeout_ms,
    };
    let timeout_ms = match request {
        // Frames answer it, for as long as it lasts.
        Request::Watch(_) => return u64::MAX,
        Request::Write(write) => of(write.timeout_ms),
        Request::Read { timeout_ms, .. } => of(*timeout_ms),
        Request::Admin(_) => of(0) * ADMIN_TIMEOUTS,
        Request::KeepAlive { .. }
        | Request::SessionTimeLeft { .. }
        | Request::CancelWatch
        | Request::WatchProgress
        | Request::ConnProgress
        | Request::Status => of(0),
    };
    timeout_ms * MS + ANSWER_BOUND
}
