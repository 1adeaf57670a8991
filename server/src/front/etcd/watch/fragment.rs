//! Responses that are too large for their client.

use super::super::door::Limits;
use oarlock_proto::etcd::etcdserverpb::WatchResponse;
use oarlock_proto::etcd::mvccpb::Event;
use prost::Message;

/// What a response may have above the largest request.
const OVERHEAD: usize = 512 * 1024;
/// The field number of `WatchResponse.events`.
const EVENTS: u32 = 11;

/// Bytes at which a response is split.
pub fn size(limits: &Limits) -> usize {
    limits.request_bytes + OVERHEAD
}

/// Splits a response whose client allowed it into parts below `max` bytes; a part has one event at
/// least. All but the last say that more follow.
pub fn split(response: WatchResponse, max: usize) -> Vec<WatchResponse> {
    if response.encoded_len() < max || response.events.len() < 2 {
        return vec![response];
    }
    let empty = WatchResponse { events: Vec::new(), fragment: true, ..response };
    let base = empty.encoded_len();
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (empty.clone(), base);
    for event in response.events {
        let more = event_bytes(&event);
        if !part.events.is_empty() && bytes + more >= max {
            parts.push(std::mem::replace(&mut part, empty.clone()));
            bytes = base;
        }
        bytes += more;
        part.events.push(event);
    }
    parts.push(WatchResponse { fragment: false, ..part });
    parts
}

fn event_bytes(event: &Event) -> usize {
    prost::encoding::message::encoded_len(EVENTS, event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_proto::etcd::etcdserverpb::ResponseHeader;
    use oarlock_proto::etcd::mvccpb::KeyValue;

    fn response(values: &[usize]) -> WatchResponse {
        let event = |bytes: &usize| Event {
            kv: Some(KeyValue { key: "k".into(), value: vec![b'v'; *bytes].into(), ..Default::default() }),
            ..Default::default()
        };
        WatchResponse {
            header: Some(ResponseHeader { revision: 7, ..Default::default() }),
            watch_id: 3,
            events: values.iter().map(event).collect(),
            ..Default::default()
        }
    }

    fn shape(parts: &[WatchResponse]) -> Vec<(usize, bool)> {
        parts.iter().map(|part| (part.events.len(), part.fragment)).collect()
    }

    #[test]
    fn only_what_is_too_large_is_split() {
        assert_eq!(shape(&split(response(&[10, 10]), 1_000)), [(2, false)]);
        assert_eq!(shape(&split(response(&[5_000]), 1_000)), [(1, false)], "one event is never split");
    }

    #[test]
    fn parts_stay_below_the_bound_and_lose_nothing() {
        let whole = response(&[400, 400, 400, 5_000, 10, 10]);
        let parts = split(whole.clone(), 1_000);
        assert_eq!(shape(&parts), [(2, true), (1, true), (1, true), (2, false)]);
        for part in parts.iter().filter(|part| part.events.len() > 1) {
            assert!(part.encoded_len() < 1_000);
        }
        assert!(parts.iter().all(|part| part.watch_id == 3 && part.header == whole.header));
        let events: Vec<Event> = parts.into_iter().flat_map(|part| part.events).collect();
        assert_eq!(events, whole.events);
    }
}
