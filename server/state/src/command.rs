//! The whole vocabulary of the service: what may be asked, and what the log answers.
//!
//! Protocol-neutral. A door converts its protocol into these types and back; the log stores them
//! through `log_format`; the machine executes them.

use crate::auth::{AuthAnswer, AuthError, AuthOp, AuthQuery, Caller};
use crate::event::Event;
use crate::ids::{Index, NodeId, ProposalId, RequestId, Revision, SessionId, Term};
use crate::object::{ObjectOp, ObjectQuery, ObjectReply};
use crate::tree::{TreeOp, TreeReply};
use bytes::Bytes;
use std::fmt;
use thiserror::Error;

/// A committed log entry: the only thing that `apply` accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Position in the log.
    pub index: Index,
    /// Term in which it was proposed.
    pub term: Term,
    /// What it asks for.
    pub body: EntryBody,
}

/// What a log entry asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryBody {
    /// A new leader's first entry. Changes nothing but the applied index.
    Empty,
    /// Everything that one round of the leader collected, in order.
    Proposals {
        /// The leader's wall clock when it proposed, in milliseconds since 1970. Apply clamps it to
        /// never run backwards; retention periods and TTL nodes count in it.
        stamp_ms: u64,
        /// Executed one after the other; each is atomic by itself.
        proposals: Vec<Proposal>,
    },
    /// The cluster's membership after this entry, as consensus decided it.
    Membership(MembershipChange),
}

/// One request on its way through the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Who waits for it.
    pub id: ProposalId,
    /// Remembered under this name, so that a repetition has no second effect.
    pub request: Option<RequestId>,
    /// For callers without a session: remembered under this name for a time.
    pub idempotency: Option<IdempotencyKey>,
    /// All must hold, or nothing happens.
    pub guards: Vec<Guard>,
    /// On whose behalf.
    pub caller: Caller,
    /// What to do.
    pub command: Command,
}

/// A caller's own name for a request, remembered for `retain_ms` after it was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Up to [`limits::IDEMPOTENCY_KEY_BYTES_MAX`](crate::limits::IDEMPOTENCY_KEY_BYTES_MAX) bytes.
    pub key: Bytes,
    /// Milliseconds; clamped to a day.
    pub retain_ms: u64,
}

/// "Only if this token is still current." For a key the token is its create revision: it stays
/// while the holder's key exists and is never given out again. For a lock and an election it is the
/// revision of the grant: it stays while the hold lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What the token was granted for.
    pub scope: TokenScope,
    /// The fencing token.
    pub token: Revision,
}

/// What a fencing token speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenScope {
    /// A key of kv.
    Key(Bytes),
    /// A znode, by path.
    Node(Bytes),
    /// A lock that somebody holds, by name.
    Lock(Bytes),
    /// The lead of an election, by name.
    Election(Bytes),
}

impl fmt::Display for TokenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key {}", shown(key)),
            Self::Node(path) => write!(f, "znode {}", shown(path)),
            Self::Lock(name) => write!(f, "lock {}", shown(name)),
            Self::Election(name) => write!(f, "election {}", shown(name)),
        }
    }
}

/// A key in quotes, for messages to people; a long one is cut, as messages travel in headers.
pub(crate) fn shown(key: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 100;
    match key.get(..SHOWN_BYTES_MAX) {
        None => format!("{:?}", String::from_utf8_lossy(key)),
        Some(begin) => format!("{:?}… ({} bytes)", String::from_utf8_lossy(begin), key.len()),
    }
}

/// What may be asked of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Reads and writes of kv, atomically. A single put is a transaction without comparisons.
    Txn(Txn),
    /// An operation of the znode tree.
    Tree(TreeOp),
    /// An operation of locks and elections.
    Object(ObjectOp),
    /// Forget the history up to and including this revision.
    Compact {
        /// Must be above the last compaction and not above the current revision.
        revision: Revision,
    },
    /// Begin a session.
    OpenSession(OpenSession),
    /// End a session at its owner's wish; everything attached to it goes.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// The leader saw these sessions alive. No revision, no event.
    TouchSessions {
        /// Unknown ones are passed over.
        sessions: Vec<SessionId>,
    },
    /// The leader saw no life in these sessions for their whole timeout.
    ExpireSessions {
        /// Each with the last touch that the leader knew; refused if touched, or begun anew, since.
        sessions: Vec<(SessionId, Index)>,
    },
    /// What a member says about itself once it runs (etcd: publish).
    PublishMember {
        /// The member.
        node: NodeId,
        /// Its name.
        name: String,
        /// Where clients reach it.
        client_urls: Vec<String>,
        /// Version of its program, for negotiation.
        version: String,
    },
    /// Change a member's peer addresses.
    UpdateMember {
        /// The member.
        node: NodeId,
        /// Where peers reach it.
        peer_urls: Vec<String>,
    },
    /// Raise or lower an alarm. What follows from it is for whoever reads
    /// [`Applied::conditions`](crate::machine::Applied).
    SetAlarm {
        /// Whose.
        alarm: Alarm,
        /// Raise it.
        raised: bool,
    },
    /// Note that operators are about to return to an earlier release. Has no effect of its own.
    SetDowngrade {
        /// That release; empty for "no longer".
        target: String,
    },
    /// The state's digest at an index, as the leader computed it. A replica whose own differs is
    /// damaged; see [`Applied::digest_check`](crate::machine::Applied).
    CheckDigest {
        /// The index after whose application the digest was taken.
        index: Index,
        /// The digest.
        digest: u128,
    },
    /// Change users, roles and permissions.
    Auth(AuthOp),
}

