//! A new cluster as each of its founders computes it, without asking the others.

use crate::config::{Founders, texts};
use crate::consensus::conf;
use bytes::Bytes;
use oarlock_state::command::Member;
use oarlock_state::{NodeId, digest};

/// What all founders of one cluster agree on because they were started with the same settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    /// Tells the cluster from every other.
    pub cluster_id: u64,
    /// The founders, all of them voters, by id.
    pub members: Vec<Member>,
    /// Consensus's first configuration.
    pub conf_state: Bytes,
}

impl Founding {
    /// The cluster of these founders. Equal arguments give equal clusters; another token gives
    /// another cluster with other members' ids.
    pub fn new(token: &str, founders: &Founders) -> Self {
        let mut members: Vec<Member> = founders
            .iter()
            .map(|(name, urls)| {
                let mut peer_urls = texts(urls);
                peer_urls.sort();
                Member {
                    node: NodeId(id(token, &format!("member {name} {}", peer_urls.join(",")))),
                    name: name.clone(),
                    peer_urls,
                    client_urls: Vec::new(),
                    learner: false,
                    stay_learner: false,
                    version: String::new(),
                }
            })
            .collect();
        members.sort_by_key(|member| member.node);
        let ids: Vec<NodeId> = members.iter().map(|member| member.node).collect();
        // In decimal whatever people are shown: how an id is displayed must not change clusters.
        let text: Vec<String> = ids.iter().map(|node| node.get().to_string()).collect();
        let cluster_id = id(token, &format!("cluster {}", text.join(",")));
        Self { cluster_id, conf_state: conf::initial(&ids, &[]), members }
    }

    /// Id of the founder of this name.
    pub fn id_of(&self, name: &str) -> Option<NodeId> {
        self.members.iter().find(|member| member.name == name).map(|member| member.node)
    }
}

/// A number made of words; never zero, which means "none".
fn id(token: &str, what: &str) -> u64 {
    // The lower half of 128 well-mixed bits; the cut is wanted.
    (digest::record(token.as_bytes(), what.as_bytes()) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::founders;

    fn cluster(token: &str, text: &str) -> Founding {
        Founding::new(token, &founders(text).expect("well-formed"))
    }

    #[test]
    fn the_order_of_the_list_does_not_matter_and_everything_else_does() {
        let one = cluster("t", "a=http://h:1,b=http://h:2,b=http://h:3");
        assert_eq!(one, cluster("t", "b=http://h:3,b=http://h:2,a=http://h:1"));
        let others = ["a=http://h:1,b=http://h:2", "a=http://h:1,c=http://h:2,c=http://h:3"];
        for other in others.map(|text| cluster("t", text)) {
            assert_ne!(one.cluster_id, other.cluster_id);
        }
        let other = cluster("u", "a=http://h:1,b=http://h:2,b=http://h:3");
        assert!(one.cluster_id != other.cluster_id && one.id_of("a") != other.id_of("a"));
        assert_eq!(one.id_of("c"), None);
    }

    /// Founders of different releases must compute the same.
    #[test]
    fn the_ids_are_pinned() {
        let cluster = cluster("oarlock-cluster", "n1=http://127.0.0.1:2380");
        let ids = (cluster.cluster_id, cluster.members[0].node.get());
        assert_eq!(ids, (16_013_424_117_585_701_009, 17_034_525_073_053_077_895));
    }
}
