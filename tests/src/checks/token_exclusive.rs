//! A fencing token is given once, and no guarded write takes effect under a token that is not the
//! current one.
//!
//! Sources: Burrows, "The Chubby lock service" (2006), section 2.4 (sequencers); Kleppmann, "How to
//! do distributed locking" (2016); `reliability.md` 1.5, item 6.

use super::exactly_once::Execution;
use super::{Checked, Violation};
use oarlock_state::Revision;
use oarlock_state::command::TokenScope;
use oarlock_state::event::{Event, EventKind, Keyspace};
use oarlock_state::object::{Claim, ObjectEvent};
use std::collections::BTreeMap;

/// Judges every guarded proposal of the log against the life of the key, or of the hold, that its guard
/// names.
///
/// # Errors
/// A token that was given twice, or a write that passed under a token that was not current.
pub fn check(executions: &[Execution], events: &[Event]) -> Checked {
    let lives = lives(events)?;
    for execution in executions {
        let Ok(reply) = &execution.outcome else { continue };
        if reply.repeated {
            continue;
        }
        for guard in &execution.proposal.guards {
            let scope = match &guard.scope {
                TokenScope::Key(key) => (Keyspace::Kv, &key[..]),
                TokenScope::Lock(name) | TokenScope::Election(name) => (Keyspace::Object, &name[..]),
                TokenScope::Node(_) | TokenScope::Shard { .. } => continue,
            };
            let life = lives.get(&(scope, guard.token.get()));
            // The write itself may remove the key or end the hold, in the very revision that it makes.
            if life.is_some_and(|life| life.covers(reply.revision)) {
                continue;
            }
            let what = format!(
                "{guard:?} was current during {life:?}, and a write under it took effect at revision {} (index {})",
                reply.revision, execution.index
            );
            return Err(Violation::new("token_exclusive", what));
        }
    }
    Ok(())
}

/// From its creation to its removal, in revisions.
#[derive(Clone, Copy, Debug)]
struct Life {
    from: u64,
    removed: Option<u64>,
}

impl Life {
    fn covers(&self, revision: Revision) -> bool {
        self.from <= revision.get() && self.removed.is_none_or(|removed| revision.get() <= removed)
    }
}

/// A keyspace, and a key or an object's name in it.
type Scope<'e> = (Keyspace, &'e [u8]);

/// Lives by scope and token.
type Lives<'e> = BTreeMap<(Scope<'e>, u64), Life>;

fn lives(events: &[Event]) -> Result<Lives<'_>, Violation> {
    let mut lives = Lives::new();
    let mut current: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut holds: BTreeMap<(&[u8], Claim), u64> = BTreeMap::new();
    for event in events {
        let (key, revision) = (&event.key[..], event.revision.get());
        match (&event.kind, event.keyspace) {
            (EventKind::Put { create_revision, version: 1, .. }, Keyspace::Kv) => {
                let token = create_revision.get();
                current.insert(key, token);
                let life = Life { from: revision, removed: None };
                if lives.insert(((Keyspace::Kv, key), token), life).is_some() {
                    let what =
                        format!("token {token} of key {} was given twice", String::from_utf8_lossy(key));
                    return Err(Violation::new("token_exclusive", what));
                }
            }
            (EventKind::Delete, Keyspace::Kv) => {
                let token = current.remove(key);
                let life = token.and_then(|token| lives.get_mut(&((Keyspace::Kv, key), token)));
                if let Some(life) = life {
                    life.removed = Some(revision);
                }
            }
            (EventKind::Object(what), _) => hold(&mut lives, &mut holds, event, what),
            (EventKind::Put { .. } | EventKind::Delete | EventKind::Children | EventKind::Pool(_), _) => {}
        }
    }
    Ok(lives)
}

