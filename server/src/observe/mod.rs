//! What an operator sees: log lines and metrics.

pub mod counted;
pub mod discovery;
mod etcd_names;
pub mod log;
pub mod metrics;
mod process;
pub mod timed_disk;
