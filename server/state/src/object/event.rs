//! What watchers of an object learn. The key of the event is the object's name.
//!
//! There is one event for each thing that happened, not one for each claim that it concerns: a claim
//! with ticket `t` that waits moves up by one whenever a claim that was queued before it is
//! [granted](ObjectEvent::Granted) or [leaves](ObjectEvent::Left). (In an election: one of higher
//! priority, or of the same and a lower ticket; and it moves back when such a one is
//! [queued](ObjectEvent::Queued).)

use crate::codec::{Reader, Writer};
use crate::ids::{Revision, SessionId};
use crate::object::place::{read_mode, write_mode};
use crate::object::{Claim, Mode};
use bytes::Bytes;

/// What happened to an object. Why, and at whose request, is in the [event](crate::Event) around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectEvent {
    /// A claim began to wait.
    Queued {
        /// Whose.
        claim: Claim,
        /// Its place in the order.
        ticket: Revision,
        /// Its priority in an election.
        priority: u32,
    },
    /// A claim holds the object from now on; of an election: it leads.
    Granted {
        /// Whose.
        claim: Claim,
        /// Its place in the order, before.
        ticket: Revision,
        /// Its priority in an election.
        priority: u32,
        /// How it holds.
        mode: Mode,
        /// What it said about itself; of an election: the leader's value.
        metadata: Bytes,
    },
    /// A claim does not wait any more, without having been granted.
    Left {
        /// Whose.
        claim: Claim,
        /// Its place in the order.
        ticket: Revision,
        /// Its priority in an election.
        priority: u32,
    },
    /// A claim does not hold the object any more.
    Lost {
        /// Whose.
        claim: Claim,
        /// The token, which is not current any more.
        token: Revision,
        /// Why.
        loss: Loss,
        /// Until when its weight is withheld from others, in milliseconds since 1970; 0 for not at
        /// all.
        withheld_until_ms: u64,
    },
    /// A hold took another mode.
    Changed {
        /// Whose.
        claim: Claim,
        /// The hold's token from now on.
        token: Revision,
        /// How it holds from now on.
        mode: Mode,
    },
    /// A holder's metadata, a leader's value, is another.
    Proclaimed {
        /// Whose.
        claim: Claim,
        /// The hold's token.
        token: Revision,
        /// The metadata from now on.
        metadata: Bytes,
    },
    /// Somebody wants the object: its holders should release it when they can.
    RevocationRequested {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// What an expired session held is withheld no longer.
    Elapsed {
        /// Who held it.
        claim: Claim,
        /// Its place in the order, then.
        ticket: Revision,
    },
    /// An election has no leader.
    Vacant,
}

/// Why a hold was lost. The numbers are part of the history format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Loss {
    /// Its holder released it, or resigned.
    Released = 0,
    /// Its session timed out.
    Expired = 1,
    /// Its session was closed.
    Closed = 2,
    /// An operator took it away.
    Revoked = 3,
    /// A candidate of higher priority took the lead.
    Preempted = 4,
    /// The leader gave the lead to another.
    HandedOff = 5,
}

impl Loss {
    /// The loss of this number; `None` for one of a later format.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Released,
            1 => Self::Expired,
            2 => Self::Closed,
            3 => Self::Revoked,
            4 => Self::Preempted,
            5 => Self::HandedOff,
            6.. => return None,
        })
    }
}

/// Writes an event as the last part of a record.
pub(crate) fn write_event(writer: &mut Writer, event: &ObjectEvent) {
    match event {
        ObjectEvent::Queued { claim, ticket, priority } => {
            write_claim(writer, 0, *claim, *ticket, u64::from(*priority));
        }
        ObjectEvent::Granted { claim, ticket, priority, mode, metadata } => {
            write_claim(writer, 1, *claim, *ticket, u64::from(*priority));
            write_mode(writer, *mode);
            writer.bytes(metadata);
        }
        ObjectEvent::Left { claim, ticket, priority } => {
            write_claim(writer, 2, *claim, *ticket, u64::from(*priority));
        }
        ObjectEvent::Lost { claim, token, loss, withheld_until_ms } => {
            write_claim(writer, 3, *claim, *token, *withheld_until_ms);
            writer.byte(*loss as u8);
        }
        ObjectEvent::Changed { claim, token, mode } => {
            write_claim(writer, 4, *claim, *token, 0);
            write_mode(writer, *mode);
        }
        ObjectEvent::Proclaimed { claim, token, metadata } => {
            write_claim(writer, 5, *claim, *token, 0);
            writer.bytes(metadata);
        }
        ObjectEvent::RevocationRequested { by, reason } => {
            writer.byte(6);
            writer.text(by);
            writer.text(reason);
        }
        ObjectEvent::Elapsed { claim, ticket } => write_claim(writer, 7, *claim, *ticket, 0),
        ObjectEvent::Vacant => writer.byte(8),
    }
}

