//! Exactly once: what was executed under a name is not executed again.
//!
//! A session numbers its writes. Its *window* holds the outcomes of those that the client has not
//! acknowledged, at most [`WINDOW`] of them; they may arrive in any order. Callers without a
//! session may send an idempotency key instead, remembered for a time.
//!
//! Outcomes outlive their session by [`OUTCOME_RETENTION_MS`], so that a client that lost its
//! session can still learn what became of its last writes. What is to be forgotten later is noted
//! under its time, and each entry forgets a bounded number of what is due.

use crate::codec::{Reader, Writer, damaged, number_bytes};
use crate::command::{Answer, IdempotencyKey, Outcome, OutcomeOf, Proposal, Rejection};
use crate::ids::{RequestId, SessionId};
use crate::keys::{self, Forget};
use crate::limits::{
    IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENCY_RETENTION_MS_MAX, OUTCOME_RETENTION_MS, PURGES_PER_ENTRY_MAX,
    WINDOW,
};
use crate::machine::scratch::Scratch;
use crate::machine::{form, outcome};
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT: u8 = 1;

/// What is known of a session's writes. A session that never numbered one has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Outcomes up to here are forgotten at the client's word.
    pub(super) acked_up_to: u64,
    /// Highest sequence executed.
    pub(super) last: u64,
    /// When to forget an ended session's outcomes, in milliseconds; `None` while it lives.
    pub(super) forget_at_ms: Option<u64>,
    /// Whose the ended session was; empty while it lives, as the session's own record says it.
    pub(super) principal: String,
}

impl Window {
    fn encode(&self) -> Bytes {
        let numbers = [self.acked_up_to, self.last, self.forget_at_ms.unwrap_or(0)];
        let length = 1 + self.principal.len() + numbers.iter().copied().map(number_bytes).sum::<usize>();
        let mut writer = Writer::new(FORMAT, length);
        writer.flag(self.forget_at_ms.is_some());
        numbers.into_iter().for_each(|number| writer.number(number));
        writer.raw(self.principal.as_bytes());
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("window", FORMAT, record);
        let ended = reader.flag();
        let (acked_up_to, last, at_ms) = (reader.number(), reader.number(), reader.number());
        let principal = reader.rest_of_text();
        Self { acked_up_to, last, forget_at_ms: ended.then_some(at_ms), principal }
    }
}

/// A remembered idempotency key.
pub(super) struct Idempotent {
    pub(super) forget_at_ms: u64,
    pub(super) outcome: Outcome,
}

impl Idempotent {
    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("idempotency key", FORMAT, record);
        let forget_at_ms = reader.number();
        Self { forget_at_ms, outcome: outcome::decode(&reader.rest()) }
    }
}

/// Whether a proposal may be executed.
pub(super) enum Admission {
    /// For the first time.
    New,
    /// It was executed before; this was its outcome.
    Repeated(Outcome),
    /// It cannot be said whether it was executed, or it must not be yet.
    Refused(Rejection),
}

/// Looks a proposal up by its names. `owner` is the user who uses them, while authentication is on.
pub(super) fn admit(work: &Scratch<'_>, proposal: &Proposal, owner: Option<&str>) -> Admission {
    if let Some(request) = &proposal.request {
        match admit_request(work, request) {
            Admission::New => {}
            other => return other,
        }
    }
    match &proposal.idempotency {
        Some(name) => admit_idempotent(work, name, owner),
        None => Admission::New,
    }
}

fn admit_request(work: &Scratch<'_>, request: &RequestId) -> Admission {
    let RequestId { session, sequence, acked_up_to } = *request;
    let stored = window(work, session);
    let (known_acked, last) = stored.as_ref().map_or((0, 0), |window| (window.acked_up_to, window.last));
    let is_known = sequence > known_acked;
    #[cfg(feature = "plant")]
    let is_known = is_known && super::plant::is_remembered();
    // Above the last one executed there is nothing to look up.
    if is_known
        && sequence <= last
        && let Some(record) = work.get(&keys::outcome(session, sequence))
    {
        return Admission::Repeated(repeated(outcome::decode(&record)));
    }
    let lives = match &stored {
        Some(window) => window.forget_at_ms.is_none(),
        None => work.session_exists(session),
    };
    let acked_up_to = known_acked.max(acked_up_to);
    let window_end = acked_up_to.saturating_add(WINDOW);
    if sequence <= acked_up_to && stored.is_some() | lives {
        Admission::Refused(Rejection::StaleSequence { sequence, acked_up_to })
    } else if !lives {
        Admission::Refused(Rejection::SessionNotFound { session })
    } else if sequence > window_end {
        Admission::Refused(Rejection::WindowFull { sequence, window_end })
    } else {
        Admission::New
    }
}

