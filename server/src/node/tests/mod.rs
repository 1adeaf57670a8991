//! Whole nodes, driven step by step on one thread: behaviour as doors see it.

mod admin;
mod cluster;
mod reads;
mod sessions;
mod watches;
mod writes;
