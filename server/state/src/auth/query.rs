//! Questions about users and roles.

use super::op::{Password, Permission};

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthQuery {
    /// Whether authentication is on. Doors ask it in the server's name, so that anybody may.
    Status,
    /// A user's roles.
    User {
        /// Its name.
        name: String,
    },
    /// The names of all users.
    Users,
    /// A role's permissions.
    Role {
        /// Its name.
        name: String,
    },
    /// The names of all roles.
    Roles,
    /// What a door needs to check a password. For the server itself only.
    Login {
        /// The user's name.
        name: String,
    },
    /// Whether the caller may administer: nothing is answered but yes.
    Administration,
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthAnswer {
    /// Whether authentication is on.
    Status {
        /// It is.
        enabled: bool,
        /// Changes of users, roles and permissions so far.
        revision: u64,
    },
    /// Names of users or roles, in order.
    Names(Vec<String>),
    /// A role's permissions, in order of their first key.
    Permissions(Vec<Permission>),
    /// What a door needs to check a password.
    Login {
        /// How the user proves who it is.
        password: Password,
        /// The auth revision of this answer: what was proven is proven as of then.
        revision: u64,
    },
    /// Yes.
    Permitted,
}
