//! What the machine should do, said as simply as possible: the whole map is kept once per revision,
//! and a refused proposal is forgotten with the copy that it worked on.

use bytes::Bytes;
use oarlock_state::command::Txn;
use oarlock_state::command::{
    Compare, CompareOp, CompareTarget, KeyRange, KeyValue, KvOp, OpResult, Put, RangeQuery, RangeReply,
    TxnReply, Update,
};
use oarlock_state::limits::OUTCOME_RETENTION_MS;
use oarlock_state::{Cause, Rejection, RequestId, Revision, SessionId};
use std::collections::BTreeMap;

type Map = BTreeMap<Bytes, KeyValue>;

/// A change as watchers learn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: u64,
    pub key: Bytes,
    /// `None` for a deletion.
    pub left: Option<KeyValue>,
    pub cause: Cause,
    pub session: u64,
}

/// What one session's writes came to.
#[derive(Clone, Debug, Default)]
pub struct Window {
    pub acked: u64,
    pub last: u64,
    /// Revision after the write and whether it was accepted.
    pub outcomes: BTreeMap<u64, (u64, bool)>,
    pub forget_at_ms: Option<u64>,
}

/// The whole state.
#[derive(Clone, Debug)]
pub struct Model {
    /// The map as it was at each revision; the last one is current.
    pub states: Vec<Map>,
    pub compacted: u64,
    /// The entry of each live session's last touch.
    pub sessions: BTreeMap<u64, u64>,
    pub windows: BTreeMap<u64, Window>,
    pub sequences: BTreeMap<Bytes, u64>,
    pub changes: Vec<Change>,
    pub now_ms: u64,
    /// The entry that is being applied.
    pub entry: u64,
}

/// What became of a proposal.
#[derive(Debug, PartialEq)]
pub enum Fate {
    Done(Option<TxnReply>),
    Repeated { revision: u64, accepted: bool },
    Refused(&'static str),
}

/// The refusals that the model knows, by name.
pub fn name(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::DuplicateKey { .. } => "duplicate",
        Rejection::KeyNotFound { .. } => "not found",
        Rejection::KeyExists { .. } => "exists",
        Rejection::BadValue { .. } => "bad value",
        Rejection::Compacted { .. } => "compacted",
        Rejection::FutureRevision { .. } => "future",
        Rejection::SessionNotFound { .. } => "no session",
        Rejection::SessionExists { .. } => "session exists",
        Rejection::StaleSequence { .. } => "stale",
        Rejection::Fenced { .. } => "fenced",
        _ => "another reason",
    }
}

impl Model {
    pub fn new() -> Self {
        Self {
            states: vec![Map::new(), Map::new()], // revisions 0 and 1
            compacted: 0,
            sessions: BTreeMap::new(),
            windows: BTreeMap::new(),
            sequences: BTreeMap::new(),
            changes: Vec::new(),
            now_ms: 0,
            entry: 0,
        }
    }

    pub fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn current(&self) -> &Map {
        self.states.last().expect("revision 1 is always there")
    }

    /// Every entry first forgets what is due.
    pub fn forget_due(&mut self) {
        let now_ms = self.now_ms;
        self.windows.retain(|_, window| window.forget_at_ms.is_none_or(|at_ms| at_ms > now_ms));
    }

    /// Executes a transaction under its names.
    pub fn write(&mut self, txn: &Txn, request: Option<RequestId>, guard: Option<(Bytes, u64)>) -> Fate {
        if let Some(fate) = request.and_then(|request| self.admit(request)) {
            return fate;
        }
        let session = request.map_or(0, |request| request.session.0);
        let fenced = guard.is_some_and(|(key, token)| {
            self.current().get(&key).map(|record| record.create_revision.0) != Some(token)
        });
        let done = if fenced { Err("fenced") } else { self.transact(txn, session) };
        let fate = match done {
            Ok(reply) => Fate::Done(Some(reply)),
            Err(why) => Fate::Refused(why),
        };
        if let Some(request) = request {
            let outcome = (self.revision(), matches!(fate, Fate::Done(_)));
            let window = self.windows.entry(request.session.0).or_default();
            window.acked = window.acked.max(request.acked_up_to);
            window.last = window.last.max(request.sequence);
            window.outcomes.insert(request.sequence, outcome);
            let acked = window.acked;
            window.outcomes.retain(|sequence, _| *sequence > acked);
        }
        fate
    }

