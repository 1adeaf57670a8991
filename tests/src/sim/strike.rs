//! Faults strike, and are undone.

use super::client::silence;
use super::coverage::MOMENT;
use super::disk::Trouble;
use super::faults::Fault;
use super::ledger::Ledger;
use super::network::{Place, Shape, Weather};
use super::node::{Node, Tuning, peer_url};
use super::queue::{MS, SECOND, Time};
use super::world::{Alive, Conn, Happening, Undo, World};
use crate::checks::Checked;
use oarlock_server::node::request::{Admin, Request, Write};
use oarlock_state::{Command, NodeId, Revision};
use std::collections::BTreeMap;

/// Members that a cluster has at most, learners included.
const MEMBERS_MAX: usize = 6;

/// Counts removals of members that were asked for.
const REMOVAL_ASKED: &str = "membership: removal asked";

impl World {
    /// Weather that lasts for the whole phase.
    pub(super) fn foul_weather(&mut self) {
        let mut weather = Weather::default();
        for fault in Fault::ALL {
            // Each draws its own, so that one can be left out without a change of the others.
            let mut chance = self.chance.fork();
            if !self.mix.knows(fault) {
                continue;
            }
            match fault {
                Fault::SlowLinks => {
                    weather.delay_us = chance.between(1, 30) * MS;
                    weather.jitter_us = chance.between(1, 60) * MS;
                }
                Fault::Drop => weather.drop_permille = chance.between(5, 150),
                Fault::Duplicate => weather.duplicate_permille = chance.between(5, 300),
                Fault::Reorder => weather.reorder_permille = chance.between(5, 300),
                Fault::ClockSkew => {}
                _ => continue,
            }
            self.stats.count(&format!("fault: {fault:?}"));
            self.coverage.strike(fault, Time::MAX);
        }
        self.network.weather = weather;
    }

    /// The next fault of the mix strikes, and the one after is planned.
    pub(super) fn strike_next(&mut self) -> Checked {
        if self.healing {
            return Ok(());
        }
        self.last_strike += 1;
        let number = self.last_strike;
        let own = self.mix.chance_of(number);
        let others = std::mem::replace(&mut self.chance, own);
        let pause = self.chance.exponential(self.mix.pause) + 10 * MS;
        self.queue.after(pause, Happening::Strike);
        let fault = self.mix.next_strike(&mut self.chance);
        let struck = match fault.filter(|fault| self.mix.knows(*fault)) {
            Some(fault) if self.mix.limits.allow_strike(number) => {
                self.struck.push((number, fault));
                self.lasts = MOMENT;
                let struck = self.strike(fault);
                self.coverage.strike(fault, self.queue.now() + self.lasts);
                struck
            }
            _ => Ok(()),
        };
        self.chance = others;
        struck
    }

    fn strike(&mut self, fault: Fault) -> Checked {
        let running: Vec<u64> = self.nodes.values().filter(|n| n.process.is_some()).map(|n| n.id).collect();
        if running.is_empty() {
            return Ok(());
        }
        // Whoever leads is the most rewarding victim.
        let leader = self.leaders.iter().max_by_key(|(_, term)| **term).map(|(id, _)| *id);
        let victim = match leader.filter(|id| running.contains(id)) {
            Some(id) if self.chance.one_in(2) => id,
            _ => *self.chance.pick(&running),
        };
        self.stats.count(&format!("fault: {fault:?}"));
        self.trace.note(format_args!("strike {} {fault:?} {victim}", self.last_strike));
        match fault {
            Fault::Kill => self.crash(victim, true)?,
            Fault::PowerCut => self.crash(victim, false)?,
            Fault::Blackout => {
                for id in running {
                    self.crash(id, false)?;
                }
            }
            Fault::PowerCutInWrite | Fault::SyncFails | Fault::DiskFull => self.disk_trouble(fault, victim),
            Fault::LostWrite | Fault::MisplacedWrite => self.disk_lies(fault, victim),
            Fault::LostDisk => self.lose_disk(victim)?,
            Fault::RestartStorm => self.restart_storm(&running),
            Fault::SnapshotCrash => self.doomed_snapshots += 1,
            Fault::IsolateLeader => self.isolate(leader.unwrap_or(victim)),
            Fault::Swizzle => self.swizzle(running),
            Fault::Freeze => self.freeze(victim),
            Fault::TickStall => {
                let until = self.queue.now() + self.stability() + 2 * SECOND;
                if let Some(process) = self.nodes.get_mut(&victim).and_then(|node| node.process.as_mut()) {
                    process.no_ticks_until = until;
                }
                if self.chance.one_in(2) {
                    // Alone with its clock: it has no way to notice that it was deposed.
                    self.isolate(victim);
                }
            }
            Fault::SlowSync => {
                let until = self.queue.now() + self.stability();
                self.slow.insert(victim, until);
            }
            Fault::Rot => self.rot(),
            Fault::ClockJump => {
                let to = self.chance.between(0, 600_000) as i64 - 300_000;
                if let Some(node) = self.nodes.get_mut(&victim) {
                    node.clock.jump(to);
                }
            }
            Fault::Partition | Fault::Clog | Fault::ClientCut => self.cut_links(fault, victim),
            Fault::MoveLeader => self.admin(Admin::MoveLeader(NodeId(0))),
            Fault::Membership => self.change_membership(),
            Fault::Compaction => self.compact(),
            Fault::Silence | Fault::ClientFreeze | Fault::ClientDeath => self.strike_client(fault),
            Fault::SlowLinks | Fault::Drop | Fault::Duplicate | Fault::Reorder | Fault::ClockSkew => {}
        }
        Ok(())
    }

