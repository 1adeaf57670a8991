//! Where the records of objects lie. Names have no zero byte, which ends them.
//!
//! | key after the space's byte | value |
//! | --- | --- |
//! | `n`, name | [`Object`](super::place::Object): its kind and its numbers |
//! | `h`, name, 0x00, token u64, ticket u64 | [`Place`](super::place::Place) of a holder |
//! | `q`, name, 0x00, inverted priority u32, ticket u64 | `Place` of a claim that waits |
//! | `g`, name, 0x00, ticket u64 | `Place` of a hold that is withheld |
//! | `c`, name, 0x00, session u64, request u64 | [`Seat`](super::place::Seat): where the claim's place is |
//! | `d`, time in ms u64, ticket u64, name | empty: a withheld hold is due at that time |
//!
//! So the holders lie in order of token and the queue in the order in which it is served.

use crate::command::KeyRange;
use crate::ids::{Revision, SessionId};
use crate::keys::Space;
use crate::object::Claim;
use bytes::Bytes;

const END: &[u8] = &[0];
/// First byte after all that belongs to a name.
const BEYOND: &[u8] = &[1];

/// First key and first key beyond.
pub(super) type Span = (Bytes, Bytes);

/// An object.
pub(super) fn object(name: &[u8]) -> Bytes {
    Space::Objects.key(&[b"n", name])
}

/// The objects with a prefix, after a name. The name itself is left out.
pub(super) fn objects(prefix: &[u8], after: &[u8]) -> Span {
    let beyond = match KeyRange::prefix(prefix) {
        KeyRange::Span { end: Some(end), .. } => object(&end),
        KeyRange::Span { end: None, .. } | KeyRange::Key(_) => Space::Objects.key(&[b"o"]),
    };
    let from = if after >= prefix { Space::Objects.key(&[b"n", after, END]) } else { object(prefix) };
    (from, beyond)
}

/// The name in a full key of [`object`].
pub(super) fn parse_object(key: &[u8]) -> Option<Bytes> {
    key.strip_prefix(b"on").map(Bytes::copy_from_slice)
}

/// A holder.
pub(super) fn holder(name: &[u8], token: Revision, ticket: Revision) -> Bytes {
    Space::Objects.key(&[b"h", name, END, &token.get().to_be_bytes(), &ticket.get().to_be_bytes()])
}

/// All holders of an object.
pub(super) fn holders(name: &[u8]) -> Span {
    (Space::Objects.key(&[b"h", name, END]), Space::Objects.key(&[b"h", name, BEYOND]))
}

/// The holders under one token.
pub(super) fn holders_under(name: &[u8], token: Revision) -> Span {
    let token = token.get().to_be_bytes();
    let from = Space::Objects.key(&[b"h", name, END, &token]);
    (from, Space::Objects.key(&[b"h", name, END, &token, &[0xff; 9]]))
}

/// A claim that waits.
pub(super) fn queued(name: &[u8], priority: u32, ticket: Revision) -> Bytes {
    let order = (!priority).to_be_bytes();
    Space::Objects.key(&[b"q", name, END, &order, &ticket.get().to_be_bytes()])
}

/// The queue of an object.
pub(super) fn queue(name: &[u8]) -> Span {
    (Space::Objects.key(&[b"q", name, END]), Space::Objects.key(&[b"q", name, BEYOND]))
}

/// A withheld hold.
pub(super) fn withheld(name: &[u8], ticket: Revision) -> Bytes {
    Space::Objects.key(&[b"g", name, END, &ticket.get().to_be_bytes()])
}

/// All withheld holds of an object.
pub(super) fn all_withheld(name: &[u8]) -> Span {
    (Space::Objects.key(&[b"g", name, END]), Space::Objects.key(&[b"g", name, BEYOND]))
}

/// Where a claim's place is.
pub(super) fn seat(name: &[u8], claim: Claim) -> Bytes {
    let (session, request) = (claim.session.get().to_be_bytes(), claim.request.to_be_bytes());
    Space::Objects.key(&[b"c", name, END, &session, &request])
}

/// Where the places of a session are.
pub(super) fn seats(name: &[u8], session: SessionId) -> Span {
    let session = session.get().to_be_bytes();
    let from = Space::Objects.key(&[b"c", name, END, &session]);
    (from, Space::Objects.key(&[b"c", name, END, &session, &[0xff; 9]]))
}

