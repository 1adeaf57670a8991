//! A pool without a cluster, for a program's own tests: it is assigned, moved and lost as the test
//! says, and the program under test sees the same [`Member`], [`Owned`](super::Owned) and [`Routes`] as
//! in production.
//!
//! ```
//! use oarlock_client::pool::{Assignment, fake::FakePool};
//!
//! # async fn example() {
//! let pool = FakePool::slots("carts", 4);
//! let mut one = pool.join("one", "one:80");
//! pool.balance();
//! let Some(Ok(Assignment::Assigned { shard, .. })) = one.next().await else { panic!("assigned") };
//! assert_eq!(shard, "0");
//! assert!(one.token("0").is_ok());
//!
//! // A planned move, as the program sees both of its sides.
//! let mut two = pool.join("two", "two:80");
//! pool.move_shard("0", "two");
//! let Some(Ok(Assignment::Prepare { shard, .. })) = two.next().await else { panic!("prepare") };
//! two.ready(shard).await.expect("a member");
//! while !matches!(one.next().await, Some(Ok(Assignment::Drain { .. }))) {}
//! one.release("0").await.expect("owned");
//! assert!(matches!(two.next().await, Some(Ok(Assignment::Assigned { .. }))));
//! assert_eq!(pool.routes().lookup("0").and_then(|route| route.primary).map(|primary| primary.at.address), Some("two:80".into()));
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(example());
//! ```
//!
//! Differences to a cluster: sessions do not expire by themselves ([`FakePool::expire`] does it), a
//! move is never given up for time, there are no copies, zones or weights, and a token is a count.

use super::assignment::{Assignment, ShardLoss};
use super::member::{Command, Ends, Member};
use super::owned::Owned;
use super::routes::{Feed, Routes};
use super::slots::slot_name;
use crate::error::{Error, Result};
use crate::session::{SessionState, Validity};
use crate::types::Token;
use bytes::Bytes;
use oarlock_proto::v1::{self, route_change::Change, route_response::Kind};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// A pool without a cluster. Cheap to clone; the clones are one pool.
#[derive(Clone)]
pub struct FakePool {
    shared: Arc<Shared>,
    routes: Routes,
}

struct Shared {
    name: Bytes,
    pool: Mutex<Pool>,
}

struct Pool {
    /// Grows with every change, as the revision does.
    revision: u64,
    members: BTreeMap<Bytes, FakeMember>,
    shards: BTreeMap<Bytes, Shard>,
    feed: Feed,
}

#[derive(Default)]
struct Shard {
    owner: Option<(Bytes, u64)>,
    /// Who is to have it, and whether that one is ready.
    moving: Option<(Bytes, bool)>,
}

struct FakeMember {
    owned: Owned,
    validity: watch::Sender<Validity>,
    /// What it was not told yet; as long as the test makes it.
    told: VecDeque<Assignment>,
    news: Arc<Notify>,
    is_draining: bool,
    drained: Option<tokio::sync::oneshot::Sender<Result<Vec<Bytes>>>>,
    is_over: bool,
}

/// Far enough away for a test.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

impl FakePool {
    /// A pool of slots.
    pub fn slots(name: impl Into<Bytes>, count: u32) -> Self {
        Self::new(name.into(), count, (0..count).map(slot_name).collect())
    }

    /// A pool of named shards.
    pub fn named<S: Into<Bytes>>(name: impl Into<Bytes>, shards: impl IntoIterator<Item = S>) -> Self {
        Self::new(name.into(), 0, shards.into_iter().map(Into::into).collect())
    }

    fn new(name: Bytes, slots: u32, shards: Vec<Bytes>) -> Self {
        let (routes, feed) = Routes::by_hand(name.clone());
        let routed = |shard: &Bytes| v1::ShardRoute { shard: shard.clone(), ..Default::default() };
        let table =
            v1::RouteTable { slots, members: Vec::new(), shards: shards.iter().map(routed).collect() };
        feed.take(v1::RouteResponse { version: 1, kind: Some(Kind::Table(table)) });
        let shards = shards.into_iter().map(|shard| (shard, Shard::default())).collect();
        let pool = Pool { revision: 1, members: BTreeMap::new(), shards, feed };
        Self { shared: Arc::new(Shared { name, pool: Mutex::new(pool) }), routes }
    }

