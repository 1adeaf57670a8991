//! Group membership: who is there, with what, and in which state.
//!
//! # Model
//! A member is a name with data (JSON) and a [`State`]. It is there from [`join`](Group::join) until
//! it [leaves](Membership::leave) or its session ends. *Joining* members warm up, *ready* ones take
//! work, *draining* ones finish what they have.
//!
//! # Key
//! `{path}/{name}`: state and data in JSON, owned by the member's session. The key's creation is the
//! membership's [token](Membership::token): writes guarded by it are refused once the membership is
//! over, whoever bears the name by then.
//!
//! # Guarantees
//! A name belongs to one session at a time. [`changes`](Group::changes) tells every change in order,
//! with the reason why a member went. What a [`Group`] shows is kept while the cluster is away; see
//! [`informer`](super::informer) for how old it may be.
//!
//! # Failure model
//! A dead member is there until its session has expired: [`Member::session`] and the guard matter
//! more than presence. A restarted process waits for its predecessor's session to end
//! ([`join_when_free`](Group::join_when_free)) or uses a name of its own.
//!
//! ```no_run
//! use oarlock_client::recipes::group::{Group, State};
//! use oarlock_client::Session;
//!
//! # async fn example(session: Session) -> oarlock_client::Result<()> {
//! let group: Group<String> = Group::new(session.client(), "/groups/workers");
//! let me = group.join_when_free(&session, "worker-3", "10.0.0.3:80".to_owned(), State::Joining).await?;
//! me.set_state(State::Ready).await?;
//! let ready = group.until_ready(3).await;
//! ready.iter().for_each(|member| println!("{} at {}", member.name, member.data));
//! me.set_state(State::Draining).await?;
//! me.leave().await?;
//! # Ok(())
//! # }
//! ```

use super::barrier::until_absent;
use super::informer::{Delta, Informer, Item, Snapshot};
use super::place::{Place, check_name, while_alive};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::txn::{compare, op};
use crate::types::{Token, key};
use futures::{Stream, StreamExt};
use oarlock_proto::v1::{ErrorCode, watch_event::Cause};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// In which state a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It warms up: not to be given work.
    Joining,
    /// It takes work.
    Ready,
    /// It finishes what it has: not to be given more.
    Draining,
}

/// A member as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<D> {
    /// Its name, unique in the group.
    pub name: String,
    /// Its state.
    pub state: State,
    /// What it tells of itself.
    pub data: D,
    /// The session with which it goes.
    pub session: u64,
    /// Since when it is a member: the revision of its joining, and its token.
    pub since: u64,
}

/// A change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<D> {
    /// A member is new.
    Joined(Member<D>),
    /// A member's state or data changed.
    Changed {
        /// As it is.
        now: Member<D>,
        /// As it was.
        before: Member<D>,
    },
    /// A member is gone.
    Left {
        /// As it was.
        member: Member<D>,
        /// Why.
        why: Departure,
    },
}

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It left.
    Left,
    /// Its session expired: it died, or was cut off.
    Lost,
    /// Its session was closed.
    Closed,
    /// It was found missing after this process had been cut off itself.
    Unseen,
}

/// The value of a member's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record<D> {
    state: State,
    data: D,
}

/// A group, as an observer sees it. Cheap to clone; the clones share one view.
pub struct Group<D> {
    client: Client,
    place: Place,
    view: Informer<Record<D>>,
}

impl<D> Clone for Group<D> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), place: self.place.clone(), view: self.view.clone() }
    }
}

