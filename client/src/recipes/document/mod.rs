//! Configuration documents: typed, validated, with versions, rollback, and a staged rollout.
//!
//! # Model
//! A document is a value of a type of yours, stored as JSON. Every put makes a new *version*, numbered
//! from 1 and never changed afterwards. The *head* says which version is current. A rollback points
//! the head at an older version and copies nothing. A rollout names a candidate version and the
//! share of instances that use it; an instance's place is a hash of its name, so widening a rollout
//! only adds instances, and every process comes to the same answer without asking.
//!
//! # Keys
//! * `{path}/head`: numbers of the current, the newest and the candidate version, in JSON.
//! * `{path}/versions/{number}`: author, note and value of each version that is kept, in JSON.
//!
//! # Guarantees
//! Each change is one transaction that compares the head: two administrators at the same time do not
//! undo each other, one of them gets [`DocumentError::Conflict`]. A value that the validation refuses is never
//! written, and a rollback is validated, too, as the code may be newer than the version. Readers see
//! head and value of one revision.
//!
//! # History
//! The last [`keep`](Document::keep) versions stay readable whatever is compacted, as they are keys;
//! the current one and a candidate always do. Older ones can be read at a revision
//! ([`read_at`](Document::read_at)) until the cluster compacts it, then they are gone.
//!
//! # Failure model
//! [`follow`](Document::follow) keeps the last good value while the cluster is away, and also when
//! somebody writes one that this process cannot read or that its validation refuses; it says so.
//!
//! ```no_run
//! use oarlock_client::Client;
//! use oarlock_client::recipes::document::{Document, DocumentError};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! struct Limits { requests_per_second: u32 }
//!
//! # async fn example(client: Client) -> Result<(), DocumentError> {
//! let document = Document::new(&client, "/config/limits").keep(20).validate(|limits: &Limits| {
//!     if limits.requests_per_second == 0 { Err("nothing would be served".into()) } else { Ok(()) }
//! });
//! let first = document.put(Limits { requests_per_second: 100 }, "alice", "a start").await?;
//! document.stage(Limits { requests_per_second: 500 }, 10.0, "alice", "try with a tenth").await?;
//! let here = document.follow("instance-7");
//! here.synced().await?;
//! println!("{:?}", here.value());
//! document.promote().await?;
//! document.roll_back(first.number).await?;
//! # Ok(())
//! # }
//! ```

mod change;
mod follow;
mod head;

pub use follow::Following;
pub use head::{Head, Rollout, Version};

use super::place::{Place, Via};
use crate::error::Error;
use oarlock_proto::v1::ErrorCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use thiserror::Error as ThisError;

const HEAD: &str = "head";
const VERSIONS: &str = "versions/";

/// Versions that are kept unless said otherwise.
const KEEP: u64 = 10;

