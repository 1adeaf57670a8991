//! What is stored of an object, of each claim on it, and of where that claim is.

use crate::codec::{Reader, Writer};
use crate::ids::{Revision, SessionId};
use crate::limits::HOLDERS_MAX;
use crate::object::reply::{PlaceInfo, PlaceState, Summary};
use crate::object::{Claim, Mode, ObjectKind};
use bytes::Bytes;

const OBJECT_FORMAT: u8 = 1;
const PLACE_FORMAT: u8 = 1;
const SEAT_FORMAT: u8 = 1;

/// An object in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) kind: ObjectKind,
    /// Revision that created it.
    pub(super) created: Revision,
    /// The sum of the weights held and withheld.
    pub(super) used: u64,
    pub(super) holders: u64,
    pub(super) withheld: u64,
    pub(super) waiters: u64,
}

impl Object {
    /// One that nobody has asked for yet.
    pub(super) const fn new(kind: ObjectKind, created: Revision) -> Self {
        Self { kind, created, used: 0, holders: 0, withheld: 0, waiters: 0 }
    }

    /// Whether a hold of this weight can be granted beside the others.
    pub(super) const fn fits(&self, weight: u64) -> bool {
        self.used + weight <= self.kind.capacity() && self.holders + self.withheld < HOLDERS_MAX
    }

    /// Whether nothing keeps it in existence.
    pub(super) const fn is_empty(&self) -> bool {
        self.holders == 0 && self.withheld == 0 && self.waiters == 0
    }

    pub(super) fn summary(&self, name: Bytes) -> Summary {
        let Self { kind, created, used, holders, withheld, waiters } = *self;
        Summary { name, kind, created, used, holders, withheld, waiters }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(OBJECT_FORMAT, 24);
        write_kind(&mut writer, self.kind);
        for number in [self.created.get(), self.used, self.holders, self.withheld, self.waiters] {
            writer.number(number);
        }
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("object", OBJECT_FORMAT, record);
        let object = Self {
            kind: read_kind(&mut reader),
            created: Revision(reader.number()),
            used: reader.number(),
            holders: reader.number(),
            withheld: reader.number(),
            waiters: reader.number(),
        };
        reader.end();
        object
    }
}

/// Writes a kind: one byte, for a semaphore followed by its capacity.
pub(super) fn write_kind(writer: &mut Writer, kind: ObjectKind) {
    match kind {
        ObjectKind::Mutex => writer.byte(0),
        ObjectKind::ReadWrite => writer.byte(1),
        ObjectKind::Semaphore { capacity } => {
            writer.byte(2);
            writer.number(capacity);
        }
        ObjectKind::Election => writer.byte(3),
    }
}

/// Reads what [`write_kind`] wrote.
pub(super) fn read_kind(reader: &mut Reader<'_>) -> ObjectKind {
    match reader.byte() {
        0 => ObjectKind::Mutex,
        1 => ObjectKind::ReadWrite,
        2 => ObjectKind::Semaphore { capacity: reader.number() },
        3 => ObjectKind::Election,
        _ => reader.complain("unknown kind of object"),
    }
}

/// Writes a mode: one byte, and a weight that is 0 for all but a semaphore's.
pub(super) fn write_mode(writer: &mut Writer, mode: Mode) {
    let (mode, weight) = match mode {
        Mode::Exclusive => (0, 0),
        Mode::Shared => (1, 0),
        Mode::Weight(weight) => (2, weight),
    };
    writer.byte(mode);
    writer.number(weight);
}

/// Reads what [`write_mode`] wrote.
pub(super) fn read_mode(reader: &mut Reader<'_>) -> Mode {
    match (reader.byte(), reader.number()) {
        (0, 0) => Mode::Exclusive,
        (1, 0) => Mode::Shared,
        (2, weight) => Mode::Weight(weight),
        _ => reader.complain("unknown mode"),
    }
}

/// A claim's place in an object: in the queue, among the holders, or withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) claim: Claim,
    pub(super) mode: Mode,
    pub(super) priority: u32,
    /// Revision in which it took its place in the order.
    pub(super) ticket: Revision,
    pub(super) since_ms: u64,
    pub(super) lock_delay_ms: u64,
    /// Of a hold; zero while it waits.
    pub(super) token: Revision,
    pub(super) granted_ms: u64,
    /// Of a withheld hold; zero otherwise.
    pub(super) until_ms: u64,
    /// All objects of its acquire, in order; empty if there is only this one.
    pub(super) together: Vec<Bytes>,
    pub(super) metadata: Bytes,
}

impl Place {
    /// The weight that it takes of an object of this kind.
    pub(super) fn weight(&self, kind: ObjectKind) -> u64 {
        kind.weight(self.mode).expect("acquire admits only modes that the kind has, and a kind never changes")
    }

