//! The stories' language.
//!
//! | command | deed |
//! | --- | --- |
//! | `cluster 1 2 3 learner=4` | members with an empty log and this configuration |
//! | `join 4` | a member that knows nothing |
//! | `campaign 1`, `tick 1`, `run 20` | an election now; a tick of one, of all with deliveries |
//! | `propose 1 a b` | one entry that puts `a` and `b` |
//! | `read 1 7` | confirm read 7 |
//! | `member 1 learn=4 vote=4 remove=2` | change the membership |
//! | `transfer 1 2`, `abdicate 1` | hand leadership over |
//! | `cut 1`, `heal` | a member's packets are lost; no longer |
//! | `hold 1 2`, `pass 1 2`, `release 1 2` | packets from 1 to 2 wait; but one; no longer |
//! | `deliver` | deliver until nothing is on its way |
//! | `flush 1`, `checkpoint 1`, `truncate 1 keep=0` | make the state durable; offer it; forget log |
//! | `crash 1`, `crash-at-install 1`, `start 1` | power cut, now or amid an installation; power |
//! | `wipe 1`, `lose 1 5`, `break 1` | an empty disk; it forgets entries after 5; it fails |
//! | `status` | what each member knows |
//!
//! After each command that changes something everything is delivered, unless it has the tag
//! `[still]`.

use super::network::Network;
use super::node::{Node, describe_conf};
use super::{learner, put, voter};
use crate::consensus::{MembershipProposal, conf};
use bytes::Bytes;
use goldenscript::{Argument, Command, Context, Runner};
use oarlock_state::{NodeId, ProposalId};
use std::error::Error;

type Outcome = Result<(), Box<dyn Error>>;

#[derive(Default)]
struct Story {
    network: Network,
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let words: Vec<&str> = command.args.iter().filter_map(positional).collect();
        let keys: Vec<(&str, &str)> = command.args.iter().filter_map(key_value).collect();
        self.act(&command.name, &words, &keys)?;
        if !context.tags.contains("still") {
            self.network.stabilize();
        }
        Ok(self.network.take_report())
    }
}

impl Story {
    fn act(&mut self, name: &str, words: &[&str], keys: &[(&str, &str)]) -> Outcome {
        let first = || number(words.first().copied().unwrap_or_default());
        match name {
            "cluster" => self.cluster(words, keys),
            "join" => self.join(first()?),
            "run" => {
                (0..first()?).for_each(|_| self.network.tick_all());
                Ok(())
            }
            "deliver" => Ok(()),
            "status" => {
                self.status();
                Ok(())
            }
            "heal" => {
                self.network.heal();
                Ok(())
            }
            "cut" => {
                self.network.cut(first()?);
                Ok(())
            }
            "hold" | "release" | "pass" => {
                let (from, to) = (first()?, number(words[1])?);
                match name {
                    "hold" => self.network.hold(from, to),
                    "release" => self.network.release(from, to),
                    _ => self.network.pass(from, to),
                }
                Ok(())
            }
            "crash" | "crash-at-install" | "start" | "wipe" | "lose" | "break" | "flush" | "checkpoint"
            | "truncate" => self.treat(name, first()?, words, keys),
            "campaign" | "tick" | "propose" | "read" | "member" | "transfer" | "abdicate" => {
                let id = first()?;
                self.tell(name, id, words, keys)?;
                self.network.settle(id);
                Ok(())
            }
            _ => Err(format!("there is no command {name}").into()),
        }
    }

    fn cluster(&mut self, words: &[&str], keys: &[(&str, &str)]) -> Outcome {
        let voters = words.iter().map(|id| number(id).map(NodeId)).collect::<Result<Vec<_>, _>>()?;
        let learners = keys.iter().map(|(_, id)| number(id).map(NodeId)).collect::<Result<Vec<_>, _>>()?;
        let conf_state = conf::initial(&voters, &learners);
        for node in voters.iter().chain(&learners) {
            self.add(Node::new(node.get(), (1, 1), conf_state.clone()))?;
        }
        Ok(())
    }

    fn join(&mut self, id: u64) -> Outcome {
        self.add(Node::new(id, (0, 0), Bytes::new()))
    }

    fn add(&mut self, mut node: Node) -> Outcome {
        node.start()?;
        self.network.nodes.insert(node.id.get(), node);
        Ok(())
    }

    /// Tells a replica something.
    fn tell(&mut self, name: &str, id: u64, words: &[&str], keys: &[(&str, &str)]) -> Outcome {
        let second = || number(words.get(1).copied().unwrap_or_default());
        if name == "read" {
            return Ok(self.network.read(id, second()?)?);
        }
        let replica = self.network.replica(id);
        match name {
            "campaign" => replica.campaign(),
            "tick" => replica.tick(),
            "propose" => {
                let proposals = words[1..].iter().map(|key| put(key)).collect();
                replica.propose(1000, proposals).map_err(|(_, reason)| reason)?;
            }
            "member" => replica.propose_membership(membership(keys)?)?,
            "transfer" => replica.transfer_leader(NodeId(second()?))?,
            "abdicate" => {
                let successor = replica.abdicate()?;
                self.network.say(format_args!("{id} hands over to {successor}"));
            }
            _ => unreachable!("`act` names the commands"),
        }
        Ok(())
    }