/// Follows the holds of an object. Readers that were granted in one revision share its token, which
/// lives as long as one of them holds.
fn hold<'e>(
    lives: &mut Lives<'e>,
    holds: &mut BTreeMap<(&'e [u8], Claim), u64>,
    event: &'e Event,
    what: &ObjectEvent,
) {
    let (name, revision) = (&event.key[..], event.revision.get());
    let (claim, token) = match what {
        ObjectEvent::Granted { claim, .. } => (*claim, Some(revision)),
        ObjectEvent::Changed { claim, token, .. } => (*claim, Some(token.get())),
        ObjectEvent::Lost { claim, .. } => (*claim, None),
        _ => return,
    };
    let before = match token {
        Some(token) => holds.insert((name, claim), token).filter(|before| *before != token),
        None => holds.remove(&(name, claim)),
    };
    if let Some(token) = token {
        let life = Life { from: revision, removed: None };
        lives.entry(((Keyspace::Object, name), token)).or_insert(life).removed = None;
    }
    let Some(before) = before else { return };
    let is_shared = holds.iter().any(|((other, _), token)| *other == name && *token == before);
    if let Some(life) = lives.get_mut(&((Keyspace::Object, name), before)).filter(|_| !is_shared) {
        life.removed = Some(revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{put, value_of};
    use crate::model::objects::samples;
    use bytes::Bytes;
    use oarlock_state::command::{Guard, ReplyBody};
    use oarlock_state::event::Cause;
    use oarlock_state::object::{Loss, Mode};
    use oarlock_state::{Command, Index, Proposal, ProposalId, Reply, SessionId};

    const LOCK: Bytes = Bytes::from_static(b"lock");

    fn event(revision: u64, created: Option<u64>) -> Event {
        let kind = created.map_or(EventKind::Delete, |created| EventKind::Put {
            value: Bytes::new(),
            create_revision: Revision(created),
            version: 1,
            owner: SessionId(1),
        });
        let (cause, session) = (Cause::Request, SessionId(0));
        Event {
            keyspace: Keyspace::Kv,
            revision: Revision(revision),
            sub: 0,
            key: LOCK,
            kind,
            cause,
            session,
            previous: None,
        }
    }

    fn guarded(revision: u64, token: u64) -> Execution {
        under(TokenScope::Key(LOCK), revision, token)
    }

    fn under(scope: TokenScope, revision: u64, token: u64) -> Execution {
        let guards = vec![Guard { scope, token: Revision(token) }];
        let command = Command::Txn(put(&Bytes::from_static(b"data"), value_of(1)));
        let id = ProposalId::default();
        let proposal = Proposal {
            id,
            request: None,
            idempotency: None,
            guards,
            caller: oarlock_state::Caller::Anonymous,
            command,
        };
        let reply = Reply {
            revision: Revision(revision),
            index: Index(revision),
            repeated: false,
            body: ReplyBody::Done,
        };
        Execution { index: revision, proposal, outcome: Ok(reply) }
    }

    #[test]
    fn a_write_under_an_old_token_is_found() {
        let events = [event(2, Some(2)), event(5, None), event(7, Some(7))];
        assert!(check(&[guarded(3, 2), guarded(8, 7)], &events).is_ok());
        assert!(check(&[guarded(8, 2)], &events).is_err(), "the old holder");
        assert!(check(&[guarded(6, 7)], &events).is_err(), "before it was given");
        assert!(check(&[guarded(3, 3)], &events).is_err(), "never given");
        assert!(check(&[], &[event(2, Some(2)), event(5, None), event(7, Some(2))]).is_err(), "given twice");
    }

    #[test]
    fn a_write_under_a_lost_hold_is_found() {
        let mode = Mode::Shared;
        let events = [
            samples::granted(4, 1, 2, mode),
            samples::granted(4, 2, 3, mode),
            samples::lost(5, 1, 4, Loss::Released, 0),
            samples::lost(7, 2, 4, Loss::Expired, 0),
        ];
        let at = |revision| under(TokenScope::Lock(samples::NAME), revision, 4);
        assert!(check(&[at(4), at(6)], &events).is_ok(), "the second reader still holds");
        assert!(check(&[at(8)], &events).is_err());
        assert!(check(&[under(TokenScope::Election(samples::NAME), 5, 3)], &events).is_err(), "never given");
    }

    #[test]
    fn an_upgrade_ends_the_token_before() {
        let (claim, token) = (samples::claim(1), Revision(6));
        let upgraded = ObjectEvent::Changed { claim, token, mode: Mode::Exclusive };
        let events = [samples::granted(4, 1, 4, Mode::Shared), samples::event(6, 0, upgraded)];
        let at = |revision, token| under(TokenScope::Lock(samples::NAME), revision, token);
        assert!(check(&[at(5, 4), at(7, 6)], &events).is_ok());
        assert!(check(&[at(7, 4)], &events).is_err());
    }
}