/// Begin a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Wished id (etcd clients choose lease ids); zero lets the log choose.
    pub id: SessionId,
    /// Whoever knows it may attach to the session again. Drawn at random by the client or door.
    pub secret: [u8; 16],
    /// Milliseconds without life after which the session ends.
    pub timeout_ms: u64,
    /// Who opened it. With authentication it is the caller, whatever this says.
    pub principal: String,
}

/// Compare, then one branch or the other, atomically, in one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Txn {
    /// All must hold for `then`; otherwise `otherwise` runs.
    pub compare: Vec<Compare>,
    /// Executed in order when all comparisons hold.
    pub then: Vec<KvOp>,
    /// Executed in order otherwise.
    pub otherwise: Vec<KvOp>,
}

/// One comparison. Over a range every key must satisfy it; an absent single key compares as
/// version 0, create and mod revision 0, no owner and, for `Value`, as false (etcd's rule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// What of them, against what.
    pub target: CompareTarget,
    /// How.
    pub op: CompareOp,
}

/// The left side's field and the right side's value of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// Changes since creation; 0 when absent.
    Version(u64),
    /// Revision of creation; 0 when absent.
    CreateRevision(Revision),
    /// Revision of the last change; 0 when absent.
    ModRevision(Revision),
    /// The value's bytes, compared as bytes.
    Value(Bytes),
    /// The owner session; 0 for none.
    Owner(SessionId),
    /// The number of keys in the range.
    Count(u64),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Left above right.
    Greater,
    /// Left below right.
    Less,
}

/// A single key, or the keys of `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// One key.
    Key(Bytes),
    /// From `start` to before `end`; an `end` of `None` means to the last key.
    Span {
        /// First key.
        start: Bytes,
        /// First key beyond; `None` for no end.
        end: Option<Bytes>,
    },
}

impl KeyRange {
    /// The keys that begin with a prefix; all keys for an empty one.
    pub fn prefix(prefix: &[u8]) -> Self {
        let end = prefix.iter().rposition(|byte| *byte != 0xff).map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        });
        Self::Span { start: Bytes::copy_from_slice(prefix), end }
    }
}

/// One operation inside a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum KvOp {
    /// Read.
    Range(RangeQuery),
    /// Set a key.
    Put(Put),
    /// Remove keys.
    Delete {
        /// Which.
        range: KeyRange,
        /// Return what was removed.
        want_previous: bool,
    },
    /// A transaction within.
    Txn(Txn),
    /// Change a value by what it is.
    Update {
        /// The key.
        key: Bytes,
        /// How.
        update: Update,
    },
    /// Put under `prefix` followed by the next number of that prefix: 20 decimal digits, 64 bits.
    PutSequential {
        /// What comes before the number.
        prefix: Bytes,
        /// The value.
        value: Bytes,
        /// Owner session; zero for a persistent key.
        owner: SessionId,
    },
}

/// Set a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key; not empty.
    pub key: Bytes,
    /// The value; may be empty.
    pub value: Bytes,
    /// The session whose end removes the key; zero for a persistent key.
    pub owner: SessionId,
    /// Return the record as it was.
    pub want_previous: bool,
    /// Keep the value and change only the owner; the key must exist.
    pub keep_value: bool,
    /// Keep the owner and change only the value; the key must exist.
    pub keep_owner: bool,
    /// Fail with [`Rejection::KeyExists`] if the key exists.
    pub if_absent: bool,
}

