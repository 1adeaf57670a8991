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
use std::collections::BTreeMap;

/// Judges every guarded proposal of the log against the life of the key that its guard names.
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
            let TokenScope::Key(key) = &guard.scope else { continue };
            let life = lives.get(&(&key[..], guard.token.get()));
            // The write itself may remove the key, in the very revision that it makes.
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

fn lives(events: &[Event]) -> Result<BTreeMap<(&[u8], u64), Life>, Violation> {
    let mut lives = BTreeMap::new();
    let mut current: BTreeMap<&[u8], u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event.keyspace == Keyspace::Kv) {
        let (key, revision) = (&event.key[..], event.revision.get());
        match &event.kind {
            EventKind::Put { create_revision, version: 1, .. } => {
                let token = create_revision.get();
                current.insert(key, token);
                if lives.insert((key, token), Life { from: revision, removed: None }).is_some() {
                    let what =
                        format!("token {token} of key {} was given twice", String::from_utf8_lossy(key));
                    return Err(Violation::new("token_exclusive", what));
                }
            }
            EventKind::Delete => {
                let life = current.remove(key).and_then(|token| lives.get_mut(&(key, token)));
                if let Some(life) = life {
                    life.removed = Some(revision);
                }
            }
            EventKind::Put { .. } | EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => {}
        }
    }
    Ok(lives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{put, value_of};
    use bytes::Bytes;
    use oarlock_state::command::{Guard, ReplyBody};
    use oarlock_state::event::Cause;
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
        let guards = vec![Guard { scope: TokenScope::Key(LOCK), token: Revision(token) }];
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
}
