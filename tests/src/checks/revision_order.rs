//! The revision is the order: replaying all writes by revision explains every result and every read
//! of the whole store, and that order agrees with real time.
//!
//! Source: `reliability.md` 1.5, item 2 (a–e), after etcd's robustness tests
//! (`tests/robustness/validate/operations.go`, the idea that revisions give away the order).

use super::{Checked, Violation};
use crate::history::{Operation, Time};
use crate::model::kv::{Changes, Model};
use oarlock_server::node::request::Consistency;
use oarlock_state::Event;
use oarlock_state::event::Keyspace;
use std::collections::{BTreeMap, BTreeSet};

/// Judges all writes and reads of kv. `truth` are all events of the committed log, in order: they
/// fill in what no client was told.
///
/// # Errors
/// The first revision or read that cannot be explained.
pub fn check(history: &[Operation], truth: &[Event]) -> Checked {
    let mut by_revision: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        if operation.txn().is_some()
            && let Some(reply) = operation.reply()
        {
            by_revision.entry(reply.revision.get()).or_default().push(operation);
        }
    }
    let makers = replay(&by_revision, truth)?;
    real_time(history, &makers.0)?;
    reads(history, &makers.1)
}

/// Replays everything by revision. Returns which operation made which revision, and the model.
fn replay(
    by_revision: &BTreeMap<u64, Vec<&Operation>>,
    truth: &[Event],
) -> Result<(BTreeMap<u64, u64>, Model), Violation> {
    let mut model = Model::default();
    let mut makers = BTreeMap::new();
    let made = truth.iter().map(|event| event.revision.get());
    let revisions: BTreeSet<u64> = by_revision.keys().copied().chain(made).collect();
    let mut rest = truth;
    // The first revision is the one of an empty cluster: nobody made it.
    for revision in revisions.range(2..).copied() {
        let of_revision = rest.partition_point(|event| event.revision.get() <= revision);
        let (now, later) = rest.split_at(of_revision);
        rest = later;
        let kv: Vec<Event> = now.iter().filter(|event| event.keyspace == Keyspace::Kv).cloned().collect();
        let expected = Model::changes_of(&kv);
        let answered = by_revision.get(&revision).map_or(&[][..], Vec::as_slice);
        if let Some(maker) = maker(&model, revision, answered, &expected)? {
            makers.insert(maker.number, revision);
        }
        model.commit(revision, &expected);
        for operation in answered.iter().filter(|operation| !makers.contains_key(&operation.number)) {
            changes_nothing(&model, revision, operation)?;
        }
    }
    Ok((makers, model))
}

/// The one operation that made a revision, if its client was answered.
fn maker<'o>(
    model: &Model,
    revision: u64,
    answered: &[&'o Operation],
    expected: &Changes,
) -> Result<Option<&'o Operation>, Violation> {
    let mut found: Option<&Operation> = None;
    for operation in answered {
        let (Some(txn), Some(given)) = (operation.txn(), operation.results()) else { continue };
        let Ok((results, changes)) = model.execute(txn, revision - 1, given) else { continue };
        if changes.is_empty() || !agree(operation, &results) {
            continue;
        }
        if let Some(first) = found {
            let what =
                format!("operations {} and {} both made revision {revision}", first.number, operation.number);
            return Err(Violation::new("revision_order", what));
        }
        if changes != *expected {
            let what = format!(
                "operation {} made revision {revision}: it should have done {changes:?}, and did {expected:?}",
                operation.number
            );
            return Err(Violation::new("revision_order", what));
        }
        found = Some(operation);
    }
    Ok(found)
}

/// Whether an operation's results are these. Those of a repetition may have been forgotten.
fn agree(operation: &Operation, results: &oarlock_state::command::TxnReply) -> bool {
    let Some(given) = operation.results() else { return false };
    let forgotten = operation.reply().is_some_and(|reply| reply.repeated) && given.results.is_empty();
    given == results || (forgotten && given.succeeded == results.succeeded)
}

fn changes_nothing(model: &Model, revision: u64, operation: &Operation) -> Checked {
    let (Some(txn), Some(given)) = (operation.txn(), operation.results()) else { return Ok(()) };
    let explained = model.execute(txn, revision, given);
    if let Ok((results, changes)) = &explained
        && changes.is_empty()
        && agree(operation, results)
    {
        return Ok(());
    }
    let what = format!(
        "operation {} ({txn:?}) returned {given:?} at revision {revision}; the model says {explained:?}",
        operation.number
    );
    Err(Violation::new("revision_order", what))
}

/// An answer never tells of less than what was known to anybody before the question; a revision's
/// maker comes strictly after.
fn real_time(history: &[Operation], makers: &BTreeMap<u64, u64>) -> Checked {
    let told = |operation: &Operation| match (operation.reply(), operation.ranged()) {
        (Some(reply), _) if !reply.repeated || operation.txn().is_some() => Some(reply.revision.get()),
        (_, Some((_, revision))) => Some(revision),
        _ => None,
    };
    let mut returns: Vec<(Time, u64, u64)> = history
        .iter()
        .filter_map(|operation| Some((operation.returned?, told(operation)?, operation.number)))
        .collect();
    returns.sort_unstable();
    let mut asked: Vec<&Operation> = history.iter().collect();
    asked.sort_by_key(|operation| operation.invoked);
    let (mut known, mut by) = (0, 0);
    let mut returned = returns.iter().peekable();
    for operation in asked {
        while let Some((_, revision, number)) = returned.next_if(|(at, ..)| *at < operation.invoked) {
            if *revision > known {
                (known, by) = (*revision, *number);
            }
        }
        let must_be_fresh = operation.txn().is_some()
            || operation.range().is_some_and(|(_, consistency)| consistency == Consistency::Linearizable);
        let Some(revision) = told(operation).filter(|_| must_be_fresh) else { continue };
        let made = makers.contains_key(&operation.number);
        if revision < known || (made && revision == known) {
            let what = format!(
                "operation {} is of revision {revision}, and began after operation {by} told of {known}: {:?}",
                operation.number, operation.request
            );
            return Err(Violation::new("revision_order", what));
        }
    }
    Ok(())
}

