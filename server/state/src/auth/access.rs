//! Who may do what: the one place that decides, on decoded operations, for every protocol.
//!
//! | to | a user needs |
//! | --- | --- |
//! | read, compare, watch; be told what was there; name a guard | reading, on the whole range |
//! | put, delete | writing, on the whole range |
//! | change a value by what it is | both |
//! | put under the next number of a prefix | writing, on all numbers of the prefix |
//! | attach a key to a session, end a session | writing, on every key attached to it |
//! | look at a session | reading, on every key attached to it; its owner may without the keys |
//! | write under a session's numbers, ask for their outcomes | to own the session |
//! | acquire, release, hand over a lock or a lead | writing, on a key of its name; to own the session |
//! | ask a holder to let go | writing, on a key of the object's name |
//! | look at an object, name its token as a guard, watch it | reading, on a key of its name |
//! | join a pool, leave it, release, be ready, report | writing, on a key of its name; to own the session |
//! | make, change and pause a pool, move its shards | writing, on a key of its name |
//! | look at a pool, name an epoch as a guard, watch it | reading, on a key of its name |
//! | see who waits for whom | reading, on all keys |
//! | open a session, keep it alive, list members | to be a user |
//! | everything else: znodes, taking holds and shards away, compaction, members, users and roles | the role `root` |
//!
//! Transactions are checked whatever branch will run, and nested ones with them. While
//! authentication is off nothing is checked and nothing read.

use super::caller::{Caller, Principal};
use super::coverage::covers;
use super::error::AuthError;
use super::op::{Permission, PermissionKind};
use super::query::AuthQuery;
use super::records::{Role, Settings, User};
use crate::command::{
    Command, Guard, KeyRange, KvOp, OutcomeOf, Proposal, Query, Rejection, TokenScope, Txn,
};
use crate::event::Keyspace;
use crate::ids::SessionId;
use crate::machine::{dedup, session};
use crate::object::{Acquire, Claim, ObjectOp, ObjectQuery};
use crate::pool::{Join, PoolOp, PoolQuery};
use crate::view::View;
use bytes::Bytes;
use std::cell::OnceCell;

/// What is needed for something that is neither a command nor a query.
#[derive(Clone, Copy, Debug)]
pub enum Need<'a> {
    /// To watch these keys.
    Watch(Keyspace, &'a KeyRange),
    /// To administer the cluster.
    Administration,
}

type Verdict = Result<(), Rejection>;

/// A caller, as the state knows it.
pub(crate) struct Access<'v> {
    view: &'v dyn View,
    /// `None`: may do everything.
    limited: Option<Limited<'v>>,
}

struct Limited<'v> {
    name: &'v str,
    user: User,
    /// Of all its roles; read when first needed.
    permissions: OnceCell<Vec<Permission>>,
}

impl<'v> Access<'v> {
    /// Finds out what the caller may do.
    ///
    /// # Errors
    /// Authentication is on, and the caller is nobody or no longer who it was.
    pub(crate) fn of(view: &'v dyn View, settings: &Settings, caller: &'v Caller) -> Result<Self, Rejection> {
        let limited = match caller {
            _ if !settings.enabled => None,
            Caller::Server => None,
            Caller::Anonymous => return Err(AuthError::NoToken.into()),
            Caller::User(principal) => Limited::of(view, principal)?,
        };
        Ok(Self { view, limited })
    }

    /// Whether a proposal may be taken for what its names say: a session's writes are its owner's.
    pub(crate) fn names(&self, proposal: &Proposal) -> Verdict {
        match &proposal.request {
            Some(request) => self.owns(request.session),
            None => Ok(()),
        }
    }

    /// Whether a proposal may be executed.
    pub(crate) fn proposal(&self, proposal: &Proposal) -> Verdict {
        if self.limited.is_none() {
            return Ok(());
        }
        proposal.guards.iter().try_for_each(|guard| self.guard(guard))?;
        match &proposal.command {
            Command::Txn(txn) => self.txn(txn),
            Command::OpenSession(_) => Ok(()),
            Command::CloseSession { session } => self.writes_attached(*session),
            Command::Object(op) => self.object(op),
            Command::Pool(op) => self.pool(op),
            Command::Tree(_)
            | Command::Compact { .. }
            | Command::TouchSessions { .. }
            | Command::ExpireSessions { .. }
            | Command::PublishMember { .. }
            | Command::UpdateMember { .. }
            | Command::SetAlarm { .. }
            | Command::SetDowngrade { .. }
            | Command::CheckDigest { .. }
            | Command::Auth(_) => self.administers(),
        }
    }

