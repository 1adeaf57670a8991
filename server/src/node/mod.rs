//! A node without its clocks, disks, sockets and threads.
//!
//! ```text
//!   Input ──►  Driver  ── ToApplier ──►  Applier  ──►  Output
//!             (Replica,   ◄─ ToDriver ──  (Machine, StateStore, sessions,
//!              forwarding,                 waiters, watches)
//!              read index)
//! ```
//!
//! [`core::Core`] steps both halves on one thread: the *compact* arrangement and the simulator. The
//! *spread* arrangement gives each a thread; the halves share nothing and exchange the two message
//! types. Both are driven alike: `input` as often as there is something, then one `round`, then
//! take the outputs.
//!
//! Modules in reading order: [`request`], `core`, `driver`, `applier`, and what the applier owns.

pub mod applier;
pub mod core;
pub mod driver;
pub mod exchange;
pub mod founding;
pub mod handle;
pub mod io;
pub mod lifecycle;
pub mod mailbox;
pub mod options;
pub mod request;
pub mod runtime;
#[cfg(test)]
mod tests;
