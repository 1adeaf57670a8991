//! What objects do, one after the other: the models against which histories are judged.

pub mod register;
