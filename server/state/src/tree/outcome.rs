//! How the outcomes of changes are remembered, so that a repeated request gets its first answer.

use crate::codec::{Reader, Writer};
use crate::ids::{Revision, SessionId};
use crate::tree::{BadArgument, Stat, TreeError, TreeReply};

/// The reply as it is remembered: the results of a multi are left out when there are so many that
/// they may be larger than `budget` bytes.
pub(crate) fn remembered(reply: &TreeReply, budget: usize) -> TreeReply {
    match reply {
        TreeReply::Multi(replies) if replies.iter().map(size).sum::<usize>() > budget => {
            TreeReply::Multi(Vec::new())
        }
        _ => reply.clone(),
    }
}

fn size(reply: &TreeReply) -> usize {
    const STAT_BYTES: usize = 64; // at most, but for numbers that are never reached
    match reply {
        TreeReply::Created { path, .. } => path.len() + STAT_BYTES,
        _ => STAT_BYTES,
    }
}

/// Appends a change's reply to a record.
pub(crate) fn write_reply(writer: &mut Writer, reply: &TreeReply) {
    match reply {
        TreeReply::Created { path, stat } => {
            writer.byte(b'c');
            writer.bytes(path);
            writer.flag(stat.is_some());
            if let Some(stat) = stat {
                write_stat(writer, stat);
            }
        }
        TreeReply::Deleted => writer.byte(b'd'),
        TreeReply::DataSet(stat) => {
            writer.byte(b's');
            write_stat(writer, stat);
        }
        TreeReply::AclSet(stat) => {
            writer.byte(b'a');
            write_stat(writer, stat);
        }
        TreeReply::Checked => writer.byte(b'k'),
        TreeReply::Multi(replies) => {
            writer.byte(b'm');
            writer.number(replies.len() as u64);
            replies.iter().for_each(|reply| write_reply(writer, reply));
        }
        TreeReply::Exists(_)
        | TreeReply::Data { .. }
        | TreeReply::Acl { .. }
        | TreeReply::Children { .. }
        | TreeReply::Count(_)
        | TreeReply::Ephemerals { .. }
        | TreeReply::Idle { .. }
        | TreeReply::MultiRead(_) => unreachable!("execute never answers as a read does"),
    }
}

/// Reads what [`write_reply`] wrote.
pub(crate) fn read_reply(reader: &mut Reader<'_>) -> TreeReply {
    match reader.byte() {
        b'c' => {
            let path = reader.bytes();
            let stat = reader.flag().then(|| read_stat(reader));
            TreeReply::Created { path, stat }
        }
        b'd' => TreeReply::Deleted,
        b's' => TreeReply::DataSet(read_stat(reader)),
        b'a' => TreeReply::AclSet(read_stat(reader)),
        b'k' => TreeReply::Checked,
        b'm' => {
            let count = reader.number();
            TreeReply::Multi((0..count).map(|_| read_reply(reader)).collect())
        }
        _ => reader.complain("an unknown tree reply"),
    }
}

fn write_stat(writer: &mut Writer, stat: &Stat) {
    writer.number(stat.czxid.get());
    writer.number(stat.mzxid.get());
    writer.number(stat.pzxid.get());
    writer.number(stat.ctime_ms);
    writer.number(stat.mtime_ms);
    writer.signed(i64::from(stat.version));
    writer.signed(i64::from(stat.cversion));
    writer.signed(i64::from(stat.aversion));
    writer.number(stat.ephemeral_owner.get());
    writer.number(u64::from(stat.data_length));
    writer.number(u64::from(stat.num_children));
}

fn read_stat(reader: &mut Reader<'_>) -> Stat {
    Stat {
        czxid: Revision(reader.number()),
        mzxid: Revision(reader.number()),
        pzxid: Revision(reader.number()),
        ctime_ms: reader.number(),
        mtime_ms: reader.number(),
        version: version(reader),
        cversion: version(reader),
        aversion: version(reader),
        ephemeral_owner: SessionId(reader.number()),
        data_length: reader.number32(),
        num_children: reader.number32(),
    }
}

fn version(reader: &mut Reader<'_>) -> i32 {
    match i32::try_from(reader.signed()) {
        Ok(version) => version,
        Err(_) => reader.complain("a version has more than 32 bits"),
    }
}

