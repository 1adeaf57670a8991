//! Values computed from what they are.

use crate::codec::{Reader, Writer};
use crate::command::{OpResult, Rejection, Update};
use crate::ids::SessionId;
use crate::keys;
use crate::limits::VALUE_BYTES_MAX;
use crate::machine::kv::{self, Found};
use crate::machine::scratch::Scratch;
use crate::view::View;
use bytes::Bytes;

const SEQUENCE_FORMAT: u8 = 1;
/// Digits of a sequential key's number: as many as 64 bits need.
pub(super) const SEQUENCE_DIGITS: usize = 20;

/// Changes a value. The owner stays. An update that leaves an existing value as it is changes
/// nothing and makes no event.
pub(super) fn update(work: &mut Scratch<'_>, key: &Bytes, update: &Update) -> Result<OpResult, Rejection> {
    let found = Found::look_up(work, key);
    let old = found.record.as_ref().map(|record| &record.value);
    let value = compute(old, update).map_err(|reason| Rejection::BadValue { key: key.clone(), reason })?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(Rejection::TooLarge {
            what: "bytes of the value after appending",
            size: value.len() as u64,
            limit: VALUE_BYTES_MAX as u64,
        });
    }
    if old != Some(&value) {
        let owner = found.record.as_ref().map_or(SessionId(0), |record| record.owner);
        found.write(work, value.clone(), owner);
    }
    Ok(OpResult::Update { value })
}

fn compute(old: Option<&Bytes>, update: &Update) -> Result<Bytes, &'static str> {
    let number = || parse(old.map_or(b"0", |value| value.as_ref()));
    let result = match update {
        Update::Add(by) => number()?.checked_add(*by).ok_or(OVERFLOW)?,
        Update::Max(at_least) => number()?.max(*at_least),
        Update::Min(at_most) => number()?.min(*at_most),
        Update::Append(bytes) => {
            return Ok([old.map_or(&[][..], |value| value), bytes].concat().into());
        }
    };
    Ok(result.to_string().into())
}

pub(super) const OVERFLOW: &str = "the result does not fit in a signed 64-bit number";
pub(super) const NOT_A_NUMBER: &str = "is not a signed 64-bit number in decimal digits";

fn parse(value: &[u8]) -> Result<i64, &'static str> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(NOT_A_NUMBER)
}

/// Puts a value under the prefix and its next number. Numbers begin at 1 and are never given out
/// again, not after the key was deleted either.
pub(super) fn put_sequential(
    work: &mut Scratch<'_>,
    prefix: &Bytes,
    value: &Bytes,
    owner: SessionId,
) -> Result<OpResult, Rejection> {
    let owner = kv::existing_owner(work, owner)?;
    let counter = keys::sequence(prefix);
    let stored = work.get(&counter);
    let mut number = stored.as_ref().map_or(0, decode_sequence);
    // A client may have put such keys by hand: pass over them. Each is passed only once.
    let found = loop {
        number = number
            .checked_add(1)
            .ok_or_else(|| Rejection::BadValue { key: prefix.clone(), reason: SEQUENCE_END })?;
        let found = Found::look_up(work, &sequential_key(prefix, number));
        if found.record.is_none() {
            break found;
        }
    };
    let key = sequential_key(prefix, number);
    work.replace(counter, stored, Some(encode_sequence(number)));
    found.write(work, value.clone(), owner);
    Ok(OpResult::PutSequential { key })
}

pub(super) const SEQUENCE_END: &str = "the 64-bit numbers of this prefix are used up";

fn sequential_key(prefix: &[u8], number: u64) -> Bytes {
    let digits = format!("{number:0SEQUENCE_DIGITS$}");
    [prefix, digits.as_bytes()].concat().into()
}

pub(super) fn decode_sequence(record: &Bytes) -> u64 {
    let mut reader = Reader::new("sequence", SEQUENCE_FORMAT, record);
    let number = reader.number();
    reader.end();
    number
}

fn encode_sequence(number: u64) -> Bytes {
    let mut writer = Writer::new(SEQUENCE_FORMAT, 10);
    writer.number(number);
    writer.finish()
}