/// A change computed from the value as it is. Numbers are decimal text, so that every client and
/// every shell can read them. An absent key counts as 0, or as empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Add to a signed 64-bit number; overflow is refused.
    Add(i64),
    /// Raise a signed 64-bit number to at least this.
    Max(i64),
    /// Lower a signed 64-bit number to at most this.
    Min(i64),
    /// Append bytes.
    Append(Bytes),
}

/// A read of kv. As a stand-alone query or inside a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeQuery {
    /// Which keys.
    pub range: KeyRange,
    /// The revision to read at; zero for the current one.
    pub revision: Revision,
    /// At most this many records; zero for no limit.
    pub limit: u64,
    /// Stop once this many bytes of keys and values were gathered (at least one record is always
    /// returned); zero for [`limits::RANGE_BYTES_MAX`](crate::limits::RANGE_BYTES_MAX).
    pub byte_budget: u64,
    /// Inside a transaction: refuse it rather than stop at the byte budget. For callers that have
    /// no use for a part, and cannot ask for the rest because the state has moved on.
    pub whole: bool,
    /// From the last key to the first.
    pub reverse: bool,
    /// Leave out the values.
    pub keys_only: bool,
    /// Count only. The count is of the whole range, whatever the limit.
    pub count_only: bool,
    /// Count the whole range beside returning records (costs a walk of the index).
    pub want_count: bool,
    /// Only records changed at or after this revision; zero for all.
    pub min_mod_revision: Revision,
    /// Only records changed at or before this revision; zero for all.
    pub max_mod_revision: Revision,
    /// Only records created at or after this revision; zero for all.
    pub min_create_revision: Revision,
    /// Only records created at or before this revision; zero for all.
    pub max_create_revision: Revision,
}

impl RangeQuery {
    /// A plain read of these keys, now.
    pub fn of(range: KeyRange) -> Self {
        let zero = Revision(0);
        Self {
            range,
            revision: zero,
            limit: 0,
            byte_budget: 0,
            whole: false,
            reverse: false,
            keys_only: false,
            count_only: false,
            want_count: false,
            min_mod_revision: zero,
            max_mod_revision: zero,
            min_create_revision: zero,
            max_create_revision: zero,
        }
    }
}

/// A key with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value; empty in a keys-only read.
    pub value: Bytes,
    /// Revision at which this generation of the key began; its fencing token.
    pub create_revision: Revision,
    /// Revision of the last change.
    pub mod_revision: Revision,
    /// Changes since creation, from 1.
    pub version: u64,
    /// Owner session; zero when persistent.
    pub owner: SessionId,
}

/// Membership as consensus decided it; carried by a configuration entry.
#[derive(Clone, Debug, PartialEq)]
pub struct MembershipChange {
    /// Consensus's own encoding of the resulting configuration; opaque here.
    pub conf_state: Bytes,
    /// Members to add, or to change from learner to voter.
    pub put: Vec<Member>,
    /// Members to remove. Their ids are remembered and never come back.
    pub remove: Vec<NodeId>,
    /// The proposal that asked for it, if a client waits.
    pub id: ProposalId,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Receives the log but has no vote.
    pub learner: bool,
    /// As a learner: is not made a voter by itself once it has caught up. Of a voter: false.
    pub stay_learner: bool,
    /// Version of its program; empty until it has started once.
    pub version: String,
}

/// Something that is wrong with a member, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// The member; zero for none in particular.
    pub node: NodeId,
    /// What is wrong.
    pub kind: AlarmKind,
}

/// What may be wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum AlarmKind {
    /// It has no room left.
    NoSpace = 1,
    /// Its data contradict those of others.
    Corrupt = 2,
}

impl AlarmKind {
    /// The kind of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::NoSpace, Self::Corrupt].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// What operators were told or have noted about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Raised alarms, by member.
    pub alarms: Vec<Alarm>,
    /// The release that operators are about to return to; empty for none.
    pub downgrade_to: String,
}

/// What the log decided.
pub type Outcome = Result<Reply, Rejection>;

/// Yes, with data.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The state's revision after the command. For a repeated request: the one of its first and
    /// only execution.
    pub revision: Revision,
    /// Position in the log.
    pub index: Index,
    /// This is the remembered outcome of an earlier execution.
    pub repeated: bool,
    /// What the command returns.
    pub body: ReplyBody,
}

/// What each kind of command returns.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyBody {
    /// Nothing but the header.
    Done,
    /// A transaction's results.
    Txn(TxnReply),
    /// A tree operation's results.
    Tree(TreeReply),
    /// What an operation of locks and elections came to.
    Object(ObjectReply),
    /// A session began.
    SessionOpened {
        /// Its id.
        session: SessionId,
        /// Its timeout, clamped to the limits, in milliseconds.
        timeout_ms: u64,
    },
    /// For each session of an expiry, whether it ended.
    Expired {
        /// The sessions that ended.
        ended: Vec<SessionId>,
    },
    /// The cluster's members after the change.
    Members(Vec<Member>),
}