    fn admit(&self, request: RequestId) -> Option<Fate> {
        let window = self.windows.get(&request.session.0);
        let found = window.and_then(|window| window.outcomes.get(&request.sequence));
        if let Some((revision, accepted)) = found {
            return Some(Fate::Repeated { revision: *revision, accepted: *accepted });
        }
        let lives = self.sessions.contains_key(&request.session.0);
        let acked = window.map_or(0, |window| window.acked).max(request.acked_up_to);
        if (lives || window.is_some()) && request.sequence <= acked {
            return Some(Fate::Refused("stale"));
        }
        (!lives).then_some(Fate::Refused("no session"))
    }

    fn transact(&mut self, txn: &Txn, session: u64) -> Result<TxnReply, &'static str> {
        for branch in [&txn.then, &txn.otherwise] {
            changed_twice(branch)?;
        }
        let before = self.current().clone();
        self.admit_reads(txn, &before)?;
        let mut work = Work {
            map: before.clone(),
            sequences: self.sequences.clone(),
            changes: Vec::new(),
            revision: self.revision() + 1,
            session,
            before,
        };
        let reply = work.txn(txn, self)?;
        if !work.changes.is_empty() {
            self.states.push(work.map);
            self.changes.extend(work.changes);
            self.sequences = work.sequences;
        }
        Ok(reply)
    }

    /// Reads inside a transaction must be possible before anything is done.
    fn admit_reads(&self, txn: &Txn, before: &Map) -> Result<(), &'static str> {
        for op in if compare_all(&txn.compare, before) { &txn.then } else { &txn.otherwise } {
            match op {
                KvOp::Range(query) => drop(self.state_at(query.revision.0)?),
                KvOp::Txn(inner) => self.admit_reads(inner, before)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn state_at(&self, revision: u64) -> Result<Option<&Map>, &'static str> {
        match revision {
            0 => Ok(None),
            future if future > self.revision() => Err("future"),
            old if old < self.compacted => Err("compacted"),
            at => Ok(Some(&self.states[at as usize])),
        }
    }

    /// A read outside of the log.
    pub fn read(&self, query: &RangeQuery) -> Result<RangeReply, &'static str> {
        let state = self.state_at(query.revision.0)?.unwrap_or(self.current());
        Ok(read(state, query))
    }

    pub fn open(&mut self, session: u64) -> Fate {
        if self.sessions.contains_key(&session) {
            return Fate::Refused("session exists");
        }
        self.windows.remove(&session);
        self.sessions.insert(session, self.entry);
        Fate::Done(None)
    }

    /// Ends a session if it is there.
    pub fn end(&mut self, session: u64, cause: Cause) -> bool {
        if self.sessions.remove(&session).is_none() {
            return false;
        }
        if let Some(window) = self.windows.get_mut(&session) {
            window.forget_at_ms = Some(self.now_ms + OUTCOME_RETENTION_MS);
        }
        let mut map = self.current().clone();
        let owned = |record: &KeyValue| record.owner.0 == session;
        let keys: Vec<Bytes> = map.values().filter(|r| owned(r)).map(|r| r.key.clone()).collect();
        let revision = self.revision() + 1;
        for key in &keys {
            map.remove(key);
            let key = key.clone();
            self.changes.push(Change { revision, key, left: None, cause, session });
        }
        if !keys.is_empty() {
            self.states.push(map);
        }
        true
    }

    pub fn compact(&mut self, revision: u64) -> Fate {
        if revision <= self.compacted {
            return Fate::Refused("compacted");
        }
        if revision > self.revision() {
            return Fate::Refused("future");
        }
        self.compacted = revision;
        Fate::Done(None)
    }
}

/// A transaction under way.
struct Work {
    before: Map,
    map: Map,
    sequences: BTreeMap<Bytes, u64>,
    changes: Vec<Change>,
    revision: u64,
    session: u64,
}

