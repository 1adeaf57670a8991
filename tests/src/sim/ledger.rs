//! What all members together have logged, committed and applied: checked as it happens, and kept as
//! the truth that clients' histories are judged by.

use super::node::DiskLog;
use super::queue::Time;
use super::tap::LogNote;
use crate::checks::answered_in_time::AnsweredInTime;
use crate::checks::committed_never_changes::CommittedNeverChanges;
use crate::checks::election_safety::ElectionSafety;
use crate::checks::ephemeral_with_session::End;
use crate::checks::exactly_once::Execution;
use crate::checks::lock_delay_kept::Stamp;
use crate::checks::lock_exclusive::Taken;
use crate::checks::log_matching::LogMatching;
use crate::checks::revision_monotone::RevisionMonotone;
use crate::checks::session_not_early::Expiry;
use crate::checks::state_agreement::StateAgreement;
use crate::checks::{Checked, Violation};
use bytes::Bytes;
use oarlock_state::event::{Cause, EventKind};
use oarlock_state::object::{Claim, Loss, ObjectEvent};
use oarlock_state::{Applied, Entry, EntryBody, Event, SessionChange};
use std::collections::BTreeMap;

/// One member's log, as the tap told it.
#[derive(Debug, Default)]
struct Shadow {
    entries: BTreeMap<u64, (u64, u64)>,
    base: (u64, u64),
    /// The term, and whom it voted for in it; zero is nobody.
    vote: (u64, u64),
    commit: u64,
}

/// The truth about a run.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Terms and votes.
    pub elections: ElectionSafety,
    /// Requests that the running members have not answered.
    pub answers: AnsweredInTime,
    matching: LogMatching,
    committed: CommittedNeverChanges,
    agreement: StateAgreement,
    revisions: RevisionMonotone,
    shadows: BTreeMap<u64, Shadow>,
    last_applied: u64,
    /// All proposals, in the order of the log.
    pub executions: Vec<Execution>,
    /// All events, in order.
    pub events: Vec<Event>,
    /// When sessions expired.
    pub expiries: Vec<Expiry>,
    /// Where sessions ended.
    pub ends: Vec<End>,
    /// The stamps of entries.
    pub stamps: Vec<Stamp>,
    /// Holds that were taken from their holders.
    pub taken: Vec<Taken>,
    /// Who holds what now: object and claim, with the token.
    pub holders: BTreeMap<(Bytes, Claim), u64>,
    /// Configurations by the entries that made them.
    pub configurations: Vec<(u64, Bytes)>,
    /// The revision after the last entry.
    pub revision: u64,
}

impl Ledger {
    /// Takes a note of a member's log.
    ///
    /// # Errors
    /// Whatever the checks find.
    pub fn log_note(&mut self, node: u64, note: LogNote) -> Checked {
        let shadow = self.shadows.entry(node).or_default();
        match note {
            LogNote::Appended { index, term, hash } => {
                let known = shadow.entries.get(&index).copied();
                if known != Some((term, hash)) {
                    self.committed.cut(node, index, shadow.commit)?;
                    shadow.entries.split_off(&index);
                }
                let before = match shadow.entries.get(&(index - 1)) {
                    Some((term, _)) => *term,
                    None => shadow.base.1,
                };
                shadow.entries.insert(index, (term, hash));
                self.matching.appended(node, index, term, before, hash)
            }
            LogNote::HardState { term, vote, commit } => {
                let from = shadow.commit + 1;
                shadow.commit = shadow.commit.max(commit);
                shadow.vote = (term, vote);
                self.elections.votes(node, term, vote)?;
                self.note_committed(node, from, commit)
            }
            LogNote::Reset { index, term } => {
                let vote = shadow.vote;
                *shadow = Shadow { base: (index, term), vote, commit: index, ..Shadow::default() };
                Ok(())
            }
        }
    }

    fn note_committed(&mut self, node: u64, from: u64, to: u64) -> Checked {
        let shadow = &self.shadows[&node];
        for (index, (term, hash)) in shadow.entries.range(from..=to.max(from)) {
            if *index <= to {
                self.committed.committed(node, *index, *term, *hash)?;
            }
        }
        Ok(())
    }

    /// A member starts, and this is the log on its disk. Reading it has made it durable, even where a
    /// write's own sync had failed or never come.
    ///
    /// # Errors
    /// Something is missing that was written before the member stopped.
    pub fn restarted(&mut self, node: u64, log: &DiskLog) -> Checked {
        let lost = self.lost(node, log);
        let shadow = self.shadows.entry(node).or_default();
        (shadow.base, shadow.vote) = (log.base, log.vote);
        shadow.entries = log.entries.iter().map(|(index, term, hash)| (*index, (*term, *hash))).collect();
        if let Some(what) = lost {
            return Err(Violation::new("log_survives", format!("member {node} starts: {what}")));
        }
        let (term, vote) = log.vote;
        self.elections.votes(node, term, vote)
    }