fn write_claim(writer: &mut Writer, tag: u8, claim: Claim, revision: Revision, number: u64) {
    writer.byte(tag);
    writer.number(claim.session.get());
    writer.number(claim.request);
    writer.number(revision.get());
    writer.number(number);
}

/// Reads what [`write_event`] wrote.
pub(crate) fn read_event(reader: &mut Reader<'_>) -> ObjectEvent {
    let tag = reader.byte();
    match tag {
        6 => return ObjectEvent::RevocationRequested { by: reader.text(), reason: reader.text() },
        8 => return ObjectEvent::Vacant,
        _ => {}
    }
    let claim = Claim { session: SessionId(reader.number()), request: reader.number() };
    let (revision, number) = (Revision(reader.number()), reader.number());
    let (ticket, token) = (revision, revision);
    let priority = u32::try_from(number).unwrap_or(u32::MAX);
    match tag {
        0 => ObjectEvent::Queued { claim, ticket, priority },
        1 => ObjectEvent::Granted {
            claim,
            ticket,
            priority,
            mode: read_mode(reader),
            metadata: reader.bytes(),
        },
        2 => ObjectEvent::Left { claim, ticket, priority },
        3 => {
            let Some(loss) = Loss::from_number(reader.byte()) else { reader.complain("unknown loss") };
            ObjectEvent::Lost { claim, token, loss, withheld_until_ms: number }
        }
        4 => ObjectEvent::Changed { claim, token, mode: read_mode(reader) },
        5 => ObjectEvent::Proclaimed { claim, token, metadata: reader.bytes() },
        7 => ObjectEvent::Elapsed { claim, ticket },
        _ => reader.complain("unknown event of an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(event: ObjectEvent) -> Vec<u8> {
        let mut writer = Writer::new(1, 0);
        write_event(&mut writer, &event);
        let record = writer.finish();
        let mut reader = Reader::new("test", 1, &record);
        assert_eq!(read_event(&mut reader), event);
        reader.end();
        record[1..].to_vec()
    }

    #[test]
    fn events_are_pinned() {
        let claim = Claim { session: SessionId(7), request: 3 };
        let (ticket, token, priority) = (Revision(300), Revision(300), 2);
        let metadata = Bytes::from_static(b"m");
        let pinned: [(ObjectEvent, &[u8]); 9] = [
            (ObjectEvent::Queued { claim, ticket, priority }, b"\0\x07\x03\xac\x02\x02"),
            (
                ObjectEvent::Granted {
                    claim,
                    ticket,
                    priority,
                    mode: Mode::Weight(9),
                    metadata: metadata.clone(),
                },
                b"\x01\x07\x03\xac\x02\x02\x02\x09\x01m",
            ),
            (ObjectEvent::Left { claim, ticket, priority }, b"\x02\x07\x03\xac\x02\x02"),
            (
                ObjectEvent::Lost { claim, token, loss: Loss::Expired, withheld_until_ms: 5 },
                b"\x03\x07\x03\xac\x02\x05\x01",
            ),
            (ObjectEvent::Changed { claim, token, mode: Mode::Shared }, b"\x04\x07\x03\xac\x02\0\x01\0"),
            (ObjectEvent::Proclaimed { claim, token, metadata }, b"\x05\x07\x03\xac\x02\0\x01m"),
            (
                ObjectEvent::RevocationRequested { by: "a".to_owned(), reason: "b".to_owned() },
                b"\x06\x01a\x01b",
            ),
            (ObjectEvent::Elapsed { claim, ticket }, b"\x07\x07\x03\xac\x02\0"),
            (ObjectEvent::Vacant, b"\x08"),
        ];
        for (event, bytes) in pinned {
            assert_eq!(round_trip(event), bytes);
        }
    }

    #[test]
    fn losses_have_their_numbers() {
        let all: Vec<u8> = (0..=u8::MAX).filter_map(Loss::from_number).map(|loss| loss as u8).collect();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    }
}
