//! Committed entries on their way out: from Raft's form into the state's.

use super::{Replica, conf};
use crate::log_format::{FormatError, Membership, decode_batch, decode_membership};
use crate::storage::{StorageError, StorageResult};
use bytes::Bytes;
use oarlock_state::command::MembershipChange;
use oarlock_state::{Entry, EntryBody, Index, Term};
use prost_raft::Message as _;
use raft::eraftpb::{self, ConfChange, ConfChangeV2, EntryType};
use raft_proto::ConfChangeI as _;
use slog::{info, warn};

/// How many entries come before the first change of the configuration.
pub(super) fn before_configuration(entries: &[eraftpb::Entry]) -> usize {
    let is_normal = |entry: &eraftpb::Entry| entry.entry_type == EntryType::EntryNormal as i32;
    entries.iter().take_while(|entry| is_normal(entry)).count()
}

impl Replica {
    /// Translates committed entries, and makes the configuration changes among them effective.
    pub(super) fn hand_out(&mut self, entries: Vec<eraftpb::Entry>) -> StorageResult<Vec<Entry>> {
        entries.into_iter().map(|entry| self.hand_out_one(entry)).collect()
    }

    fn hand_out_one(&mut self, entry: eraftpb::Entry) -> StorageResult<Entry> {
        let index = entry.index;
        let unreadable = |what: String| StorageError::Unreadable { index, what };
        let (term, kind) = (entry.term, EntryType::from_i32(entry.entry_type));
        // The kind comes first: an empty change of the configuration is not an empty entry.
        let body = match kind {
            Some(EntryType::EntryNormal) if entry.data.is_empty() => EntryBody::Empty,
            Some(EntryType::EntryNormal) => {
                let (stamp_ms, proposals) =
                    decode_batch(entry.data.into()).map_err(|error| unreadable(error.to_string()))?;
                EntryBody::Proposals { stamp_ms, proposals }
            }
            Some(EntryType::EntryConfChange) => {
                let change = ConfChange::decode(entry.data.as_slice());
                self.reconfigure(index, change.map_err(|error| unreadable(error.to_string()))?.into_v2())?
            }
            Some(EntryType::EntryConfChangeV2) => {
                let change = ConfChangeV2::decode(entry.data.as_slice());
                self.reconfigure(index, change.map_err(|error| unreadable(error.to_string()))?)?
            }
            None => return Err(unreadable(format!("its kind is {}", entry.entry_type))),
        };
        Ok(Entry { index: Index(index), term: Term(term), body })
    }

    fn reconfigure(&mut self, index: u64, mut change: ConfChangeV2) -> StorageResult<EntryBody> {
        let membership = membership_in(change.take_context())
            .map_err(|error| StorageError::Unreadable { index, what: error.to_string() })?;
        let was_member = self.is_member();
        let conf_state = match self.raw.apply_conf_change(&change) {
            Ok(conf_state) => conf_state,
            // Only the configuration so far decides this, so every replica decides alike. A second
            // order to leave a joint configuration ends here.
            Err(error) => {
                warn!(self.logger, "configuration stays as it is"; "index" => index, "reason" => %error);
                return Ok(EntryBody::Empty);
            }
        };
        info!(self.logger, "configuration changes"; "index" => index, "configuration" => ?conf_state);
        self.forget_strangers();
        if was_member && !self.is_member() {
            self.removed = true;
            info!(self.logger, "this member was removed from the cluster"; "index" => index);
        }
        Ok(EntryBody::Membership(MembershipChange {
            conf_state: conf::encode(&conf_state),
            put: membership.put,
            remove: membership.remove,
            id: membership.id,
        }))
    }
}

/// An order to leave a joint configuration has no context, and changes no member.
fn membership_in(context: Vec<u8>) -> Result<Membership, FormatError> {
    if context.is_empty() { Ok(Membership::default()) } else { decode_membership(Bytes::from(context)) }
}
