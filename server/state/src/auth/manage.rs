//! Changes of users, roles and permissions, with etcd's rules.

use super::error::AuthError;
use super::op::{AuthOp, Password, Permission, Secret};
use super::records::{self, Role, Settings, User};
use super::{ROOT_ROLE, ROOT_USER};
use crate::command::{KeyRange, Rejection, ReplyBody};
use crate::keys;
use crate::limits::{AUTH_NAME_BYTES_MAX, AUTH_SECRET_BYTES_MAX, ROLE_PERMISSIONS_MAX, USER_ROLES_MAX};
use crate::machine::form;
use crate::machine::scratch::Scratch;

/// Whether something was changed: etcd counts a grant of what is granted already as no change.
type Changed = bool;
type Result<T> = std::result::Result<T, Rejection>;

/// Executes a change. It makes no revision of the keys.
pub(crate) fn execute(work: &mut Scratch<'_>, op: &AuthOp) -> Result<ReplyBody> {
    let settings = Settings::load(work);
    let next = settings.revision + 1;
    let changed = match op {
        AuthOp::Enable { secret } => {
            enable(work, settings, secret)?;
            return Ok(ReplyBody::Done);
        }
        AuthOp::Disable => {
            if settings.enabled {
                Settings { enabled: false, revision: next, ..settings }.store(work);
            }
            return Ok(ReplyBody::Done);
        }
        AuthOp::AddUser { name, password } => add_user(work, name, password, next)?,
        AuthOp::DeleteUser { name } => delete_user(work, name, settings.enabled)?,
        AuthOp::ChangePassword { name, hash } => change_password(work, name, hash, next)?,
        AuthOp::GrantRole { user, role } => grant_role(work, user, role)?,
        AuthOp::RevokeRole { user, role } => revoke_role(work, user, role, settings.enabled)?,
        AuthOp::AddRole { name } => add_role(work, name)?,
        AuthOp::DeleteRole { name } => delete_role(work, name, settings.enabled)?,
        AuthOp::GrantPermission { role, permission } => grant_permission(work, role, permission)?,
        AuthOp::RevokePermission { role, range } => revoke_permission(work, role, range)?,
    };
    if changed {
        Settings { revision: next, ..settings }.store(work);
    }
    Ok(ReplyBody::Done)
}

fn enable(work: &mut Scratch<'_>, settings: Settings, secret: &Secret) -> Result<()> {
    if settings.enabled {
        return Ok(());
    }
    let root = User::load(work, ROOT_USER).ok_or(AuthError::NoRootUser)?;
    if !root.is_root() {
        return Err(AuthError::NoRootRole.into());
    }
    form::limit("bytes of the secret", secret.0.len(), AUTH_SECRET_BYTES_MAX)?;
    Settings { enabled: true, secret: secret.clone(), ..settings }.store(work);
    Ok(())
}

fn user(work: &Scratch<'_>, name: &str) -> Result<User> {
    Ok(User::load(work, name).ok_or(AuthError::UserNotFound)?)
}

fn role(work: &Scratch<'_>, name: &str) -> Result<Role> {
    Ok(Role::load(work, name).ok_or(AuthError::RoleNotFound)?)
}

fn add_user(work: &mut Scratch<'_>, name: &str, password: &Password, now: u64) -> Result<Changed> {
    if name.is_empty() {
        return Err(AuthError::UserNameEmpty.into());
    }
    form::limit("bytes of the user's name", name.len(), AUTH_NAME_BYTES_MAX)?;
    if let Password::Hash(hash) = password {
        form::limit("bytes of the password's hash", hash.0.len(), AUTH_SECRET_BYTES_MAX)?;
    }
    if User::load(work, name).is_some() {
        return Err(AuthError::UserExists.into());
    }
    User { password: password.clone(), proofs_since: now, roles: Vec::new() }.store(work, name);
    Ok(true)
}

fn delete_user(work: &mut Scratch<'_>, name: &str, enabled: bool) -> Result<Changed> {
    if enabled && name == ROOT_USER {
        return Err(AuthError::InvalidManagement.into());
    }
    user(work, name)?;
    work.delete(keys::user(name));
    Ok(true)
}

