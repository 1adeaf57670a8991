//! What is stored of a document, and which instance sees which version.

use super::{DocumentError, HEAD, VERSIONS};
use crate::recipes::place::Place;
use crate::types::KeyValue;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Parts into which instances are divided: shares have two digits behind the point.
const PARTS: u64 = 10_000;

/// Which versions a document has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The current version.
    pub current: u64,
    /// The newest version. Numbers are never used again.
    pub newest: u64,
    /// The version that was current before.
    pub before: u64,
    /// What is being tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Revision of the last change.
    #[serde(skip)]
    pub revision: u64,
}

/// A version that some of the instances use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its number.
    pub candidate: u64,
    /// The share of instances, from 0 to 100.
    pub percent: f64,
}

/// One version of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Version<T> {
    /// Its number, from 1.
    pub number: u64,
    /// The revision at which it was written.
    pub revision: u64,
    /// Who wrote it.
    pub author: String,
    /// Why.
    pub note: String,
    /// When, by the writer's clock, in milliseconds since 1970.
    pub written_ms: u64,
    /// What it says.
    pub value: T,
}

/// A version as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored<T> {
    pub(super) author: String,
    pub(super) note: String,
    pub(super) written_ms: u64,
    pub(super) value: T,
}

impl Head {
    pub(super) fn parse(place: &Place, record: &KeyValue) -> Result<Self, DocumentError> {
        let mut head: Self =
            serde_json::from_slice(&record.value).map_err(|error| unreadable(place, 0, &error))?;
        head.revision = record.mod_revision;
        Ok(head)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers become JSON")
    }

    /// The version that an instance uses. The candidate's number takes part in the hash, so that not
    /// the same instances are the first each time.
    pub fn version_for(&self, instance: &str) -> u64 {
        match self.rollout {
            Some(Rollout { candidate, percent }) if part(candidate, instance) < parts(percent) => candidate,
            Some(_) | None => self.current,
        }
    }
}

/// In which part of all instances one is.
fn part(candidate: u64, instance: &str) -> u64 {
    xxh3_64(format!("{candidate}/{instance}").as_bytes()) % PARTS
}

/// How many of the parts a share is.
fn parts(percent: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 10,000")]
    let parts = (percent.clamp(0.0, 100.0) / 100.0 * PARTS as f64).round() as u64;
    parts
}

impl<T: DeserializeOwned> Version<T> {
    pub(super) fn parse(place: &Place, record: &KeyValue) -> Result<Self, DocumentError> {
        let number = number(place, &record.key).unwrap_or(0);
        let stored: Stored<T> =
            serde_json::from_slice(&record.value).map_err(|error| unreadable(place, number, &error))?;
        let Stored { author, note, written_ms, value } = stored;
        Ok(Self { number, revision: record.mod_revision, author, note, written_ms, value })
    }
}

/// The part of a version's key behind the path. Numbers have as many digits as 64 bits need.
pub(super) fn version(number: u64) -> String {
    format!("{VERSIONS}{number:020}")
}

/// The number in a version's key.
pub(super) fn number(place: &Place, key: &[u8]) -> Option<u64> {
    place.rest(VERSIONS, key)?.parse().ok()
}

/// Whether this is the head's key.
pub(super) fn is_head(place: &Place, key: &[u8]) -> bool {
    place.rest("", key) == Some(HEAD)
}

fn unreadable(place: &Place, number: u64, error: &serde_json::Error) -> DocumentError {
    DocumentError::Unreadable { path: place.path().to_owned(), number, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(percent: f64) -> Head {
        Head {
            current: 3,
            newest: 4,
            before: 2,
            rollout: Some(Rollout { candidate: 4, percent }),
            revision: 0,
        }
    }

    fn on_candidate(percent: f64) -> Vec<String> {
        let instances = (0..2_000).map(|number| format!("instance-{number}"));
        instances.filter(|instance| head(percent).version_for(instance) == 4).collect()
    }

    #[test]
    fn widening_adds_instances_and_removes_none() {
        let (tenth, half) = (on_candidate(10.0), on_candidate(50.0));
        assert!((150..=250).contains(&tenth.len()), "{}", tenth.len());
        assert!((900..=1_100).contains(&half.len()), "{}", half.len());
        assert!(tenth.iter().all(|instance| half.contains(instance)));
        assert_eq!((on_candidate(0.0).len(), on_candidate(100.0).len()), (0, 2_000));
    }

    #[test]
    fn places_are_the_same_in_every_process_and_release() {
        let places = ["a", "b", "instance-7"].map(|instance| part(4, instance));
        assert_eq!(places, PINNED);
    }

    /// Changing these would move instances between versions during an upgrade.
    const PINNED: [u64; 3] = [4892, 9527, 574];

    #[test]
    fn the_head_is_short_json() {
        let mut whole = head(12.5);
        let text = String::from_utf8(whole.bytes()).expect("text");
        assert_eq!(text, r#"{"current":3,"newest":4,"before":2,"rollout":{"candidate":4,"percent":12.5}}"#);
        whole.rollout = None;
        assert_eq!(whole.bytes(), br#"{"current":3,"newest":4,"before":2}"#);
        assert_eq!(whole.version_for("x"), 3);
    }
}
