//! Faults of several steps: storms of restarts, members that come and go one by one, snapshots whose
//! ends die, disks that lie or are lost.

use super::disk::Trouble;
use super::faults::Fault;
use super::network::Place;
use super::queue::{MS, SECOND, Time};
use super::world::{Happening, Undo, World};
use crate::checks::Checked;
use oarlock_server::node::request::Admin;
use oarlock_state::NodeId;

impl World {
    /// Members die again and again, each soon after it started.
    pub(super) fn restart_storm(&mut self, running: &[u64]) {
        let mut wait = 0;
        for _ in 0..self.chance.between(3, 10) {
            let node = *self.chance.pick(running);
            let kill = self.chance.one_in(2);
            let down = self.chance.between(20, 300) * MS;
            self.queue.after(wait, Happening::Crash { node, kill, down });
            wait += self.chance.exponential(400 * MS);
        }
        self.lasts = self.lasts.max(wait);
    }

    /// A member dies and starts again, unless the faults are over.
    pub(super) fn crash_for(&mut self, id: u64, kill: bool, down: Time) -> Checked {
        if self.healing || self.alive(id).is_none() {
            return Ok(());
        }
        self.fall(id, kill)?;
        self.queue.after(down, Happening::Start(id));
        Ok(())
    }

    /// Some members are cut off one after the other, and come back in another order (FoundationDB
    /// calls it a swizzled clog).
    pub(super) fn swizzle(&mut self, mut members: Vec<u64>) {
        self.chance.shuffle(&mut members);
        let count = self.chance.between(1, members.len() as u64);
        members.truncate(count as usize);
        let step = self.stability() / count;
        for (place, node) in (0..).zip(&members) {
            self.queue.after(place * step, Happening::Detach(*node));
        }
        let turn = count * step + self.chance.exponential(SECOND);
        self.chance.shuffle(&mut members);
        for (place, node) in (0..).zip(&members) {
            self.queue.after(turn + place * step, Happening::Undo(Undo::Attach(*node)));
        }
        self.lasts = self.lasts.max(turn + count * step);
    }

    /// A member is cut off from all others.
    pub(super) fn detach(&mut self, id: u64) {
        if self.healing {
            return;
        }
        for other in self.nodes.keys().copied().filter(|other| *other != id) {
            self.network.cut(Place::Node(id), Place::Node(other));
        }
    }

    /// All links of a member to others open.
    pub(super) fn attach(&mut self, id: u64) {
        for other in self.nodes.keys().copied().filter(|other| *other != id) {
            self.network.open(Place::Node(id), Place::Node(other));
            self.network.open(Place::Node(other), Place::Node(id));
        }
    }

    /// A snapshot is on its way. If it is doomed, its sender or its receiver dies: while it is under
    /// way, before it is installed, or in the middle of that.
    pub(super) fn doom_snapshot(&mut self, from: u64, to: u64, arrives: Time) {
        if self.doomed_snapshots == 0 || self.healing {
            return;
        }
        self.doomed_snapshots -= 1;
        self.stats.count("snapshot: its sender or receiver was to die");
        let node = if self.chance.one_in(2) { from } else { to };
        let at = self.queue.now() + self.chance.below(arrives.saturating_sub(self.queue.now()) + 150 * MS);
        let (kill, down) = (self.chance.one_in(2), self.chance.exponential(500 * MS));
        self.queue.at(at, Happening::Crash { node, kill, down });
        self.coverage.strike(Fault::SnapshotCrash, at + down + SECOND);
    }

    /// A disk is about to acknowledge a write that it loses or misplaces. No log can tell what it
    /// promised and does not hold any more, so the member counts as lost when it stops.
    pub(super) fn disk_lies(&mut self, fault: Fault, victim: u64) {
        let Some(node) = self.nodes.get(&victim).filter(|_| self.may_lose_one()) else { return };
        let trouble = if fault == Fault::LostWrite { Trouble::LosesWrite } else { Trouble::MisplacesWrite };
        node.disk.arm(trouble);
        self.rotten.insert(victim, "a write that was acknowledged".to_owned());
        self.stats.count("rot: a disk lies");
    }

    /// A machine's disks are gone, and it with them. Under its old id nothing starts again.
    pub(super) fn lose_disk(&mut self, victim: u64) -> Checked {
        if !self.may_lose_one() {
            return Ok(());
        }
        self.fall(victim, false)?;
        if let Some(node) = self.nodes.get_mut(&victim) {
            node.retired = true;
            node.disk.wipe();
        }
        self.rotten.insert(victim, "all of it".to_owned());
        self.stats.count("rot: a disk is gone");
        let later = self.stability();
        self.queue.after(later, Happening::Replace(victim));
        Ok(())
    }

    /// An operator removes a lost member and adds a new one.
    pub(super) fn replace(&mut self, lost: u64) {
        if !self.healing {
            self.admin(Admin::RemoveMember(NodeId(lost)));
            self.add_member(false);
        }
    }
}
