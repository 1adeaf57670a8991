//! The sending half of a session stream: everything that is ready goes out in one frame.

use super::convert::{object_reply, outcome, pool_reply, watch as convert};
use super::door::Door;
use super::errors;
use super::outbox::{Item, Outbox};
use super::tags::{self, Kind};
use super::watch_ids::WatchIds;
use crate::node::handle::Conn;
use crate::node::request::{self, Refusal, Response, WatchFrame};
use futures::Stream;
use oarlock_proto::v1::{self, server_item::Item as Body};
use oarlock_state::Rejection;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::AbortHandle;
use tonic::Status;

/// About as many bytes go into one frame. A frame is built when the socket has room; larger ones
/// only hold back what comes after.
const FRAME_BYTES: usize = 64 * 1024;

/// What the door itself says on a session stream.
pub enum Own {
    /// The stream has begun.
    Welcome(v1::Welcome),
    /// An answer or a watch frame that needs no node.
    Item(v1::ServerItem),
    /// The stream ends, for this reason.
    Goodbye(v1::Error),
}

/// An operation's refusal by the door.
pub fn refused(id: u64, error: v1::Error) -> Own {
    Own::Item(v1::ServerItem { id, item: Some(Body::Error(error)) })
}

/// The frames of one stream, as the transport takes them. Dropping it ends the stream's reader.
pub struct Frames {
    door: Arc<Door>,
    outbox: Arc<Outbox<Own>>,
    conn: Arc<Conn>,
    watches: Arc<WatchIds>,
    reader: AbortHandle,
}

impl Frames {
    /// What `outbox` collects, as frames.
    pub fn new(
        door: Arc<Door>,
        outbox: Arc<Outbox<Own>>,
        conn: Arc<Conn>,
        watches: Arc<WatchIds>,
        reader: AbortHandle,
    ) -> Self {
        Self { door, outbox, conn, watches, reader }
    }

    fn frame(&self, items: Vec<Item<Own>>) -> v1::ServerFrame {
        let mut frame =
            v1::ServerFrame { items: Vec::with_capacity(items.len()), ..v1::ServerFrame::default() };
        for item in items {
            match item {
                Item::Reply { tag, result } => self.reply(&mut frame, tag, result),
                Item::Watch { tag, frame: watch } => {
                    let item = watch_frame(&self.door, &self.watches, tag, watch);
                    frame.items.push(watch_item(item));
                }
                Item::Own(Own::Welcome(welcome)) => frame.welcome = Some(welcome),
                Item::Own(Own::Item(item)) => frame.items.push(item),
                Item::Own(Own::Goodbye(error)) => frame.goodbye = Some(error),
            }
        }
        frame
    }

    fn reply(&self, frame: &mut v1::ServerFrame, tag: u64, result: request::Result) {
        match tags::parts(tag) {
            Some((Kind::KeepAlive, id)) => merge(&mut frame.alive, alive(id, result)),
            Some((Kind::Watch, id)) => {
                let over = watch_reply(&self.door, &self.watches, id, result);
                frame.items.extend(over.map(watch_item));
            }
            Some((kind, id)) => {
                let result = result.map_err(|refusal| self.door.error(&refusal));
                let body = result.and_then(|response| answer(kind, response)).unwrap_or_else(Body::Error);
                frame.items.push(v1::ServerItem { id, item: Some(body) });
            }
            None => debug_assert!(false, "every tag of this connection was made by `tags::tag`"),
        }
    }
}