/// A transaction's results.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnReply {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// One per operation of the branch that ran. Empty in a repeated reply whose results were not
    /// small enough to remember.
    pub results: Vec<OpResult>,
}

/// The result of one operation inside a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum OpResult {
    /// What was read.
    Range(RangeReply),
    /// A key was set.
    Put {
        /// The record before, when asked for.
        previous: Option<KeyValue>,
    },
    /// Keys were removed.
    Delete {
        /// How many.
        deleted: u64,
        /// The records before, when asked for.
        previous: Vec<KeyValue>,
    },
    /// A transaction ran within.
    Txn(TxnReply),
    /// A value was computed.
    Update {
        /// The value after.
        value: Bytes,
    },
    /// A key was put under the next number.
    PutSequential {
        /// The whole key.
        key: Bytes,
    },
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeReply {
    /// The records, in the order asked for.
    pub records: Vec<KeyValue>,
    /// There are more beyond the limit or the byte budget.
    pub more: bool,
    /// Keys in the whole range, if it was asked for or cost nothing; else the number returned.
    pub count: u64,
}

/// No, with a reason. Replicated like any reply; sending the same again will not help unless the
/// state changes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// The key is empty.
    #[error("the key is empty")]
    KeyEmpty,
    /// A key, value, transaction or other thing is over its limit.
    #[error("{what} is {size}, and at most {limit} is allowed")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The same key is put twice, or put and deleted, in one transaction.
    #[error("key {} is changed twice in one transaction", shown(key))]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// `keep_value` or `keep_owner` on an absent key, or another need of an existing key.
    #[error("key {} does not exist", shown(key))]
    KeyNotFound {
        /// The key.
        key: Bytes,
    },
    /// `if_absent` on an existing key.
    #[error("key {} exists already", shown(key))]
    KeyExists {
        /// The key.
        key: Bytes,
    },
    /// A typed operation met a value that is not of its type, or would overflow.
    #[error("value of key {}: {reason}", shown(key))]
    BadValue {
        /// The key.
        key: Bytes,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A read of the past, or a compaction, at or below what was already forgotten.
    #[error("revision {asked} was compacted; the oldest that can be read is {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// What can still be read.
        oldest: Revision,
    },
    /// A revision that is not there yet.
    #[error("revision {asked} is in the future; the current one is {current}")]
    FutureRevision {
        /// What was asked for.
        asked: Revision,
        /// What is current.
        current: Revision,
    },
    /// There is no such session (any more).
    #[error("session {session} does not exist; it expired or was closed")]
    SessionNotFound {
        /// The session.
        session: SessionId,
    },
    /// The wished session id is taken.
    #[error("session {session} exists already")]
    SessionExists {
        /// The session.
        session: SessionId,
    },
    /// The client itself acknowledged this sequence earlier; its outcome is forgotten.
    #[error("sequence {sequence} was acknowledged up to {acked_up_to}; its outcome is forgotten")]
    StaleSequence {
        /// The repeated sequence.
        sequence: u64,
        /// The session's watermark.
        acked_up_to: u64,
    },
    /// More unacknowledged writes than the window holds.
    #[error(
        "sequence {sequence} is beyond the window that ends at {window_end}; acknowledge earlier outcomes first"
    )]
    WindowFull {
        /// The sequence.
        sequence: u64,
        /// Last sequence that the window admits.
        window_end: u64,
    },
    /// A guard's token is not current.
    #[error("token {token} of {scope} is no longer current")]
    Fenced {
        /// What the token was granted for.
        scope: TokenScope,
        /// The token.
        token: Revision,
    },
    /// A tree operation was refused; the numbers are ZooKeeper's.
    #[error("tree: {0}")]
    Tree(#[from] crate::tree::TreeError),
    /// Authentication says no.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// An operation of locks and elections was refused.
    #[error("{0}")]
    Object(#[from] crate::object::ObjectError),
    /// The member does not exist.
    #[error("member {node} does not exist")]
    MemberNotFound {
        /// The member.
        node: NodeId,
    },
    /// A membership change was refused.
    #[error("membership change refused: {reason}")]
    MembershipRefused {
        /// Of what kind the obstacle is.
        obstacle: Obstacle,
        /// Why, and what to do.
        reason: String,
    },
}

/// What stands in the way of a change of the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Obstacle {
    /// None of the others.
    #[default]
    Other = 0,
    /// A peer address belongs to a member already.
    AddressTaken = 1,
    /// The member that is spoken of does not exist.
    NoSuchMember = 2,
    /// The member that is to be promoted has a vote already.
    NoLearner = 3,
    /// The learner that is to be promoted lacks too much.
    LearnerBehind = 4,
    /// Too few members could be reached after the change: the cluster would stop.
    QuorumLost = 5,
    /// No voter would be left.
    LastVoter = 6,
    /// Another change is under way, or the leader is too new. Passes by itself.
    NotNow = 7,
}