    /// Whether a question may be answered.
    pub(crate) fn query(&self, query: &Query) -> Verdict {
        let Some(limited) = &self.limited else { return Ok(()) };
        match query {
            Query::Range(query) => self.reads(&query.range),
            Query::ReadTxn(txn) => self.txn(txn),
            Query::Session { session, want_attached } => self.sees(*session, *want_attached),
            Query::Sessions { after, limit } => session::ids_after(self.view, *after, *limit)
                .into_iter()
                .try_for_each(|session| self.sees(session, false)),
            Query::Outcome { request: OutcomeOf::Session { session, .. } } => self.owns(*session),
            // Each user has keys of its own.
            Query::Outcome { request: OutcomeOf::Idempotency { .. } }
            | Query::Members
            | Query::Conditions => Ok(()),
            Query::CheckToken(guard) => self.guard(guard),
            Query::Object(query) => self.object_query(query),
            Query::Pool(query) => self.pool_query(query),
            Query::Auth(AuthQuery::Status) => Ok(()),
            Query::Auth(AuthQuery::User { name }) if name == limited.name => Ok(()),
            Query::Auth(AuthQuery::Role { name }) if limited.user.roles.contains(name) => Ok(()),
            Query::Tree(_) | Query::History { .. } | Query::Previous { .. } | Query::Auth(_) => {
                self.administers()
            }
        }
    }

    /// Whether something else may be done.
    pub(crate) fn need(&self, need: Need<'_>) -> Verdict {
        match need {
            Need::Watch(Keyspace::Kv | Keyspace::Object | Keyspace::Pool, range) => self.reads(range),
            Need::Watch(Keyspace::Tree, _) | Need::Administration => self.administers(),
        }
    }

    fn txn(&self, txn: &Txn) -> Verdict {
        txn.compare.iter().try_for_each(|compare| self.reads(&compare.range))?;
        txn.then.iter().chain(&txn.otherwise).try_for_each(|op| self.op(op))
    }

    fn op(&self, op: &KvOp) -> Verdict {
        match op {
            KvOp::Range(query) => self.reads(&query.range),
            KvOp::Put(put) => {
                let key = KeyRange::Key(put.key.clone());
                self.writes(&key)?;
                self.writes_attached(put.owner)?;
                if put.want_previous { self.reads(&key) } else { Ok(()) }
            }
            KvOp::Delete { range, want_previous } => {
                self.writes(range)?;
                if *want_previous { self.reads(range) } else { Ok(()) }
            }
            KvOp::Txn(txn) => self.txn(txn),
            KvOp::Update { key, update: _ } => {
                let key = KeyRange::Key(key.clone());
                self.writes(&key)?;
                self.reads(&key)
            }
            KvOp::PutSequential { prefix, value: _, owner } => {
                self.writes(&numbered(prefix))?;
                self.writes_attached(*owner)
            }
        }
    }

    fn guard(&self, guard: &Guard) -> Verdict {
        match &guard.scope {
            TokenScope::Key(key) => self.reads(&KeyRange::Key(key.clone())),
            TokenScope::Node(_) => self.administers(),
            TokenScope::Lock(name) | TokenScope::Election(name) | TokenScope::Shard { pool: name, .. } => {
                self.reads(&KeyRange::Key(name.clone()))
            }
        }
    }

    fn object(&self, op: &ObjectOp) -> Verdict {
        match op {
            ObjectOp::Acquire(Acquire { parts, claim, .. }) => {
                parts.iter().try_for_each(|part| self.claims(&part.name, *claim))
            }
            ObjectOp::Release { holds } => {
                holds.iter().try_for_each(|held| self.claims(&held.name, held.claim))
            }
            ObjectOp::Cancel { name, claim } => self.claims(name, *claim),
            ObjectOp::Downgrade(held)
            | ObjectOp::Upgrade(held)
            | ObjectOp::SetLockDelay { held, .. }
            | ObjectOp::Proclaim { held, .. }
            | ObjectOp::Handoff { held, .. } => self.claims(&held.name, held.claim),
            ObjectOp::RequestRevocation { name, .. } => self.writes(&KeyRange::Key(name.clone())),
            ObjectOp::Revoke { .. } | ObjectOp::Elapse => self.administers(),
        }
    }

    fn pool(&self, op: &PoolOp) -> Verdict {
        match op {
            PoolOp::Join { pool, join: Join { session, .. } }
            | PoolOp::Leave { pool, session, .. }
            | PoolOp::Ready { pool, session, .. }
            | PoolOp::Release { pool, session, .. }
            | PoolOp::Report { pool, session, .. } => {
                self.writes(&KeyRange::Key(pool.clone()))?;
                self.owns(*session)
            }
            PoolOp::Delete { force: true, .. }
            | PoolOp::Force { .. }
            | PoolOp::Assign { .. }
            | PoolOp::Elapse => self.administers(),
            PoolOp::Create { pool, .. }
            | PoolOp::SetPolicy { pool, .. }
            | PoolOp::Delete { pool, force: false }
            | PoolOp::AddShards { pool, .. }
            | PoolOp::RemoveShards { pool, .. }
            | PoolOp::SetMemberState { pool, .. }
            | PoolOp::Pin { pool, .. }
            | PoolOp::SetWeights { pool, .. }
            | PoolOp::Pause { pool, .. }
            | PoolOp::Move { pool, .. } => self.writes(&KeyRange::Key(pool.clone())),
        }
    }