    fn strike_client(&mut self, fault: Fault) {
        let position = self.chance.below(self.clients.len() as u64) as usize;
        let until = self.queue.now() + silence(&mut self.chance);
        match fault {
            Fault::ClientFreeze => self.clients[position].frozen_until = until,
            Fault::ClientDeath => self.with_client(position, super::client::Client::die),
            _ => self.clients[position].silent_until = until,
        }
    }

    /// How long something lasts. The strike that is under way counts as in force for as long.
    pub(super) fn stability(&mut self) -> Time {
        let lasts = self.chance.exponential(self.mix.stability) + 50 * MS;
        self.lasts = self.lasts.max(lasts);
        lasts
    }

    fn disk_trouble(&mut self, fault: Fault, victim: u64) {
        let operations = self.chance.below(12);
        let bytes = self.chance.below(8 << 10);
        let Some(node) = self.nodes.get(&victim) else { return };
        match fault {
            Fault::SyncFails => node.disk.arm(Trouble::SyncFails),
            Fault::DiskFull => node.disk.arm(Trouble::Full { bytes }),
            _ if self.chance.one_in(4) => node.base.arm(operations % 2),
            _ => node.disk.arm(Trouble::PowerCut { operations }),
        }
    }

    fn isolate(&mut self, victim: u64) {
        for other in self.nodes.keys().copied().filter(|other| *other != victim) {
            self.network.cut(Place::Node(victim), Place::Node(other));
        }
        let undo_after = self.stability() + 2 * SECOND;
        self.queue.after(undo_after, Happening::Undo(Undo::Members));
    }

    fn freeze(&mut self, victim: u64) {
        let until = self.queue.now() + self.stability() + self.chance.below(2 * SECOND);
        if let Some(process) = self.nodes.get_mut(&victim).and_then(|node| node.process.as_mut()) {
            // Its next round was planned for the end of an earlier freeze: a later one does not shorten that.
            process.frozen_until = process.frozen_until.max(until);
        }
    }

    fn cut_links(&mut self, fault: Fault, victim: u64) {
        let undo_after = self.stability();
        let running: Vec<u64> = self.nodes.values().filter(|n| !n.retired).map(|n| n.id).collect();
        match fault {
            Fault::Partition => {
                if self.chance.one_in(2) {
                    self.network.heal_members();
                }
                let shape = *self.chance.pick(&Shape::ALL);
                self.stats.count(&format!("partition: {shape:?}"));
                self.network.partition(shape, &running, &mut self.chance);
                self.queue.after(undo_after, Happening::Undo(Undo::Members));
            }
            Fault::Clog => {
                let other = *self.chance.pick(&running);
                let until = self.queue.now() + undo_after;
                self.network.clog(Place::Node(victim), Place::Node(other), until);
            }
            _ => {
                let client = self.chance.below(self.clients.len() as u64);
                self.network.cut(Place::Client(client), Place::Node(victim));
                self.queue.after(undo_after, Happening::Undo(Undo::Client(client, victim)));
            }
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Members => self.network.heal_members(),
            Undo::Attach(node) => self.attach(node),
            Undo::Client(client, node) => {
                self.network.open(Place::Client(client), Place::Node(node));
                self.network.open(Place::Node(node), Place::Client(client));
            }
        }
    }

    /// A process dies, with its machine unless `kill`; a part of what its last round wanted done
    /// is done. It starts again after a while.
    pub(super) fn crash(&mut self, id: u64, kill: bool) -> Checked {
        if self.alive(id).is_none() {
            return Ok(());
        }
        self.fall(id, kill)?;
        let delay = if self.healing { 100 * MS } else { self.stability() };
        self.queue.after(delay, Happening::Start(id));
        Ok(())
    }

    /// A process dies as in [`crash`](Self::crash), and stays down.
    pub(super) fn fall(&mut self, id: u64, kill: bool) -> Checked {
        let Some(alive) = self.alive(id) else { return Ok(()) };
        self.take_notes(id)?;
        let mut held = match self.nodes.get_mut(&id).and_then(|node| node.process.as_mut()) {
            Some(process) => std::mem::take(&mut process.held),
            None => Vec::new(),
        };
        held.truncate(self.chance.below(held.len() as u64 + 1) as usize);
        self.effects(alive, held)?;
        self.stop(id, kill);
        self.trace.note(format_args!("crash {id} {}", if kill { "killed" } else { "without power" }));
        Ok(())
    }