    /// The pool's routes; they follow at once.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// An instance takes part; it owns nothing until the test says so. One of that name that is there
    /// is lost, as if its session had ended.
    pub fn join(&self, instance: impl Into<Bytes>, address: impl Into<String>) -> Member {
        let instance = instance.into();
        self.expire(instance.clone());
        let (validity, receiver) = watch::channel(Validity::healthy(Instant::now() + LONG));
        let owned = Owned::new(self.shared.name.clone(), receiver);
        let (member, ends) = Member::new(self.shared.name.clone(), instance.clone(), owned.clone());
        let news = Arc::new(Notify::new());
        let fake = FakeMember {
            owned,
            validity,
            told: VecDeque::new(),
            news: news.clone(),
            is_draining: false,
            drained: None,
            is_over: false,
        };
        let mut pool = self.lock();
        pool.members.insert(instance.clone(), fake);
        let routed =
            v1::RouteMember { instance: instance.clone(), address: address.into(), ..Default::default() };
        pool.route(vec![Change::Member(routed)]);
        drop(pool);
        tokio::spawn(serve(self.clone(), instance, ends, news));
        member
    }

    /// Grants a shard that nobody owns.
    ///
    /// # Panics
    /// If there is no such shard or member, or somebody owns it: a mistake of the test.
    pub fn assign(&self, shard: impl Into<Bytes>, instance: impl Into<Bytes>) {
        let (shard, instance) = (shard.into(), instance.into());
        let mut pool = self.lock();
        assert!(pool.shard(&shard).owner.is_none(), "shard {shard:?} is owned; move it, or force it");
        pool.grant(&self.shared.name, &shard, &instance);
    }

