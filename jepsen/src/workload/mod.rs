//! What clients do: one workload per file.
//!
//! A workload is driven by several clients at once, each in a seat of its own, while faults come and
//! go. When all is healed it reads what is left, and then its checks judge the history.

mod append;
mod bank;
mod counter;
mod election;
mod holding;
mod ids;
mod library;
mod lock;
mod once;
mod pool;
mod queue;
mod register;
mod seat;
mod semaphore;
mod session;
mod set;
mod snapshot;
mod watch;

pub use seat::{Address, Common, Insistence, Seat};

use crate::cluster::Kind;
use crate::history::{Api, Failure, FailureKind};
use crate::nemesis::Field;
use futures::future::{BoxFuture, LocalBoxFuture};

/// Something that clients do.
pub trait Workload: Send + Sync {
    /// Its name: that of its file.
    fn name(&self) -> &'static str;

    /// What it does, and what it must find, in one sentence.
    fn about(&self) -> &'static str;

    /// The protocols that it can be driven over.
    fn apis(&self) -> &'static [Api];

    /// Flags that the servers need for it.
    fn flags(&self, _kind: Kind) -> Vec<String> {
        Vec::new()
    }

    /// What must be there before clients come.
    fn prepare(&self, _seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    /// One client's work, until its seat says that it is over.
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()>;

    /// What is read in the end through each member, when all faults are healed and all clients gone.
    fn finish(&self, _seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    /// What is done to the whole cluster when all else is over and written down.
    fn epilogue<'f>(&'f self, _field: &'f mut Field, _common: &'f Common) -> LocalBoxFuture<'f, ()> {
        Box::pin(async {})
    }

    /// Names of the checks that judge it.
    fn checks(&self) -> &'static [&'static str];
}

/// All workloads.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(register::Register::default()),
        Box::new(append::Append::default()),
        Box::new(set::Set::default()),
        Box::new(counter::Counter),
        Box::new(ids::Ids::default()),
        Box::new(bank::Bank),
        Box::new(watch::Watches::default()),
        Box::new(session::Sessions::default()),
        Box::new(lock::Lock::default()),
        Box::new(semaphore::Semaphore::default()),
        Box::new(election::Election::default()),
        Box::new(pool::Pool::default()),
        Box::new(queue::Queue::default()),
        Box::new(once::Once::default()),
        Box::new(snapshot::Snapshot::default()),
    ]
}

/// The workload of this name.
pub fn by_name(name: &str) -> Option<Box<dyn Workload>> {
    all().into_iter().find(|workload| workload.name() == name)
}

/// A client's own refusal: it has changed nothing, and says why.
fn refused(why: &str) -> Failure {
    Failure::new(FailureKind::Rejected, why)
}

/// An answer that makes no sense.
fn untyped(why: &str) -> Failure {
    Failure::new(FailureKind::Untyped, why)
}
