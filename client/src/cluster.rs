//! What an operator asks of a cluster.

use crate::client::Client;
use crate::endpoints::Dialing;
use crate::error::{Error, Result};
use futures::Stream;
use oarlock_proto::v1::{self, cluster_client::ClusterClient, maintenance_client::MaintenanceClient};
use std::time::Duration;

macro_rules! administer {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $answer:ty, $method:ident, $request:expr, |$response:ident| $result:expr) => {
        $(#[$doc])*
        pub async fn $name(&self, $($argument: $type),*) -> Result<$answer> {
            let request = $request;
            let $response = self
                .call(false, |connection| {
                    let request = request.clone();
                    async move { ClusterClient::new(connection.channel).$method(request).await }
                })
                .await?;
            Ok($result)
        }
    };
}

impl Client {
    administer!(
        /// The members, linearizably.
        members() -> Vec<v1::Member>, list_members, v1::ListMembersRequest::default(), |answer| answer.members
    );
    administer!(
        /// Adds a learner that peers reach at `peer_urls`. It becomes a voter by itself once it has
        /// caught up, unless `stay_learner`. Returns it and all members.
        add_member(name: String, peer_urls: Vec<String>, stay_learner: bool) -> (v1::Member, Vec<v1::Member>),
        add_member, v1::AddMemberRequest { peer_urls, stay_learner, name },
        |answer| (answer.member.unwrap_or_default(), answer.members)
    );
    administer!(
        /// Removes a member for good; its id never comes back.
        remove_member(id: u64) -> Vec<v1::Member>, remove_member, v1::RemoveMemberRequest { id }, |answer| answer.members
    );
    administer!(
        /// Makes a learner that has caught up a voter.
        promote_member(id: u64) -> Vec<v1::Member>, promote_member, v1::PromoteMemberRequest { id }, |answer| answer.members
    );
    administer!(
        /// Changes where peers reach a member.
        update_member(id: u64, peer_urls: Vec<String>) -> Vec<v1::Member>,
        update_member, v1::UpdateMemberRequest { id, peer_urls }, |answer| answer.members
    );
    administer!(
        /// Hands leadership to a voter (0: to the most up to date).
        move_leader(target: u64) -> (), move_leader, v1::MoveLeaderRequest { target }, |_answer| ()
    );

    pub(crate) async fn serializable_members(&self) -> Result<Vec<v1::Member>> {
        let options =
            v1::ReadOptions { consistency: v1::Consistency::Serializable.into(), ..Default::default() };
        let request = v1::ListMembersRequest { options: Some(options) };
        let connection = self.inner.endpoints.connection().await?;
        let answer = ClusterClient::new(connection.channel).list_members(request).await;
        Ok(answer.map_err(|status| Error::from_status(&status))?.into_inner().members)
    }

    /// What one endpoint says of itself. No retries, no failover.
    pub async fn status_of(&self, endpoint: &str, patience: Duration) -> Result<v1::StatusResponse> {
        let ask = async {
            let dialing = Dialing { timeout: patience, ..self.inner.options.dialing };
            let single = crate::endpoints::Endpoints::new(vec![endpoint.to_owned()], 0, dialing)?;
            let connection = single.connection().await?;
            let answer = MaintenanceClient::new(connection.channel).status(v1::StatusRequest {}).await;
            answer.map(tonic::Response::into_inner).map_err(|status| Error::from_status(&status))
        };
        let late = |_| Error::Unknown { message: format!("{endpoint} did not answer within {patience:?}") };
        tokio::time::timeout(patience, ask).await.map_err(late)?
    }

    /// Forgets history up to `revision` (0: up to the current one). Returns the current revision.
    pub async fn compact(&self, revision: u64) -> Result<u64> {
        let answer = self
            .call(false, |connection| async move {
                MaintenanceClient::new(connection.channel).compact(v1::CompactRequest { revision }).await
            })
            .await?;
        Ok(answer.header.unwrap_or_default().revision)
    }

    /// The endpoint's whole state as one checked file, in chunks.
    pub async fn snapshot(&self) -> Result<impl Stream<Item = Result<v1::SnapshotChunk>>> {
        use futures::StreamExt;
        let stream = self
            .call(true, |connection| async move {
                MaintenanceClient::new(connection.channel)
                    .max_decoding_message_size(crate::endpoints::MESSAGE_BYTES_MAX)
                    .snapshot(v1::SnapshotRequest {})
                    .await
            })
            .await?;
        Ok(stream.map(|chunk| chunk.map_err(|status| Error::from_status(&status))))
    }

    /// One live session, with the keys it owns.
    pub async fn session_record(&self, session: u64) -> Result<Option<v1::SessionRecord>> {
        use oarlock_proto::v1::sessions_client::SessionsClient;
        let request = v1::GetSessionRequest { session, want_attached: true, options: None };
        let answer =
            self.call(true, |connection| async move {
                SessionsClient::new(connection.channel).get(request).await
            })
            .await;
        match answer {
            Ok(answer) => Ok(answer.session),
            Err(Error::Rejected { code: v1::ErrorCode::SessionNotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of the live sessions with ids above `after`, and whether there are more.
    pub async fn sessions(&self, after: u64, limit: u64) -> Result<(Vec<v1::SessionRecord>, bool)> {
        use oarlock_proto::v1::sessions_client::SessionsClient;
        let request = v1::ListSessionsRequest { after, limit, options: None };
        let answer =
            self.call(true, |connection| async move {
                SessionsClient::new(connection.channel).list(request).await
            })
            .await?;
        Ok((answer.sessions, answer.more))
    }

    /// Ends a session, whoever holds it, and removes what it owns.
    pub async fn close_session(&self, session: u64) -> Result<()> {
        use oarlock_proto::v1::sessions_client::SessionsClient;
        let request = v1::CloseSessionRequest { session, ..Default::default() };
        self.call(true, |connection| {
            let request = request.clone();
            async move { SessionsClient::new(connection.channel).close(request).await }
        })
        .await?;
        Ok(())
    }
}