    fn stop(&mut self, id: u64, kill: bool) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.crash(&mut self.chance, kill);
        }
        self.leaders.remove(&id);
        self.applied.remove(&id);
        let broken: Vec<u64> =
            self.conns.iter().filter(|(_, c)| c.node == id && !c.broken).map(|(n, _)| *n).collect();
        for conn in broken {
            self.break_conn(conn);
        }
    }

    /// A member left the cluster.
    pub(super) fn stop_for_good(&mut self, id: u64) {
        self.stop(id, true);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.retired = true;
        }
    }

    /// A member's storage refused: the process has to stop, whatever the reason.
    pub(super) fn round_failed(&mut self, id: u64, reason: &str) -> Checked {
        let struck = self.nodes.get(&id).and_then(|node| node.disk.take_struck());
        let name =
            struck.unwrap_or(if reason.contains("power") { "power cut of the state" } else { "damage" });
        self.stats.count(&format!("storage: stopped by {name}"));
        self.trace.note(format_args!("storage of {id} failed: {reason}"));
        if name == "damage" {
            // Nothing was broken here except by rot, which the running process may meet as well.
            if let Some(node) = self.nodes.get_mut(&id)
                && self.rotten.contains_key(&id)
            {
                node.retired = true;
            }
        }
        self.crash(id, !name.starts_with("power"))
    }

    /// A bit flips on the log disk of a stopped member.
    fn rot(&mut self) {
        let stopped = self.nodes.values().find(|node| node.process.is_none() && !node.retired);
        let Some(node) = stopped.filter(|_| self.may_lose_one()) else { return };
        if let Some(path) = node.disk.rot(&mut self.chance) {
            self.trace.note(format_args!("rot {} {}", node.id, path.display()));
            self.rotten.insert(node.id, path.display().to_string());
        }
    }

    /// Whether a member's disk may fail for good: of one member in a run, so that a quorum of
    /// undamaged ones remains.
    pub(super) fn may_lose_one(&self) -> bool {
        // A removal may still be on its way through the log, and leave two of which one is lost.
        let removals = self.stats.get(REMOVAL_ASKED);
        let voters = self.members.iter().filter(|member| !member.learner).count();
        removals == 0 && self.rotten.is_empty() && voters >= 3
    }

    /// Asks a random member to change the cluster. Nobody waits for the answer.
    pub(super) fn admin(&mut self, change: Admin) {
        self.anonymous(Request::Admin(change));
    }

    /// Sends a request to a random running member, from nobody.
    pub(super) fn anonymous(&mut self, request: Request) {
        let running: Vec<Alive> = self.nodes.keys().filter_map(|id| self.alive(*id)).collect();
        if running.is_empty() {
            return;
        }
        let alive = *self.chance.pick(&running);
        self.next_conn += 1;
        let conn = Conn { client: usize::MAX, node: alive.node, life: Some(alive.life), broken: false };
        self.conns.insert(self.next_conn, conn);
        self.queue.after(MS, Happening::Ask { conn: self.next_conn, tag: 1, request });
    }

    fn change_membership(&mut self) {
        let ids: Vec<u64> = self.members.iter().map(|member| member.node.get()).collect();
        let learner = self.members.iter().find(|member| member.learner).map(|member| member.node);
        let choice = self.chance.below(4);
        if let Some(learner) = learner.filter(|_| choice == 0) {
            return self.admin(Admin::PromoteMember(learner));
        }
        if ids.len() < MEMBERS_MAX && (choice < 3 || ids.len() <= 2) {
            let stay_learner = self.chance.one_in(6);
            return self.add_member(stay_learner);
        }
        // With a lost member a removal may take the quorum away, which is an operator's mistake.
        if ids.len() > 1 && self.rotten.is_empty() {
            let gone = *self.chance.pick(&ids);
            self.stats.count(REMOVAL_ASKED);
            self.admin(Admin::RemoveMember(NodeId(gone)));
        }
    }

    /// Asks for a member on a new machine.
    pub(super) fn add_member(&mut self, stay_learner: bool) {
        self.machines += 1;
        let peer_urls = vec![peer_url(self.machines)];
        self.admin(Admin::AddMember { peer_urls, name: String::new(), stay_learner });
    }

    fn compact(&mut self) {
        let back = if self.chance.one_in(2) { 0 } else { self.chance.below(30) };
        let revision = Revision(self.ledger.revision.saturating_sub(back));
        self.anonymous(Request::Write(Write::of(Command::Compact { revision })));
    }
}

/// Whether a member must not start because its log was damaged: found by itself (it refuses), or
/// the damage hit the very last write, which looks torn. Returns what to count.
pub(super) fn lost_by_rot(
    node: &Node,
    tuning: &Tuning,
    ledger: &Ledger,
    rotten: &BTreeMap<u64, String>,
) -> Option<&'static str> {
    rotten.get(&node.id)?;
    match node.log_on_disk(tuning) {
        None => Some("rot: found at start"),
        // Nothing that it has promised counts, whatever its log still holds.
        Some(_) if node.disk.has_lied() => Some("rot: a write that was acknowledged is gone"),
        Some(log) => ledger.lost(node.id, &log).map(|_| "rot: in the last write, looks torn"),
    }
}
