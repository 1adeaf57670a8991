//! Service discovery: the registry in keys ([`oarlock_proto::registry`]), served to those who have
//! no client library.
//!
//! [`cache`] follows the registry and keeps its [`table`]; [`api`] serves it over HTTP, [`dns`] over
//! DNS; [`choice`] decides which instances are given, and in which order. None of it has privileges:
//! what is registered here is seen by every other API as keys, and the other way round.

pub mod api;
pub mod cache;
pub mod choice;
pub mod dns;
mod feed;
pub mod table;
