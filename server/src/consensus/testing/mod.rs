//! A cluster of replicas in one process, driven by stories in `server/scripts/replica`.

mod chaos;
mod memory_log;
mod network;
mod node;
mod sampling;
mod script;

pub(crate) use memory_log::MemoryLog;
pub(super) use sampling::{learner, put, voter};