/// Why a document was not read or changed.
#[derive(Clone, Debug, ThisError)]
pub enum DocumentError {
    /// There is no such document yet.
    #[error("there is no document at {path}; put a first version")]
    Missing {
        /// Where.
        path: String,
    },
    /// The validation says no.
    #[error("the value is refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// What is stored is not of this type.
    #[error("version {number} of {path} cannot be read: {reason}")]
    Unreadable {
        /// Which document.
        path: String,
        /// Which version; 0 for the head.
        number: u64,
        /// Why.
        reason: String,
    },
    /// Somebody else changed the document first.
    #[error("somebody else changed {path} first: its current version is {current}. Read it and decide anew")]
    Conflict {
        /// Which document.
        path: String,
        /// The current version.
        current: u64,
    },
    /// There is no such version, or it is no longer kept.
    #[error("version {number} of {path} is not kept; the oldest one that is has number {oldest}")]
    NotKept {
        /// Which document.
        path: String,
        /// Which version.
        number: u64,
        /// The oldest version that is kept.
        oldest: u64,
    },
    /// A rollout is under way, and must be promoted or aborted first.
    #[error("version {candidate} of {path} is being rolled out to {percent} %; promote or abort it first")]
    Staged {
        /// Which document.
        path: String,
        /// The candidate.
        candidate: u64,
        /// Its share.
        percent: f64,
    },
    /// No rollout is under way.
    #[error("nothing is being rolled out of {path}")]
    NotStaged {
        /// Which document.
        path: String,
    },
    /// The cluster, or the way to it.
    #[error("{0}")]
    Client(#[from] Error),
}

type Validate<T> = dyn Fn(&T) -> std::result::Result<(), String> + Send + Sync;

/// A document. Cheap to clone.
pub struct Document<T> {
    via: Via,
    place: Place,
    keep: u64,
    validate: Arc<Validate<T>>,
}

impl<T> Clone for Document<T> {
    fn clone(&self) -> Self {
        let Self { via, place, keep, validate } = self;
        Self { via: via.clone(), place: place.clone(), keep: *keep, validate: validate.clone() }
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Document<T> {
    /// The document at a path.
    pub fn new(via: impl Into<Via>, path: impl Into<String>) -> Self {
        Self { via: via.into(), place: Place::new(path), keep: KEEP, validate: Arc::new(|_| Ok(())) }
    }

    /// How many versions stay readable; at least 1. Applied by whoever puts. Default: 10.
    pub fn keep(mut self, versions: u64) -> Self {
        self.keep = versions.max(1);
        self
    }

    /// What every value must satisfy before it is written, and before [`follow`](Self::follow) takes
    /// it over. The message is for people.
    pub fn validate(
        mut self,
        validate: impl Fn(&T) -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.validate = Arc::new(validate);
        self
    }

    /// The current version.
    ///
    /// # Errors
    /// [`DocumentError::Missing`], [`DocumentError::Unreadable`], and those of the cluster.
    pub async fn read(&self) -> Result<Version<T>, DocumentError> {
        let (head, at) = self.head(0).await?;
        self.version(head.current, at).await
    }

    /// The version that was current at a revision of the cluster.
    ///
    /// # Errors
    /// `COMPACTED` once the revision is compacted; and those of [`read`](Self::read).
    pub async fn read_at(&self, revision: u64) -> Result<Version<T>, DocumentError> {
        let (head, _) = self.head(revision).await?;
        self.version(head.current, revision).await
    }

    /// A version by its number, if it is kept.
    ///
    /// # Errors
    /// [`DocumentError::NotKept`], and those of [`read`](Self::read).
    pub async fn read_version(&self, number: u64) -> Result<Version<T>, DocumentError> {
        let (_, at) = self.head(0).await?;
        self.version(number, at).await
    }

    /// The versions that are kept, oldest first, those that cannot be read left out.
    ///
    /// # Errors
    /// Those of the cluster.
    pub async fn history(&self) -> Result<Vec<Version<T>>, DocumentError> {
        let page = self.via.range(self.place.range(VERSIONS)).all().await?;
        Ok(page.records.iter().filter_map(|record| Version::parse(&self.place, record).ok()).collect())
    }

    /// The head: numbers and rollout, without a value.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn status(&self) -> Result<Head, DocumentError> {
        Ok(self.head(0).await?.0)
    }

    /// Follows the document as the instance of this name sees it: the candidate while it is rolled out
    /// to this instance, else the current version.
    pub fn follow(&self, instance: impl Into<String>) -> Following<T> {
        Following::new(self.via.client(), &self.place, self.validate.clone(), instance.into())
    }

    /// The head at a revision (0: now), and the revision at which it was read.
    async fn head(&self, revision: u64) -> Result<(Head, u64), DocumentError> {
        let mut read = self.via.range(crate::types::key(self.place.key(HEAD)));
        if revision > 0 {
            read = read.at(revision);
        }
        let page = read.await?;
        let missing = || DocumentError::Missing { path: self.place.path().to_owned() };
        let head = Head::parse(&self.place, page.records.first().ok_or_else(missing)?)?;
        Ok((head, if revision > 0 { revision } else { page.revision }))
    }

    /// A version as of a revision. The head is of the same one, so that the version it names cannot
    /// have been removed in between.
    async fn version(&self, number: u64, at: u64) -> Result<Version<T>, DocumentError> {
        let key = self.place.key(head::version(number));
        let record = match self.via.get(key.clone()).at(at).await {
            // Compacted since the head was read: the version itself never changes.
            Err(Error::Rejected { code: ErrorCode::Compacted, .. }) => self.via.get(key).await?,
            outcome => outcome?,
        };
        match record {
            Some(record) => Version::parse(&self.place, &record),
            None => Err(self.not_kept(number).await?),
        }
    }

    async fn not_kept(&self, number: u64) -> Result<DocumentError, DocumentError> {
        let page = self.via.range(self.place.range(VERSIONS)).keys_only().limit(1).await?;
        let oldest = page.records.first().and_then(|record| head::number(&self.place, &record.key));
        let path = self.place.path().to_owned();
        Ok(DocumentError::NotKept { path, number, oldest: oldest.unwrap_or(0) })
    }
}