    fn pool_query(&self, query: &PoolQuery) -> Verdict {
        match query {
            PoolQuery::List { prefix, .. } => self.reads(&KeyRange::prefix(prefix)),
            PoolQuery::State { pool } | PoolQuery::Shard { pool, .. } => {
                self.reads(&KeyRange::Key(pool.clone()))
            }
            PoolQuery::NextDue => self.administers(),
        }
    }

    fn claims(&self, name: &Bytes, claim: Claim) -> Verdict {
        self.writes(&KeyRange::Key(name.clone()))?;
        self.owns(claim.session)
    }

    fn object_query(&self, query: &ObjectQuery) -> Verdict {
        match query {
            ObjectQuery::Describe { name, .. } => self.reads(&KeyRange::Key(name.clone())),
            ObjectQuery::List { prefix, .. } => self.reads(&KeyRange::prefix(prefix)),
            // Of a claim whose number it names, the owner learns what it asked for itself.
            ObjectQuery::OfSession { session, request } => self.sees(*session, request.is_none()),
            ObjectQuery::Why { .. } => self.reads(&KeyRange::prefix(b"")),
            ObjectQuery::NextDue => self.administers(),
        }
    }

    fn reads(&self, range: &KeyRange) -> Verdict {
        self.may(PermissionKind::Read, range)
    }

    fn writes(&self, range: &KeyRange) -> Verdict {
        self.may(PermissionKind::Write, range)
    }

    fn may(&self, kind: PermissionKind, range: &KeyRange) -> Verdict {
        let Some(limited) = &self.limited else { return Ok(()) };
        permitted(covers(limited.permissions(self.view), kind, range))
    }

    /// Whoever puts a key on a session has a hand in its end, and so in what else ends with it.
    fn writes_attached(&self, session: SessionId) -> Verdict {
        self.attached(session, PermissionKind::Write)
    }

    fn sees(&self, session: SessionId, want_attached: bool) -> Verdict {
        if !want_attached && self.is_owner(session) {
            return Ok(());
        }
        self.attached(session, PermissionKind::Read)
    }

    fn attached(&self, session: SessionId, kind: PermissionKind) -> Verdict {
        if self.limited.is_none() || session == SessionId(0) {
            return Ok(());
        }
        session::each_attached(self.view, session, &mut |keyspace, key| match keyspace {
            Keyspace::Kv | Keyspace::Object | Keyspace::Pool => self.may(kind, &KeyRange::Key(key)),
            Keyspace::Tree => permitted(self.is_owner(session)),
        })
    }

    fn owns(&self, session: SessionId) -> Verdict {
        permitted(self.is_owner(session))
    }

    /// A session that was opened without a name is anybody's, and so is one that does not exist.
    fn is_owner(&self, session: SessionId) -> bool {
        let Some(limited) = &self.limited else { return true };
        let owner = session::principal(self.view, session).or_else(|| dedup::principal(self.view, session));
        owner.is_none_or(|owner| owner.is_empty() || owner == limited.name)
    }

    fn administers(&self) -> Verdict {
        permitted(self.limited.is_none())
    }
}

impl<'v> Limited<'v> {
    /// `None` for a user with the role root.
    fn of(view: &dyn View, principal: &'v Principal) -> Result<Option<Self>, Rejection> {
        let user = User::load(view, &principal.name);
        let user = user.filter(|user| user.proofs_since <= principal.proven_at).ok_or(AuthError::Stale)?;
        let limited = Self { name: &principal.name, user, permissions: OnceCell::new() };
        Ok((!limited.user.is_root()).then_some(limited))
    }

    fn permissions(&self, view: &dyn View) -> &[Permission] {
        self.permissions.get_or_init(|| {
            let roles = self.user.roles.iter().filter_map(|role| Role::load(view, role));
            roles.flat_map(|role| role.permissions).collect()
        })
    }
}

/// All keys that [`KvOp::PutSequential`] may make under a prefix.
fn numbered(prefix: &Bytes) -> KeyRange {
    let start = [prefix.as_ref(), b"00000000000000000000"].concat().into();
    let end = [prefix.as_ref(), b"99999999999999999999\0"].concat().into();
    KeyRange::Span { start, end: Some(end) }
}

fn permitted(yes: bool) -> Verdict {
    if yes { Ok(()) } else { Err(AuthError::PermissionDenied.into()) }
}
