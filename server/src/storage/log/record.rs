//! Records of a segment, to the byte. Numbers are little-endian.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | length of the payload |
//! | 4..8 | crc32 of the header, begun with the segment's seed; this field counts as zero |
//! | 8..12 | crc32 of the payload and its padding |
//! | 12..16 | offset in the segment up to which everything was durable when this was written |
//! | 16 | kind |
//! | 17 | Raft's entry type |
//! | 18..24 | zero |
//! | 24..32 | index (entry, base), commit (hard state), next index (end) |
//! | 32..40 | term |
//! | 40.. | payload, padded with zeros to 8 bytes |
//!
//! The seed differs from segment to segment, so a recycled file's old records are never taken for
//! new ones. The durable offset tells damage from a torn write: a bad record that a later record
//! calls durable was damaged; without such a witness it belongs to a write that never finished.
//! The header has a checksum of its own so that a search for records rejects what is none at once.

use crc32fast::Hasher;
use raft::eraftpb::{Entry, HardState};

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 40;
const HEADER_CRC_AT: usize = 4;
const PAYLOAD_CRC_AT: usize = 8;
const DURABLE_AT: usize = 12;
const KIND_AT: usize = 16;
const ENTRY_TYPE_AT: usize = 17;
const INDEX_AT: usize = 24;
const TERM_AT: usize = 32;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// Bytes of a record without payload; also of the zeros that follow the last record.
pub(super) const EMPTY_RECORD_BYTES: usize = HEADER_BYTES;
/// The payload of an entry begins with the length of its context.
const CONTEXT_LENGTH_BYTES: usize = 4;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry; replaces everything from its index on.
    Entry = 1,
    /// The hard state: commit and term in the header, the vote as payload.
    HardState = 2,
    /// Everything up to this index is forgotten.
    Base = 3,
    /// The segment is complete; the next one follows.
    End = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Entry),
            2 => Some(Self::HardState),
            3 => Some(Self::Base),
            4 => Some(Self::End),
            _ => None,
        }
    }
}

/// A record as read from a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    pub(super) entry_type: u8,
    pub(super) durable: u32,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) payload: &'a [u8],
}

/// Bytes that a record with this payload takes.
fn padded(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGNMENT)
}

/// Bytes that `entry` takes as a record.
pub(super) fn entry_record_bytes(entry: &Entry) -> usize {
    padded(CONTEXT_LENGTH_BYTES + entry.context.len() + entry.data.len())
}

/// Bytes that a hard state takes as a record.
pub(super) fn hard_state_record_bytes() -> usize {
    padded(size_of::<u64>())
}

/// Writes records of one segment into a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder {
    /// Seed of the segment.
    pub(super) seed: u32,
    /// Offset in the segment below which everything is durable.
    pub(super) durable: u32,
}

impl Encoder {
    /// Appends an entry to `out`.
    pub(super) fn entry(&self, entry: &Entry, out: &mut Vec<u8>) {
        let context_bytes = u32::try_from(entry.context.len()).expect("limits keep contexts below 4 GiB");
        let entry_type = u8::try_from(entry.entry_type).expect("Raft's entry types are 0, 1 and 2");
        let payload = [&context_bytes.to_le_bytes()[..], &entry.context, &entry.data];
        self.record(Kind::Entry, entry_type, (entry.index, entry.term), &payload, out);
    }

    /// Appends a hard state to `out`.
    pub(super) fn hard_state(&self, state: &HardState, out: &mut Vec<u8>) {
        let vote = state.vote.to_le_bytes();
        self.record(Kind::HardState, 0, (state.commit, state.term), &[&vote], out);
    }

    /// Appends a base to `out`.
    pub(super) fn base(&self, base: (u64, u64), out: &mut Vec<u8>) {
        self.record(Kind::Base, 0, base, &[], out);
    }