    /// A member's log is lost with its disk, and everybody knows.
    pub fn forget(&mut self, node: u64) {
        self.shadows.remove(&node);
    }

    /// What is missing on a disk of what a member had written.
    pub fn lost(&self, node: u64, log: &DiskLog) -> Option<String> {
        let shadow = self.shadows.get(&node)?;
        let ((term, vote), (found_term, found_vote)) = (shadow.vote, log.vote);
        if found_term < term || (found_term == term && vote != 0 && found_vote != vote) {
            return Some(format!("in term {term} it voted for {vote}, and the disk holds {:?}", log.vote));
        }
        let found: BTreeMap<u64, (u64, u64)> =
            log.entries.iter().map(|(i, term, hash)| (*i, (*term, *hash))).collect();
        for (index, entry) in shadow.entries.range(log.base.0 + 1..) {
            match found.get(index) {
                Some(other) if other.0 == entry.0 => {}
                // A later leader's entry, written but never acknowledged, took the place of this one
                // and of all that followed. None of them can have been committed.
                Some(other) if other.0 > entry.0 && *index > shadow.commit => return None,
                other => {
                    return Some(format!(
                        "entry {index} {entry:?} was appended, and the disk holds {other:?}"
                    ));
                }
            }
        }
        None
    }

    /// A member applied an entry.
    ///
    /// # Errors
    /// Whatever the checks find.
    pub fn applied(
        &mut self,
        node: u64,
        now: Time,
        entry: &Entry,
        applied: &Applied,
        digest: u128,
    ) -> Checked {
        let index = entry.index.get();
        self.agreement.applied(node, index, digest)?;
        self.revisions.seen(node, index, applied.revision.get())?;
        if index <= self.last_applied {
            return Ok(());
        }
        if self.last_applied > 0 && index != self.last_applied + 1 {
            let what =
                format!("member {node} applied {index} first, and {} was the last before", self.last_applied);
            return Err(Violation::new("state_agreement", what));
        }
        self.last_applied = index;
        self.revision = applied.revision.get();
        self.keep(now, entry, applied);
        Ok(())
    }

    fn keep(&mut self, now: Time, entry: &Entry, applied: &Applied) {
        if let EntryBody::Proposals { proposals, stamp_ms } = &entry.body {
            let ms = self.stamps.last().map_or(0, |stamp| stamp.ms).max(*stamp_ms);
            self.stamps.push(Stamp { revision: self.revision, ms });
            for (proposal, (_, outcome)) in proposals.iter().zip(&applied.outcomes) {
                let (index, proposal, outcome) = (entry.index.get(), proposal.clone(), outcome.clone());
                self.executions.push(Execution { index, proposal, outcome });
            }
        }
        if let EntryBody::Membership(change) = &entry.body {
            self.configurations.push((entry.index.get(), change.conf_state.clone()));
        }
        for event in &applied.events {
            self.keep_holder(now, event);
        }
        self.events.extend(applied.events.iter().cloned());
        for change in &applied.sessions {
            let SessionChange::Ended { session, cause } = change else { continue };
            let (session, cause) = (session.get(), *cause);
            self.ends.push(End { session, revision: applied.revision.get(), cause });
            if cause == Cause::Expired {
                self.expiries.push(Expiry { session, decided: now });
            }
        }
    }

    fn keep_holder(&mut self, now: Time, event: &Event) {
        let EventKind::Object(what) = &event.kind else { return };
        let name = event.key.clone();
        match what {
            ObjectEvent::Granted { claim, .. } => {
                self.holders.insert((name, *claim), event.revision.get());
            }
            ObjectEvent::Changed { claim, token, .. } => {
                self.holders.insert((name, *claim), token.get());
            }
            ObjectEvent::Lost { claim, token, loss, .. } => {
                self.holders.remove(&(name.clone(), *claim));
                if matches!(loss, Loss::Revoked | Loss::Preempted) {
                    let (claim, token) = (*claim, token.get());
                    self.taken.push(Taken { name, claim, token, decided: now });
                }
            }
            _ => {}
        }
    }

    /// Index of the last entry that anybody applied.
    pub fn last_applied(&self) -> u64 {
        self.last_applied
    }
}
