//! The Oarlock server. Modules in reading order; the picture is in `docs/architecture.md`.

pub mod consensus;
pub mod log_format;
pub mod node;
pub mod peer;
pub mod session;
pub mod storage;
pub mod watch;
