//! The hub on a real machine: pages, compaction, resync, replacement of the state.

use super::Source;
use super::hub::{Addressed, Hub, HubOptions};
use crate::node::request::{Origin, Refusal, WatchFrame, WatchSpec};
use bytes::Bytes;
use oarlock_state::command::{Answer, KeyRange, KvOp, Put, Txn};
use oarlock_state::event::Keyspace;
use oarlock_state::{
    Command, Entry, EntryBody, Machine, MemoryView, Proposal, ProposalId, Query, Rejection, Revision, Term,
};

struct State {
    machine: Machine,
    view: MemoryView,
}

impl Source for State {
    fn read(&self, query: &Query) -> Result<Answer, Rejection> {
        self.machine.read(&self.view, query)
    }
    fn revision(&self) -> Revision {
        self.machine.revision()
    }
    fn compacted(&self) -> Revision {
        self.machine.compacted()
    }
}

struct World {
    state: State,
    hub: Hub,
    out: Vec<Addressed>,
}

const KEEP_ALL: HubOptions = HubOptions {
    recent_bytes: 1 << 20,
    watches_max: 1_000_000,
    first_credit: 1 << 30,
    page_bytes: 400,
    progress_us: 1_000_000,
};

fn put(key: &str, value: &str) -> Command {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    let put = KvOp::Put(Put { key, value, ..Put::default() });
    Command::Txn(Txn { then: vec![put], ..Txn::default() })
}

fn delete(key: &str) -> Command {
    let range = KeyRange::Key(Bytes::copy_from_slice(key.as_bytes()));
    Command::Txn(Txn { then: vec![KvOp::Delete { range, want_previous: false }], ..Txn::default() })
}

fn span(start: &str, end: &str) -> KeyRange {
    let end = Some(Bytes::copy_from_slice(end.as_bytes()));
    KeyRange::Span { start: Bytes::copy_from_slice(start.as_bytes()), end }
}

fn spec(range: KeyRange, start: u64) -> WatchSpec {
    WatchSpec {
        keyspace: Keyspace::Kv,
        range,
        start: Revision(start),
        want_previous: false,
        no_put: false,
        no_delete: false,
        want_progress: false,
        resync: false,
    }
}

fn at(tag: u64) -> Origin {
    Origin { conn: 1, tag }
}

impl World {
    fn new(options: HubOptions) -> Self {
        let view = MemoryView::default();
        let machine = Machine::load(&view).expect("an empty view");
        let hub = Hub::new(options, machine.revision());
        Self { state: State { machine, view }, hub, out: Vec::new() }
    }

    fn apply_quietly(&mut self, commands: Vec<Command>) -> oarlock_state::Applied {
        let id = ProposalId::default();
        let named = |command| Proposal {
            id,
            request: None,
            idempotency: None,
            guards: Vec::new(),
            caller: oarlock_state::Caller::Server,
            command,
        };
        let proposals = commands.into_iter().map(named).collect();
        let index = self.state.machine.applied().next();
        let entry = Entry { index, term: Term(1), body: EntryBody::Proposals { stamp_ms: 1, proposals } };
        let applied = self.state.machine.apply(&self.state.view, &entry);
        self.state.view.write(&applied.mutations);
        applied
    }

    fn apply(&mut self, commands: Vec<Command>) {
        let applied = self.apply_quietly(commands);
        self.hub.publish(&applied.events, applied.revision, &self.state, &mut self.out);
    }

    fn compact(&mut self, revision: u64) {
        self.apply(vec![Command::Compact { revision: Revision(revision) }]);
        while !self.state.machine.is_reclaimed() {
            let gone = self.state.machine.reclaim(&self.state.view, 10);
            self.state.view.write(&gone);
        }
    }

    fn watch(&mut self, tag: u64, spec: WatchSpec) {
        self.hub.watch(at(tag), spec, &self.state, &mut self.out).expect("a new name");
    }

    fn catch_up(&mut self) {
        while self.hub.catch_up(1 << 20, &self.state, &mut self.out) {}
    }

    /// What a watch was sent since the last call, as short words.
    fn told(&mut self, tag: u64) -> Vec<String> {
        let (own, others) = std::mem::take(&mut self.out).into_iter().partition(|(to, _)| *to == at(tag));
        self.out = others;
        let own: Vec<Addressed> = own;
        own.into_iter().map(|(_, frame)| word(frame)).collect()
    }
}