    /// Appends the end of the segment to `out`.
    pub(super) fn end(&self, next_index: u64, out: &mut Vec<u8>) {
        self.record(Kind::End, 0, (next_index, 0), &[], out);
    }

    fn record(&self, kind: Kind, entry_type: u8, numbers: (u64, u64), payload: &[&[u8]], out: &mut Vec<u8>) {
        let start = out.len();
        let payload_bytes: usize = payload.iter().map(|part| part.len()).sum();
        let length = u32::try_from(payload_bytes).expect("limits keep entries below 4 GiB");
        out.extend_from_slice(&[0; HEADER_BYTES]);
        for part in payload {
            out.extend_from_slice(part);
        }
        out.resize(start + padded(payload_bytes), 0);
        let (header, payload) = out[start..].split_at_mut(HEADER_BYTES);
        put(header, 0, &length.to_le_bytes());
        put(header, PAYLOAD_CRC_AT, &crc32fast::hash(payload).to_le_bytes());
        put(header, DURABLE_AT, &self.durable.to_le_bytes());
        put(header, KIND_AT, &[kind as u8, entry_type]);
        put(header, INDEX_AT, &numbers.0.to_le_bytes());
        put(header, TERM_AT, &numbers.1.to_le_bytes());
        let crc = header_checksum(self.seed, header);
        put(header, HEADER_CRC_AT, &crc.to_le_bytes());
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Crc32 of a header as if its crc field were zero.
fn header_checksum(seed: u32, header: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(&header[..HEADER_CRC_AT]);
    hasher.update(&[0; 4]);
    hasher.update(&header[PAYLOAD_CRC_AT..]);
    hasher.finalize()
}

/// The record at the start of `bytes` and how many bytes it takes; `None` if there is no valid one.
pub(super) fn decode(seed: u32, bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let header = bytes.get(..HEADER_BYTES)?;
    let kind = Kind::from_byte(header[KIND_AT])?;
    if header_checksum(seed, header) != number32(header, HEADER_CRC_AT) {
        return None;
    }
    let length = number32(header, 0) as usize;
    let total = padded(length);
    let padded_payload = bytes.get(HEADER_BYTES..total)?;
    if crc32fast::hash(padded_payload) != number32(header, PAYLOAD_CRC_AT) {
        return None;
    }
    let decoded = Record {
        kind,
        entry_type: header[ENTRY_TYPE_AT],
        durable: number32(header, DURABLE_AT),
        index: number64(header, INDEX_AT),
        term: number64(header, TERM_AT),
        payload: &padded_payload[..length],
    };
    decoded.is_well_formed().then_some((decoded, total))
}

impl Record<'_> {
    fn is_well_formed(&self) -> bool {
        match self.kind {
            Kind::Entry => self
                .payload
                .split_first_chunk()
                .is_some_and(|(length, rest)| u32::from_le_bytes(*length) as usize <= rest.len()),
            Kind::HardState => self.payload.len() == size_of::<u64>(),
            Kind::Base | Kind::End => self.payload.is_empty(),
        }
    }

    /// The entry. Only for records of kind [`Kind::Entry`].
    pub(super) fn to_entry(self) -> Entry {
        let context_bytes = number32(self.payload, 0) as usize;
        let (context, data) = self.payload[CONTEXT_LENGTH_BYTES..].split_at(context_bytes);
        Entry {
            entry_type: self.entry_type.into(),
            index: self.index,
            term: self.term,
            context: context.to_vec(),
            data: data.to_vec(),
            ..Entry::default()
        }
    }

    /// The hard state. Only for records of kind [`Kind::HardState`].
    pub(super) fn to_hard_state(self) -> HardState {
        HardState { commit: self.index, term: self.term, vote: number64(self.payload, 0) }
    }
}

/// The `u32` at `at`; the caller has checked the length.
pub(super) fn number32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
}

/// The `u64` at `at`; the caller has checked the length.
pub(super) fn number64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}
