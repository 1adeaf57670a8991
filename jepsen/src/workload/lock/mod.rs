//! Locks: whoever holds one writes under its token, and a token that is not current any more writes
//! nothing.
//!
//! Over etcd's API it is etcd's Lock service with a lease, and the token is the revision of the lock's
//! key, as etcd's documentation advises.

mod etcd;
mod native;

use super::library::lives;
use super::{Seat, Workload};
use crate::history::Api;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Locks in use.
const LOCKS: u64 = 3;

/// The workload.
#[derive(Default)]
pub(super) struct Lock {
    values: Arc<AtomicU64>,
}

impl Workload for Lock {
    fn name(&self) -> &'static str {
        "lock"
    }
    fn about(&self) -> &'static str {
        "locks are held by one at a time, who may stop, die or come back too late; stale tokens write nothing"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        let values = self.values.clone();
        match seat.common.api {
            Api::Etcd => Box::pin(etcd::client(values, seat)),
            Api::Native | Api::Zookeeper => {
                lives(seat, async move |seat: &mut Seat| native::life(&values, seat).await)
            }
        }
    }
    fn finish(&self, seat: Seat) -> BoxFuture<'static, ()> {
        match seat.common.api {
            Api::Etcd => Box::pin(etcd::finish(seat)),
            Api::Native | Api::Zookeeper => Box::pin(native::finish(seat)),
        }
    }
    fn checks(&self) -> &'static [&'static str] {
        &["lock"]
    }
}

fn name(number: u64) -> String {
    format!("lock/{number}")
}
