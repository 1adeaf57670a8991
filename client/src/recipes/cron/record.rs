//! What is stored of runs.

use super::CronError;
use crate::client::Client;
use crate::recipes::place::Place;
use crate::types::KeyValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(super) const LAST: &str = "last";
pub(super) const RUNS: &str = "runs/";

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum RunState {
    /// It has begun.
    Started,
    /// The job returned `Ok`.
    Done {
        /// When, in milliseconds since 1970.
        ended_ms: i64,
    },
    /// The job returned an error.
    Failed {
        /// When, in milliseconds since 1970.
        ended_ms: i64,
        /// The error.
        error: String,
    },
    /// Its process died in it, or lost its lead.
    Interrupted,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// When it was due.
    pub slot: Timestamp,
    /// What the process said of itself that ran it.
    pub by: String,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// How it stands.
    pub state: RunState,
}

/// The value of a run's key. The slot is in the key.
#[derive(Serialize, Deserialize)]
struct Stored {
    by: String,
    attempt: u32,
    started_ms: i64,
    #[serde(flatten)]
    state: RunState,
}

impl RunRecord {
    pub(super) fn key(&self, place: &Place) -> String {
        key(place, self.slot)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { by, attempt, started_ms, state, .. } = self.clone();
        serde_json::to_vec(&Stored { by, attempt, started_ms, state }).expect("text and numbers become JSON")
    }

    pub(super) fn parse(place: &Place, record: &KeyValue) -> Result<Self, CronError> {
        let bad = |reason: String| {
            let key = String::from_utf8_lossy(&record.key).into_owned();
            CronError::Unreadable { key, reason }
        };
        let slot = place.rest(RUNS, &record.key).unwrap_or_default();
        let slot = slot.parse().map_err(|error: jiff::Error| bad(error.to_string()))?;
        let stored: Stored = serde_json::from_slice(&record.value).map_err(|error| bad(error.to_string()))?;
        let Stored { by, attempt, started_ms, state } = stored;
        Ok(Self { slot, by, attempt, started_ms, state })
    }
}

/// The key of a slot's run. Slots are whole seconds, so that keys are as long as each other and in order.
pub(super) fn key(place: &Place, slot: Timestamp) -> String {
    place.key(format_args!("{RUNS}{slot}"))
}

/// All records that are kept, oldest first.
pub(super) async fn all(client: &Client, place: &Place) -> Result<Vec<RunRecord>, CronError> {
    let page = client.range(place.range(RUNS)).all().await?;
    page.records.iter().map(|record| RunRecord::parse(place, record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_readable_json_under_keys_in_order() {
        let place = Place::new("/cron/x");
        let slot: Timestamp = "2026-03-29T01:00:00Z".parse().expect("a time");
        let state = RunState::Failed { ended_ms: 9, error: "no".into() };
        let run = RunRecord { slot, by: "a".into(), attempt: 2, started_ms: 7, state };
        assert_eq!(run.key(&place), "/cron/x/runs/2026-03-29T01:00:00Z");
        let text = String::from_utf8(run.bytes()).expect("text");
        assert_eq!(
            text,
            r#"{"by":"a","attempt":2,"started_ms":7,"state":"failed","ended_ms":9,"error":"no"}"#
        );
        let record =
            KeyValue { key: run.key(&place).into(), value: run.bytes().into(), ..KeyValue::default() };
        assert_eq!(RunRecord::parse(&place, &record).expect("it was written so"), run);
        let odd = KeyValue { value: "{}".into(), ..record };
        assert!(RunRecord::parse(&place, &odd).is_err_and(|error| error.to_string().contains("runs/2026")));
    }
}
