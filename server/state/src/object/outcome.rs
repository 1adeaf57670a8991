//! How answers and refusals of objects are remembered, so that a repeated request gets the same.

use crate::codec::{Reader, Writer};
use crate::ids::{Revision, SessionId};
use crate::limits::OUTCOME_KEY_BYTES_MAX;
use crate::object::place::{read_kind, write_kind};
use crate::object::{Claim, Fault, ObjectError, ObjectReply};
use bytes::Bytes;

/// Writes what an operation answered.
pub(crate) fn write_reply(writer: &mut Writer, reply: &ObjectReply) {
    match reply {
        ObjectReply::Granted { token } => {
            writer.byte(1);
            writer.number(token.get());
        }
        // The positions are of the past by the time of a repetition; watchers know better.
        ObjectReply::Queued { ticket, .. } => {
            writer.byte(2);
            writer.number(ticket.get());
        }
        // Answers to questions are never remembered.
        ObjectReply::Done
        | ObjectReply::Described(_)
        | ObjectReply::Listed { .. }
        | ObjectReply::OfSession { .. }
        | ObjectReply::Why(_)
        | ObjectReply::NextDue(_) => writer.byte(0),
    }
}

/// Reads what [`write_reply`] wrote.
pub(crate) fn read_reply(reader: &mut Reader<'_>) -> ObjectReply {
    match reader.byte() {
        0 => ObjectReply::Done,
        1 => ObjectReply::Granted { token: Revision(reader.number()) },
        2 => ObjectReply::Queued { ticket: Revision(reader.number()), ahead: Vec::new() },
        _ => reader.complain("unknown answer of an object"),
    }
}

fn write_name(writer: &mut Writer, tag: u8, name: &Bytes) {
    writer.byte(tag);
    writer.bytes(&name[..name.len().min(OUTCOME_KEY_BYTES_MAX)]);
}

fn write_claim(writer: &mut Writer, tag: u8, name: &Bytes, claim: &Claim, token: u64) {
    write_name(writer, tag, name);
    writer.number(claim.session.get());
    writer.number(claim.request);
    writer.number(token);
}

/// Writes a refusal; a long name is cut, as it only informs.
pub(crate) fn write_error(writer: &mut Writer, error: &ObjectError) {
    match error {
        ObjectError::BadRequest { fault } => {
            writer.byte(0);
            writer.byte(*fault as u8);
        }
        ObjectError::Mismatch { name, exists, asked } => {
            write_name(writer, 1, name);
            write_kind(writer, *exists);
            write_kind(writer, *asked);
        }
        ObjectError::Busy { name } => write_name(writer, 2, name),
        ObjectError::QueueFull { name } => write_name(writer, 3, name),
        ObjectError::NotFound { name } => write_name(writer, 4, name),
        ObjectError::Shared { name } => write_name(writer, 5, name),
        ObjectError::WrongKind { name, kind } => {
            write_name(writer, 6, name);
            write_kind(writer, *kind);
        }
        ObjectError::ClaimInUse { name, claim } => write_claim(writer, 7, name, claim, 0),
        ObjectError::NotHeld { name, claim, token } => write_claim(writer, 8, name, claim, token.get()),
        ObjectError::NotWaiting { name, claim } => write_claim(writer, 9, name, claim, 0),
        ObjectError::AlreadyGranted { name, claim, token } => {
            write_claim(writer, 10, name, claim, token.get());
        }
        ObjectError::NotCandidate { name, claim } => write_claim(writer, 11, name, claim, 0),
    }
}

/// Reads what [`write_error`] wrote.
pub(crate) fn read_error(reader: &mut Reader<'_>) -> ObjectError {
    let tag = reader.byte();
    if tag == 0 {
        let number = usize::from(reader.byte());
        let Some(fault) = Fault::ALL.get(number).copied() else { reader.complain("unknown fault") };
        return ObjectError::BadRequest { fault };
    }
    let name = reader.bytes();
    match tag {
        1 => ObjectError::Mismatch { name, exists: read_kind(reader), asked: read_kind(reader) },
        2 => ObjectError::Busy { name },
        3 => ObjectError::QueueFull { name },
        4 => ObjectError::NotFound { name },
        5 => ObjectError::Shared { name },
        6 => ObjectError::WrongKind { name, kind: read_kind(reader) },
        7..=11 => {
            let claim = Claim { session: SessionId(reader.number()), request: reader.number() };
            let token = Revision(reader.number());
            match tag {
                7 => ObjectError::ClaimInUse { name, claim },
                8 => ObjectError::NotHeld { name, claim, token },
                9 => ObjectError::NotWaiting { name, claim },
                10 => ObjectError::AlreadyGranted { name, claim, token },
                _ => ObjectError::NotCandidate { name, claim },
            }
        }
        _ => reader.complain("unknown refusal of an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKind;

    #[test]
    fn answers_and_refusals_are_read_back() {
        let read_back = |reply: &ObjectReply| {
            let mut writer = Writer::new(1, 0);
            write_reply(&mut writer, reply);
            read_reply(&mut Reader::new("test", 1, &writer.finish()))
        };
        for reply in [ObjectReply::Done, ObjectReply::Granted { token: Revision(300) }] {
            assert_eq!(read_back(&reply), reply);
        }
        let queued = ObjectReply::Queued { ticket: Revision(4), ahead: vec![(Bytes::new(), 1)] };
        assert_eq!(read_back(&queued), ObjectReply::Queued { ticket: Revision(4), ahead: Vec::new() });

        let (name, token) = (Bytes::from_static(b"a"), Revision(5));
        let claim = Claim { session: SessionId(6), request: 7 };
        let kind = ObjectKind::Semaphore { capacity: 8 };
        let mut errors = vec![
            ObjectError::Mismatch { name: name.clone(), exists: kind, asked: ObjectKind::ReadWrite },
            ObjectError::Busy { name: name.clone() },
            ObjectError::QueueFull { name: name.clone() },
            ObjectError::NotFound { name: name.clone() },
            ObjectError::Shared { name: name.clone() },
            ObjectError::WrongKind { name: name.clone(), kind },
            ObjectError::ClaimInUse { name: name.clone(), claim },
            ObjectError::NotHeld { name: name.clone(), claim, token },
            ObjectError::NotWaiting { name: name.clone(), claim },
            ObjectError::AlreadyGranted { name: name.clone(), claim, token },
            ObjectError::NotCandidate { name, claim },
        ];
        errors.extend(Fault::ALL.map(ObjectError::from));
        for error in errors {
            let mut writer = Writer::new(1, 0);
            write_error(&mut writer, &error);
            let record = writer.finish();
            let mut reader = Reader::new("test", 1, &record);
            assert_eq!(read_error(&mut reader), error);
            reader.end();
        }
        assert!(Fault::ALL.iter().enumerate().all(|(number, fault)| number == *fault as usize));
    }
}