/// Every read, fresh or not, shows the state of the revision that it says.
fn reads(history: &[Operation], model: &Model) -> Checked {
    for operation in history {
        let (Some((query, _)), Some((reply, revision))) = (operation.range(), operation.ranged()) else {
            continue;
        };
        let at = if query.revision.get() == 0 { revision } else { query.revision.get() };
        let Some(expected) = model.read(query, at) else { continue };
        if *reply != expected {
            let what = format!(
                "operation {} read {query:?} at revision {at} and saw {reply:?}; it should be {expected:?}",
                operation.number
            );
            return Err(Violation::new("revision_order", what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Fate, put, value_of};
    use bytes::Bytes;
    use oarlock_server::node::request::{Request, Response, Write};
    use oarlock_state::command::{
        Answer, KeyRange, KeyValue, OpResult, RangeQuery, RangeReply, ReplyBody, TxnReply,
    };
    use oarlock_state::event::{Cause, EventKind};
    use oarlock_state::{Command, Index, Query, Reply, Revision, SessionId};

    const KEY: Bytes = Bytes::from_static(b"k");

    fn record(number: u64, revision: u64) -> KeyValue {
        KeyValue {
            key: KEY,
            value: value_of(number),
            create_revision: Revision(2),
            mod_revision: Revision(revision),
            version: revision - 1,
            owner: SessionId(0),
        }
    }

    fn event(number: u64, revision: u64) -> Event {
        let of = record(number, revision);
        let kind = EventKind::Put {
            value: of.value,
            create_revision: of.create_revision,
            version: of.version,
            owner: of.owner,
        };
        Event {
            keyspace: Keyspace::Kv,
            revision: of.mod_revision,
            sub: 0,
            key: KEY,
            kind,
            cause: Cause::Request,
            session: SessionId(0),
            previous: None,
        }
    }

    fn operation(number: u64, times: (Time, Time), request: Request, response: Response) -> Operation {
        let (invoked, returned) = (times.0, Some(times.1));
        Operation {
            number,
            client: 1,
            node: 1,
            invoked,
            returned,
            request,
            attempts: 1,
            fate: Fate::Done(response),
        }
    }

    fn wrote(number: u64, revision: u64, previous: Option<KeyValue>, times: (Time, Time)) -> Operation {
        let results = TxnReply { succeeded: true, results: vec![OpResult::Put { previous }] };
        let reply = Reply {
            revision: Revision(revision),
            index: Index(revision),
            repeated: false,
            body: ReplyBody::Txn(results),
        };
        let request = Request::Write(Write::of(Command::Txn(put(&KEY, value_of(number)))));
        operation(number, times, request, Response::Written(reply))
    }

    fn read(number: u64, revision: u64, records: Vec<KeyValue>, times: (Time, Time)) -> Operation {
        let query = Query::Range(RangeQuery::of(KeyRange::Key(KEY)));
        let request = Request::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 };
        let answer = Answer::Range(RangeReply { count: records.len() as u64, records, more: false });
        operation(number, times, request, Response::Answer { answer, revision: Revision(revision), index: 9 })
    }

    const TRUTH: fn() -> [Event; 2] = || [event(1, 2), event(2, 3)];

    #[test]
    fn what_fits_is_accepted_also_with_gaps() {
        let first = wrote(1, 2, None, (1, 2));
        let second = wrote(2, 3, Some(record(1, 2)), (3, 4));
        let seen = read(3, 3, vec![record(2, 3)], (5, 6));
        assert_eq!(check(&[first.clone(), second, seen.clone()], &TRUTH()), Ok(()));
        assert_eq!(check(&[first, seen], &TRUTH()), Ok(()), "nobody was told of revision 3");
    }

    #[test]
    fn a_revision_that_two_made_is_found() {
        let history = [wrote(1, 2, None, (1, 4)), wrote(7, 2, None, (1, 4))];
        assert!(check(&history, &TRUTH()).is_err());
    }

    #[test]
    fn a_wrong_previous_value_is_found() {
        let history = [wrote(1, 2, None, (1, 2)), wrote(2, 3, None, (3, 4))];
        assert!(check(&history, &TRUTH()).is_err());
    }

    #[test]
    fn an_order_against_real_time_is_found() {
        let history = [wrote(1, 2, None, (5, 6)), wrote(2, 3, Some(record(1, 2)), (1, 2))];
        assert!(check(&history, &TRUTH()).is_err());
        let stale = [wrote(2, 3, Some(record(1, 2)), (1, 2)), read(3, 2, vec![record(1, 2)], (5, 6))];
        assert!(check(&stale, &TRUTH()).is_err(), "a read of the past");
    }

    #[test]
    fn a_read_that_shows_another_state_is_found() {
        let history = [wrote(1, 2, None, (1, 2)), read(3, 3, vec![record(1, 2)], (1, 6))];
        assert!(check(&history, &TRUTH()).is_err());
    }
}
