//! Answers to questions about users and roles.

use super::ROOT_ROLE;
use super::error::AuthError;
use super::op::{Permission, PermissionKind};
use super::query::{AuthAnswer, AuthQuery};
use super::records::{self, Role, Settings, User};
use crate::command::{KeyRange, Rejection};
use crate::keys;
use crate::view::View;
use bytes::Bytes;

/// Answers a question. Whether the caller may ask was [decided](super::access) before.
pub(crate) fn read(view: &dyn View, query: &AuthQuery) -> Result<AuthAnswer, Rejection> {
    match query {
        AuthQuery::Status => {
            let Settings { enabled, revision, secret: _ } = Settings::load(view);
            Ok(AuthAnswer::Status { enabled, revision })
        }
        AuthQuery::User { name } => {
            let user = User::load(view, name).ok_or(AuthError::UserNotFound)?;
            Ok(AuthAnswer::Names(user.roles))
        }
        AuthQuery::Users => Ok(AuthAnswer::Names(records::names(view, keys::USER_SPAN))),
        AuthQuery::Role { name } => role(view, name),
        AuthQuery::Roles => Ok(AuthAnswer::Names(records::names(view, keys::ROLE_SPAN))),
        AuthQuery::Login { name } => {
            let settings = Settings::load(view);
            if !settings.enabled {
                return Err(AuthError::NotEnabled.into());
            }
            let user = User::load(view, name).ok_or(AuthError::Failed)?;
            Ok(AuthAnswer::Login { password: user.password, revision: settings.revision })
        }
        AuthQuery::Administration => Ok(AuthAnswer::Permitted),
    }
}

fn role(view: &dyn View, name: &str) -> Result<AuthAnswer, Rejection> {
    let role = Role::load(view, name).ok_or(AuthError::RoleNotFound)?;
    if name == ROOT_ROLE {
        // Whatever is granted to it: it may do everything.
        let range = KeyRange::Span { start: Bytes::new(), end: None };
        return Ok(AuthAnswer::Permissions(vec![Permission { kind: PermissionKind::ReadWrite, range }]));
    }
    Ok(AuthAnswer::Permissions(role.permissions))
}