fn change_password(work: &mut Scratch<'_>, name: &str, hash: &Secret, now: u64) -> Result<Changed> {
    form::limit("bytes of the password's hash", hash.0.len(), AUTH_SECRET_BYTES_MAX)?;
    let user = user(work, name)?;
    let password = match user.password {
        Password::None => Password::None,
        Password::Hash(_) => Password::Hash(hash.clone()),
    };
    User { password, proofs_since: now, ..user }.store(work, name);
    Ok(true)
}

fn grant_role(work: &mut Scratch<'_>, name: &str, role: &str) -> Result<Changed> {
    let mut user = user(work, name)?;
    // The role root means something even if nobody added it.
    if role != ROOT_ROLE {
        self::role(work, role)?;
    }
    let Err(place) = user.roles.binary_search_by(|held| held.as_str().cmp(role)) else {
        return Ok(false);
    };
    form::limit("number of the user's roles", user.roles.len() + 1, USER_ROLES_MAX)?;
    user.roles.insert(place, role.to_owned());
    user.store(work, name);
    Ok(true)
}

fn revoke_role(work: &mut Scratch<'_>, name: &str, role: &str, enabled: bool) -> Result<Changed> {
    if enabled && name == ROOT_USER && role == ROOT_ROLE {
        return Err(AuthError::InvalidManagement.into());
    }
    let mut user = user(work, name)?;
    if !take_role(&mut user, role) {
        return Err(AuthError::RoleNotGranted.into());
    }
    user.store(work, name);
    Ok(true)
}

fn take_role(user: &mut User, role: &str) -> bool {
    let before = user.roles.len();
    user.roles.retain(|held| held != role);
    user.roles.len() < before
}

fn add_role(work: &mut Scratch<'_>, name: &str) -> Result<Changed> {
    if name.is_empty() {
        return Err(AuthError::RoleNameEmpty.into());
    }
    form::limit("bytes of the role's name", name.len(), AUTH_NAME_BYTES_MAX)?;
    if Role::load(work, name).is_some() {
        return Err(AuthError::RoleExists.into());
    }
    Role::default().store(work, name);
    Ok(true)
}

fn delete_role(work: &mut Scratch<'_>, name: &str, enabled: bool) -> Result<Changed> {
    if enabled && name == ROOT_ROLE {
        return Err(AuthError::InvalidManagement.into());
    }
    role(work, name)?;
    work.delete(keys::role(name));
    for holder in records::names(work, keys::USER_SPAN) {
        let mut user = user(work, &holder)?;
        if take_role(&mut user, name) {
            user.store(work, &holder);
        }
    }
    Ok(true)
}

fn grant_permission(work: &mut Scratch<'_>, name: &str, permission: &Permission) -> Result<Changed> {
    if !makes_sense(&permission.range) {
        return Err(AuthError::InvalidManagement.into());
    }
    form::range(&permission.range)?;
    let mut role = role(work, name)?;
    match role.permissions.iter_mut().find(|held| held.range == permission.range) {
        Some(held) => held.kind = permission.kind,
        None => {
            form::limit(
                "number of the role's permissions",
                role.permissions.len() + 1,
                ROLE_PERMISSIONS_MAX,
            )?;
            let place =
                role.permissions.partition_point(|held| start(&held.range) <= start(&permission.range));
            role.permissions.insert(place, permission.clone());
        }
    }
    role.store(work, name);
    Ok(true)
}

fn revoke_permission(work: &mut Scratch<'_>, name: &str, range: &KeyRange) -> Result<Changed> {
    let mut role = role(work, name)?;
    let before = role.permissions.len();
    role.permissions.retain(|held| held.range != *range);
    if role.permissions.len() == before {
        return Err(AuthError::PermissionNotGranted.into());
    }
    role.store(work, name);
    Ok(true)
}

fn start(range: &KeyRange) -> &[u8] {
    match range {
        KeyRange::Key(start) | KeyRange::Span { start, .. } => start,
    }
}

/// A range with a start, and an end behind it if it has one.
fn makes_sense(range: &KeyRange) -> bool {
    let ends = match range {
        KeyRange::Key(_) | KeyRange::Span { end: None, .. } => true,
        KeyRange::Span { start, end: Some(end) } => start < end,
    };
    ends && !start(range).is_empty()
}