fn word(frame: WatchFrame) -> String {
    match frame {
        WatchFrame::Created { next, .. } => format!("created {next}"),
        WatchFrame::Events { events, through, .. } => {
            let all: Vec<String> = events
                .iter()
                .map(|event| format!("{}={}", event.revision, String::from_utf8_lossy(&event.key)))
                .collect();
            format!("{} through {through}", all.join(" "))
        }
        WatchFrame::Progress { through } => format!("progress {through}"),
        WatchFrame::Resync { revision, records, last } => {
            let keys: Vec<_> = records.iter().map(|record| String::from_utf8_lossy(&record.key)).collect();
            format!("resync {revision} {} last={last}", keys.join(","))
        }
        WatchFrame::Cancelled(Refusal::Rejected(Rejection::Compacted { oldest, .. })) => {
            format!("compacted {oldest}")
        }
        WatchFrame::Cancelled(refusal) => format!("cancelled: {refusal}"),
    }
}

#[test]
fn whole_revisions_in_order_and_only_what_matches() {
    let mut world = World::new(KEEP_ALL);
    world.watch(1, spec(span("a", "b"), 0));
    world.watch(2, spec(KeyRange::Key(Bytes::from_static(b"c")), 0));
    let both = Command::Txn(Txn {
        then: ["a1", "c", "a2"]
            .map(|key| KvOp::Put(Put { key: Bytes::from_static(key.as_bytes()), ..Put::default() }))
            .to_vec(),
        ..Txn::default()
    });
    world.apply(vec![both, put("a1", "x"), put("b", "x")]);
    assert_eq!(world.told(1), ["created 2", "2=a1 2=a2 3=a1 through 4"]);
    assert_eq!(world.told(2), ["created 2", "2=c through 4"]);
}

#[test]
fn a_future_start_delivers_nothing_older() {
    let mut world = World::new(KEEP_ALL);
    world.apply(vec![put("a", "1")]);
    world.watch(1, WatchSpec { want_progress: true, ..spec(span("a", "b"), 5) });
    world.hub.tell_progress(1, &mut world.out);
    world.hub.tick(2_000_000, &mut world.out);
    assert_eq!(world.told(1), ["created 5"], "and no progress either");
    for _ in 0..4 {
        world.apply(vec![put("a", "2")]);
    }
    assert_eq!(world.told(1), ["5=a through 5", "6=a through 6"]);
}

/// Three puts, a delete, another put; the compaction point is the delete itself.
#[test]
fn a_start_at_the_compacted_revision_misses_nothing() {
    let mut world = World::new(KEEP_ALL);
    for value in ["1", "2", "3"] {
        world.apply(vec![put("a", value)]);
    }
    world.apply(vec![delete("a")]);
    world.apply(vec![put("a", "4")]);
    world.compact(5);
    world.hub.recent.reset(world.hub.through);
    world.watch(1, spec(span("a", "b"), 5));
    world.catch_up();
    assert_eq!(world.told(1), ["created 5", "5=a 6=a through 6"]);
    world.watch(2, spec(span("a", "b"), 4));
    assert_eq!(world.told(2), ["created 4", "compacted 5"]);
}

#[test]
fn a_compacted_start_can_be_resynchronized() {
    let mut world = World::new(KEEP_ALL);
    for n in 0..9 {
        world.apply(vec![put(&format!("a{n}"), &"v".repeat(100))]);
    }
    world.compact(9);
    world.watch(1, WatchSpec { resync: true, ..spec(span("a", "b"), 3) });
    world.apply(vec![put("a0", "new")]);
    world.catch_up();
    let told = world.told(1);
    assert_eq!(told[0], "created 11");
    assert!(told[1].starts_with("resync 10 a0,a1,a2"), "{told:?}");
    assert!(
        told.iter().any(|word| word.starts_with("resync 10") && word.ends_with("a8 last=true")),
        "{told:?}"
    );
    assert_eq!(told.last().map(String::as_str), Some("11=a0 through 11"));
}

#[test]
fn compaction_overtakes_a_watch_that_is_behind() {
    let mut world = World::new(HubOptions { first_credit: 100, recent_bytes: 0, ..KEEP_ALL });
    world.watch(1, spec(span("a", "b"), 0));
    for _ in 0..5 {
        world.apply(vec![put("a", "1")]);
    }
    assert_eq!(world.told(1), ["created 2", "2=a through 2"]);
    world.compact(5);
    world.catch_up();
    assert_eq!(world.told(1), NOTHING, "it waits for credit");
    world.hub.credit(1, 1 << 20);
    world.catch_up();
    assert_eq!(world.told(1), ["compacted 5"]);
}

const NOTHING: [&str; 0] = [];

#[test]
fn progress_is_told_only_when_everything_was_delivered() {
    let mut world = World::new(KEEP_ALL);
    for n in 0..20 {
        world.apply(vec![put("a", &n.to_string())]);
    }
    world.watch(1, spec(span("a", "b"), 2));
    world.hub.tell_progress(1, &mut world.out);
    assert_eq!(world.told(1), ["created 2"]);
    world.catch_up();
    let told = world.told(1);
    assert_eq!(told.last().map(String::as_str), Some("progress 21"));
    assert!(told[told.len() - 2].ends_with("through 21"), "{told:?}");
}

