//! Changes of users, roles and permissions: one message whose fields each kind uses as it needs.

use super::kv::{range_from_proto, range_to_proto};
use super::{FormatError, FormatResult};
use oarlock_proto::internal::log as pb;
use oarlock_state::auth::{AuthOp, Password, Permission, PermissionKind, Secret};

// The numbers of the kinds.
const ENABLE: u32 = 1;
const DISABLE: u32 = 2;
const ADD_USER: u32 = 3;
const DELETE_USER: u32 = 4;
const CHANGE_PASSWORD: u32 = 5;
const GRANT_ROLE: u32 = 6;
const REVOKE_ROLE: u32 = 7;
const ADD_ROLE: u32 = 8;
const DELETE_ROLE: u32 = 9;
const GRANT_PERMISSION: u32 = 10;
const REVOKE_PERMISSION: u32 = 11;

pub(super) fn to_proto(op: &AuthOp) -> pb::Auth {
    let of = |kind| pb::Auth { kind, ..pb::Auth::default() };
    match op {
        AuthOp::Enable { secret } => pb::Auth { secret: secret.0.clone(), ..of(ENABLE) },
        AuthOp::Disable => of(DISABLE),
        AuthOp::AddUser { name, password: Password::None } => {
            pb::Auth { user: name.clone(), no_password: true, ..of(ADD_USER) }
        }
        AuthOp::AddUser { name, password: Password::Hash(hash) } => {
            pb::Auth { user: name.clone(), secret: hash.0.clone(), ..of(ADD_USER) }
        }
        AuthOp::DeleteUser { name } => pb::Auth { user: name.clone(), ..of(DELETE_USER) },
        AuthOp::ChangePassword { name, hash } => {
            pb::Auth { user: name.clone(), secret: hash.0.clone(), ..of(CHANGE_PASSWORD) }
        }
        AuthOp::GrantRole { user, role } => {
            pb::Auth { user: user.clone(), role: role.clone(), ..of(GRANT_ROLE) }
        }
        AuthOp::RevokeRole { user, role } => {
            pb::Auth { user: user.clone(), role: role.clone(), ..of(REVOKE_ROLE) }
        }
        AuthOp::AddRole { name } => pb::Auth { role: name.clone(), ..of(ADD_ROLE) },
        AuthOp::DeleteRole { name } => pb::Auth { role: name.clone(), ..of(DELETE_ROLE) },
        AuthOp::GrantPermission { role, permission } => pb::Auth {
            role: role.clone(),
            range: Some(range_to_proto(&permission.range)),
            permission: kind_to_proto(permission.kind),
            ..of(GRANT_PERMISSION)
        },
        AuthOp::RevokePermission { role, range } => {
            pb::Auth { role: role.clone(), range: Some(range_to_proto(range)), ..of(REVOKE_PERMISSION) }
        }
    }
}

pub(super) fn from_proto(op: pb::Auth) -> FormatResult<AuthOp> {
    let pb::Auth { kind, user, role, secret, no_password, range, permission } = op;
    let range = || range_from_proto(range);
    let secret = Secret(secret);
    Ok(match kind {
        ENABLE => AuthOp::Enable { secret },
        DISABLE => AuthOp::Disable,
        ADD_USER => {
            let password = if no_password { Password::None } else { Password::Hash(secret) };
            AuthOp::AddUser { name: user, password }
        }
        DELETE_USER => AuthOp::DeleteUser { name: user },
        CHANGE_PASSWORD => AuthOp::ChangePassword { name: user, hash: secret },
        GRANT_ROLE => AuthOp::GrantRole { user, role },
        REVOKE_ROLE => AuthOp::RevokeRole { user, role },
        ADD_ROLE => AuthOp::AddRole { name: role },
        DELETE_ROLE => AuthOp::DeleteRole { name: role },
        GRANT_PERMISSION => {
            let permission = Permission { kind: kind_from_proto(permission)?, range: range()? };
            AuthOp::GrantPermission { role, permission }
        }
        REVOKE_PERMISSION => AuthOp::RevokePermission { role, range: range()? },
        number => {
            return Err(FormatError::Unknown { what: "a change of authentication", number: number.into() });
        }
    })
}

fn kind_to_proto(kind: PermissionKind) -> u32 {
    match kind {
        PermissionKind::Read => 0,
        PermissionKind::Write => 1,
        PermissionKind::ReadWrite => 2,
    }
}

fn kind_from_proto(kind: u32) -> FormatResult<PermissionKind> {
    Ok(match kind {
        0 => PermissionKind::Read,
        1 => PermissionKind::Write,
        2 => PermissionKind::ReadWrite,
        number => {
            return Err(FormatError::Unknown { what: "a permission's kind", number: number.into() });
        }
    })
}
