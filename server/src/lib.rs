//! The Oarlock server. Modules in reading order; the picture is in `docs/architecture.md`.

pub mod auth;
pub mod config;
pub mod consensus;
pub mod fatal;
pub mod front;
pub mod log_format;
pub mod node;
pub mod observe;
pub mod peer;
pub mod pools;
pub mod restore;
pub mod serve;
pub mod session;
pub mod storage;
pub mod tasks;
pub mod watch;