/// Name and claim of a full key of [`seat`].
pub(super) fn parse_seat(key: &[u8]) -> Option<(Bytes, Claim)> {
    let (rest, request) = key.strip_prefix(b"oc")?.split_last_chunk::<8>()?;
    let (name, session) = rest.split_last_chunk::<8>()?;
    let name = name.strip_suffix(END)?;
    let claim =
        Claim { session: SessionId(u64::from_be_bytes(*session)), request: u64::from_be_bytes(*request) };
    Some((Bytes::copy_from_slice(name), claim))
}

/// The name in a full key of [`holder`], [`queued`] or [`withheld`].
pub(super) fn parse_name(key: &[u8]) -> Option<Bytes> {
    let rest = key.get(2..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(Bytes::copy_from_slice(&rest[..end]))
}

/// A note that a withheld hold is due.
pub(super) fn due(until_ms: u64, ticket: Revision, name: &[u8]) -> Bytes {
    Space::Objects.key(&[b"d", &until_ms.to_be_bytes(), &ticket.get().to_be_bytes(), name])
}

/// All such notes, the earliest first.
pub(super) const DUE_SPAN: (&[u8], &[u8]) = (b"od", b"oe");

/// Time, ticket and name of a full key of [`due`].
pub(super) fn parse_due(key: &[u8]) -> Option<(u64, Revision, Bytes)> {
    let (time, rest) = key.strip_prefix(DUE_SPAN.0)?.split_first_chunk::<8>()?;
    let (ticket, name) = rest.split_first_chunk::<8>()?;
    let ticket = Revision(u64::from_be_bytes(*ticket));
    Some((u64::from_be_bytes(*time), ticket, Bytes::copy_from_slice(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pinned() {
        let (token, ticket) = (Revision(0x0102), Revision(3));
        let claim = Claim { session: SessionId(4), request: 5 };
        assert_eq!(object(b"a"), b"ona".as_slice());
        assert_eq!(holder(b"a", token, ticket), b"oha\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03".as_slice());
        assert_eq!(queued(b"a", 1, ticket), b"oqa\0\xff\xff\xff\xfe\0\0\0\0\0\0\0\x03".as_slice());
        assert_eq!(withheld(b"a", ticket), b"oga\0\0\0\0\0\0\0\0\x03".as_slice());
        assert_eq!(seat(b"a", claim), b"oca\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05".as_slice());
        assert_eq!(due(6, ticket, b"a"), b"od\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x03a".as_slice());
    }

    #[test]
    fn what_is_built_is_parsed() {
        let claim = Claim { session: SessionId(u64::MAX), request: 0 };
        let name = Bytes::from_static(b"a/b");
        assert_eq!(parse_object(&object(&name)), Some(name.clone()));
        assert_eq!(parse_seat(&seat(&name, claim)), Some((name.clone(), claim)));
        assert_eq!(parse_due(&due(7, Revision(8), &name)), Some((7, Revision(8), name.clone())));
        for key in [
            holder(&name, Revision(0), Revision(0)),
            queued(&name, u32::MAX, Revision(0)),
            withheld(&name, Revision(0)),
        ] {
            assert_eq!(parse_name(&key), Some(name.clone()));
        }
    }

    #[test]
    fn the_queue_is_in_the_order_of_service() {
        let order = [(2, 9), (1, 3), (1, 4), (0, 1)].map(|(p, t)| queued(b"a", p, Revision(t)));
        assert!(order.is_sorted());
        let (from, to) = queue(b"a");
        assert!(order.iter().all(|key| *key >= from && *key < to));
        let others =
            [queued(b"a ", 0, Revision(1)), queued(b"", 0, Revision(1)), queued(b"b", 0, Revision(1))];
        assert!(others.iter().all(|key| *key < from || *key >= to));
    }

    #[test]
    fn prefixes_find_their_names_only() {
        let (from, to) = objects(b"a", b"");
        assert!([&b"a"[..], b"ab", b"a\xff"].iter().all(|name| object(name) >= from && object(name) < to));
        assert!([&b""[..], b"b", b"A"].iter().all(|name| object(name) < from || object(name) >= to));
        let (from, _) = objects(b"a", b"ab");
        assert!(object(b"ab") < from && object(b"ab\x01") >= from);
        let (from, to) = objects(b"", b"");
        assert!(object(b"\x01") >= from && object(b"\xff\xff") < to);
        let (_, to) = objects(b"\xff", b"");
        assert!(object(b"\xff\xff") < to);
    }
}
