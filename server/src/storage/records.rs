//! The whole state as one ordered stream of records: independent of the store below and of its
//! files. The simulator's snapshots and portable exports.

use super::state::{APPLIED_KEY, END_KEY, FIRST_KEY};
use super::stream::{FRAME_BYTES_AIM, FrameReader, FrameWriter, StreamError};
use super::{BaseStore, StorageError, StorageResult};
use oarlock_state::View;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::ops::ControlFlow;

const MAGIC: &[u8; 8] = b"OARLOCKR";
const META: u8 = b'M';
const RECORDS: u8 = b'R';
/// Frames that are written at once: enough that a sync for each batch does not count.
const FRAMES_PER_BATCH: usize = 32;

/// Which state this is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateMeta {
    /// Index of the last entry applied to it.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Raft's configuration at that entry, as raft encodes it.
    pub conf_state: Vec<u8>,
    /// The cluster it belongs to.
    pub cluster_id: u64,
}

/// Writes all records of `view` and `meta` to `out`.
///
/// # Errors
/// [`StreamError::Io`] when `out` refuses.
pub fn save(view: &dyn View, meta: &StateMeta, out: &mut dyn Write) -> Result<(), StreamError> {
    let mut sink = RecordSink::begin(meta, out)?;
    view.scan(FIRST_KEY, END_KEY, false, &mut |key, value| sink.take(key, value));
    sink.end()
}

/// Writes all records of `base` and `meta` to `out`.
///
/// # Errors
/// [`StreamError::Io`] when `out` refuses, and those of the base.
pub fn save_base(base: &dyn BaseStore, meta: &StateMeta, out: &mut dyn Write) -> Result<(), StreamError> {
    let mut sink = RecordSink::begin(meta, out)?;
    base.scan(FIRST_KEY, END_KEY, false, &mut |key, value| sink.take(key, value))?;
    sink.end()
}

/// Fills the empty `base` from a stream and makes it durable, its applied index included. After an
/// error the base holds a part and must be discarded.
///
/// # Errors
/// All of [`StreamError`].
pub fn load(input: &mut dyn Read, base: &dyn BaseStore) -> Result<StateMeta, StreamError> {
    require_empty(base)?;
    let mut reader = FrameReader::new(input, MAGIC, "stream of Oarlock's records")?;
    let meta = match reader.frame()? {
        Some((META, bytes)) => serde_json::from_slice::<StateMeta>(&bytes)
            .map_err(|error| reader.refuse(format!("its description does not read: {error}")))?,
        Some(_) | None => return Err(reader.refuse("its description is missing")),
    };
    let mut frames = Vec::new();
    while let Some((kind, bytes)) = reader.frame()? {
        if kind != RECORDS {
            return Err(reader.refuse(format!("a part is of the unknown kind {kind}")));
        }
        let mut records = Records { rest: &bytes };
        records.by_ref().for_each(drop);
        if !records.rest.is_empty() {
            return Err(reader.refuse("a record is longer than its part"));
        }
        frames.push(bytes);
        if frames.len() == FRAMES_PER_BATCH {
            write(base, std::mem::take(&mut frames))?;
        }
    }
    write(base, frames)?;
    let applied = meta.index.to_be_bytes();
    base.write(&mut std::iter::once((APPLIED_KEY, Some(&applied[..]))))?;
    Ok(meta)
}

/// Writes frames of whole records, in order.
fn write(base: &dyn BaseStore, frames: Vec<Vec<u8>>) -> StorageResult<()> {
    let records = frames.iter().flat_map(|frame| Records { rest: frame });
    base.write(&mut records.map(|(key, value)| (key, Some(value))))
}

fn require_empty(base: &dyn BaseStore) -> StorageResult<()> {
    let mut empty = true;
    base.scan(&[], END_KEY, false, &mut |_, _| {
        empty = false;
        ControlFlow::Break(())
    })?;
    if empty {
        Ok(())
    } else {
        Err(StorageError::State("records are loaded into an empty store only".into()))
    }
}