    /// Does something to a member's disk or power.
    fn treat(&mut self, name: &str, id: u64, words: &[&str], keys: &[(&str, &str)]) -> Outcome {
        let node = self.network.node(id);
        match name {
            "crash" => node.crash(),
            "crash-at-install" => self.network.crash_at_install = Some(id),
            "start" => node.start()?,
            "wipe" => node.wipe(),
            "lose" => node.log.lose_after(number(words[1])?),
            "break" => node.log.break_down(),
            "flush" => node.durable = node.state.clone(),
            "checkpoint" => self.network.checkpoint(id),
            "truncate" => self.truncate(id, keys)?,
            _ => unreachable!("`act` names the commands"),
        }
        Ok(())
    }

    fn truncate(&mut self, id: u64, keys: &[(&str, &str)]) -> Outcome {
        let node = self.network.node(id);
        if let Some((_, keep)) = keys.first() {
            node.keep = number(keep)?;
        }
        node.durable = node.state.clone();
        let (applied, keep) = (node.state.applied, node.keep);
        let replica = self.network.replica(id);
        replica.keep_entries(keep);
        replica.durable_to(applied)?;
        let numbers = replica.numbers();
        self.network.say(format_args!("{id} holds {} to {}", numbers.first, numbers.last));
        Ok(())
    }

    fn status(&mut self) {
        let ids: Vec<u64> = self.network.nodes.keys().copied().collect();
        for id in ids {
            let Some(replica) = &self.network.node(id).replica else {
                self.network.say(format_args!("{id} is down"));
                continue;
            };
            let (part, numbers) = (replica.leadership(), replica.numbers());
            let line = format!(
                "{id} {:?} term {} leader {} log {}..={} committed {} {}",
                part.role,
                part.term,
                part.leader,
                numbers.first,
                numbers.last,
                numbers.committed,
                describe_conf(&replica.conf_state()),
            );
            let learners = replica.caught_up_learners();
            let progress = replica.progress();
            self.network.say(line);
            for peer in progress {
                let ready = if learners.contains(&peer.node) { ", ready to vote" } else { "" };
                let state = match (peer.active, peer.snapshot) {
                    (true, false) => "active",
                    (true, true) => "active, gets a snapshot",
                    (false, _) => "silent",
                };
                self.network.say(format_args!("  {} has {}, {state}{ready}", peer.node, peer.matched));
            }
        }
    }
}

fn membership(keys: &[(&str, &str)]) -> Result<MembershipProposal, Box<dyn Error>> {
    let mut change =
        MembershipProposal { id: ProposalId { count: 1, ..ProposalId::default() }, ..Default::default() };
    for (key, id) in keys {
        let id = number(id)?;
        match *key {
            "learn" => change.put.push(learner(id)),
            "vote" => change.put.push(voter(id)),
            "remove" => change.remove.push(NodeId(id)),
            _ => return Err(format!("a member cannot {key}").into()),
        }
    }
    Ok(change)
}

fn positional(argument: &Argument) -> Option<&str> {
    match argument {
        Argument::Positional(word) => Some(word),
        _ => None,
    }
}

fn key_value(argument: &Argument) -> Option<(&str, &str)> {
    match argument {
        Argument::KeyValue(key, value) => Some((key, value)),
        _ => None,
    }
}

fn number(text: &str) -> Result<u64, Box<dyn Error>> {
    text.parse().map_err(|_| format!("{text:?} is no number").into())
}

/// Asked when the tests run, not when they are compiled: clones share what is compiled.
fn scripts() -> String {
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    format!("{package}/scripts/replica")
}

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let path = format!("{}/{}", scripts(), stringify!($name));
                goldenscript::run(&mut Story::default(), path).expect("the story is well-formed");
            }
        )*

        #[test]
        fn every_story_is_told() {
            let mut told = vec![$(stringify!($name).to_owned()),*];
            let files = std::fs::read_dir(scripts()).expect("the scripts are there");
            let mut there: Vec<String> = files
                .map(|file| file.expect("the directory is readable").file_name().to_string_lossy().into_owned())
                .collect();
            told.sort();
            there.sort();
            assert_eq!(told, there);
        }
    };
}

stories!(
    broken_disk,
    conflicting_entries,
    crash_while_installing,
    dead_transfer_target,
    election,
    first_read_of_a_leader,
    handing_over,
    joint_change,
    late_read_answer,
    leader_removes_itself,
    learner_becomes_voter,
    lost_log,
    minority_cannot_commit,
    one_change_at_a_time,
    pre_vote,
    reads_fail_with_the_term,
    replication,
    restart,
    single_member,
    snapshot_for_a_laggard,
    snapshot_without_its_receiver,
    split_vote,
    truncation,
    unsafe_removal,
);
