//! The task that keeps a cache current.

use super::{Cache, store};
use crate::client::Client;
use crate::endpoints::MESSAGE_BYTES_MAX;
use crate::error::{Error, Result};
use bytes::Bytes;
use oarlock_proto::v1::{self, pools_client::PoolsClient};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::Streaming;

/// Pause between attempts to resume somewhere.
const PAUSE: Duration = Duration::from_millis(100);
/// The file is written at most this often.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// A server gives a sign of life more often than this, even if nothing changes; one that does not is
/// given up.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The first word of the service.
pub(super) struct First {
    heard: oneshot::Receiver<Result<()>>,
    deadline: Duration,
}

impl First {
    /// Waits for it.
    pub(super) async fn wait(self) -> Result<()> {
        let late = || Error::NotProposed {
            code: v1::ErrorCode::Unavailable,
            message: format!("no routing table within {:?}; is the cluster there?", self.deadline),
        };
        match tokio::time::timeout(self.deadline, self.heard).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }
}

/// Begins to keep a cache current.
pub(super) fn begin(
    client: Client,
    pool: Bytes,
    file: Option<PathBuf>,
    cache: Arc<Cache>,
) -> (AbortHandle, First) {
    let (told, heard) = oneshot::channel();
    let deadline = client.inner.options.deadline;
    let keeping = file.map(|file| Keeping { file, written: cache.read().version, due: None });
    // With a table from the file nobody waits for the first word.
    let is_known = cache.read().version > 0;
    let follower = Follower { client, pool, cache, keeping, told: (!is_known).then_some(told) };
    (tokio::spawn(follower.run()).abort_handle(), First { heard, deadline })
}

struct Follower {
    client: Client,
    pool: Bytes,
    cache: Arc<Cache>,
    keeping: Option<Keeping>,
    told: Option<oneshot::Sender<Result<()>>>,
}

/// The file, and whether it is behind.
struct Keeping {
    file: PathBuf,
    /// Version of the table in it.
    written: u64,
    due: Option<Instant>,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let Err(error) = self.follow().await;
            if let Some(told) = self.told.take_if(|_| !error.is_passing()) {
                // Whoever waits for the first table learns why there is none, and gives up.
                let _ = told.send(Err(error));
                return;
            }
            // A pool that is not there may come (again).
            tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
        }
    }

    /// Follows one stream until it breaks.
    async fn follow(&mut self) -> std::result::Result<std::convert::Infallible, Error> {
        let connection = self.client.inner.endpoints.connection().await?;
        let generation = connection.generation;
        let Err(error) = self.follow_on(connection.channel).await;
        if error.is_passing() {
            self.client.inner.endpoints.give_up(generation);
        }
        Err(error)
    }

    async fn follow_on(
        &mut self,
        channel: tonic::transport::Channel,
    ) -> std::result::Result<std::convert::Infallible, Error> {
        let after = self.cache.read().version;
        let request = v1::RouteRequest { pool: self.pool.clone(), after, options: None };
        let asked =
            PoolsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).route(request).await;
        let mut incoming = asked.map_err(|status| Error::from_status(&status))?.into_inner();
        loop {
            let response = self.next(&mut incoming).await?;
            if self.cache.take(response)
                && let Some(keeping) = &mut self.keeping
            {
                keeping.due.get_or_insert(Instant::now() + KEEP_EVERY);
            }
            if let Some(told) = self.told.take() {
                let _ = told.send(Ok(()));
            }
        }
    }

    /// The next response; writes the file meanwhile.
    async fn next(&mut self, incoming: &mut Streaming<v1::RouteResponse>) -> Result<v1::RouteResponse> {
        let silent = tokio::time::sleep(SILENCE_MAX);
        tokio::pin!(silent);
        loop {
            let due = self.keeping.as_ref().and_then(|keeping| keeping.due);
            tokio::select! {
                message = incoming.message() => {
                    let ended = || Error::Unknown { message: "the stream of routes ended".into() };
                    return message.map_err(|status| Error::from_status(&status))?.ok_or_else(ended);
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.keep().await,
                () = &mut silent => {
                    let message = format!("nothing was heard of the routes for {SILENCE_MAX:?}");
                    return Err(Error::Unknown { message });
                }
            }
        }
    }

    async fn keep(&mut self) {
        let Some(keeping) = &mut self.keeping else { return };
        keeping.due = None;
        let table = self.cache.read().clone();
        if table.version == keeping.written {
            return;
        }
        keeping.written = table.version;
        let file = keeping.file.clone();
        // A file that cannot be written now may be later; routing does not depend on it.
        let written = tokio::task::spawn_blocking(move || store::write(&file, &table)).await;
        if !matches!(written, Ok(Ok(()))) {
            keeping.written = 0;
            keeping.due = Some(Instant::now() + KEEP_EVERY);
        }
    }
}
