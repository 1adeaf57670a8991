//! What a watch is asked for.

use super::super::convert::key_range;
use super::super::errors;
use crate::node::request::WatchSpec;
use bytes::Bytes;
use oarlock_proto::etcd::etcdserverpb::WatchCreateRequest;
use oarlock_proto::etcd::etcdserverpb::watch_create_request::FilterType;
use oarlock_state::Revision;
use oarlock_state::command::KeyRange;
use oarlock_state::event::Keyspace;

/// Why a watch with an end at or before its key cannot be.
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";

/// The watch that is asked for.
///
/// # Errors
/// The reason for which it is cancelled as soon as it is created.
pub fn spec(create: WatchCreateRequest) -> Result<WatchSpec, String> {
    let filters = |kind: FilterType| create.filters.contains(&kind.into());
    let (no_put, no_delete) = (filters(FilterType::Noput), filters(FilterType::Nodelete));
    let Ok(start) = u64::try_from(create.start_revision) else {
        return Err(errors::COMPACTED.message());
    };
    Ok(WatchSpec {
        keyspace: Keyspace::Kv,
        range: range(create.key, create.range_end)?,
        start: Revision(start),
        want_previous: create.prev_kv,
        no_put,
        no_delete,
        want_progress: create.progress_notify,
        resync: false,
    })
}

/// The keys to watch; an empty key is the first there can be.
fn range(key: Bytes, end: Bytes) -> Result<KeyRange, String> {
    let key = if key.is_empty() { Bytes::from_static(&[0]) } else { key };
    match key_range(key, end) {
        KeyRange::Span { start, end: Some(end) } if start >= end => Err(EMPTY_RANGE.to_owned()),
        range => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &'static str, end: &'static str) -> Result<KeyRange, String> {
        range(Bytes::from_static(key.as_bytes()), Bytes::from_static(end.as_bytes()))
    }

    #[test]
    fn empty_and_zero_have_their_meanings() {
        let from = |start: &'static str, end: Option<&'static str>| {
            let end = end.map(|end| Bytes::from_static(end.as_bytes()));
            Ok(KeyRange::Span { start: Bytes::from_static(start.as_bytes()), end })
        };
        assert_eq!(of("", ""), Ok(KeyRange::Key(Bytes::from_static(b"\0"))));
        assert_eq!(of("", "\0"), from("\0", None));
        assert_eq!(of("a", "\0"), from("a", None));
        assert_eq!(of("a", "b"), from("a", Some("b")));
        assert_eq!(of("", "b"), from("\0", Some("b")));
    }

    #[test]
    fn an_end_at_or_before_the_key_is_refused() {
        assert_eq!(of("b", "b"), Err("mvcc: watcher range is empty".to_owned()));
        assert_eq!(of("b", "a"), Err("mvcc: watcher range is empty".to_owned()));
    }

    #[test]
    fn a_negative_start_is_compacted_and_unknown_filters_are_passed_over() {
        let create = WatchCreateRequest { start_revision: -1, ..Default::default() };
        let reason = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(spec(create), Err(reason.to_owned()));
        let create = WatchCreateRequest { filters: vec![1, 9], ..Default::default() };
        let spec = spec(create).expect("fine");
        assert!(spec.no_delete && !spec.no_put);
    }
}
