//! Changes of users, roles and permissions.

use crate::command::KeyRange;
use bytes::Bytes;
use std::fmt;

/// Bytes that must not be shown: a password's hash, or what tokens are signed with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A change of who may do what. All but enabling raise the auth revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthOp {
    /// From here on every request needs permission.
    Enable {
        /// What tokens are signed with from now on, drawn at random by the door. Tokens signed with
        /// an older one are worth nothing.
        secret: Secret,
    },
    /// From here on everybody may do everything.
    Disable,
    /// Add a user.
    AddUser {
        /// Its name; not empty.
        name: String,
        /// How it proves who it is.
        password: Password,
    },
    /// Remove a user. Its tokens are worth nothing, even if one of the same name is added again.
    DeleteUser {
        /// Its name.
        name: String,
    },
    /// Change a user's password. Its tokens are worth nothing from then on.
    ChangePassword {
        /// Its name.
        name: String,
        /// The hash of the new one. Of a user without a password: without effect.
        hash: Secret,
    },
    /// Give a role to a user.
    GrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Take a role from a user.
    RevokeRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Add a role.
    AddRole {
        /// Its name; not empty.
        name: String,
    },
    /// Remove a role, and take it from all users.
    DeleteRole {
        /// Its name.
        name: String,
    },
    /// Give a permission to a role, in place of the one on exactly this range.
    GrantPermission {
        /// The role.
        role: String,
        /// The permission.
        permission: Permission,
    },
    /// Take the permission on exactly this range from a role.
    RevokePermission {
        /// The role.
        role: String,
        /// The range.
        range: KeyRange,
    },
}

/// How a user proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// Not by a password: it cannot log in with one.
    None,
    /// By a password with this hash.
    Hash(Secret),
}

/// What a role may do on a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What.
    pub kind: PermissionKind,
    /// Where.
    pub range: KeyRange,
}

/// What a permission permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionKind {
    /// Reading, comparing, watching.
    Read,
    /// Putting and deleting.
    Write,
    /// Both.
    ReadWrite,
}

impl PermissionKind {
    /// Whether this permits that.
    pub const fn permits(self, wanted: Self) -> bool {
        match (self, wanted) {
            (Self::ReadWrite, _) | (Self::Read, Self::Read) | (Self::Write, Self::Write) => true,
            (Self::Read | Self::Write, _) => false,
        }
    }
}
