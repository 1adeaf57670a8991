//! What services build most often on keys, sessions and watches, built once and for all.
//!
//! Recipes have no privileges: they use the public API of this crate alone, and any program may do
//! the same with the same guarantees.

pub mod informer;

pub use informer::Informer;
