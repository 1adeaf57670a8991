//! The language of the scripts: words, operations, the world they act on, and how it answers.

pub mod auth;
pub mod objects;
pub mod ops;
pub mod pools;
pub mod show;
pub mod words;
pub mod world;