impl Stream for Frames {
    type Item = Result<v1::ServerFrame, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(batch) = std::task::ready!(self.outbox.poll_take(context, FRAME_BYTES)) else {
            return Poll::Ready(None);
        };
        if batch.watch_bytes > 0 {
            self.conn.credit(batch.watch_bytes);
        }
        Poll::Ready(Some(Ok(self.frame(batch.items))))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn answer(kind: Kind, response: Response) -> Result<Body, v1::Error> {
    Ok(match kind {
        Kind::Point | Kind::Span => Body::Range(outcome::range(response)?),
        Kind::Put => Body::Put(outcome::put(response)?),
        Kind::Delete => Body::Delete(outcome::delete(response)?),
        Kind::Txn => Body::Txn(outcome::txn(response)?),
        Kind::CheckToken => Body::CheckToken(outcome::check_token(response)?),
        Kind::GetOutcome => Body::GetOutcome(outcome::get_outcome(response)?),
        Kind::Object => Body::Object(object_reply::written(response)?),
        Kind::ObjectQuery => Body::ObjectAnswer(object_reply::answered(response)?),
        Kind::Pool => Body::Pool(pool_reply::written(response)?),
        Kind::PoolQuery => Body::PoolAnswer(pool_reply::answered(response)?),
        Kind::Close => Body::Done(outcome::done(response)?),
        Kind::KeepAlive | Kind::Watch => {
            return Err(errors::internal("keep-alives and watches are answered elsewhere"));
        }
    })
}

fn alive(keep_alive: u64, result: request::Result) -> v1::Alive {
    let (valid_for_ms, lost) = match result {
        Ok(Response::Alive { valid_for_ms }) => (valid_for_ms, false),
        Err(Refusal::Rejected(Rejection::SessionNotFound { .. })) => (0, true),
        Ok(_) | Err(_) => (0, false), // not confirmed; the client tries again
    };
    v1::Alive { keep_alive, valid_for_ms, lost }
}

/// A frame has one answer to keep-alives: a loss, or the latest that was confirmed, or the latest.
fn merge(slot: &mut Option<v1::Alive>, next: v1::Alive) {
    let rank = |alive: &v1::Alive| (alive.lost, alive.valid_for_ms > 0, alive.keep_alive);
    if slot.as_ref().is_none_or(|before| rank(&next) > rank(before)) {
        *slot = Some(next);
    }
}

fn watch_item(frame: v1::WatchFrame) -> v1::ServerItem {
    v1::ServerItem { id: 0, item: Some(Body::Watch(frame)) }
}

/// A node's watch frame, outwards.
pub fn watch_frame(door: &Door, watches: &WatchIds, tag: u64, frame: WatchFrame) -> v1::WatchFrame {
    let id = tags::parts(tag).map_or(0, |(_, id)| id);
    if matches!(frame, WatchFrame::Cancelled(_)) {
        watches.end(id);
    }
    convert::frame(id, frame, |refusal| door.error(&refusal))
}

/// The end of a watch that its client wished, or that could not begin; `None` when the answer ends
/// nothing.
pub fn watch_reply(
    door: &Door,
    watches: &WatchIds,
    id: u64,
    result: request::Result,
) -> Option<v1::WatchFrame> {
    let error = result.err().map(|refusal| door.error(&refusal));
    watches.answered(id, error.is_some()).then(|| convert::cancelled(id, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::SessionId;

    #[test]
    fn a_lost_session_is_told_apart_from_a_missing_quorum() {
        let lost = Refusal::Rejected(Rejection::SessionNotFound { session: SessionId(4) });
        assert_eq!(alive(1, Err(lost)), v1::Alive { keep_alive: 1, valid_for_ms: 0, lost: true });
        assert_eq!(
            alive(2, Err(Refusal::NoLeader)),
            v1::Alive { keep_alive: 2, valid_for_ms: 0, lost: false }
        );
        assert_eq!(alive(3, Ok(Response::Alive { valid_for_ms: 5 })).valid_for_ms, 5);
    }

    #[test]
    fn of_several_keep_alives_in_a_frame_the_best_news_counts_and_a_loss_above_all() {
        let of = |keep_alive, valid_for_ms, lost| v1::Alive { keep_alive, valid_for_ms, lost };
        let mut slot = None;
        merge(&mut slot, of(1, 900, false));
        merge(&mut slot, of(2, 800, false));
        assert_eq!(slot, Some(of(2, 800, false)));
        merge(&mut slot, of(3, 0, false));
        assert_eq!(slot, Some(of(2, 800, false)));
        merge(&mut slot, of(4, 0, true));
        merge(&mut slot, of(5, 700, false));
        assert_eq!(slot, Some(of(4, 0, true)));
    }
}
