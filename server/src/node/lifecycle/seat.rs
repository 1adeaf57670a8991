//! Which member of which cluster this process is.

use super::StartError;
use crate::config::{Config, Founders, Start, Url, texts};
use crate::log_format::{member_from_proto, member_to_proto};
use crate::node::founding::Founding;
use crate::peer::Local;
use crate::peer::probe::probe;
use crate::storage::StorageError;
use crate::storage::data_dir::{DataDir, Identity};
use oarlock_proto::internal::log::Membership;
use oarlock_proto::internal::peer::ProbeReply;
use oarlock_proto::v1;
use oarlock_proto::v1::cluster_client::ClusterClient;
use oarlock_state::NodeId;
use oarlock_state::command::Member;
use prost::Message;
use slog::{Logger, info, warn};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Attempts to find the cluster, with a pause between them: members may be starting together.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);
/// How long one answer of a cluster may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How this process comes to its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Birth {
    /// It founds the cluster with others.
    Founder(Founding),
    /// It was added to a running cluster and has yet to hear anything.
    Newcomer,
    /// It has been here before.
    Returning,
}

/// A member's place in its cluster.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Cluster, member, name.
    pub identity: Identity,
    /// Members known before the state is, for the first connections.
    pub members: Vec<Member>,
    /// How it came about.
    pub birth: Birth,
}

impl Seat {
    /// Finds it: in the data directory, else as the settings say.
    ///
    /// # Errors
    /// A damaged directory, or a cluster that does not answer or does not want this member.
    pub async fn find(config: &Config, version: &'static str, logger: &Logger) -> Result<Self, StartError> {
        if let Some(marker) = DataDir::peek(&config.data_dir)? {
            let identity = Identity {
                cluster_id: marker.cluster_id,
                member_id: marker.member_id,
                name: config.name.clone(),
            };
            let members = recall(&config.data_dir)?;
            return Ok(Self { identity, members, birth: Birth::Returning });
        }
        match &config.start {
            Start::New { token, members } => {
                let seat = Self::found(config, token, members)?;
                seat.refuse_comeback(members, version).await?;
                Ok(seat)
            }
            Start::Existing { members } => Self::existing(config, members, version, logger).await,
            Start::Join { endpoint } => Self::join(config, endpoint, logger).await,
        }
    }

    fn found(config: &Config, token: &str, founders: &Founders) -> Result<Self, StartError> {
        let founding = Founding::new(token, founders);
        let own = founding.id_of(&config.name).ok_or_else(|| {
            StartError::not_joined(format!("--initial-cluster has no member {:?}", config.name))
        })?;
        Ok(Self {
            identity: identity(config, founding.cluster_id, own),
            members: founding.members.clone(),
            birth: Birth::Founder(founding),
        })
    }

    /// A founder without data is new, or it lost what it had. The others know: they have heard from
    /// whoever has run, and it has published itself in the state. What it voted and acknowledged then
    /// is lost with the data, so it must not take part under the same id.
    async fn refuse_comeback(&self, founders: &Founders, version: &'static str) -> Result<(), StartError> {
        let local = Local { cluster_id: 0, node: NodeId(0), version };
        let own = &self.identity;
        let others = founders.iter().filter(|(name, _)| **name != own.name).flat_map(|(_, urls)| urls);
        let answers = futures::future::join_all(others.map(|url| probe(&local, url))).await;
        let founded = |reply: &ProbeReply| reply.cluster_id == own.cluster_id && !reply.members.is_empty();
        for reply in answers.into_iter().flatten().filter(founded) {
            let known = reply.members.iter().find(|member| member.node == own.member_id);
            let what = match known {
                Some(member) if member.version.is_empty() && !reply.heard.contains(&own.member_id) => {
                    continue;
                }
                Some(_) => "has taken part in the cluster before, and its data directory is empty now",
                None => "was removed from the cluster",
            };
            return Err(StartError::not_joined(format!(
                "{:?} {what}. Its id is spent: remove the member if it is one still, and add it anew \
                 (`oarlock member add`, then --initial-cluster-state existing)",
                own.name
            )));
        }
        Ok(())
    }