#[test]
fn a_connection_is_told_once_when_all_its_watches_have_everything() {
    const ALL: u64 = 99;
    let mut world = World::new(KEEP_ALL);
    world.hub.tell_conn_progress(at(ALL), &mut world.out);
    world.hub.tick(1, &mut world.out);
    assert_eq!(world.told(ALL), NOTHING, "it has no watch");
    world.apply(vec![put("a", "1")]);
    world.watch(1, spec(span("a", "b"), 0));
    world.hub.tell_conn_progress(at(ALL), &mut world.out);
    assert_eq!(world.told(ALL), ["progress 2"]);
    world.watch(2, spec(span("a", "b"), 2));
    world.watch(3, spec(span("a", "b"), 4));
    world.hub.tell_conn_progress(at(ALL), &mut world.out);
    world.hub.tick(2, &mut world.out);
    assert_eq!(world.told(ALL), NOTHING, "one is behind, one begins later");
    world.catch_up();
    world.hub.tick(3, &mut world.out);
    assert_eq!(world.told(ALL), NOTHING, "one begins later");
    world.apply(vec![put("b", "1")]);
    world.hub.tick(4, &mut world.out);
    world.hub.tick(5, &mut world.out);
    assert_eq!(world.told(ALL), ["progress 3"], "once");
}

#[test]
fn a_replaced_state_never_sends_a_watch_back_in_time() {
    let mut world = World::new(KEEP_ALL);
    world.watch(1, spec(span("a", "b"), 0));
    world.watch(2, spec(span("a", "b"), 6));
    world.apply(vec![put("a", "1")]);
    world.apply(vec![put("a", "2")]);
    assert_eq!(world.told(1), ["created 2", "2=a through 2", "3=a through 3"]);
    // The state of a member that is ahead takes this one's place.
    for n in 0..4 {
        world.apply_quietly(vec![put("a", &n.to_string())]);
    }
    world.hub.replaced(&world.state);
    world.catch_up();
    assert_eq!(world.told(1), ["4=a 5=a 6=a 7=a through 7"]);
    assert_eq!(world.told(2), ["created 6", "6=a 7=a through 7"]);
    world.apply(vec![put("a", "z")]);
    assert_eq!(world.told(1), ["8=a through 8"]);
}

#[test]
fn superseded_records_come_when_asked_for() {
    let mut world = World::new(KEEP_ALL);
    world.watch(1, WatchSpec { want_previous: true, ..spec(span("a", "b"), 0) });
    world.apply(vec![put("a", "1"), put("a", "2"), delete("a")]);
    let previous = world.out.iter().find_map(|(_, frame)| match frame {
        WatchFrame::Events { previous, .. } => Some(previous.clone()),
        WatchFrame::Created { .. }
        | WatchFrame::Progress { .. }
        | WatchFrame::Resync { .. }
        | WatchFrame::Cancelled(_) => None,
    });
    let values: Vec<Option<Bytes>> =
        previous.expect("delivered").into_iter().map(|record| record.map(|record| record.value)).collect();
    assert_eq!(values, [None, Some(Bytes::from_static(b"1")), Some(Bytes::from_static(b"2"))]);
}

#[test]
fn filters_leave_out_kinds() {
    let mut world = World::new(KEEP_ALL);
    world.watch(1, WatchSpec { no_put: true, ..spec(span("a", "b"), 0) });
    world.watch(2, WatchSpec { no_delete: true, ..spec(span("a", "b"), 0) });
    world.apply(vec![put("a", "1")]);
    world.apply(vec![delete("a")]);
    assert_eq!(world.told(1), ["created 2", "3=a through 3"]);
    assert_eq!(world.told(2), ["created 2", "2=a through 2"]);
}

#[test]
fn a_name_is_used_once() {
    let mut world = World::new(KEEP_ALL);
    world.watch(1, spec(span("a", "b"), 0));
    let again = world.hub.watch(at(1), spec(span("a", "b"), 0), &world.state, &mut world.out);
    assert!(matches!(again, Err(Refusal::Invalid { .. })));
    assert!(world.hub.cancel(at(1)));
    assert!(!world.hub.cancel(at(1)));
    world.watch(1, spec(span("a", "b"), 0));
    assert_eq!(world.hub.len(), 1);
}

/// What does not concern a watch costs it nothing, however many there are.
#[test]
fn a_hundred_thousand_watches_on_other_keys_are_not_looked_at() {
    let mut world = World::new(KEEP_ALL);
    for n in 0..100_000_u64 {
        let range = KeyRange::Key(Bytes::from(format!("k{n}")));
        let origin = Origin { conn: 2 + n, tag: 1 };
        world.hub.watch(origin, spec(range, 0), &world.state, &mut world.out).expect("a new name");
    }
    world.out.clear();
    for _ in 0..1_000 {
        world.apply(vec![put("k77", "x")]);
    }
    assert_eq!(world.out.len(), 1_000);
}
