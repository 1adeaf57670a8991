//! placeholder
pub mod base;
pub mod chance;
pub mod clock;
pub mod disk;
pub mod network;
pub mod queue;
pub mod trace;