    /// Where it is, for the claim's index; `None` once withheld, when it is no claim any more.
    pub(super) fn seat(&self) -> Seat {
        let Self { priority, ticket, token, .. } = *self;
        if token == Revision(0) {
            Seat::Waiting { priority, ticket }
        } else {
            Seat::Holding { token, ticket }
        }
    }

    /// As it is shown. `position` is of use for one that waits only.
    pub(super) fn info(self, position: u64) -> PlaceInfo {
        let state = if self.until_ms > 0 {
            PlaceState::Withheld { until_ms: self.until_ms }
        } else if self.token > Revision(0) {
            PlaceState::Holding { token: self.token, granted_ms: self.granted_ms }
        } else {
            PlaceState::Waiting { position }
        };
        PlaceInfo {
            claim: self.claim,
            mode: self.mode,
            ticket: self.ticket,
            since_ms: self.since_ms,
            priority: self.priority,
            metadata: self.metadata,
            lock_delay_ms: self.lock_delay_ms,
            together_with: self.together,
            state,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let names: usize = self.together.iter().map(|name| name.len() + 2).sum();
        let mut writer = Writer::new(PLACE_FORMAT, 64 + names + self.metadata.len());
        write_mode(&mut writer, self.mode);
        let numbers = [
            self.claim.session.get(),
            self.claim.request,
            u64::from(self.priority),
            self.ticket.get(),
            self.since_ms,
            self.lock_delay_ms,
            self.token.get(),
            self.granted_ms,
            self.until_ms,
            self.together.len() as u64,
        ];
        numbers.into_iter().for_each(|number| writer.number(number));
        self.together.iter().for_each(|name| writer.bytes(name));
        writer.raw(&self.metadata);
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("place in an object", PLACE_FORMAT, record);
        Self {
            mode: read_mode(&mut reader),
            claim: Claim { session: SessionId(reader.number()), request: reader.number() },
            priority: reader.number32(),
            ticket: Revision(reader.number()),
            since_ms: reader.number(),
            lock_delay_ms: reader.number(),
            token: Revision(reader.number()),
            granted_ms: reader.number(),
            until_ms: reader.number(),
            together: (0..reader.number()).map(|_| reader.bytes()).collect(),
            metadata: reader.rest(),
        }
    }
}

/// Where a claim's place in an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    Waiting { priority: u32, ticket: Revision },
    Holding { token: Revision, ticket: Revision },
}

impl Seat {
    pub(super) fn encode(self) -> Bytes {
        let (holds, first, ticket) = match self {
            Self::Waiting { priority, ticket } => (false, u64::from(priority), ticket),
            Self::Holding { token, ticket } => (true, token.get(), ticket),
        };
        let mut writer = Writer::new(SEAT_FORMAT, 12);
        writer.flag(holds);
        writer.number(first);
        writer.number(ticket.get());
        writer.finish()
    }

    pub(super) fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("seat in an object", SEAT_FORMAT, record);
        let seat = if reader.flag() {
            Self::Holding { token: Revision(reader.number()), ticket: Revision(reader.number()) }
        } else {
            Self::Waiting { priority: reader.number32(), ticket: Revision(reader.number()) }
        };
        reader.end();
        seat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_pinned() {
        let kind = ObjectKind::Semaphore { capacity: 300 };
        let object = Object { kind, created: Revision(2), used: 3, holders: 4, withheld: 5, waiters: 6 };
        assert_eq!(object.encode(), b"\x01\x02\xac\x02\x02\x03\x04\x05\x06".as_slice());
        for kind in [kind, ObjectKind::Mutex, ObjectKind::ReadWrite, ObjectKind::Election] {
            let object = Object { kind, ..object };
            assert_eq!(Object::decode(&object.encode()), object);
        }
        let place = Place {
            claim: Claim { session: SessionId(1), request: 2 },
            mode: Mode::Weight(3),
            priority: 4,
            ticket: Revision(5),
            since_ms: 6,
            lock_delay_ms: 7,
            token: Revision(8),
            granted_ms: 9,
            until_ms: 10,
            together: vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")],
            metadata: Bytes::from_static(b"m"),
        };
        let pinned = b"\x01\x02\x03\x01\x02\x04\x05\x06\x07\x08\x09\x0a\x02\x01a\x02bcm";
        assert_eq!(place.encode(), pinned.as_slice());
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Weight(1)] {
            let place = Place { mode, ..place.clone() };
            assert_eq!(Place::decode(&place.encode()), place);
        }
        let waiting = Seat::Waiting { priority: 1, ticket: Revision(2) };
        let holding = Seat::Holding { token: Revision(3), ticket: Revision(2) };
        assert_eq!(waiting.encode(), [1, 0, 1, 2].as_slice());
        assert_eq!(holding.encode(), [1, 1, 3, 2].as_slice());
        assert_eq!(Seat::decode(&waiting.encode()), waiting);
        assert_eq!(Seat::decode(&holding.encode()), holding);
    }
}
