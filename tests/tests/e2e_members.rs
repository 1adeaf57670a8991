//! Joining, removal, restart and shutdown of real processes.

use oarlock_proto::v1::{self, cluster_client::ClusterClient};
use oarlock_tests::cluster::{Cluster, Node, NodeOptions, call, put, read};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_joins_becomes_a_voter_and_is_removed() {
    let mut cluster = Cluster::start(3, &[]).await;
    put(&cluster.nodes[0], "/before", b"1", 0).await.expect("a put succeeds");
    let fourth = cluster.join("n4").await;
    cluster.wait_ready(PATIENCE).await;
    let record = read(&cluster.nodes[fourth], "/before").await.expect("the new member serves reads");
    assert_eq!(record.expect("it has what was written before it joined").value, "1");
    let deadline = Instant::now() + PATIENCE;
    let id = loop {
        let members = cluster.members(0).await;
        let member = members.iter().find(|member| member.name == "n4").expect("it is a member");
        if !member.learner {
            break member.id;
        }
        assert!(Instant::now() < deadline, "the learner was not promoted: {members:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    call(PATIENCE, || async {
        let channel = cluster.nodes[0].channel().await?;
        ClusterClient::new(channel).remove_member(v1::RemoveMemberRequest { id }).await
    })
    .await
    .expect("a member can be removed");
    assert_eq!(cluster.members(0).await.len(), 3);
    let exit = cluster.nodes[fourth].wait_exit(PATIENCE).await;
    assert!(exit.is_some(), "a removed member stops; see {}", cluster.nodes[fourth].log_path().display());
    cluster.nodes[fourth].kill();
    put(&cluster.nodes[1], "/after", b"2", 0).await.expect("the rest goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_can_be_removed() {
    let mut cluster = Cluster::start(3, &[]).await;
    let leader = cluster.leader().await;
    let id =
        cluster.nodes[leader].status().await.expect("it answers").header.expect("always there").member_id;
    let other = (leader + 1) % 3;
    call(PATIENCE, || async {
        let channel = cluster.nodes[other].channel().await?;
        ClusterClient::new(channel).remove_member(v1::RemoveMemberRequest { id }).await
    })
    .await
    .expect("the leader can be removed through another member");
    assert!(cluster.nodes[leader].wait_exit(PATIENCE).await.is_some(), "a removed leader stops");
    cluster.nodes[leader].kill();
    call(PATIENCE, || async { put(&cluster.nodes[other], "/k", b"v", 0).await.map(tonic::Response::new) })
        .await
        .expect("two members are a quorum of two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_keeps_serving() {
    let mut cluster = Cluster::start(3, &[]).await;
    for round in 0..3_usize {
        let value = round.to_string();
        put(&cluster.nodes[(round + 1) % 3], "/round", value.as_bytes(), 0).await.expect("a put succeeds");
        assert!(cluster.nodes[round].stop(PATIENCE).await, "SIGTERM ends with exit code 0");
        let other = (round + 1) % 3;
        let key = format!("/while-{round}-is-down");
        call(PATIENCE, || async {
            put(&cluster.nodes[other], &key, b"v", 0).await.map(tonic::Response::new)
        })
        .await
        .expect("the rest goes on");
        cluster.nodes[round].start();
        cluster.wait_ready(PATIENCE).await;
        let record = read(&cluster.nodes[round], &key).await.expect("it serves again");
        assert!(record.is_some(), "it has what was written while it was down");
    }
    cluster.wait_equal_digests(PATIENCE).await;
}

/// A node of its own directory that starts with another's options, changed by `change`.
fn double(cluster: &Cluster, of: usize, change: impl FnOnce(&mut NodeOptions)) -> Node {
    let mut options = cluster.nodes[of].options.clone();
    options.data_dir = cluster.directory().join("double");
    change(&mut options);
    let mut node = Node::new(options);
    node.start();
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_with_one_name_cannot_both_run() {
    let cluster = Cluster::start(3, &[]).await;
    let other_address = |options: &mut NodeOptions| (options.client_port, options.peer_port) = (1, 2);
    for (change, words) in [(None, "already in use"), (Some(other_address), "must be the same")] {
        let mut double = double(&cluster, 0, |options| change.into_iter().for_each(|change| change(options)));
        let code = double.wait_exit(PATIENCE).await.expect("it ends by itself");
        assert_ne!(code, 0);
        let log = double.log();
        assert!(log.to_lowercase().contains(words), "the log does not say why: {log}");
    }
    put(&cluster.nodes[0], "/k", b"v", 0).await.expect("the first goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_token_is_refused_by_name() {
    let mut cluster = Cluster::start(3, &[]).await;
    cluster.nodes[0].kill();
    let token = |options: &mut NodeOptions| {
        options.initial_token = "other".into();
    };
    let stranger = double(&cluster, 0, token);
    let deadline = Instant::now() + PATIENCE;
    while !stranger.log().contains("see --initial-cluster and --initial-cluster-token of both") {
        assert!(Instant::now() < deadline, "its log does not say why it is alone: {}", stranger.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!stranger.is_ready().await, "it must not serve");
    put(&cluster.nodes[1], "/k", b"v", 0).await.expect("the others go on");
    assert!(cluster.nodes[1].log().contains("connection refused"), "the others say so, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_directory_does_not_come_back_as_if_nothing_had_happened() {
    let mut cluster = Cluster::start(3, &[]).await;
    put(&cluster.nodes[0], "/k", b"v", 0).await.expect("a put succeeds");
    cluster.nodes[2].kill();
    std::fs::remove_dir_all(&cluster.nodes[2].options.data_dir).expect("the disk is lost");
    cluster.nodes[2].start();
    let code = cluster.nodes[2].wait_exit(PATIENCE).await.expect("it ends by itself");
    assert_ne!(code, 0);
    let log = cluster.nodes[2].log();
    assert!(log.contains("add it anew"), "the log does not say what to do: {log}");
}
