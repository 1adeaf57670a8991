//! Executable specifications: written for clarity alone, sharing no code with what they judge.

pub mod kv;
pub mod objects;
