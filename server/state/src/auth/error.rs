//! Why authentication says no.

use thiserror::Error;

/// Why authentication says no.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AuthError {
    /// Authentication is on, and no token was shown.
    #[error("authentication is on and the request carries no token; log in first")]
    NoToken,
    /// The user was removed, or changed its password, after it proved who it is.
    #[error("the user was removed or has another password by now; log in again")]
    Stale,
    /// The user may not do this.
    #[error("permission denied")]
    PermissionDenied,
    /// Enabling without the user `root`.
    #[error("there is no user \"root\"; add it before enabling authentication")]
    NoRootUser,
    /// Enabling while the user `root` has not the role `root`.
    #[error("the user \"root\" has not the role \"root\"; grant it before enabling authentication")]
    NoRootRole,
    /// Logging in while authentication is off.
    #[error("authentication is not enabled")]
    NotEnabled,
    /// Wrong name or password, or a user without one.
    #[error("wrong user name or password")]
    Failed,
    /// A user without a name.
    #[error("the user's name is empty")]
    UserNameEmpty,
    /// Adding a user that exists.
    #[error("the user exists already")]
    UserExists,
    /// There is no such user.
    #[error("there is no such user")]
    UserNotFound,
    /// A role without a name.
    #[error("the role's name is empty")]
    RoleNameEmpty,
    /// Adding a role that exists.
    #[error("the role exists already")]
    RoleExists,
    /// There is no such role.
    #[error("there is no such role")]
    RoleNotFound,
    /// Taking a role from a user that has it not.
    #[error("the user has not this role")]
    RoleNotGranted,
    /// Taking a permission from a role that has it not.
    #[error("the role has no permission on exactly this range")]
    PermissionNotGranted,
    /// It would take away what administration needs, or makes no sense as a range.
    #[error(
        "while authentication is on, the user and the role \"root\" must stay; a range must not be empty"
    )]
    InvalidManagement,
}

impl AuthError {
    /// All of them. A remembered refusal is stored by its place here: only ever append.
    pub(crate) const ALL: [Self; 16] = [
        Self::NoToken,
        Self::Stale,
        Self::PermissionDenied,
        Self::NoRootUser,
        Self::NoRootRole,
        Self::NotEnabled,
        Self::Failed,
        Self::UserNameEmpty,
        Self::UserExists,
        Self::UserNotFound,
        Self::RoleNameEmpty,
        Self::RoleExists,
        Self::RoleNotFound,
        Self::RoleNotGranted,
        Self::PermissionNotGranted,
        Self::InvalidManagement,
    ];
}