impl Obstacle {
    /// All, by number.
    pub const ALL: [Self; 8] = [
        Self::Other,
        Self::AddressTaken,
        Self::NoSuchMember,
        Self::NoLearner,
        Self::LearnerBehind,
        Self::QuorumLost,
        Self::LastVoter,
        Self::NotNow,
    ];

    /// The obstacle of this number; one that this program does not know is [`Self::Other`].
    pub fn from_number(number: u32) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or_default()
    }
}

/// What may be read from the state, at one applied index.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Keys.
    Range(RangeQuery),
    /// A transaction without writes (ranges and comparisons only).
    ReadTxn(Txn),
    /// Znodes.
    Tree(crate::tree::TreeQuery),
    /// Locks and elections.
    Object(ObjectQuery),
    /// One session, with what hangs off it.
    Session {
        /// The session.
        session: SessionId,
        /// Include the attached keys (at most a byte budget of them).
        want_attached: bool,
    },
    /// The live sessions above an id, in order, at most `limit`.
    Sessions {
        /// Exclusive lower bound; zero from the start.
        after: SessionId,
        /// At most this many.
        limit: u64,
    },
    /// What became of a request.
    Outcome {
        /// Which.
        request: OutcomeOf,
    },
    /// Whether a token is current.
    CheckToken(Guard),
    /// The cluster's members.
    Members,
    /// Alarms, and what else operators noted.
    Conditions,
    /// Changes of `[from, to]`, for watchers that are behind; at most a byte budget of them, whole
    /// revisions.
    History {
        /// First revision.
        from: Revision,
        /// Last revision.
        to: Revision,
        /// Stop after this many bytes; at least one revision is returned.
        byte_budget: u64,
    },
    /// The record that an event superseded.
    Previous {
        /// `Event::previous`.
        at: (Revision, u32),
    },
    /// Users and roles.
    Auth(AuthQuery),
}

/// Names a request whose outcome is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeOf {
    /// A session's write; answered until its outcome was acknowledged and, after the session's
    /// end, for the retention time.
    Session {
        /// The session.
        session: SessionId,
        /// The write's sequence.
        sequence: u64,
    },
    /// A sessionless caller's request.
    Idempotency {
        /// Its key.
        key: Bytes,
    },
}

/// Answers to queries.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Keys.
    Range(RangeReply),
    /// A read-only transaction.
    Txn(TxnReply),
    /// Znodes.
    Tree(TreeReply),
    /// Locks and elections.
    Object(ObjectReply),
    /// A session.
    Session(SessionInfo),
    /// Sessions.
    Sessions {
        /// In order of id.
        sessions: Vec<SessionInfo>,
        /// There are more.
        more: bool,
    },
    /// What became of a request; `None` when nothing is known of it: never executed, or forgotten.
    Outcome(Option<Outcome>),
    /// Whether the token is current.
    TokenCurrent(bool),
    /// Members, by id.
    Members(Vec<Member>),
    /// Alarms, and what else operators noted.
    Conditions(Conditions),
    /// Changes, in order, whole revisions.
    History {
        /// The events.
        events: Vec<Event>,
        /// All revisions up to this one are covered.
        through: Revision,
    },
    /// The record; `None` if it was a deletion.
    Previous(Option<KeyValue>),
    /// Users and roles.
    Auth(AuthAnswer),
}

/// What is known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id.
    pub session: SessionId,
    /// Its timeout in milliseconds.
    pub timeout_ms: u64,
    /// The entry in which the log last saw it alive: its opening, or a touch.
    pub last_touch: Index,
    /// Who opened it.
    pub principal: String,
    /// Secret that proves the right to attach; doors must not show it.
    pub secret: [u8; 16],
    /// Stamp of the opening entry, in milliseconds since 1970.
    pub opened_ms: u64,
    /// Acknowledged write sequence.
    pub acked_up_to: u64,
    /// Highest write sequence ever executed.
    pub last_sequence: u64,
    /// Keys and znodes that go with it, and objects in which it has a place, when asked for.
    pub attached: Vec<(crate::event::Keyspace, Bytes)>,
}