fn admit_idempotent(work: &Scratch<'_>, name: &IdempotencyKey, owner: Option<&str>) -> Admission {
    let too_long = form::limit("bytes of the idempotency key", name.key.len(), IDEMPOTENCY_KEY_BYTES_MAX);
    if let Err(rejection) = too_long {
        return Admission::Refused(rejection);
    }
    match idempotent(work, &keys::users_own(owner, &name.key)) {
        Some(found) if found.forget_at_ms > work.stamp_ms() => Admission::Repeated(repeated(found.outcome)),
        Some(_) | None => Admission::New,
    }
}

fn repeated(outcome: Outcome) -> Outcome {
    outcome.map(|mut reply| {
        reply.repeated = true;
        reply
    })
}

fn window(view: &dyn View, session: SessionId) -> Option<Window> {
    view.get(&keys::window(session)).map(|record| Window::decode(&record))
}

fn idempotent(view: &dyn View, key: &[u8]) -> Option<Idempotent> {
    view.get(&keys::idempotent(key)).map(|record| Idempotent::decode(&record))
}

/// Remembers the outcome of a proposal that was [admitted](Admission::New) under its names.
pub(super) fn remember(work: &mut Scratch<'_>, proposal: &Proposal, owner: Option<&str>, outcome: &Outcome) {
    if proposal.request.is_none() && proposal.idempotency.is_none() {
        return;
    }
    let record = outcome::encode(outcome);
    if let Some(request) = &proposal.request {
        remember_request(work, request, owner, record.clone());
    }
    if let Some(name) = &proposal.idempotency {
        remember_idempotent(work, name, owner, &record);
    }
}

fn remember_request(work: &mut Scratch<'_>, request: &RequestId, owner: Option<&str>, record: Bytes) {
    let RequestId { session, sequence, acked_up_to } = *request;
    let key = keys::window(session);
    let stored = work.get(&key);
    let before = stored.as_ref().map(Window::decode).unwrap_or_default();
    let mut window = Window {
        acked_up_to: before.acked_up_to.max(acked_up_to),
        last: before.last.max(sequence),
        ..before.clone()
    };
    // The write may have been the end of its own session.
    if window.forget_at_ms.is_none() && !(stored.is_some() || work.session_exists(session)) {
        window.forget_at_ms = Some(note_forgetting(work, session));
        owner.unwrap_or_default().clone_into(&mut window.principal);
    }
    work.replace(keys::outcome(session, sequence), None, Some(record));
    let forgotten = before.acked_up_to + 1..=window.acked_up_to.min(before.last);
    for sequence in forgotten {
        work.delete(keys::outcome(session, sequence));
    }
    work.replace(key, stored, Some(window.encode()));
}

fn remember_idempotent(work: &mut Scratch<'_>, name: &IdempotencyKey, owner: Option<&str>, outcome: &Bytes) {
    let key = keys::users_own(owner, &name.key);
    let retain_ms = name.retain_ms.min(IDEMPOTENCY_RETENTION_MS_MAX);
    let forget_at_ms = work.stamp_ms().saturating_add(retain_ms);
    if let Some(old) = idempotent(work, &key) {
        work.delete(keys::forget(old.forget_at_ms, &Forget::Idempotent(key.clone())));
    }
    let mut writer = Writer::new(FORMAT, outcome.len() + 10);
    writer.number(forget_at_ms);
    writer.raw(outcome);
    work.put(keys::idempotent(&key), writer.finish());
    note(work, forget_at_ms, &Forget::Idempotent(key));
}

/// Keeps an ended session's outcomes for a while, if it ever numbered a write.
pub(super) fn session_ended(work: &mut Scratch<'_>, session: SessionId, principal: String) {
    let Some(window) = window(work, session) else {
        return;
    };
    let forget_at_ms = Some(note_forgetting(work, session));
    work.put(keys::window(session), Window { forget_at_ms, principal, ..window }.encode());
}