impl Work {
    fn txn(&mut self, txn: &Txn, model: &Model) -> Result<TxnReply, &'static str> {
        let succeeded = compare_all(&txn.compare, &self.before);
        let branch = if succeeded { &txn.then } else { &txn.otherwise };
        let results = branch.iter().map(|op| self.op(op, model)).collect::<Result<_, _>>()?;
        Ok(TxnReply { succeeded, results })
    }

    fn op(&mut self, op: &KvOp, model: &Model) -> Result<OpResult, &'static str> {
        Ok(match op {
            KvOp::Range(query) => {
                OpResult::Range(read(model.state_at(query.revision.0)?.unwrap_or(&self.map), query))
            }
            KvOp::Put(put) => self.put(put, model)?,
            KvOp::Delete { range, want_previous } => {
                let gone: Vec<KeyValue> =
                    self.map.values().filter(|record| within(range, &record.key)).cloned().collect();
                for record in &gone {
                    self.map.remove(&record.key);
                    self.change(record.key.clone(), None);
                }
                let deleted = gone.len() as u64;
                OpResult::Delete { deleted, previous: if *want_previous { gone } else { Vec::new() } }
            }
            KvOp::Txn(inner) => OpResult::Txn(self.txn(inner, model)?),
            KvOp::Update { key, update } => self.update(key, update)?,
            KvOp::PutSequential { prefix, value, owner } => {
                exists(*owner, model)?;
                let number = self.sequences.get(prefix).copied().unwrap_or(0) + 1;
                self.sequences.insert(prefix.clone(), number);
                let key: Bytes = [prefix, format!("{number:020}").as_bytes()].concat().into();
                self.set(&key, value.clone(), *owner);
                OpResult::PutSequential { key }
            }
        })
    }

    fn put(&mut self, put: &Put, model: &Model) -> Result<OpResult, &'static str> {
        let old = self.map.get(&put.key).cloned();
        if put.if_absent && old.is_some() {
            return Err("exists");
        }
        let owner = if put.keep_owner { put.owner } else { exists(put.owner, model)? };
        if (put.keep_value || put.keep_owner) && old.is_none() {
            return Err("not found");
        }
        let value = old.as_ref().filter(|_| put.keep_value).map_or(put.value.clone(), |r| r.value.clone());
        let owner = match old.as_ref().filter(|_| put.keep_owner) {
            Some(record) => record.owner,
            None => owner,
        };
        self.set(&put.key, value, owner);
        Ok(OpResult::Put { previous: old.filter(|_| put.want_previous) })
    }

    fn update(&mut self, key: &Bytes, update: &Update) -> Result<OpResult, &'static str> {
        let old = self.map.get(key).cloned();
        let text = old.as_ref().map_or("0".into(), |r| String::from_utf8_lossy(&r.value).into_owned());
        let number = || text.parse::<i64>().map_err(|_| "bad value");
        let value: Bytes = match update {
            Update::Add(by) => number()?.checked_add(*by).ok_or("bad value")?.to_string().into(),
            Update::Max(other) => number()?.max(*other).to_string().into(),
            Update::Min(other) => number()?.min(*other).to_string().into(),
            Update::Append(bytes) => {
                let mut whole = old.as_ref().map_or(Vec::new(), |record| record.value.to_vec());
                whole.extend_from_slice(bytes);
                whole.into()
            }
        };
        if old.as_ref().is_none_or(|record| record.value != value) {
            self.set(key, value.clone(), old.map_or(SessionId(0), |record| record.owner));
        }
        Ok(OpResult::Update { value })
    }

    fn set(&mut self, key: &Bytes, value: Bytes, owner: SessionId) {
        let now = Revision(self.revision);
        let old = self.map.get(key);
        let record = KeyValue {
            key: key.clone(),
            value,
            create_revision: old.map_or(now, |record| record.create_revision),
            mod_revision: now,
            version: old.map_or(1, |record| record.version + 1),
            owner,
        };
        self.map.insert(key.clone(), record.clone());
        self.change(key.clone(), Some(record));
    }

    fn change(&mut self, key: Bytes, left: Option<KeyValue>) {
        let (revision, session) = (self.revision, self.session);
        self.changes.push(Change { revision, key, left, cause: Cause::Request, session });
    }
}

fn exists(owner: SessionId, model: &Model) -> Result<SessionId, &'static str> {
    if owner.0 == 0 || model.sessions.contains_key(&owner.0) { Ok(owner) } else { Err("no session") }
}

fn within(range: &KeyRange, key: &Bytes) -> bool {
    match range {
        KeyRange::Key(one) => one == key,
        KeyRange::Span { start, end } => key >= start && end.as_ref().is_none_or(|end| key < end),
    }
}

