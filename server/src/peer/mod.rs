//! The members' ways to each other: framed messages over TCP, and snapshots beside them.
//!
//! ```text
//! Transport::send ─► Outgoing queue (bytes; drops when full) ─► one connection per peer ─► Listener ─► Inbox
//! Transport::send_snapshot ─► manifest, chunks ─► a connection of its own ─► SnapshotStore ─► Inbox
//! ```
//!
//! Messages of one member arrive in order or not at all; what is lost, consensus sends again. A
//! snapshot never delays a message, and a slow peer delays nobody else. Whatever does not fit (other
//! cluster, other protocol, plain garbage) ends that one connection, with a line in the log and a
//! reason for the other side. Why not gRPC: `docs/decisions/0002-peer-transport.md`.
//!
//! Modules in reading order: [`frame`], [`handshake`], [`inbox`], `outgoing`, `listener`,
//! `snapshot_send`, `snapshot_receive`, [`transport`], [`probe`].

mod dial;
pub mod frame;
pub mod handshake;
pub mod inbox;
mod listener;
mod outgoing;
pub mod probe;
pub mod snapshot_fetch;
mod snapshot_receive;
mod snapshot_send;
mod throttle;
pub mod transport;

pub use self::handshake::Local;
pub use self::inbox::Inbox;
pub use self::transport::{Transport, TransportOptions};
