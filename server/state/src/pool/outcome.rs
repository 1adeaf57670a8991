//! How answers and refusals of pools are remembered, so that a repeated request gets the same.

use crate::codec::{Reader, Writer};
use crate::ids::{Revision, SessionId};
use crate::limits::{OUTCOME_BYTES_MAX, OUTCOME_KEY_BYTES_MAX};
use crate::pool::{PoolError, PoolFault, PoolReply, StepFault};
use bytes::Bytes;

/// Bytes that an owned shard takes beside its name, at most.
const OWNED_BYTES: usize = 12;

/// Writes what an operation answered.
pub(crate) fn write_reply(writer: &mut Writer, reply: &PoolReply) {
    match reply {
        // What it owns may be another by the time of a repetition; watchers know better.
        PoolReply::Joined { owned } => {
            let bytes: usize = owned.iter().map(|(shard, _)| shard.len() + OWNED_BYTES).sum();
            let owned = if bytes <= OUTCOME_BYTES_MAX { owned.as_slice() } else { &[] };
            writer.byte(1);
            writer.number(owned.len() as u64);
            for (shard, epoch) in owned {
                writer.bytes(shard);
                writer.number(epoch.get());
            }
        }
        // Answers to questions are never remembered.
        PoolReply::Done
        | PoolReply::Listed { .. }
        | PoolReply::State(_)
        | PoolReply::Shard(_)
        | PoolReply::NextDue(_) => writer.byte(0),
    }
}

/// Reads what [`write_reply`] wrote.
pub(crate) fn read_reply(reader: &mut Reader<'_>) -> PoolReply {
    match reader.byte() {
        0 => PoolReply::Done,
        1 => {
            let owned = (0..reader.number()).map(|_| (reader.bytes(), Revision(reader.number()))).collect();
            PoolReply::Joined { owned }
        }
        _ => reader.complain("unknown answer of a pool"),
    }
}

fn write_names(writer: &mut Writer, tag: u8, names: &[&Bytes]) {
    writer.byte(tag);
    for name in names {
        writer.bytes(&name[..name.len().min(OUTCOME_KEY_BYTES_MAX)]);
    }
}

/// Writes a refusal; a long name is cut, as it only informs.
pub(crate) fn write_error(writer: &mut Writer, error: &PoolError) {
    match error {
        PoolError::BadRequest { fault } => {
            writer.byte(0);
            writer.byte(*fault as u8);
        }
        PoolError::PoolExists { pool } => write_names(writer, 1, &[pool]),
        PoolError::PoolNotFound { pool } => write_names(writer, 2, &[pool]),
        PoolError::NotEmpty { pool } => write_names(writer, 3, &[pool]),
        PoolError::FixedShards { pool } => write_names(writer, 4, &[pool]),
        PoolError::TooManyMembers { pool } => write_names(writer, 5, &[pool]),
        PoolError::TooManyShards { pool } => write_names(writer, 6, &[pool]),
        PoolError::ShardNotFound { pool, shard } => write_names(writer, 7, &[pool, shard]),
        PoolError::MemberNotFound { pool, instance } => write_names(writer, 8, &[pool, instance]),
        PoolError::InstanceInUse { pool, instance, session } => {
            write_names(writer, 9, &[pool, instance]);
            writer.number(session.get());
        }
        PoolError::NotMember { pool, instance, session } => {
            write_names(writer, 10, &[pool, instance]);
            writer.number(session.get());
        }
        PoolError::NotOwned { pool, shard, epoch } => {
            write_names(writer, 11, &[pool, shard]);
            writer.number(epoch.get());
        }
        PoolError::Stale { pool, basis, changed } => {
            write_names(writer, 12, &[pool]);
            writer.number(basis.get());
            writer.number(changed.get());
        }
        PoolError::Step { pool, shard, fault } => {
            write_names(writer, 13, &[pool, shard]);
            writer.byte(*fault as u8);
        }
    }
}