fn read(map: &Map, query: &RangeQuery) -> RangeReply {
    let mut all: Vec<KeyValue> =
        map.values().filter(|record| within(&query.range, &record.key)).cloned().collect();
    if query.reverse {
        all.reverse();
    }
    let total = all.len() as u64;
    if query.count_only {
        return RangeReply { records: Vec::new(), more: false, count: total };
    }
    let at_least = |revision: Revision, min: Revision| revision >= min;
    let at_most = |revision: Revision, max: Revision| max.0 == 0 || revision <= max;
    all.retain(|record| {
        at_least(record.mod_revision, query.min_mod_revision)
            && at_most(record.mod_revision, query.max_mod_revision)
            && at_least(record.create_revision, query.min_create_revision)
            && at_most(record.create_revision, query.max_create_revision)
    });
    let more = query.limit != 0 && all.len() as u64 > query.limit;
    if more {
        all.truncate(query.limit as usize);
    }
    if query.keys_only {
        all.iter_mut().for_each(|record| record.value = Bytes::new());
    }
    let count = if more && !query.want_count { all.len() as u64 } else { total };
    RangeReply { records: all, more, count }
}

fn compare_all(compares: &[Compare], map: &Map) -> bool {
    compares.iter().all(|compare| {
        let records: Vec<&KeyValue> =
            map.values().filter(|record| within(&compare.range, &record.key)).collect();
        if let CompareTarget::Count(count) = compare.target {
            return holds(compare.op, &(records.len() as u64), &count);
        }
        if records.is_empty() {
            return compare_one(compare, None);
        }
        records.into_iter().all(|record| compare_one(compare, Some(record)))
    })
}

fn compare_one(compare: &Compare, record: Option<&KeyValue>) -> bool {
    let number =
        |field: fn(&KeyValue) -> u64, other: u64| holds(compare.op, &record.map_or(0, field), &other);
    match &compare.target {
        CompareTarget::Version(other) => number(|r| r.version, *other),
        CompareTarget::CreateRevision(other) => number(|r| r.create_revision.0, other.0),
        CompareTarget::ModRevision(other) => number(|r| r.mod_revision.0, other.0),
        CompareTarget::Owner(other) => number(|r| r.owner.0, other.0),
        CompareTarget::Value(other) => record.is_some_and(|r| holds(compare.op, &r.value, other)),
        CompareTarget::Count(_) => unreachable!("counted before"),
    }
}

fn holds<T: Ord>(op: CompareOp, left: &T, right: &T) -> bool {
    match op {
        CompareOp::Equal => left == right,
        CompareOp::NotEqual => left != right,
        CompareOp::Greater => left > right,
        CompareOp::Less => left < right,
    }
}

/// What a branch may change: keys put, ranges deleted.
type Touched = (Vec<Bytes>, Vec<KeyRange>);

/// Refuses a branch that may put a key twice, or both put and delete it. Sequential prefixes of the
/// generated transactions lie apart from all other keys.
fn changed_twice(branch: &[KvOp]) -> Result<Touched, &'static str> {
    let mut each: Vec<Touched> = Vec::new();
    for op in branch {
        match op {
            KvOp::Put(Put { key, .. }) | KvOp::Update { key, .. } => {
                each.push((vec![key.clone()], Vec::new()))
            }
            KvOp::Delete { range, .. } => each.push((Vec::new(), vec![range.clone()])),
            KvOp::Txn(inner) => {
                // Only one branch runs, so they may touch the same keys.
                let (mut puts, mut deletes) = changed_twice(&inner.then)?;
                let (otherwise, gone_otherwise) = changed_twice(&inner.otherwise)?;
                puts.extend(otherwise);
                deletes.extend(gone_otherwise);
                each.push((puts, deletes));
            }
            KvOp::Range(_) | KvOp::PutSequential { .. } => {}
        }
    }
    for (position, (puts, deletes)) in each.iter().enumerate() {
        for (other_puts, other_deletes) in &each[position + 1..] {
            let twice = puts.iter().any(|key| other_puts.contains(key));
            let gone = other_puts.iter().any(|key| deletes.iter().any(|range| within(range, key)));
            let gone_after = puts.iter().any(|key| other_deletes.iter().any(|range| within(range, key)));
            if twice || gone || gone_after {
                return Err("duplicate");
            }
        }
    }
    let (puts, deletes): (Vec<_>, Vec<_>) = each.into_iter().unzip();
    Ok((puts.concat(), deletes.concat()))
}