    /// Grants every shard that nobody owns to whoever has the fewest.
    pub fn balance(&self) {
        let mut pool = self.lock();
        let free: Vec<Bytes> = pool
            .shards
            .iter()
            .filter(|(_, shard)| shard.owner.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for shard in free {
            let count = |instance: &Bytes| {
                pool.shards
                    .values()
                    .filter(|one| one.owner.as_ref().is_some_and(|(owner, _)| owner == instance))
                    .count()
            };
            let open = pool.members.iter().filter(|(_, member)| !member.is_draining && !member.is_over);
            let Some(least) = open.map(|(instance, _)| instance.clone()).min_by_key(count) else { return };
            pool.grant(&self.shared.name, &shard, &least);
        }
    }

    /// Begins a planned move. It goes on as the two members answer.
    ///
    /// # Panics
    /// If there is no such shard or member, or nobody owns it: a mistake of the test.
    pub fn move_shard(&self, shard: impl Into<Bytes>, to: impl Into<Bytes>) {
        let (shard, to) = (shard.into(), to.into());
        let mut pool = self.lock();
        assert!(pool.shard(&shard).owner.is_some(), "nobody owns shard {shard:?}; assign it");
        pool.shard(&shard).moving = Some((to.clone(), false));
        pool.member(&to).tell(Assignment::Prepare { shard, deadline: SystemTime::now() + LONG });
    }

    /// Takes a shard away from whoever owns it, as an operator would.
    pub fn force(&self, shard: impl Into<Bytes>) {
        let shard = shard.into();
        self.lock().lose(&self.shared.name, &shard, ShardLoss::Forced);
    }

    /// Ends a member's session: it loses everything, and its stream ends. Unknown ones are passed over.
    pub fn expire(&self, instance: impl Into<Bytes>) {
        self.lock().end(&self.shared.name, &instance.into(), ShardLoss::Expired);
    }

    /// The service confirms a member's session no more: its tokens are refused, and it is told that its
    /// shards are lost. [`confirm`](Self::confirm) gives them back.
    ///
    /// # Panics
    /// If there is no such member: a mistake of the test.
    pub fn suspend(&self, instance: impl Into<Bytes>) {
        let instance = instance.into();
        let mut pool = self.lock();
        let owned = pool.owned_by(&instance);
        let member = pool.member(&instance);
        member.validity.send_replace(Validity::healthy(Instant::now()));
        for (shard, epoch) in owned {
            let token = Token::of_shard(self.shared.name.clone(), shard.clone(), epoch);
            member.tell(Assignment::Lost { shard, token, cause: ShardLoss::Unconfirmed });
        }
    }

    /// The session of a suspended member turns out to live.
    ///
    /// # Panics
    /// If there is no such member: a mistake of the test.
    pub fn confirm(&self, instance: impl Into<Bytes>) {
        let instance = instance.into();
        let mut pool = self.lock();
        let owned = pool.owned_by(&instance);
        let member = pool.member(&instance);
        member.validity.send_replace(Validity::healthy(Instant::now() + LONG));
        for (shard, epoch) in owned {
            let token = Token::of_shard(self.shared.name.clone(), shard.clone(), epoch);
            member.tell(Assignment::Assigned { shard, token });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // A panic while it is held is a mistake of the test, which it ends.
        self.shared.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what a member asks for; true if it is gone by that.
    fn command(&self, instance: &Bytes, command: Command) {
        let mut pool = self.lock();
        let name = &self.shared.name;
        match command {
            Command::Ready { shard, done } => {
                pool.ready(instance, &shard);
                let _ = done.send(Ok(()));
            }
            Command::Release { shard, done } => {
                let _ = done.send(pool.release(name, instance, &shard));
            }
            Command::Drain { patience: _, done } => {
                pool.drain(instance);
                pool.member(instance).drained = Some(done);
            }
            Command::Leave { done } => {
                pool.end(name, instance, ShardLoss::Closed);
                let _ = done.send(Ok(()));
            }
        }
        pool.finish_drain(name, instance);
    }
}

impl Pool {
    fn shard(&mut self, shard: &Bytes) -> &mut Shard {
        self.shards.get_mut(shard).unwrap_or_else(|| panic!("there is no shard {shard:?}"))
    }

    fn member(&mut self, instance: &Bytes) -> &mut FakeMember {
        self.members.get_mut(instance).unwrap_or_else(|| panic!("there is no member {instance:?}"))
    }

    fn owned_by(&self, instance: &Bytes) -> BTreeMap<Bytes, u64> {
        let owned = |(name, shard): (&Bytes, &Shard)| {
            let (owner, epoch) = shard.owner.as_ref()?;
            (owner == instance).then(|| (name.clone(), *epoch))
        };
        self.shards.iter().filter_map(owned).collect()
    }

    /// Routes follow; each step is a revision of its own.
    fn route(&mut self, changes: Vec<Change>) {
        self.revision += 1;
        let changes = changes.into_iter().map(|change| v1::RouteChange { change: Some(change) }).collect();
        let kind = Some(Kind::Changes(v1::RouteChanges { changes, founded: None }));
        self.feed.take(v1::RouteResponse { version: self.revision, kind });
    }

    fn grant(&mut self, pool: &Bytes, shard: &Bytes, instance: &Bytes) {
        let epoch = self.revision + 1;
        let slot = self.shard(shard);
        slot.owner = Some((instance.clone(), epoch));
        slot.moving = None;
        let (shard, instance) = (shard.clone(), instance.clone());
        let change =
            v1::route_change::OwnerChange { shard: shard.clone(), instance: instance.clone(), epoch };
        self.route(vec![Change::Owner(change)]);
        self.show(&instance);
        let token = Token::of_shard(pool.clone(), shard.clone(), epoch);
        self.member(&instance).tell(Assignment::Assigned { shard, token });
    }

    /// Lets a member's tokens follow what it owns.
    fn show(&mut self, instance: &Bytes) {
        let owned = self.owned_by(instance);
        if let Some(member) = self.members.get(instance) {
            member.owned.set(owned);
        }
    }

    fn lose(&mut self, pool: &Bytes, shard: &Bytes, cause: ShardLoss) {
        let Some((owner, epoch)) = self.shard(shard).owner.take() else { return };
        let moving = self.shard(shard).moving.take();
        self.show(&owner);
        let change = v1::route_change::OwnerChange { shard: shard.clone(), ..Default::default() };
        self.route(vec![Change::Owner(change)]);
        let token = Token::of_shard(pool.clone(), shard.clone(), epoch);
        if let Some(member) = self.members.get_mut(&owner) {
            member.tell(Assignment::Lost { shard: shard.clone(), token, cause });
        }
        self.settle(pool, shard, moving);
    }

    /// A shard that nobody owns goes to a target that is ready; another target hears that it does not
    /// come.
    fn settle(&mut self, pool: &Bytes, shard: &Bytes, moving: Option<(Bytes, bool)>) {
        match moving {
            Some((to, true)) if self.members.contains_key(&to) => self.grant(pool, shard, &to),
            Some((to, _)) => {
                if let Some(member) = self.members.get_mut(&to) {
                    member.tell(Assignment::Cancelled { shard: shard.clone() });
                }
            }
            None => {}
        }
    }

    fn ready(&mut self, instance: &Bytes, shard: &Bytes) {
        let Some(slot) = self.shards.get_mut(shard) else { return };
        let Some((to, is_ready)) = &mut slot.moving else { return };
        if to != instance || *is_ready {
            return;
        }
        *is_ready = true;
        let Some((owner, _)) = slot.owner.clone() else { return };
        let (shard, to) = (shard.clone(), Some(instance.clone()));
        if let Some(owner) = self.members.get_mut(&owner) {
            owner.tell(Assignment::Drain { shard, to, deadline: SystemTime::now() + LONG });
        }
    }

    fn release(&mut self, pool: &Bytes, instance: &Bytes, shard: &Bytes) -> Result<()> {
        let slot = self.shards.get_mut(shard);
        let Some(slot) = slot.filter(|slot| slot.owner.as_ref().is_some_and(|(owner, _)| owner == instance))
        else {
            let what = format!("shard {:?}", String::from_utf8_lossy(shard));
            return Err(Error::NotHeld { what, cause: "this member does not own it".into() });
        };
        slot.owner = None;
        let moving = slot.moving.take();
        self.show(instance);
        if !matches!(&moving, Some((to, true)) if self.members.contains_key(to)) {
            let change = v1::route_change::OwnerChange { shard: shard.clone(), ..Default::default() };
            self.route(vec![Change::Owner(change)]);
        }
        self.settle(pool, shard, moving);
        Ok(())
    }

    /// Begins to move everything away from a member, to whoever has the fewest.
    fn drain(&mut self, instance: &Bytes) {
        self.member(instance).is_draining = true;
        for shard in self.owned_by(instance).into_keys() {
            let count = |instance: &Bytes| {
                let comes = |shard: &&Shard| match &shard.moving {
                    Some((to, _)) => to == instance,
                    None => shard.owner.as_ref().is_some_and(|(owner, _)| owner == instance),
                };
                self.shards.values().filter(comes).count()
            };
            let open = self.members.iter().filter(|(_, member)| !member.is_draining && !member.is_over);
            let Some(to) = open.map(|(instance, _)| instance.clone()).min_by_key(count) else { return };
            self.shard(&shard).moving = Some((to.clone(), false));
            self.member(&to).tell(Assignment::Prepare { shard, deadline: SystemTime::now() + LONG });
        }
    }

    fn finish_drain(&mut self, pool: &Bytes, instance: &Bytes) {
        let is_empty = self.owned_by(instance).is_empty();
        let Some(member) = self.members.get_mut(instance).filter(|_| is_empty) else { return };
        if let Some(drained) = member.drained.take() {
            self.end(pool, instance, ShardLoss::Closed);
            let _ = drained.send(Ok(Vec::new()));
        }
    }

    fn end(&mut self, pool: &Bytes, instance: &Bytes, cause: ShardLoss) {
        if self.members.get(instance).is_none_or(|member| member.is_over) {
            return;
        }
        let member = self.member(instance);
        member.is_over = true;
        member
            .validity
            .send_modify(|validity| validity.state = SessionState::Lost { cause: cause.to_string() });
        for shard in self.owned_by(instance).into_keys() {
            self.lose(pool, &shard, cause);
        }
        self.member(instance).news.notify_one();
        self.route(vec![Change::MemberGone(instance.clone())]);
    }
}

impl FakeMember {
    fn tell(&mut self, assignment: Assignment) {
        self.told.push_back(assignment);
        self.news.notify_one();
    }
}

/// Tells a member what there is, and carries out what it asks for, until it is over.
async fn serve(pool: FakePool, instance: Bytes, mut ends: Ends, news: Arc<Notify>) {
    loop {
        let (told, is_over) = {
            let mut pool = pool.lock();
            // A successor of the same name has another one.
            match pool.members.get_mut(&instance).filter(|member| Arc::ptr_eq(&member.news, &news)) {
                Some(member) => (std::mem::take(&mut member.told), member.is_over),
                None => (VecDeque::new(), true),
            }
        };
        for assignment in told {
            if !deliver(&pool, &instance, &mut ends, assignment).await {
                pool.expire(instance);
                return;
            }
        }
        if is_over {
            return;
        }
        tokio::select! {
            () = news.notified() => {}
            () = ends.assignments.closed() => pool.expire(instance.clone()),
            command = ends.commands.recv() => match command {
                Some(command) => pool.command(&instance, command),
                None => pool.expire(instance.clone()),
            },
        }
    }
}

/// Tells one thing, and carries out what is asked for meanwhile; false if nobody listens.
async fn deliver(pool: &FakePool, instance: &Bytes, ends: &mut Ends, assignment: Assignment) -> bool {
    let Ends { assignments, commands, .. } = ends;
    let room: mpsc::Permit<'_, Result<Assignment>> = loop {
        tokio::select! {
            room = assignments.reserve() => match room {
                Ok(room) => break room,
                Err(_) => return false,
            },
            Some(command) = commands.recv() => pool.command(instance, command),
        }
    };
    room.send(Ok(assignment));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Handler;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Log {
        fn note(&self, what: &str, shard: &Bytes) {
            let shard = String::from_utf8_lossy(shard).into_owned();
            self.0.lock().expect("nothing panics").push(format!("{what} {shard}"));
        }

        fn has(&self, line: &str) -> bool {
            self.0.lock().expect("nothing panics").iter().any(|one| one == line)
        }

        async fn until(&self, line: &str) {
            while !self.has(line) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    impl Handler for Log {
        async fn assigned(&self, shard: Bytes, _token: Token) {
            self.note("assigned", &shard);
        }
        async fn prepare(&self, shard: Bytes, _deadline: SystemTime) {
            self.note("prepare", &shard);
        }
        async fn drain(&self, shard: Bytes, _to: Option<Bytes>, _deadline: SystemTime) {
            self.note("drain", &shard);
        }
        async fn lost(&self, shard: Bytes, _cause: ShardLoss) {
            self.note("lost", &shard);
        }
    }

    fn owner(pool: &FakePool, shard: &str) -> Option<Bytes> {
        Some(pool.routes().lookup(shard)?.primary?.at.instance)
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_sees_a_move_from_both_sides_and_a_drain_empties_a_member() {
        let pool = FakePool::slots("p", 3);
        let (one, two) = (Log::default(), Log::default());
        let first = pool.join("one", "one:80");
        let handle = first.handle();
        let running = tokio::spawn(first.run(one.clone()));
        pool.balance();
        one.until("assigned 2").await;
        let second = pool.join("two", "two:80");
        let other = second.handle();
        tokio::spawn(second.run(two.clone()));
        pool.move_shard("0", "two");
        two.until("assigned 0").await;
        assert!(two.has("prepare 0") && one.has("drain 0"));
        assert!(handle.token("0").is_err() && other.token("0").is_ok());
        assert_eq!(handle.drain(Duration::from_secs(60)).await.expect("handed over"), Vec::<Bytes>::new());
        running.await.expect("no panic").expect("left");
        assert_eq!(other.owned().len(), 3);
        assert_eq!(owner(&pool, "1"), Some("two".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_is_told_and_its_token_refused() {
        let pool = FakePool::named("p", ["a", "b"]);
        let log = Log::default();
        let member = pool.join("one", "one:80");
        let handle = member.handle();
        let running = tokio::spawn(member.run(log.clone()));
        pool.balance();
        log.until("assigned b").await;
        pool.force("a");
        log.until("lost a").await;
        assert!(handle.token("a").is_err() && handle.token("b").is_ok());
        pool.suspend("one");
        log.until("lost b").await;
        assert!(handle.token("b").is_err());
        pool.confirm("one");
        assert!(handle.token("b").is_ok());
        pool.expire("one");
        running.await.expect("no panic").expect("over");
        assert!(handle.token("b").is_err() && owner(&pool, "b").is_none());
        assert!(handle.release("b").await.is_err(), "the member is gone");
    }
}