/// Reads what [`write_error`] wrote.
pub(crate) fn read_error(reader: &mut Reader<'_>) -> PoolError {
    let tag = reader.byte();
    if tag == 0 {
        let number = usize::from(reader.byte());
        let Some(fault) = PoolFault::ALL.get(number).copied() else { reader.complain("unknown fault") };
        return PoolError::BadRequest { fault };
    }
    let pool = reader.bytes();
    match tag {
        1 => PoolError::PoolExists { pool },
        2 => PoolError::PoolNotFound { pool },
        3 => PoolError::NotEmpty { pool },
        4 => PoolError::FixedShards { pool },
        5 => PoolError::TooManyMembers { pool },
        6 => PoolError::TooManyShards { pool },
        7 => PoolError::ShardNotFound { pool, shard: reader.bytes() },
        8 => PoolError::MemberNotFound { pool, instance: reader.bytes() },
        9 => PoolError::InstanceInUse { pool, instance: reader.bytes(), session: SessionId(reader.number()) },
        10 => PoolError::NotMember { pool, instance: reader.bytes(), session: SessionId(reader.number()) },
        11 => PoolError::NotOwned { pool, shard: reader.bytes(), epoch: Revision(reader.number()) },
        12 => PoolError::Stale { pool, basis: Revision(reader.number()), changed: Revision(reader.number()) },
        13 => {
            let (shard, number) = (reader.bytes(), usize::from(reader.byte()));
            let Some(fault) = StepFault::ALL.get(number).copied() else { reader.complain("unknown fault") };
            PoolError::Step { pool, shard, fault }
        }
        _ => reader.complain("unknown refusal of a pool"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_back() {
        let read_back = |reply: &PoolReply| {
            let mut writer = Writer::new(1, 0);
            write_reply(&mut writer, reply);
            read_reply(&mut Reader::new("test", 1, &writer.finish()))
        };
        let owned =
            |count| PoolReply::Joined { owned: vec![(Bytes::from_static(b"7"), Revision(300)); count] };
        for reply in [PoolReply::Done, owned(0), owned(2)] {
            assert_eq!(read_back(&reply), reply);
        }
        assert_eq!(read_back(&owned(OUTCOME_BYTES_MAX)), owned(0));
    }

    #[test]
    fn refusals_are_read_back() {
        let (pool, shard, instance) =
            (Bytes::from_static(b"p"), Bytes::from_static(b"7"), Bytes::from_static(b"x"));
        let (session, epoch) = (SessionId(6), Revision(300));
        let mut errors = vec![
            PoolError::PoolExists { pool: pool.clone() },
            PoolError::PoolNotFound { pool: pool.clone() },
            PoolError::NotEmpty { pool: pool.clone() },
            PoolError::FixedShards { pool: pool.clone() },
            PoolError::TooManyMembers { pool: pool.clone() },
            PoolError::TooManyShards { pool: pool.clone() },
            PoolError::ShardNotFound { pool: pool.clone(), shard: shard.clone() },
            PoolError::MemberNotFound { pool: pool.clone(), instance: instance.clone() },
            PoolError::InstanceInUse { pool: pool.clone(), instance: instance.clone(), session },
            PoolError::NotMember { pool: pool.clone(), instance, session },
            PoolError::NotOwned { pool: pool.clone(), shard: shard.clone(), epoch },
            PoolError::Stale { pool: pool.clone(), basis: epoch, changed: Revision(301) },
        ];
        errors.extend(PoolFault::ALL.map(PoolError::from));
        errors.extend(StepFault::ALL.map(|fault| PoolError::Step {
            pool: pool.clone(),
            shard: shard.clone(),
            fault,
        }));
        for error in errors {
            let mut writer = Writer::new(1, 0);
            write_error(&mut writer, &error);
            let record = writer.finish();
            let mut reader = Reader::new("test", 1, &record);
            assert_eq!(read_error(&mut reader), error);
            reader.end();
        }
        assert!(PoolFault::ALL.iter().enumerate().all(|(number, fault)| number == *fault as usize));
        assert!(StepFault::ALL.iter().enumerate().all(|(number, fault)| number == *fault as usize));
    }
}
