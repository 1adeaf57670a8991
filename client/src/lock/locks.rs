//! A look at all locks, semaphores and elections, and an operator's hand on them.

use super::claim::Claim;
use super::place::{ObjectInfo, ObjectSummary, Place, WaitGraph};
use crate::client::Client;
use crate::endpoints::MESSAGE_BYTES_MAX;
use crate::error::{Error, Result};
use bytes::Bytes;
use oarlock_proto::v1::{self, locks_client::LocksClient, object_answer::Answer, object_refusal::Reason};
use tonic::transport::Channel;

/// Places of a queue that [`Locks::describe`] reads.
const QUEUE_MAX: u64 = 1000;

/// All locks, semaphores and elections: `client.locks().describe("a").await?`.
#[derive(Clone)]
pub struct Locks {
    client: Client,
}

impl Client {
    /// Questions about locks, semaphores and elections, without a session.
    pub fn locks(&self) -> Locks {
        Locks { client: self.clone() }
    }
}

macro_rules! read {
    ($self:ident, $method:ident, $request:expr, $kind:ident) => {{
        let request = $request;
        let answer = $self
            .client
            .call(true, |connection| {
                let request = request.clone();
                async move { service(connection.channel).$method(request).await }
            })
            .await?;
        match answer.answer {
            Some(Answer::$kind(read)) => Ok((read, answer.header.unwrap_or_default().revision)),
            _ => Err(Error::Unknown {
                message: "the server answered with something else than was asked".into(),
            }),
        }
    }};
}

macro_rules! write {
    ($self:ident, $method:ident, $request:expr) => {{
        let mut request = $request;
        let idempotency = $self.client.fresh_name();
        let named = idempotency.is_some();
        request.options = Some(v1::WriteOptions { idempotency, ..Default::default() });
        $self
            .client
            .call(named, |connection| {
                let request = request.clone();
                async move { service(connection.channel).$method(request).await }
            })
            .await
            .map(drop)
    }};
}

fn service(channel: Channel) -> LocksClient<Channel> {
    LocksClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

impl Locks {
    /// The objects whose name begins with a prefix, in order of name, page by page until the end.
    pub async fn list(&self, prefix: impl Into<Bytes>) -> Result<Vec<ObjectSummary>> {
        let prefix = prefix.into();
        let (mut found, mut after) = (Vec::<ObjectSummary>::new(), Bytes::new());
        loop {
            let (page, _) = self.page(prefix.clone(), after, 0).await?;
            found.extend(page.objects.into_iter().map(ObjectSummary::from));
            match found.last() {
                Some(last) if page.more => after = last.name.clone(),
                Some(_) | None => return Ok(found),
            }
        }
    }

    async fn page(
        &self,
        prefix: Bytes,
        after: Bytes,
        limit: u64,
    ) -> Result<(v1::object_answer::Objects, u64)> {
        read!(self, list, v1::ListObjectsRequest { prefix, after, limit, options: None }, Listed)
    }

    /// One object, with all its holders and the first 1000 of its queue; `None` if nobody holds it or
    /// waits for it.
    pub async fn describe(&self, name: impl Into<Bytes>) -> Result<Option<ObjectInfo>> {
        Ok(self.describe_page(name.into(), 0, QUEUE_MAX).await?.0)
    }

    /// One object, with a page of its queue, and the revision that was read at. A watch from the next
    /// one on misses nothing.
    pub(crate) async fn describe_page(
        &self,
        name: Bytes,
        skip: u64,
        limit: u64,
    ) -> Result<(Option<ObjectInfo>, u64)> {
        loop {
            match self.existing(name.clone(), skip, limit).await {
                Ok((found, revision)) => return Ok((Some(found.into()), revision)),
                Err(error) if error.is_refused(Reason::NobodyHolds) => {}
                Err(error) => return Err(error),
            }
            // A refusal has no revision, a list has.
            let (page, revision) = self.page(name.clone(), Bytes::new(), 1).await?;
            if page.objects.iter().all(|object| object.name != name) {
                return Ok((None, revision));
            }
        }
    }

    async fn existing(&self, name: Bytes, skip: u64, limit: u64) -> Result<(v1::ObjectInfo, u64)> {
        read!(self, describe, v1::DescribeObjectRequest { name, skip, limit, options: None }, Described)
    }

    /// Who waits for whom, from the queue of an object onwards, with the circles.
    pub async fn why(&self, name: impl Into<Bytes>) -> Result<WaitGraph> {
        let request = v1::WhyRequest { name: name.into(), options: None };
        let read: Result<(v1::WaitGraph, u64)> = read!(self, why, request, Why);
        read.map(|(graph, _)| graph.into())
    }

    /// What a session holds and waits for, each with the object's name; holds first. At most a page of
    /// 4 MiB.
    ///
    /// # Errors
    /// [`Error::Rejected`] with [`SessionNotFound`](v1::ErrorCode::SessionNotFound).
    pub async fn of_session(&self, session: u64) -> Result<Vec<(Bytes, Place)>> {
        let request = v1::ObjectsOfSessionRequest { session, request: None, options: None };
        let read: Result<(v1::object_answer::Places, u64)> = read!(self, of_session, request, OfSession);
        let (places, _) = read?;
        let one = |place: v1::NamedPlace| (place.name, place.place.unwrap_or_default().into());
        Ok(places.places.into_iter().map(one).collect())
    }

    /// An operator's act: takes a hold, or a place in the queue, away.
    ///
    /// # Errors
    /// [`Error::Rejected`] with its [`refusal`](Error::refusal) if the claim has nothing there.
    pub async fn revoke(&self, name: impl Into<Bytes>, claim: Claim) -> Result<()> {
        let claim = Some(claim.into());
        write!(self, revoke, v1::RevokeRequest { name: name.into(), claim, options: None })
    }

    /// Tells the holders that somebody wants the object, and why. Each at most 1024 bytes.
    ///
    /// # Errors
    /// [`Error::Rejected`] with its [`refusal`](Error::refusal) if nobody holds it.
    pub async fn request_revocation(
        &self,
        name: impl Into<Bytes>,
        by: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<()> {
        let (name, by, reason) = (name.into(), by.into(), reason.into());
        write!(self, request_revocation, v1::RequestRevocationRequest { name, by, reason, options: None })
    }
}
