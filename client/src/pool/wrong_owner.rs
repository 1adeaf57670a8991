//! The answer of a server that was asked for a shard that it does not own: who does, so that the
//! client corrects itself without waiting for its routing cache.
//!
//! As JSON: `{"pool":"carts","shard":"17","epoch":42,"new_owner":{"instance":"c-3","address":"c3:80"}}`,
//! where `epoch` is the highest one that the server knows of, and `new_owner` is left out when it does
//! not know. As a gRPC status: `FAILED_PRECONDITION` with the JSON in the metadata
//! `oarlock-wrong-owner`; HTTP servers answer 421 with it as a header of that name, or as the body.

use super::routes::Routes;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;
use tonic::{Code, Status};

/// The name of the metadata, and of the header.
pub const WRONG_OWNER: &str = "oarlock-wrong-owner";

/// A server does not own the shard that it was asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongOwner {
    /// The pool.
    pub pool: String,
    /// The shard.
    pub shard: String,
    /// The highest epoch of the shard that the server knows of; 0 if it knows none.
    pub epoch: u64,
    /// Who owns it under that epoch; `None` if the server does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_owner: Option<NewOwner>,
}

/// Who owns a shard instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewOwner {
    /// The instance's name.
    pub instance: String,
    /// Where it listens.
    pub address: String,
}

impl WrongOwner {
    /// What a server says that does not own a shard and has routes of its own to look it up.
    pub fn of(routes: &Routes, shard: impl AsRef<[u8]>) -> Self {
        let shard = shard.as_ref();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let primary = routes.lookup(shard).and_then(|route| route.primary);
        let epoch = primary.as_ref().map_or(0, |primary| primary.epoch);
        let owner = |primary: super::routes::Primary| NewOwner {
            instance: text(&primary.at.instance),
            address: primary.at.address,
        };
        Self { pool: text(routes.pool()), shard: text(shard), epoch, new_owner: primary.map(owner) }
    }

    /// As one line of JSON, of ASCII alone.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self).expect("strings and numbers become JSON");
        // Headers carry ASCII: what is none is escaped, which JSON allows everywhere in strings.
        let mut ascii = String::with_capacity(json.len());
        for unit in json.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => ascii.push(char::from(byte)),
                _ => ascii.push_str(&format!("\\u{unit:04x}")),
            }
        }
        ascii
    }

    /// From JSON; `None` for what is something else.
    pub fn from_json(json: impl AsRef<[u8]>) -> Option<Self> {
        serde_json::from_slice(json.as_ref()).ok()
    }

    /// As a gRPC status.
    pub fn to_status(&self) -> Status {
        let mut status = Status::new(Code::FailedPrecondition, self.to_string());
        if let Ok(value) = self.to_json().parse() {
            status.metadata_mut().insert(WRONG_OWNER, value);
        }
        status
    }

    /// From a gRPC status; `None` for one that says something else.
    pub fn from_status(status: &Status) -> Option<Self> {
        Self::from_json(status.metadata().get(WRONG_OWNER)?.as_bytes())
    }
}

impl fmt::Display for WrongOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, shard, epoch, new_owner } = self;
        write!(f, "shard {shard:?} of pool {pool:?} is not owned here")?;
        match new_owner {
            Some(owner) => {
                write!(f, "; ask {:?} at {:?}, its owner under epoch {epoch}", owner.instance, owner.address)
            }
            None => f.write_str("; look it up again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(instance: &str) -> WrongOwner {
        let new_owner = NewOwner { instance: instance.into(), address: "c3:80".into() };
        WrongOwner { pool: "carts".into(), shard: "17".into(), epoch: 42, new_owner: Some(new_owner) }
    }

    #[test]
    fn the_json_form_is_what_the_documentation_says() {
        let text =
            r#"{"pool":"carts","shard":"17","epoch":42,"new_owner":{"instance":"c-3","address":"c3:80"}}"#;
        assert_eq!(wrong("c-3").to_json(), text);
        assert_eq!(WrongOwner::from_json(text), Some(wrong("c-3")));
        let unknown = WrongOwner { epoch: 0, new_owner: None, ..wrong("") };
        assert_eq!(unknown.to_json(), r#"{"pool":"carts","shard":"17","epoch":0}"#);
        assert_eq!(WrongOwner::from_json(unknown.to_json()), Some(unknown));
        assert_eq!(WrongOwner::from_json("{}"), None);
    }

    #[test]
    fn a_status_carries_any_name() {
        let odd = wrong("Zürich 🚣 \"1\"\n");
        let status = odd.to_status();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(WrongOwner::from_status(&status), Some(odd));
        assert_eq!(WrongOwner::from_status(&Status::failed_precondition("else")), None);
    }
}
