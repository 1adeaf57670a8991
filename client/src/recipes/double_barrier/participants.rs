//! A double barrier from outside.

use super::{MEMBERS, OPEN};
use crate::client::Client;
use crate::error::Result;
use crate::recipes::place::Place;
use crate::types::KeyValue;

/// A double barrier, as those see it who do not take part.
pub struct Participants {
    client: Client,
    place: Place,
}

/// One who waits at a barrier or is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its session.
    pub session: u64,
    /// The number of participants that it expects.
    pub size: u64,
    /// The revision at which it came.
    pub since: u64,
}

/// How a barrier stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// The generation inside; `None` while participants wait.
    pub generation: Option<u64>,
    /// Those that wait or are inside, by session.
    pub participants: Vec<Participant>,
}

impl Participants {
    /// The barrier at a path.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self { client: client.clone(), place: Place::new(path) }
    }

    /// Who is there.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn read(&self) -> Result<Occupancy> {
        let page = self.client.range(self.place.range("")).all().await?;
        let open = self.place.key(OPEN);
        let mark = page.records.iter().find(|record| record.key == open.as_bytes());
        let participant = |record: &KeyValue| {
            self.place.rest(MEMBERS, &record.key)?;
            let size = record.text().parse().unwrap_or(0);
            Some(Participant { session: record.owner, size, since: record.create_revision })
        };
        Ok(Occupancy {
            generation: mark.map(|mark| mark.mod_revision),
            participants: page.records.iter().filter_map(participant).collect(),
        })
    }

    /// Takes the places of a session away, as if it had left: for a participant that hangs. Returns
    /// how many it had.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn remove(&self, session: u64) -> Result<u64> {
        let places = self.place.range(&format!("{MEMBERS}{session:016x}-"));
        Ok(self.client.delete(places).await?.deleted)
    }
}
