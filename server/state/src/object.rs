//! Coordination objects as replicated state: locks and elections, what may be asked of them, and how
//! they answer.
//!
//! An object has a name, a [kind](ObjectKind), *holders* and a *queue*. Whoever asks is named by a
//! [`Claim`]: a session, and the caller's own number within it. All kinds are one machine: an object
//! has a capacity, every hold takes a weight of it, and the queue is served strictly in order.
//!
//! | kind | capacity | a hold takes | order of the queue |
//! | --- | --- | --- | --- |
//! | mutex | 1 | 1 | arrival |
//! | read/write lock | [`HOLDERS_MAX`](crate::limits::HOLDERS_MAX) | 1 shared, all of it exclusive | arrival |
//! | semaphore | as asked for | its weight | arrival |
//! | election | 1 | 1 | priority, then arrival |
//!
//! * A *token* is the revision of the transaction that granted the hold. No object's exclusive token
//!   is given twice, and each is above the one before it, even after the object vanished.
//! * A *ticket* is the revision in which a claim arrived, and so its place in the order.
//! * *Nobody is overtaken*: the head of the queue is granted as soon as it fits, and nobody behind it
//!   before. So a reader does not pass a waiting writer.
//! * *Several locks at once* wait in all their queues under one ticket, hold none meanwhile, and are
//!   granted together. All queues have them in the same order, so they cannot block each other in a
//!   circle; what was taken one by one can, and [`ObjectQuery::Why`] shows it.
//! * When a holder's session *expires* and the hold asked for a delay, what it held stays
//!   *withheld* until an entry's stamp has passed the delay; the leader proposes
//!   [`ObjectOp::Elapse`] then.
//! * An object without holders, queue and withheld holds is gone.
//!
//! Modules in reading order: [`op`] and [`query`] (requests), [`reply`], [`error`], [`event`]; then
//! `layout` and `place` (what is stored), `records`, `settle` (who is granted next), `acquire`,
//! `execute`, `departure`, `read`, `why`, `outcome`, `check`.

mod acquire;
mod check;
mod departure;
pub mod error;
pub mod event;
mod execute;
mod layout;
pub mod op;
mod outcome;
mod place;
#[cfg(feature = "plant")]
mod plant;
pub mod query;
mod read;
mod records;
pub mod reply;
mod settle;
mod why;

pub(crate) use check::check;
pub(crate) use departure::end_session;
pub use error::{Fault, ObjectError};
pub use event::{Loss, ObjectEvent};
pub(crate) use event::{read_event, write_event};
pub(crate) use execute::execute;
pub use op::{Acquire, Claim, Held, Mode, ObjectKind, ObjectOp, Part};
pub(crate) use outcome::{read_error, read_reply, write_error, write_reply};
pub use query::ObjectQuery;
pub(crate) use read::{Scope, is_current, read};
pub use reply::ObjectReply;
