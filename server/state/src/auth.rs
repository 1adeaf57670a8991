//! Users, roles and what they may do, as replicated state: etcd's authentication.
//!
//! A *user* proves who it is by a password (checked by the door, which alone sees it), and holds
//! *roles*. A role holds *permissions*, each to read, write or both, on a key or a range. The role
//! `root` may do everything. The *auth revision* counts changes of all this; it is not the revision
//! of the keys.
//!
//! Every request carries its [`Caller`] into the log, and [`access`] decides there, at the position
//! where the request takes effect. A permission that was taken away is gone for everything that
//! comes after it in the log, whichever member it came through.
//!
//! Modules in reading order: [`op`] and [`query`] (requests), [`error`], [`caller`]; then `records`
//! (what is stored), `manage` (changes), `coverage` (which ranges permissions cover), [`access`] (who
//! may do what), `read`.

pub mod access;
pub mod caller;
mod coverage;
pub mod error;
mod manage;
pub mod op;
pub mod query;
mod read;
mod records;

pub use access::Need;
pub use caller::{Caller, Principal};
pub use error::AuthError;
pub(crate) use manage::execute;
pub use op::{AuthOp, Password, Permission, PermissionKind, Secret};
pub use query::{AuthAnswer, AuthQuery};
pub(crate) use read::read;
pub use records::Settings;
pub(crate) use records::check;

/// Whose names a request uses: each user has names of its own, while authentication is on.
pub(crate) fn owner<'c>(settings: &Settings, caller: &'c Caller) -> Option<&'c str> {
    if settings.enabled { caller.name() } else { None }
}

/// The user that must exist while authentication is on.
pub const ROOT_USER: &str = "root";
/// The role that may do everything.
pub const ROOT_ROLE: &str = "root";
