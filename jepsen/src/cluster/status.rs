//! What servers say of themselves.

use super::CLIENT_PORT;
use super::kind::Kind;
use super::node::Node;
use oarlock_proto::etcd::etcdserverpb as etcd;
use oarlock_proto::v1::{self, maintenance_client::MaintenanceClient};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// What a node does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows, stands for election, or learns.
    Other,
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it does.
    pub role: Role,
    /// Its term, where it tells it.
    pub term: u64,
    /// How far it has applied the log.
    pub applied: u64,
    /// Digest of its state at that point; empty where it tells none.
    pub digest: String,
    /// Its version.
    pub version: String,
}

impl Kind {
    /// What a node says of itself; `None` if it does not answer.
    pub(super) async fn status(self, node: &Node) -> Option<Status> {
        let ask = async {
            match self {
                Self::Oarlock => oarlock(node).await,
                Self::Etcd => etcd(node).await,
                Self::Zookeeper => zookeeper(node).await,
            }
        };
        tokio::time::timeout(PATIENCE, ask).await.ok()?
    }

    /// Whether it serves.
    pub(super) async fn is_ready(self, node: &Node) -> bool {
        match self {
            Self::Oarlock | Self::Etcd => {
                let answer = tokio::time::timeout(PATIENCE, http_get(node, "/readyz")).await;
                answer.is_ok_and(|answer| answer.is_some_and(|text| text.starts_with("HTTP/1.1 200")))
            }
            Self::Zookeeper => self.status(node).await.is_some(),
        }
    }
}

pub(super) async fn channel(node: &Node) -> Option<Channel> {
    let endpoint = Endpoint::from_shared(node.listens_at()).ok()?;
    endpoint.connect_timeout(PATIENCE).timeout(PATIENCE * 5).connect().await.ok()
}

async fn oarlock(node: &Node) -> Option<Status> {
    let answer = MaintenanceClient::new(channel(node).await?).status(v1::StatusRequest {}).await;
    let status = answer.ok()?.into_inner();
    let role = match status.role() {
        v1::status_response::Role::Leader => Role::Leader,
        _ => Role::Other,
    };
    let term = status.header.map_or(0, |header| header.term);
    Some(Status { role, term, applied: status.applied_index, digest: status.digest, version: status.version })
}

async fn etcd(node: &Node) -> Option<Status> {
    use etcd::maintenance_client::MaintenanceClient;
    let mut client = MaintenanceClient::new(channel(node).await?);
    let status = client.status(etcd::StatusRequest {}).await.ok()?.into_inner();
    let own = status.header.map_or(0, |header| header.member_id);
    let hash = client.hash_kv(etcd::HashKvRequest::default()).await.ok()?.into_inner();
    Some(Status {
        role: if status.leader == own { Role::Leader } else { Role::Other },
        term: status.raft_term,
        applied: hash.header.map_or(0, |header| u64::try_from(header.revision).unwrap_or(0)),
        digest: format!("{:08x}", hash.hash),
        version: status.version,
    })
}

/// The four-letter commands `srvr` and `hash` ("Administrator's Guide"). The latter tells digests of some
/// states, those whose zxid is a multiple of 128, so that members can be compared at the last one.
async fn zookeeper(node: &Node) -> Option<Status> {
    let text = four_letters(node, "srvr").await?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mode = field("Mode:")?;
    let zxid = field("Zxid:").and_then(hexadecimal).unwrap_or(0);
    let (applied, digest) = last_digest(&four_letters(node, "hash").await?).unwrap_or((zxid, String::new()));
    Some(Status {
        role: if mode == "leader" { Role::Leader } else { Role::Other },
        term: zxid >> 32,
        applied,
        digest,
        version: field("Zookeeper version:").unwrap_or("").split(',').next().unwrap_or("").to_owned(),
    })
}

async fn four_letters(node: &Node, command: &str) -> Option<String> {
    let mut socket = tokio::net::TcpStream::connect((node.address, CLIENT_PORT)).await.ok()?;
    socket.write_all(command.as_bytes()).await.ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await.ok()?;
    Some(text)
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// Lines are of the form `zxid: digest`, in their order.
fn last_digest(told: &str) -> Option<(u64, String)> {
    let (zxid, digest) = told.lines().last()?.split_once(": ")?;
    Some((hexadecimal(zxid)?, digest.trim().to_owned()))
}

async fn http_get(node: &Node, path: &str) -> Option<String> {
    let mut socket = tokio::net::TcpStream::connect((node.address, CLIENT_PORT)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", node.address);
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digest_is_taken() {
        let told = "100000080: 2911376107\n200000100: 2911376108\n";
        assert_eq!(last_digest(told), Some((0x2_0000_0100, "2911376108".to_owned())));
        assert_eq!(last_digest(""), None);
        assert_eq!(last_digest("This ZooKeeper instance is not currently serving requests"), None);
    }
}