fn note_forgetting(work: &mut Scratch<'_>, session: SessionId) -> u64 {
    let at_ms = work.stamp_ms().saturating_add(OUTCOME_RETENTION_MS);
    note(work, at_ms, &Forget::Session(session));
    at_ms
}

fn note(work: &mut Scratch<'_>, at_ms: u64, what: &Forget) {
    work.put(keys::forget(at_ms, what), Bytes::new());
    work.counters.next_forget_ms = work.counters.next_forget_ms.min(at_ms);
}

/// Whose the session was that is remembered only by its outcomes; `None` if there are none.
pub(crate) fn principal(view: &dyn View, session: SessionId) -> Option<String> {
    window(view, session).map(|window| window.principal)
}

/// Whether outcomes of this ended session are remembered.
pub(super) fn is_remembered(view: &dyn View, session: SessionId) -> bool {
    window(view, session).is_some()
}

/// Forgets all outcomes of an ended session at once; there are at most [`WINDOW`] of them.
pub(super) fn forget_session(work: &mut Scratch<'_>, session: SessionId) {
    if let Some(Window { forget_at_ms: Some(at_ms), .. }) = window(work, session) {
        forget_outcomes(work, session, usize::MAX);
        work.delete(keys::window(session));
        work.delete(keys::forget(at_ms, &Forget::Session(session)));
    }
}

/// Forgets at most `budget` outcomes of a session; returns how many.
fn forget_outcomes(work: &mut Scratch<'_>, session: SessionId, budget: usize) -> usize {
    let (from, to) = keys::outcomes_of(session);
    let mut found = Vec::new();
    work.scan(&from, &to, false, &mut |key, _| {
        if found.len() >= budget {
            return ControlFlow::Break(());
        }
        found.push(Bytes::copy_from_slice(key));
        ControlFlow::Continue(())
    });
    let count = found.len();
    found.into_iter().for_each(|key| work.delete(key));
    count
}

/// Forgets what is due at the entry's stamp, a bounded number of records.
pub(super) fn forget_due(work: &mut Scratch<'_>) {
    let now_ms = work.stamp_ms();
    if work.counters.next_forget_ms > now_ms {
        return;
    }
    let mut budget = PURGES_PER_ENTRY_MAX;
    let notes = notes(work, PURGES_PER_ENTRY_MAX + 1);
    for (at_ms, what) in notes {
        if at_ms > now_ms || budget == 0 {
            work.counters.next_forget_ms = at_ms;
            return;
        }
        let done = match &what {
            Forget::Idempotent(key) => {
                work.delete(keys::idempotent(key));
                true
            }
            Forget::Session(session) => {
                let forgotten = forget_outcomes(work, *session, budget);
                budget -= forgotten;
                if budget > 0 {
                    work.delete(keys::window(*session));
                }
                budget > 0
            }
        };
        if !done {
            work.counters.next_forget_ms = at_ms;
            return;
        }
        work.delete(keys::forget(at_ms, &what));
        budget -= 1;
    }
    work.counters.next_forget_ms = u64::MAX;
}

/// The earliest notes of forgetting.
fn notes(view: &dyn View, limit: usize) -> Vec<(u64, Forget)> {
    let (from, to) = keys::FORGET_SPAN;
    let mut notes = Vec::new();
    view.scan(from, to, false, &mut |key, _| {
        let note = keys::parse_forget(key);
        notes.push(note.unwrap_or_else(|| damaged("note of forgetting", "cannot be read")));
        if notes.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    notes
}

/// Acknowledged and highest sequence of a session.
pub(super) fn progress(view: &dyn View, session: SessionId) -> (u64, u64) {
    let window = window(view, session).unwrap_or_default();
    (window.acked_up_to, window.last)
}

/// What became of a request; nothing if it was never executed, or is forgotten.
pub(super) fn query(view: &dyn View, stamp_ms: u64, owner: Option<&str>, request: &OutcomeOf) -> Answer {
    let outcome = match request {
        OutcomeOf::Session { session, sequence } => {
            let record = view.get(&keys::outcome(*session, *sequence));
            record.map(|record| outcome::decode(&record))
        }
        OutcomeOf::Idempotency { key } => {
            let found = idempotent(view, &keys::users_own(owner, key));
            found.filter(|found| found.forget_at_ms > stamp_ms).map(|found| found.outcome)
        }
    };
    Answer::Outcome(outcome.map(repeated))
}