/// Gathers records into frames.
struct RecordSink<'a> {
    writer: FrameWriter<'a>,
    payload: Vec<u8>,
    failure: Option<StreamError>,
}

impl<'a> RecordSink<'a> {
    fn begin(meta: &StateMeta, out: &'a mut dyn Write) -> Result<Self, StreamError> {
        let mut writer = FrameWriter::new(out, MAGIC)?;
        let mut payload = vec![META];
        serde_json::to_writer(&mut payload, meta).expect("numbers and bytes always encode");
        writer.frame(&payload)?;
        Ok(Self { writer, payload: vec![RECORDS], failure: None })
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        for part in [key, value] {
            let length = u32::try_from(part.len()).expect("limits keep records below 4 GiB");
            self.payload.extend_from_slice(&length.to_le_bytes());
        }
        self.payload.extend_from_slice(key);
        self.payload.extend_from_slice(value);
        if self.payload.len() < FRAME_BYTES_AIM {
            return ControlFlow::Continue(());
        }
        match self.write_frame() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn write_frame(&mut self) -> Result<(), StreamError> {
        self.writer.frame(&self.payload)?;
        self.payload.truncate(1);
        Ok(())
    }

    fn end(mut self) -> Result<(), StreamError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.payload.len() > 1 {
            self.write_frame()?;
        }
        self.writer.end()
    }
}

/// Records of one frame. Stops at the first one that is not whole and leaves it in `rest`.
struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key_bytes, rest) = self.rest.split_first_chunk()?;
        let (value_bytes, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_bytes) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_bytes) as usize)?;
        self.rest = rest;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryBase;
    use crate::storage::state::{StateOptions, StateStore};
    use bytes::Bytes;
    use oarlock_state::Mutation;
    use std::sync::Arc;

    fn sample(records: usize) -> (StateStore, StateMeta) {
        let mut store = StateStore::open(Arc::new(MemoryBase::new()), StateOptions::default()).expect("open");
        let mutations = (0..records).map(|number| {
            Mutation::new(format!("k{number:06}").into(), Some(vec![number as u8; number % 300].into()))
        });
        store.write(mutations.collect(), 77);
        let meta = StateMeta { index: 77, term: 3, conf_state: vec![8, 1], cluster_id: 9 };
        (store, meta)
    }

    fn saved(records: usize) -> Vec<u8> {
        let (store, meta) = sample(records);
        let mut bytes = Vec::new();
        save(&store, &meta, &mut bytes).expect("save");
        bytes
    }

    #[test]
    fn a_state_travels_and_arrives_durable() {
        let (store, meta) = sample(20_000);
        let bytes = saved(20_000);
        let base = Arc::new(MemoryBase::new());
        assert_eq!(load(&mut &bytes[..], &*base).expect("load"), meta);
        let loaded = StateStore::open(base.clone(), StateOptions::default()).expect("open");
        assert_eq!((loaded.applied(), loaded.durable_applied()), (77, 77));
        for number in [0, 1, 19_999] {
            let key = Bytes::from(format!("k{number:06}"));
            assert_eq!(loaded.get(&key), store.get(&key));
        }
        let mut again = Vec::new();
        save_base(&*base, &meta, &mut again).expect("save");
        assert_eq!(again, bytes, "equal states make equal streams");
        let refused = load(&mut &bytes[..], &*base).unwrap_err().to_string();
        assert!(refused.contains("empty store"), "{refused}");
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_refused() {
        let bytes = saved(40);
        for length in 0..bytes.len() {
            let error = load(&mut &bytes[..length], &MemoryBase::new()).expect_err("a part only");
            let expected = if length < 8 { "is no stream" } else { "it was cut off" };
            assert!(error.to_string().contains(expected), "{length}: {error}");
        }
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1 << (position % 8);
            assert!(load(&mut &changed[..], &MemoryBase::new()).is_err(), "byte {position}");
        }
    }
}
