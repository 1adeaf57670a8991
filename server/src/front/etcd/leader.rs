//! Callers who want to hear when there is no leader.
//!
//! By the metadata `hasleader: true` a client asks to be refused by a member that knows no leader,
//! instead of waiting with it. A stream that is already open is ended only after several election
//! timeouts without one: opening streams again costs more than an election.

use super::door::Door;
use super::errors;
use futures::Stream;
use futures::future::BoxFuture;
use oarlock_state::NodeId;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The name by which it is asked for.
const KEY: &str = "hasleader";
/// Election timeouts without a leader after which an open stream ends.
const PATIENCE: u32 = 3;

/// Whether the caller asks for a leader.
fn is_required(metadata: &MetadataMap) -> bool {
    metadata.get(KEY).is_some_and(|value| value == "true")
}

/// Refuses a caller who asks for a leader while none is known.
///
/// # Errors
/// `etcdserver: no leader`.
pub fn check(door: &Door, metadata: &MetadataMap) -> Result<(), Status> {
    if is_required(metadata) && !is_known(door) { Err(errors::NO_LEADER.into()) } else { Ok(()) }
}

fn is_known(door: &Door) -> bool {
    door.handle().status_now().leader != NodeId(0)
}

/// `stream`, ended with `etcdserver: no leader` when the caller asked for that and there was none
/// for a while.
pub fn guard<S: Stream>(door: &Arc<Door>, metadata: &MetadataMap, stream: S) -> Guarded<S> {
    let lost = is_required(metadata).then(|| Box::pin(lost(door.clone())) as BoxFuture<'static, ()>);
    Guarded { stream: Box::pin(stream), lost, is_over: false }
}

/// Completes when no leader was known for several election timeouts in a row.
async fn lost(door: Arc<Door>) {
    let mut without = 0;
    while without < PATIENCE {
        tokio::time::sleep(door.limits().election).await;
        without = if is_known(&door) { 0 } else { without + 1 };
    }
}

/// A stream that ends without a leader.
pub struct Guarded<S> {
    stream: Pin<Box<S>>,
    lost: Option<BoxFuture<'static, ()>>,
    is_over: bool,
}

impl<S, T> Stream for Guarded<S>
where
    S: Stream<Item = Result<T, Status>>,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(lost) = &mut self.lost
            && lost.as_mut().poll(context).is_ready()
        {
            self.is_over = true;
            return Poll::Ready(Some(Err(errors::NO_LEADER.into())));
        }
        let next = std::task::ready!(self.stream.as_mut().poll_next(context));
        self.is_over = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}
