//! Whether permissions, taken together, cover a range.

use super::op::{Permission, PermissionKind};
use crate::command::KeyRange;

/// Whether every key of `range` is permitted. Permissions that touch or overlap count as one, as in
/// etcd; a range without an end is covered only by permissions of which one has no end.
pub(super) fn covers(permissions: &[Permission], kind: PermissionKind, range: &KeyRange) -> bool {
    let fitting = permissions.iter().filter(|permission| permission.kind.permits(kind));
    match Interval::of(range) {
        Interval { from, to: Limit::Before(to) } if to <= from => {
            // A range without keys: whoever asks for it must at least be near it.
            fitting.into_iter().any(|permission| Interval::of(&permission.range).holds(from))
        }
        wanted => wanted.is_covered(fitting.map(|permission| Interval::of(&permission.range)).collect()),
    }
}

/// From a key on, up to a limit. No empty key exists, so an empty start means the first key.
#[derive(Clone, Copy)]
struct Interval<'a> {
    from: &'a [u8],
    to: Limit<'a>,
}

/// Where an interval ends.
#[derive(Clone, Copy)]
enum Limit<'a> {
    /// Before this key.
    Before(&'a [u8]),
    /// After this key: before the key with a zero byte more.
    After(&'a [u8]),
    /// Nowhere.
    Never,
}

impl<'a> Interval<'a> {
    fn of(range: &'a KeyRange) -> Self {
        match range {
            KeyRange::Key(key) => Self { from: first(key), to: Limit::After(first(key)) },
            KeyRange::Span { start, end: Some(end) } => Self { from: first(start), to: Limit::Before(end) },
            KeyRange::Span { start, end: None } => Self { from: first(start), to: Limit::Never },
        }
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.from <= key && self.to.is_beyond(key)
    }

    /// Walks along the intervals in order of their starts for as long as they join.
    fn is_covered(self, mut by: Vec<Self>) -> bool {
        by.sort_by_key(|interval| interval.from);
        let mut reached = Limit::Before(self.from);
        for interval in by {
            if !reached.joins(interval.from) {
                break;
            }
            if interval.to.reaches(reached) {
                reached = interval.to;
            }
        }
        reached.reaches(self.to)
    }
}

impl Limit<'_> {
    /// Whether the key lies before the limit.
    fn is_beyond(self, key: &[u8]) -> bool {
        match self {
            Self::Before(limit) => key < limit,
            Self::After(last) => key <= last,
            Self::Never => true,
        }
    }

    /// Whether an interval that starts with this key leaves no gap.
    fn joins(self, from: &[u8]) -> bool {
        match self {
            Self::Before(limit) => from <= limit,
            Self::After(last) => from <= last || is_successor(from, last),
            Self::Never => true,
        }
    }

    /// Whether this is as far as the other, or farther.
    fn reaches(self, other: Self) -> bool {
        match (self, other) {
            (Self::Never, _) => true,
            (_, Self::Never) => false,
            (Self::Before(left), Self::Before(right)) | (Self::After(left), Self::After(right)) => {
                left >= right
            }
            (Self::After(last), Self::Before(limit)) => limit <= last || is_successor(limit, last),
            (Self::Before(limit), Self::After(last)) => limit > last,
        }
    }
}

/// Whether nothing lies between the two keys.
fn is_successor(next: &[u8], last: &[u8]) -> bool {
    next.strip_prefix(last) == Some(&[0])
}

fn first(key: &[u8]) -> &[u8] {
    if key.is_empty() { &[0] } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn range(word: &str) -> KeyRange {
        let bytes = |text: &str| Bytes::copy_from_slice(text.replace('0', "\0").as_bytes());
        match word.split_once("..") {
            None => KeyRange::Key(bytes(word)),
            Some((start, "")) => KeyRange::Span { start: bytes(start), end: None },
            Some((start, end)) => KeyRange::Span { start: bytes(start), end: Some(bytes(end)) },
        }
    }

    fn covered(by: &str, wanted: &str) -> bool {
        let permission = |word| Permission { kind: PermissionKind::Read, range: range(word) };
        let permissions: Vec<_> = by.split_whitespace().map(permission).collect();
        covers(&permissions, PermissionKind::Read, &range(wanted))
    }

    #[test]
    fn what_is_covered() {
        // Permissions, what is wanted, whether it is covered. `0` is the zero byte.
        let table = [
            ("", "k", false),
            ("k", "k", true),
            ("k", "l", false),
            ("k", "k0", false),
            ("k", "k..k0", true),
            // A single key is no range, and surely not an open one (GHSA-xg4h-6gfc-h4m8).
            ("k", "k..l", false),
            ("k", "k..", false),
            ("k", "0..", false),
            ("k", "..", false),
            ("a..c", "a", true),
            ("a..c", "b", true),
            ("a..c", "c", false),
            ("a..c", "a..c", true),
            ("a..c", "a..d", false),
            ("a..c", "0..c", false),
            ("a..c", "b..", false),
            // What touches or overlaps counts as one; what leaves a gap does not.
            ("a..b b..c", "a..c", true),
            ("b..c a..b", "a..c", true),
            ("a..b c..d", "a..d", false),
            ("a..c b..d", "a..d", true),
            ("a..d b..c", "a..d", true),
            ("a a0..b", "a..b", true),
            ("a a00..b", "a..b", false),
            ("a b", "a..b0", false),
            ("a..b b", "a..b0", true),
            ("a..b b b0..c", "a..c", true),
            ("a..b b b0..c", "a..c0", false),
            // Without an end.
            ("a..", "a..", true),
            ("a..", "z", true),
            ("a..", "a..z", true),
            ("a..", "0..", false),
            ("0..", "..", true),
            ("..", "0..", true),
            ("a..m m..", "b..", true),
            ("a..m n..", "b..", false),
            // Ranges without keys.
            ("a..c", "b..a", true),
            ("a..c", "d..a", false),
            ("a..c", "b..b", true),
        ];
        for (by, wanted, expected) in table {
            assert_eq!(covered(by, wanted), expected, "{by:?} covers {wanted:?}");
        }
    }

    #[test]
    fn only_permissions_of_the_right_kind_count() {
        use PermissionKind::{Read, ReadWrite, Write};
        let half = |kind, word| Permission { kind, range: range(word) };
        let permissions = [half(Read, "a..b"), half(Write, "b..c"), half(ReadWrite, "c..d")];
        for (kind, wanted, expected) in [
            (Read, "a..b", true),
            (Write, "a..b", false),
            (Read, "a..c", false),
            (Write, "b..d", true),
            (Read, "c", true),
            (Write, "c", true),
        ] {
            assert_eq!(covers(&permissions, kind, &range(wanted)), expected, "{kind:?} {wanted}");
        }
    }
}
