//! The doors: each speaks one protocol to clients and the same vocabulary to the node.
//!
//! A door checks form, converts, submits, converts back. No door knows another.

pub mod discovery;
pub mod etcd;
pub mod h2;
pub mod http;
pub mod listener;
pub mod native;
pub mod saved;
pub mod socket;
pub mod unary;
