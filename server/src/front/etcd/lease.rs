//! The `Lease` service. A lease is a session; its id is the session's.

use super::convert::{lease, session};
use super::door::{Caller, Door};
use super::{errors, leader};
use crate::node::request::{Consistency, Request as Ask, Response as Told, Write};
use futures::stream::BoxStream;
use futures::{Future, StreamExt};
use oarlock_proto::etcd::etcdserverpb::lease_server::Lease;
use oarlock_proto::etcd::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use oarlock_state::command::{Answer, OpenSession, Reply, ReplyBody, SessionInfo};
use oarlock_state::event::Keyspace;
use oarlock_state::limits::SESSION_TIMEOUT_MS_MAX;
use oarlock_state::{Command, Query, Revision, SessionId};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// Longest lease, in seconds.
const TTL_MAX: i64 = 9_000_000_000;
const _: () = assert!(TTL_MAX as u64 * 1_000 <= SESSION_TIMEOUT_MS_MAX);
/// Keep-alives of one stream that wait for their answer.
const KEEP_ALIVES: usize = 1024;
/// Leases read at once for a list.
const PAGE: u64 = 1000;

/// Serves leases.
pub struct LeaseService {
    door: Arc<Door>,
}

impl LeaseService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        let granted = grant(&self.door, &caller, id, ttl).await?;
        Ok(Response::new(LeaseGrantResponse {
            header: Some(self.door.header(granted.revision)),
            id: granted.id,
            ttl: granted.ttl,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let revision = revoke(&self.door, &caller, request.get_ref().id).await?;
        Ok(Response::new(LeaseRevokeResponse { header: Some(self.door.header(revision)) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let (metadata, _, asked) = request.into_parts();
        let door = self.door.clone();
        let answers =
            asked.map(move |asked| keep_alive(door.clone(), caller.clone(), asked)).buffered(KEEP_ALIVES);
        Ok(Response::new(leader::guard(&self.door, &metadata, answers).boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        match time_to_live(&self.door, &caller, id, keys).await {
            Err(status) if errors::LEASE_NOT_FOUND.is(&status) => {
                let header = Some(self.door.header_now());
                let gone = LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() };
                Ok(Response::new(gone))
            }
            answer => answer.map(Response::new),
        }
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let caller = self.door.caller(request.metadata())?;
        let mut leases = Vec::new();
        let mut after = SessionId(0);
        loop {
            let query = Query::Sessions { after, limit: PAGE };
            let (sessions, more, revision) = match self.door.ask(&caller, read(query)).await? {
                Told::Answer { answer: Answer::Sessions { sessions, more }, revision, .. } => {
                    (sessions, more, revision)
                }
                other => return Err(errors::unexpected(&other)),
            };
            leases.extend(sessions.iter().map(|found| LeaseStatus { id: lease(found.session) }));
            match sessions.last() {
                Some(last) if more => after = last.session,
                Some(_) | None => {
                    let header = Some(self.door.header(revision));
                    return Ok(Response::new(LeaseLeasesResponse { header, leases }));
                }
            }
        }
    }
}

/// A new lease.
pub struct Granted {
    /// Its id.
    pub id: i64,
    /// Seconds for which it lives.
    pub ttl: i64,
    /// Revision at which it was granted.
    pub revision: Revision,
}

/// Grants a lease of `ttl` seconds, or more if that is too short; `id` zero lets the log choose.
///
/// # Errors
/// The id is taken or cannot be one, the time is too long, or what the node refuses.
pub async fn grant(door: &Door, caller: &Caller, id: i64, ttl: i64) -> Result<Granted, Status> {
    if ttl > TTL_MAX {
        return Err(errors::LEASE_TTL_TOO_LARGE.into());
    }
    if id < 0 {
        return Err(Status::invalid_argument("etcdserver: a lease's id cannot be negative; choose another"));
    }
    // Neither is negative: the shortest time is positive, and the longest was checked.
    let seconds = ttl.max(shortest(door.limits().election)).unsigned_abs();
    let open = OpenSession {
        id: session(id),
        secret: rand::random(),
        timeout_ms: seconds * 1_000,
        principal: String::new(),
    };
    match door.ask(caller, Ask::Write(Write::of(Command::OpenSession(open)))).await? {
        Told::Written(Reply { body: ReplyBody::SessionOpened { session, timeout_ms }, revision, .. }) => {
            Ok(Granted { id: lease(session), ttl: seconds_of(timeout_ms), revision })
        }
        other => Err(errors::unexpected(&other)),
    }
}

/// Ends a lease and removes its keys; returns the revision after it.
///
/// # Errors
/// There is no such lease, or what the node refuses.
pub async fn revoke(door: &Door, caller: &Caller, id: i64) -> Result<Revision, Status> {
    let close = Write::of(Command::CloseSession { session: session(id) });
    match door.ask(caller, Ask::Write(close)).await? {
        Told::Written(reply) => Ok(reply.revision),
        other => Err(errors::unexpected(&other)),
    }
}

/// The shortest lease: one and a half election timeouts, in whole seconds, so that no lease ends
/// only because the leader changes.
fn shortest(election: Duration) -> i64 {
    let ms = (election * 3 / 2).as_millis();
    i64::try_from(ms.div_ceil(1_000)).unwrap_or(TTL_MAX)
}

/// Whole seconds of a time that is not over: a session may be shorter than one.
fn seconds_of(ms: u64) -> i64 {
    i64::try_from((ms / 1_000).max(1)).unwrap_or(TTL_MAX)
}

/// One keep-alive of a stream. The header is of before it, so that a lease which ends at some
/// revision is never said to live at a later one.
fn keep_alive(
    door: Arc<Door>,
    caller: Caller,
    asked: Result<LeaseKeepAliveRequest, Status>,
) -> impl Future<Output = Result<LeaseKeepAliveResponse, Status>> {
    let header = Some(door.header_now());
    async move {
        let id = asked?.id;
        let ttl = match door.ask(&caller, Ask::KeepAlive { session: session(id) }).await {
            Ok(Told::Alive { valid_for_ms }) => seconds_of(valid_for_ms),
            Ok(other) => return Err(errors::unexpected(&other)),
            Err(status) if errors::LEASE_NOT_FOUND.is(&status) => 0,
            Err(status) => return Err(status),
        };
        Ok(LeaseKeepAliveResponse { header, id, ttl })
    }
}

async fn time_to_live(
    door: &Door,
    caller: &Caller,
    id: i64,
    keys: bool,
) -> Result<LeaseTimeToLiveResponse, Status> {
    let session = session(id);
    let (left, known) = tokio::join!(
        door.ask(caller, Ask::SessionTimeLeft { session }),
        door.ask(caller, read(Query::Session { session, want_attached: keys })),
    );
    let left_ms = match left? {
        Told::TimeLeft { left_ms } => left_ms,
        other => return Err(errors::unexpected(&other)),
    };
    let (info, revision) = match known? {
        Told::Answer { answer: Answer::Session(info), revision, .. } => (info, revision),
        other => return Err(errors::unexpected(&other)),
    };
    Ok(LeaseTimeToLiveResponse {
        header: Some(door.header(revision)),
        id,
        ttl: i64::try_from(left_ms / 1_000).unwrap_or(TTL_MAX),
        granted_ttl: seconds_of(info.timeout_ms),
        keys: attached(info),
    })
}

fn attached(info: SessionInfo) -> Vec<bytes::Bytes> {
    let of_kv = |(keyspace, key)| (keyspace == Keyspace::Kv).then_some(key);
    info.attached.into_iter().filter_map(of_kv).collect()
}

fn read(query: Query) -> Ask {
    Ask::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_lease_is_one_and_a_half_election_timeouts_rounded_up() {
        assert_eq!(shortest(Duration::from_millis(1_000)), 2);
        assert_eq!(shortest(Duration::from_millis(2_000)), 3);
        assert_eq!(shortest(Duration::from_millis(50)), 1);
    }

    #[test]
    fn a_short_session_is_not_taken_for_a_lost_one() {
        assert_eq!(seconds_of(500), 1);
        assert_eq!(seconds_of(5_999), 5);
    }
}