impl<D: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Group<D> {
    /// The group at a path. Begins to follow it.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        let place = Place::new(path);
        let view = Informer::json(client, place.range(""));
        Self { client: client.clone(), place, view }
    }

    /// Becomes a member until it leaves or the session ends.
    ///
    /// # Errors
    /// `KEY_EXISTS` when the name is taken; [`Error::Invalid`] for a name that is empty or contains a
    /// slash.
    pub async fn join(&self, session: &Session, name: &str, data: D, state: State) -> Result<Membership<D>> {
        check_name("a member's name", name)?;
        let member_key = self.place.key(name);
        let value = encode(state, &data)?;
        match session.acquire(member_key.clone(), value).await? {
            Ok(token) => {
                Ok(Membership { session: session.clone(), key: member_key, token, now: (state, data).into() })
            }
            Err(holder) => Err(Error::Rejected {
                code: ErrorCode::KeyExists,
                message: format!(
                    "the name {name:?} is taken in {}, by session {}; wait until that ends, or take another",
                    self.place.path(),
                    holder.map_or(0, |record| record.owner)
                ),
                oldest_revision: 0,
                object: None,
                pool: None,
            }),
        }
    }

    /// As [`join`](Self::join), once the name is free: as after a restart, when the session of the
    /// process before has not expired yet.
    ///
    /// # Errors
    /// As [`join`](Self::join), but for a taken name; and the session's loss while waiting.
    pub async fn join_when_free(
        &self,
        session: &Session,
        name: &str,
        data: D,
        state: State,
    ) -> Result<Membership<D>> {
        loop {
            match self.join(session, name, data.clone(), state).await {
                Err(Error::Rejected { code: ErrorCode::KeyExists, .. }) => {
                    let taken = self.place.key(name).into();
                    while_alive(session, until_absent(&self.client, &taken)).await?;
                }
                outcome => return outcome,
            }
        }
    }

    /// The members now, by name, as far as they are known here.
    pub fn members(&self) -> Vec<Member<D>> {
        self.of(&self.view.snapshot())
    }

    /// One member.
    pub fn member(&self, name: &str) -> Option<Member<D>> {
        let item = self.view.get(self.place.key(name))?;
        self.member_of(&item)
    }

    /// Waits until the members are known for the first time.
    ///
    /// # Errors
    /// What the cluster refuses for good, such as for a lack of permission.
    pub async fn synced(&self) -> Result<()> {
        self.view.synced().await
    }

    /// How old what is known of the members may be; see [`Informer::age`].
    pub fn age(&self) -> Option<Duration> {
        self.view.age()
    }

    /// The members that are there, as [`Change::Joined`], and every change from then on.
    pub fn changes(&self) -> impl Stream<Item = Change<D>> + Send + Unpin + use<D> {
        let group = self.clone();
        let changes = self.view.deltas().filter_map(move |delta| {
            let change = group.change(&delta);
            std::future::ready(change)
        });
        Box::pin(changes)
    }

    /// Waits until at least `count` members are ready, and returns those that are.
    pub async fn until_ready(&self, count: usize) -> Vec<Member<D>> {
        self.until(|members| {
            let ready = || members.iter().filter(|member| member.state == State::Ready);
            (ready().count() >= count).then(|| ready().cloned().collect())
        })
        .await
    }

    /// Waits until `condition` finds in the members what it looks for.
    pub async fn until<R>(&self, mut condition: impl FnMut(&[Member<D>]) -> Option<R>) -> R {
        self.view.until(|all| condition(&self.of(all))).await
    }

    fn of(&self, all: &Snapshot<Record<D>>) -> Vec<Member<D>> {
        all.iter().filter_map(|item| self.member_of(item)).collect()
    }

    fn member_of(&self, item: &Item<Record<D>>) -> Option<Member<D>> {
        let name = self.place.rest("", &item.key).filter(|name| !name.contains('/'))?.to_owned();
        let Record { state, data } = item.value.clone();
        Some(Member { name, state, data, session: item.owner, since: item.create_revision })
    }

    fn change(&self, delta: &Delta<Record<D>>) -> Option<Change<D>> {
        Some(match delta {
            Delta::Upsert { item, previous } => {
                let now = self.member_of(item)?;
                match previous.as_ref().and_then(|previous| self.member_of(previous)) {
                    Some(before) => Change::Changed { now, before },
                    None => Change::Joined(now),
                }
            }
            Delta::Remove { previous, cause, .. } => {
                Change::Left { member: self.member_of(previous)?, why: Departure::of(*cause) }
            }
        })
    }
}

impl Departure {
    fn of(cause: Option<Cause>) -> Self {
        match cause {
            Some(Cause::Expired) => Self::Lost,
            Some(Cause::Closed) => Self::Closed,
            Some(Cause::Request | Cause::TimedOut | Cause::Admin) => Self::Left,
            None => Self::Unseen,
        }
    }
}

fn encode<D: Serialize>(state: State, data: &D) -> Result<Vec<u8>> {
    serde_json::to_vec(&Record { state, data })
        .map_err(|error| Error::Invalid { message: format!("the member's data: {error}") })
}

/// A membership of this process.
pub struct Membership<D> {
    session: Session,
    key: String,
    token: Token,
    now: tokio::sync::Mutex<(State, D)>,
}

impl<D: Serialize + Clone> Membership<D> {
    /// The fencing token: a write guarded by it is refused once the membership is over.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// For how long the membership may be relied on without another word from the cluster.
    pub fn valid_for(&self) -> Duration {
        self.session.valid_for()
    }

    /// Changes the state.
    ///
    /// # Errors
    /// [`Error::is_fenced`] when the membership is over; the session's loss.
    pub async fn set_state(&self, state: State) -> Result<()> {
        self.change(|now| now.0 = state).await
    }

    /// Changes the data.
    ///
    /// # Errors
    /// As [`set_state`](Self::set_state).
    pub async fn set_data(&self, data: D) -> Result<()> {
        self.change(|now| now.1 = data).await
    }

    /// Leaves.
    ///
    /// # Errors
    /// The session's loss, with which the membership is over, too.
    pub async fn leave(self) -> Result<()> {
        let mine = compare::create_revision(self.key.clone()).eq(self.token.revision);
        self.session.txn().when(mine).then(op::delete(key(self.key.clone()))).await.map(|_| ())
    }

    async fn change(&self, change: impl FnOnce(&mut (State, D))) -> Result<()> {
        // Held over the write, so that two changes at once do not undo each other.
        let mut now = self.now.lock().await;
        let mut next = now.clone();
        change(&mut next);
        let value = encode(next.0, &next.1)?;
        self.session.put_ephemeral(self.key.clone(), value).guard(self.token.clone()).await?;
        *now = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_readable_json() {
        let value = encode(State::Draining, &"x:1").expect("text");
        assert_eq!(value, br#"{"state":"draining","data":"x:1"}"#);
        let back: Record<String> = serde_json::from_slice(&value).expect("it was written so");
        assert_eq!((back.state, back.data.as_str()), (State::Draining, "x:1"));
        assert!(serde_json::from_slice::<Record<String>>(b"{}").is_err());
    }
}