    /// Asks the other members at their peer addresses which id `member add` gave to this one.
    async fn existing(
        config: &Config,
        founders: &Founders,
        version: &'static str,
        logger: &Logger,
    ) -> Result<Self, StartError> {
        let local = Local { cluster_id: 0, node: NodeId(0), version };
        let others: Vec<&Url> =
            founders.iter().filter(|(name, _)| **name != config.name).flat_map(|(_, urls)| urls).collect();
        let mut heard = None;
        for attempt in 1..=ATTEMPTS {
            for url in &others {
                match probe(&local, url).await {
                    Ok(reply) => {
                        let members = reply.members.into_iter().map(member_from_proto).collect();
                        match Self::among(config, reply.cluster_id, members) {
                            Some(seat) => return Ok(seat),
                            None => heard = Some((*url).clone()),
                        }
                    }
                    Err(error) if attempt == 1 => {
                        warn!(logger, "member does not answer"; "url" => %url, "error" => %error);
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        let own = texts(&config.addresses.advertise_peer).join(",");
        Err(StartError::not_joined(match heard {
            Some(url) => format!(
                "the cluster at {url} has no member with the peer addresses {own}; run `oarlock member add {own}` first"
            ),
            None => format!(
                "none of {} answers",
                others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        }))
    }

    /// Has this member added, unless it was before.
    async fn join(config: &Config, endpoint: &Url, logger: &Logger) -> Result<Self, StartError> {
        let mut last = String::new();
        for attempt in 1..=ATTEMPTS {
            match Self::ask_to_join(config, endpoint).await {
                Ok(seat) => {
                    info!(logger, "added to the cluster"; "member" => format!("{:016x}", seat.identity.member_id));
                    return Ok(seat);
                }
                Err(status) if is_passing(&status) => {
                    if attempt == 1 {
                        warn!(logger, "cannot join yet"; "endpoint" => %endpoint, "reason" => status.message());
                    }
                    last = status.message().to_owned();
                }
                Err(status) => {
                    return Err(StartError::not_joined(format!("{endpoint} refuses: {}", status.message())));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(StartError::not_joined(format!("{endpoint} does not take members in: {last}")))
    }

    async fn ask_to_join(config: &Config, endpoint: &Url) -> Result<Self, tonic::Status> {
        let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        let channel = tonic::transport::Endpoint::from_shared(endpoint.to_string())
            .map_err(unavailable)?
            .connect_timeout(ANSWER_TIME)
            .timeout(ANSWER_TIME)
            .connect()
            .await
            .map_err(unavailable)?;
        let mut cluster = ClusterClient::new(channel);
        let listed = cluster.list_members(v1::ListMembersRequest::default()).await?.into_inner();
        let members = listed.members.iter().map(listed_member).collect();
        if let Some(seat) = Self::among(config, cluster_of(listed.header.as_ref()), members) {
            return Ok(seat);
        }
        let request = v1::AddMemberRequest {
            peer_urls: texts(&config.addresses.advertise_peer),
            name: config.name.clone(),
            ..v1::AddMemberRequest::default()
        };
        let added = cluster.add_member(request).await?.into_inner();
        let members = added.members.iter().map(listed_member).collect();
        Self::among(config, cluster_of(added.header.as_ref()), members).ok_or_else(|| {
            tonic::Status::unavailable("the member was added, but is not among the members yet")
        })
    }

    /// The seat of the member with this process's peer addresses.
    fn among(config: &Config, cluster_id: u64, members: Vec<Member>) -> Option<Self> {
        let mut own = texts(&config.addresses.advertise_peer);
        own.sort();
        let found = members.iter().find(|member| {
            let mut urls = member.peer_urls.clone();
            urls.sort();
            urls == own
        })?;
        let identity = identity(config, cluster_id, found.node);
        Some(Self { identity, members, birth: Birth::Newcomer })
    }

    /// Writes down whom to connect to until the state says it.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn remember(&self, data_dir: &Path) -> Result<(), StorageError> {
        let path = seats_path(data_dir);
        let put = self.members.iter().map(member_to_proto).collect();
        let seats = Membership { put, ..Membership::default() };
        let written = std::fs::write(&path, seats.encode_to_vec())
            .and_then(|()| std::fs::File::open(&path)?.sync_all());
        written.map_err(|source| StorageError::Io { action: "write", path, source })
    }
}

fn recall(data_dir: &Path) -> Result<Vec<Member>, StorageError> {
    let path = seats_path(data_dir);
    match std::fs::read(&path) {
        // Only a first hint where the others are; the state knows better. A member that was restored
        // from a saved state has none.
        Ok(bytes) => {
            let seats = Membership::decode(&*bytes).unwrap_or_default();
            Ok(seats.put.into_iter().map(member_from_proto).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(StorageError::Io { action: "read", path, source }),
    }
}

fn seats_path(data_dir: &Path) -> PathBuf {
    data_dir.join("member").join("first-members")
}

fn identity(config: &Config, cluster_id: u64, node: NodeId) -> Identity {
    Identity { cluster_id, member_id: node.get(), name: config.name.clone() }
}

fn cluster_of(header: Option<&v1::Header>) -> u64 {
    header.map_or(0, |header| header.cluster_id)
}

/// Whether asking again may help.
fn is_passing(status: &tonic::Status) -> bool {
    use tonic::Code::{
        Aborted, Cancelled, DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable, Unknown,
    };
    matches!(
        status.code(),
        Aborted
            | Cancelled
            | DeadlineExceeded
            | FailedPrecondition
            | ResourceExhausted
            | Unavailable
            | Unknown
    )
}

fn listed_member(member: &v1::Member) -> Member {
    Member {
        node: NodeId(member.id),
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        learner: member.learner,
        // Not told, and of no interest to the one who joins.
        stay_learner: false,
        version: member.version.clone(),
    }
}
