//! How a member comes to be.

use super::driver::Driver;
use super::member::Member;
use super::owned::Owned;
use crate::error::Result;
use crate::session::Session;
use bytes::Bytes;
use oarlock_proto::v1;
use std::time::Duration;

/// A pool that a session may take part in. Made by [`Session::pool`].
#[derive(Clone, Debug)]
pub struct PoolOfSession {
    session: Session,
    pool: Bytes,
}

impl Session {
    /// A pool to take part in: `session.pool("carts").join("carts-7").start().await?`.
    pub fn pool(&self, name: impl Into<Bytes>) -> PoolOfSession {
        PoolOfSession { session: self.clone(), pool: name.into() }
    }
}

impl PoolOfSession {
    /// Takes part as this instance: a name that is the same after a restart of the program, and that
    /// no other has.
    pub fn join(self, instance: impl Into<Bytes>) -> JoinBuilder {
        let request = v1::JoinPoolRequest {
            pool: self.pool,
            instance: instance.into(),
            session: self.session.id(),
            capacity: 1,
            ..Default::default()
        };
        JoinBuilder { session: self.session, request, report_every: REPORT_EVERY }
    }
}

/// How often counted work is reported, if it changed enough.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// A member that is about to join.
#[must_use = "nothing happens until `start` is awaited"]
pub struct JoinBuilder {
    session: Session,
    request: v1::JoinPoolRequest,
    report_every: Duration,
}

impl JoinBuilder {
    /// Its failure domain. Default: none.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.request.zone = zone.into();
        self
    }

    /// Its share of the load, in comparison with others. Default: 1.
    pub fn capacity(mut self, capacity: u32) -> Self {
        self.request.capacity = capacity;
        self
    }

    /// Where others reach it; routing tables carry it. Default: nowhere.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.request.address = address.into();
        self
    }

    /// Shown to others.
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.request.metadata = metadata.into();
        self
    }

    /// The length of the interval over which [`count`](super::MemberHandle::count)ed work is summed up
    /// and, if it changed enough, reported. Default: 10 s.
    pub fn report_every(mut self, interval: Duration) -> Self {
        self.report_every = interval.max(Duration::from_millis(100));
        self
    }

    /// Joins. If the instance takes part under another session, as after a crash and a restart within
    /// its timeout, it waits until that session has ended. From then on the member lives until it
    /// leaves: when the session is lost, so is all that it owned, and it joins again under a new
    /// session and the same name.
    ///
    /// # Errors
    /// What the service says, such as that there is no such pool;
    /// [`Error::SessionLost`](crate::Error::SessionLost).
    pub async fn start(self) -> Result<Member> {
        let Self { session, request, report_every } = self;
        let owned = Owned::new(request.pool.clone(), session.validity());
        let (member, ends) = Member::new(request.pool.clone(), request.instance.clone(), owned.clone());
        let (driver, started) = Driver::new(session, request, owned, ends, report_every);
        tokio::spawn(driver.run());
        let gone = |_| crate::Error::Unknown { message: "the member's task ended before it joined".into() };
        started.await.map_err(gone)??;
        Ok(member)
    }
}