/// Appends a refusal to a record.
pub(crate) fn write_error(writer: &mut Writer, error: &TreeError) {
    let (tag, path) = match error {
        TreeError::NoNode { path } => (b'n', path),
        TreeError::NodeExists { path } => (b'x', path),
        TreeError::NotEmpty { path } => (b'e', path),
        TreeError::NoChildrenForEphemerals { path } => (b'c', path),
        TreeError::InvalidAcl { path } => (b'a', path),
        TreeError::NotIdle { path } => (b'i', path),
        TreeError::BadVersion { path, expected, actual } => {
            writer.byte(b'v');
            writer.signed(i64::from(*expected));
            writer.signed(i64::from(*actual));
            return writer.bytes(path);
        }
        TreeError::BadArguments { path, reason } => {
            writer.byte(b'b');
            writer.byte(*reason as u8);
            return writer.bytes(path);
        }
        TreeError::SessionExpired { session } => {
            writer.byte(b's');
            return writer.number(session.get());
        }
        TreeError::ReplyTooLarge => return writer.byte(b'l'),
        TreeError::Multi { index, count, error } => {
            writer.byte(b'm');
            writer.number(u64::from(*index));
            writer.number(u64::from(*count));
            return write_error(writer, error);
        }
    };
    writer.byte(tag);
    writer.bytes(path);
}

/// Reads what [`write_error`] wrote.
pub(crate) fn read_error(reader: &mut Reader<'_>) -> TreeError {
    match reader.byte() {
        b'n' => TreeError::NoNode { path: reader.bytes() },
        b'x' => TreeError::NodeExists { path: reader.bytes() },
        b'e' => TreeError::NotEmpty { path: reader.bytes() },
        b'c' => TreeError::NoChildrenForEphemerals { path: reader.bytes() },
        b'a' => TreeError::InvalidAcl { path: reader.bytes() },
        b'i' => TreeError::NotIdle { path: reader.bytes() },
        b'v' => {
            let (expected, actual) = (version(reader), version(reader));
            TreeError::BadVersion { path: reader.bytes(), expected, actual }
        }
        b'b' => {
            let Some(reason) = BadArgument::from_number(reader.byte()) else {
                reader.complain("an unknown fault of a tree operation")
            };
            TreeError::BadArguments { path: reader.bytes(), reason }
        }
        b's' => TreeError::SessionExpired { session: SessionId(reader.number()) },
        b'l' => TreeError::ReplyTooLarge,
        b'm' => {
            let (index, count) = (reader.number32(), reader.number32());
            TreeError::Multi { index, count, error: Box::new(read_error(reader)) }
        }
        _ => reader.complain("an unknown tree error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const STAT: Stat = Stat {
        czxid: Revision(2),
        mzxid: Revision(300),
        pzxid: Revision(4),
        ctime_ms: 5,
        mtime_ms: 6,
        version: i32::MIN,
        cversion: -1,
        aversion: 7,
        ephemeral_owner: SessionId(8),
        data_length: 9,
        num_children: u32::MAX,
    };

    #[test]
    fn replies_come_back() {
        let path = Bytes::from_static(b"/a");
        let reply = TreeReply::Multi(vec![
            TreeReply::Created { path: path.clone(), stat: None },
            TreeReply::Created { path, stat: Some(STAT) },
            TreeReply::Deleted,
            TreeReply::DataSet(STAT),
            TreeReply::AclSet(STAT),
            TreeReply::Checked,
        ]);
        let mut writer = Writer::new(1, 0);
        write_reply(&mut writer, &reply);
        let record = writer.finish();
        let mut reader = Reader::new("test", 1, &record);
        assert_eq!(read_reply(&mut reader), reply);
        reader.end();
        assert_eq!(remembered(&reply, 1024), reply);
        assert_eq!(remembered(&reply, 100), TreeReply::Multi(Vec::new()));
    }

    #[test]
    fn refusals_come_back() {
        let path = || Bytes::from_static(b"/a");
        let errors = [
            TreeError::NoNode { path: path() },
            TreeError::NodeExists { path: path() },
            TreeError::NotEmpty { path: path() },
            TreeError::BadVersion { path: path(), expected: -7, actual: i32::MAX },
            TreeError::NoChildrenForEphemerals { path: path() },
            TreeError::BadArguments { path: path(), reason: BadArgument::AclTooLong },
            TreeError::InvalidAcl { path: path() },
            TreeError::SessionExpired { session: SessionId(9) },
            TreeError::NotIdle { path: path() },
            TreeError::ReplyTooLarge,
        ];
        for error in errors {
            let count = 3;
            let error = TreeError::Multi { index: 1, count, error: Box::new(error) };
            let mut writer = Writer::new(1, 0);
            write_error(&mut writer, &error);
            let record = writer.finish();
            let mut reader = Reader::new("test", 1, &record);
            assert_eq!(read_error(&mut reader), error);
            reader.end();
        }
    }
}
