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
        Ok(Response::new(begin(self.door.clone(), request.into_inner())))
    }
}

/// What the door itself says.
enum Own {
    Frame(v1::WatchFrame),
    End(Status),
}

fn begin(door: Arc<Door>, incoming: Streaming<v1::WatchRequest>) -> Watched {
    let outbox = Arc::new(Outbox::new(*door.limits()));
    let conn = Arc::new(door.handle().open_conn(outbox.clone()));
    let watches = Arc::new(WatchIds::new(door.limits().watches));
    let reader = Reader {
        door: door.clone(),
        outbox: outbox.clone(),
        conn: conn.clone(),
        watches: watches.clone(),
    };
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
                let id = create.watch_id;
                if let Err(refusal) = self.create(create) {
                    self.refuse(id, &refusal);
                }
            }
            Some(Asked::Cancel(cancel)) => {
                let id = cancel.watch_id;
                if let Err(refusal) = self.cancel(id) {
                    self.refuse(id, &refusal);
                }
            }
            Some(Asked::Progress(_)) => {
                if let Err(refusal) = self.conn.submit(tag(Kind::Watch, PROGRESS), Ask::WatchProgress) {
                    self.refuse(PROGRESS, &refusal);
                }
            }
            None => self.refuse(0, &invalid("the request is empty, or of a later version")),
        }
    }

    fn create(&self, create: v1::WatchCreate) -> Result<(), Refusal> {
        let id = watch_id(create.watch_id)?;
        let spec = convert::spec(create)?;
        self.watches.begin(id)?;
        self.conn.submit(tag(Kind::Watch, id), Ask::Watch(spec)).inspect_err(|_| {
            self.watches.end(id);
        })
    }

    fn cancel(&self, id: u64) -> Result<(), Refusal> {
        self.watches.cancel(id)?;
        self.conn.submit(tag(Kind::Watch, id), Ask::CancelWatch)
    }

    fn refuse(&self, id: u64, refusal: &Refusal) {
        let error = self.door.error(refusal);
        self.outbox.push(Own::Frame(convert::cancelled(id, Some(error))));
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
        let frame = match item {
            Item::Watch { tag, frame } => watch_frame(&self.door, &self.watches, tag, frame),
            Item::Reply { tag, result } => {
                let (_, id) = tags::parts(tag)?;
                watch_reply(&self.door, &self.watches, id, result)?
            }
            Item::Own(Own::Frame(frame)) => frame,
            Item::Own(Own::End(status)) => return Some(Err(status)),
        };
        let header = Some(self.door.header_now());
        Some(Ok(v1::WatchResponse { header, frame: Some(frame) }))
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
