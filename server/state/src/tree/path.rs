//! Paths of znodes: which ones there may be, and how they divide.

use crate::limits::KEY_BYTES_MAX;
use crate::tree::{BadArgument, TreeError};
use bytes::Bytes;

/// The topmost znode.
pub const ROOT: &[u8] = b"/";

/// Bytes of a refused path that the refusal repeats.
const SHOWN_BYTES_MAX: usize = 256;

/// Refuses what ZooKeeper refuses: a path must begin with `/`, must not end in one (but for the
/// root), has no empty, `.` or `..` name, and only characters that ZooKeeper admits.
pub fn validate(path: &Bytes) -> Result<(), TreeError> {
    refuse(path, fault(path))
}

/// Refuses what could not become a valid path by having a number appended.
pub fn validate_prefix(prefix: &Bytes) -> Result<(), TreeError> {
    refuse(prefix, fault(&[prefix, b"0".as_slice()].concat()))
}

/// Names the path as it was given, unless it is so long that it would only be ballast.
fn refuse(path: &Bytes, fault: Option<BadArgument>) -> Result<(), TreeError> {
    let Some(reason) = fault else { return Ok(()) };
    let path = path.slice(..path.len().min(SHOWN_BYTES_MAX));
    Err(TreeError::BadArguments { path, reason })
}

fn fault(path: &[u8]) -> Option<BadArgument> {
    if path.is_empty() {
        return Some(BadArgument::PathEmpty);
    }
    if path.len() > KEY_BYTES_MAX {
        return Some(BadArgument::PathTooLong);
    }
    let Ok(text) = std::str::from_utf8(path) else {
        return Some(BadArgument::NotUtf8);
    };
    let Some(names) = text.strip_prefix('/') else {
        return Some(BadArgument::PathNotAbsolute);
    };
    if names.is_empty() {
        return None;
    }
    if names.ends_with('/') {
        return Some(BadArgument::PathEndsInSlash);
    }
    names.split('/').find_map(name_fault)
}

fn name_fault(name: &str) -> Option<BadArgument> {
    match name {
        "" => Some(BadArgument::EmptyName),
        "." | ".." => Some(BadArgument::RelativeName),
        _ => name.chars().any(is_refused).then_some(BadArgument::BadCharacter),
    }
}

/// ZooKeeper looks at UTF-16 units: whatever needs two of them is refused with the surrogates.
fn is_refused(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..
    )
}

/// The parent's path and the last name of a valid path; `None` for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path == ROOT {
        return None;
    }
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let parent = if slash == 0 { ROOT } else { &path[..slash] };
    Some((parent, &path[slash + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_zookeeper_refuses() {
        let cases: [(&[u8], Option<BadArgument>); 20] = [
            (b"/", None),
            (b"/a", None),
            (b"/a/b.c/..d", None),
            ("/stra\u{df}e/\u{4e2d}".as_bytes(), None),
            (b"/...", None),
            (b"", Some(BadArgument::PathEmpty)),
            (b"a", Some(BadArgument::PathNotAbsolute)),
            (b"a/b", Some(BadArgument::PathNotAbsolute)),
            (b"/a/", Some(BadArgument::PathEndsInSlash)),
            (b"//", Some(BadArgument::PathEndsInSlash)),
            (b"//a", Some(BadArgument::EmptyName)),
            (b"/a//b", Some(BadArgument::EmptyName)),
            (b"/.", Some(BadArgument::RelativeName)),
            (b"/a/../b", Some(BadArgument::RelativeName)),
            (b"/a\0b", Some(BadArgument::BadCharacter)),
            (b"/a\x7f", Some(BadArgument::BadCharacter)),
            ("/\u{85}".as_bytes(), Some(BadArgument::BadCharacter)),
            ("/\u{e000}".as_bytes(), Some(BadArgument::BadCharacter)),
            ("/\u{1f600}".as_bytes(), Some(BadArgument::BadCharacter)),
            (b"/\xff", Some(BadArgument::NotUtf8)),
        ];
        for (path, expected) in cases {
            assert_eq!(fault(path), expected, "{:?}", String::from_utf8_lossy(path));
        }
        let long = [b"/".as_slice(), &vec![b'x'; KEY_BYTES_MAX]].concat();
        assert_eq!(fault(&long), Some(BadArgument::PathTooLong));
    }

    #[test]
    fn divides() {
        assert_eq!(split(b"/"), None);
        assert_eq!(split(b"/a"), Some((b"/".as_slice(), b"a".as_slice())));
        assert_eq!(split(b"/a/b"), Some((b"/a".as_slice(), b"b".as_slice())));
    }
}
