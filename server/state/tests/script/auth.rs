//! Users, roles and permissions, and what is asked of them.
//!
//! ```text
//! enable [SECRET]    disable
//! user-add NAME [HASH | nopassword]   user-del NAME   user-passwd NAME HASH
//! user-grant NAME ROLE                user-revoke NAME ROLE
//! role-add NAME      role-del NAME    role-grant ROLE read|write|both RANGE   role-revoke ROLE RANGE
//! auth-status        user NAME        users            role NAME       roles   login NAME
//! may watch RANGE    may administer   (needs that are neither command nor question)
//! ```

use super::show::bytes;
use super::words::{Fault, Words};
use super::{ops, show};
use bytes::Bytes;
use oarlock_state::Command;
use oarlock_state::auth::{
    AuthAnswer, AuthOp, AuthQuery, Need, Password, Permission, PermissionKind, Secret,
};
use oarlock_state::command::KeyRange;
use oarlock_state::event::Keyspace;

fn secret(word: Option<Bytes>) -> Secret {
    Secret(word.unwrap_or_else(|| Bytes::from_static(b"secret")))
}

/// What goes through the log.
pub fn command(verb: &str, words: &mut Words) -> Result<Option<Command>, Fault> {
    Ok(Some(Command::Auth(match verb {
        "enable" => AuthOp::Enable { secret: secret(words.next()) },
        "disable" => AuthOp::Disable,
        "user-add" => {
            let name = words.text()?;
            let password =
                if words.flag("nopassword") { Password::None } else { Password::Hash(secret(words.next())) };
            AuthOp::AddUser { name, password }
        }
        "user-del" => AuthOp::DeleteUser { name: words.text()? },
        "user-passwd" => AuthOp::ChangePassword { name: words.text()?, hash: Secret(words.take()?) },
        "user-grant" => AuthOp::GrantRole { user: words.text()?, role: words.text()? },
        "user-revoke" => AuthOp::RevokeRole { user: words.text()?, role: words.text()? },
        "role-add" => AuthOp::AddRole { name: words.text()? },
        "role-del" => AuthOp::DeleteRole { name: words.text()? },
        "role-grant" => {
            let role = words.text()?;
            let kind = kind(&words.text()?)?;
            AuthOp::GrantPermission {
                role,
                permission: Permission { kind, range: ops::range(&words.take()?) },
            }
        }
        "role-revoke" => AuthOp::RevokePermission { role: words.text()?, range: ops::range(&words.take()?) },
        _ => return Ok(None),
    })))
}

fn kind(word: &str) -> Result<PermissionKind, Fault> {
    Ok(match word {
        "read" => PermissionKind::Read,
        "write" => PermissionKind::Write,
        "both" => PermissionKind::ReadWrite,
        other => return Err(format!("{other:?} is neither read, write nor both").into()),
    })
}

/// What is asked outside of the log.
pub fn question(verb: &str, words: &mut Words) -> Result<Option<AuthQuery>, Fault> {
    Ok(Some(match verb {
        "auth-status" => AuthQuery::Status,
        "user" => AuthQuery::User { name: words.text()? },
        "users" => AuthQuery::Users,
        "role" => AuthQuery::Role { name: words.text()? },
        "roles" => AuthQuery::Roles,
        "login" => AuthQuery::Login { name: words.text()? },
        _ => return Ok(None),
    }))
}

/// A need that is neither command nor question.
pub enum Wanted {
    Watch(KeyRange),
    Administration,
}

impl Wanted {
    pub fn of(&self) -> Need<'_> {
        match self {
            Self::Watch(range) => Need::Watch(Keyspace::Kv, range),
            Self::Administration => Need::Administration,
        }
    }
}

pub fn need(verb: &str, words: &mut Words) -> Result<Option<Wanted>, Fault> {
    if verb != "may" {
        return Ok(None);
    }
    if words.is("administer") {
        return Ok(Some(Wanted::Administration));
    }
    words.demand("watch")?;
    Ok(Some(Wanted::Watch(ops::range(&words.take()?))))
}

/// An answer in words.
pub fn show(answer: &AuthAnswer) -> String {
    match answer {
        AuthAnswer::Status { enabled, revision } => {
            format!("{} auth revision {revision}", if *enabled { "on" } else { "off" })
        }
        AuthAnswer::Names(names) => format!("[{}]", names.join(" ")),
        AuthAnswer::Permissions(permissions) => {
            let permissions: Vec<_> = permissions.iter().map(permission).collect();
            format!("[{}]", permissions.join(", "))
        }
        AuthAnswer::Login { password: Password::None, revision } => {
            format!("no password, auth revision {revision}")
        }
        AuthAnswer::Login { password: Password::Hash(hash), revision } => {
            format!("hash {}, auth revision {revision}", show::bytes(&hash.0))
        }
        AuthAnswer::Permitted => "permitted".to_owned(),
    }
}

fn permission(permission: &Permission) -> String {
    let range = match &permission.range {
        KeyRange::Key(key) => bytes(key),
        KeyRange::Span { start, end } => {
            format!("{}..{}", bytes(start), end.as_ref().map(bytes).unwrap_or_default())
        }
    };
    format!("{:?} {range}", permission.kind)
}
