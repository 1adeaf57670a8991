//! The `Watch` service: several watches on one stream, without a session.

use super::convert::{invalid, watch as convert};
use super::door::Door;
use super::errors;
use super::frames::{watch_frame, watch_reply};
use super::ops::watch_id;
use super::outbox::{Item, Outbox};
use super::stream::next;
use super::tags::{self, Kind, tag};
use super::watch_ids::WatchIds;
use crate::node::handle::Conn;
use crate::node::request::{Refusal, Request as Ask};
use futures::Stream;
use oarlock_proto::v1::{self, watch_request, watch_server::Watch};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::AbortHandle;
use tonic::{Request, Response, Status, Streaming};

/// About as many bytes are taken from the queue at a time.
const BATCH_BYTES: usize = 64 * 1024;
/// The tag of a request for progress, which has no answer of its own. No watch has this number.
const PROGRESS: u64 = 0;

/// Serves watches.
pub struct WatchService {
    door: Arc<Door>,
}

impl WatchService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Watched;

    async fn watch(
        &self,
        request: Request<Streaming<v1::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let door = self.door.admit(request.metadata())?;
        Ok(Response::new(begin(door, request.into_inner())))
    }
}

/// What the door itself says.
enum Own {
    Frame(v1::WatchFrame),
    Refused(v1::Error),
    End(Status),
}

fn begin(door: Arc<Door>, incoming: Streaming<v1::WatchRequest>) -> Watched {
    let outbox = Arc::new(Outbox::new(*door.limits()));
    let conn = Arc::new(door.open_conn(outbox.clone()));
    let watches = Arc::new(WatchIds::new(door.limits().watches));
    let reader =
        Reader { door: door.clone(), outbox: outbox.clone(), conn: conn.clone(), watches: watches.clone() };
    let reader = tokio::spawn(reader.run(incoming)).abort_handle();
    Watched { door, outbox, conn, watches, ready: VecDeque::new(), reader }
}

struct Reader {
    door: Arc<Door>,
    outbox: Arc<Outbox<Own>>,
    conn: Arc<Conn>,
    watches: Arc<WatchIds>,
}

impl Reader {
    /// Until the client is gone: watches go on when it has no more to ask.
    async fn run(self, mut incoming: Streaming<v1::WatchRequest>) {
        let reason = loop {
            match next(&mut incoming, &self.door).await {
                Ok(Some(request)) => self.request(request),
                Ok(None) => return,
                Err(error) => break error,
            }
        };
        self.outbox.push(Own::End(errors::status(reason)));
        self.outbox.close();
    }

    fn request(&self, request: v1::WatchRequest) {
        use watch_request::Request as Asked;
        match request.request {
            Some(Asked::Create(create)) => {
                if let Err(refusal) = self.create(create) {
                    self.refuse(&refusal);
                }
            }
            Some(Asked::Cancel(cancel)) => {
                if let Err(refusal) = self.cancel(cancel.watch_id) {
                    self.refuse(&refusal);
                }
            }
            Some(Asked::Progress(_)) => {
                if let Err(refusal) = self.conn.submit(tag(Kind::Watch, PROGRESS), Ask::WatchProgress) {
                    self.refuse(&refusal);
                }
            }
            None => self.refuse(&invalid("the request is empty, or of a later version")),
        }
    }

    /// A watch that cannot begin is cancelled under its own number, unless that is not its own.
    fn create(&self, create: v1::WatchCreate) -> Result<(), Refusal> {
        let id = watch_id(create.watch_id)?;
        self.watches.begin(id)?;
        let begun =
            convert::spec(create).and_then(|spec| self.conn.submit(tag(Kind::Watch, id), Ask::Watch(spec)));
        if let Err(refusal) = begun {
            self.watches.end(id);
            let error = Some(self.door.error(&refusal));
            self.outbox.push(Own::Frame(convert::cancelled(id, error)));
        }
        Ok(())
    }

    fn cancel(&self, id: u64) -> Result<(), Refusal> {
        self.watches.cancel(id)?;
        self.conn.submit(tag(Kind::Watch, id), Ask::CancelWatch)
    }

    fn refuse(&self, refusal: &Refusal) {
        self.outbox.push(Own::Refused(self.door.error(refusal)));
    }
}

/// The answers of one stream, as the transport takes them. Dropping it ends the stream's reader.
pub struct Watched {
    door: Arc<Door>,
    outbox: Arc<Outbox<Own>>,
    conn: Arc<Conn>,
    watches: Arc<WatchIds>,
    /// Taken from the queue and not yet by the transport.
    ready: VecDeque<Item<Own>>,
    reader: AbortHandle,
}

impl Watched {
    fn convert(&self, item: Item<Own>) -> Option<Result<v1::WatchResponse, Status>> {
        let (frame, refused) = match item {
            Item::Watch { tag, frame } => (Some(watch_frame(&self.door, &self.watches, tag, frame)), None),
            Item::Reply { tag, result } => {
                let (_, id) = tags::parts(tag)?;
                (Some(watch_reply(&self.door, &self.watches, id, result)?), None)
            }
            Item::Own(Own::Frame(frame)) => (Some(frame), None),
            Item::Own(Own::Refused(error)) => (None, Some(error)),
            Item::Own(Own::End(status)) => return Some(Err(status)),
        };
        let header = Some(self.door.header_now());
        Some(Ok(v1::WatchResponse { header, frame, refused }))
    }
}

impl Stream for Watched {
    type Item = Result<v1::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            while let Some(item) = self.ready.pop_front() {
                if let Some(response) = self.convert(item) {
                    return Poll::Ready(Some(response));
                }
            }
            let Some(batch) = std::task::ready!(self.outbox.poll_take(context, BATCH_BYTES)) else {
                return Poll::Ready(None);
            };
            if batch.watch_bytes > 0 {
                self.conn.credit(batch.watch_bytes);
            }
            self.ready.extend(batch.items);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
