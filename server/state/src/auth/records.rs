//! What is stored of users and roles, and the bytes of it.

use super::op::{Password, Permission, PermissionKind, Secret};
use super::{ROOT_ROLE, ROOT_USER};
use crate::codec::{Reader, Writer, damaged};
use crate::command::KeyRange;
use crate::keys;
use crate::machine::scratch::Scratch;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT: u8 = 1;

/// Whether authentication is on, and since when what is known. Small, and kept in memory beside the
/// state, so that a request costs nothing while it is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Authentication is on.
    pub enabled: bool,
    /// Changes of users, roles and permissions so far; etcd begins at 1.
    pub revision: u64,
    /// What tokens are signed with; empty until authentication was on once.
    pub secret: Secret,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: false, revision: 1, secret: Secret::default() }
    }
}

impl Settings {
    /// As stored; nothing stored is the default.
    pub(crate) fn load(view: &dyn View) -> Self {
        view.get(keys::AUTH_SETTINGS).map(|record| Self::decode(&record)).unwrap_or_default()
    }

    pub(super) fn store(&self, work: &mut Scratch<'_>) {
        work.put(Bytes::from_static(keys::AUTH_SETTINGS), self.encode());
    }

    fn encode(&self) -> Bytes {
        let mut writer = Writer::new(FORMAT, 48);
        writer.flag(self.enabled);
        writer.number(self.revision);
        writer.bytes(&self.secret.0);
        writer.finish()
    }

    fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("auth settings", FORMAT, record);
        let settings =
            Self { enabled: reader.flag(), revision: reader.number(), secret: Secret(reader.bytes()) };
        reader.end();
        settings
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) password: Password,
    /// The auth revision at which it was added or changed its password.
    pub(super) proofs_since: u64,
    /// In order.
    pub(super) roles: Vec<String>,
}

impl User {
    pub(super) fn is_root(&self) -> bool {
        self.roles.iter().any(|role| role == ROOT_ROLE)
    }

    pub(super) fn load(view: &dyn View, name: &str) -> Option<Self> {
        view.get(&keys::user(name)).map(|record| Self::decode(&record))
    }

    pub(super) fn store(&self, work: &mut Scratch<'_>, name: &str) {
        work.put(keys::user(name), self.encode());
    }

    fn encode(&self) -> Bytes {
        let mut writer = Writer::new(FORMAT, 128);
        match &self.password {
            Password::None => writer.flag(false),
            Password::Hash(hash) => {
                writer.flag(true);
                writer.bytes(&hash.0);
            }
        }
        writer.number(self.proofs_since);
        writer.number(self.roles.len() as u64);
        self.roles.iter().for_each(|role| writer.text(role));
        writer.finish()
    }

    fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("user", FORMAT, record);
        let password = if reader.flag() { Password::Hash(Secret(reader.bytes())) } else { Password::None };
        let proofs_since = reader.number();
        let roles = (0..reader.number()).map(|_| reader.text()).collect();
        reader.end();
        Self { password, proofs_since, roles }
    }
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Role {
    /// In order of their first key.
    pub(super) permissions: Vec<Permission>,
}

impl Role {
    pub(super) fn load(view: &dyn View, name: &str) -> Option<Self> {
        view.get(&keys::role(name)).map(|record| Self::decode(&record))
    }

    pub(super) fn store(&self, work: &mut Scratch<'_>, name: &str) {
        work.put(keys::role(name), self.encode());
    }

    fn encode(&self) -> Bytes {
        let mut writer = Writer::new(FORMAT, 16 + 32 * self.permissions.len());
        writer.number(self.permissions.len() as u64);
        for permission in &self.permissions {
            writer.byte(match permission.kind {
                PermissionKind::Read => 0,
                PermissionKind::Write => 1,
                PermissionKind::ReadWrite => 2,
            });
            match &permission.range {
                KeyRange::Key(key) => {
                    writer.byte(0);
                    writer.bytes(key);
                }
                KeyRange::Span { start, end: Some(end) } => {
                    writer.byte(1);
                    writer.bytes(start);
                    writer.bytes(end);
                }
                KeyRange::Span { start, end: None } => {
                    writer.byte(2);
                    writer.bytes(start);
                }
            }
        }
        writer.finish()
    }

    fn decode(record: &Bytes) -> Self {
        let mut reader = Reader::new("role", FORMAT, record);
        let permissions = (0..reader.number()).map(|_| read_permission(&mut reader)).collect();
        reader.end();
        Self { permissions }
    }
}

fn read_permission(reader: &mut Reader<'_>) -> Permission {
    let kind = match reader.byte() {
        0 => PermissionKind::Read,
        1 => PermissionKind::Write,
        2 => PermissionKind::ReadWrite,
        _ => reader.complain("unknown kind of permission"),
    };
    let range = match reader.byte() {
        0 => KeyRange::Key(reader.bytes()),
        1 => KeyRange::Span { start: reader.bytes(), end: Some(reader.bytes()) },
        2 => KeyRange::Span { start: reader.bytes(), end: None },
        _ => reader.complain("unknown kind of range"),
    };
    Permission { kind, range }
}

/// The names under a span of keys, in order.
pub(super) fn names(view: &dyn View, span: (&[u8], &[u8])) -> Vec<String> {
    let mut names = Vec::new();
    view.scan(span.0, span.1, false, &mut |key, _| {
        let name = key.strip_prefix(span.0).and_then(|name| std::str::from_utf8(name).ok());
        names.push(name.unwrap_or_else(|| damaged("user or role", "its name is not UTF-8")).to_owned());
        ControlFlow::Continue(())
    });
    names
}

/// Proves what management promises: while authentication is on there is a `root` with the role
/// `root`, and everything can be read. Roles that do not exist may be named by `root` only.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    let settings = Settings::load(view);
    if settings.enabled && !User::load(view, ROOT_USER).is_some_and(|root| root.is_root()) {
        return Err("authentication is on without a root".to_owned());
    }
    for name in names(view, keys::USER_SPAN) {
        let user = User::load(view, &name).unwrap_or_else(|| damaged("user", "cannot be read again"));
        if !user.roles.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(format!("the roles of user {name:?} are out of order: {:?}", user.roles));
        }
        if user.proofs_since > settings.revision {
            return Err(format!("user {name:?} is of the future"));
        }
        let missing = |role: &&String| **role != ROOT_ROLE && Role::load(view, role).is_none();
        if let Some(role) = user.roles.iter().find(missing) {
            return Err(format!("user {name:?} has the role {role:?}, which does not exist"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_are_pinned() {
        let settings = Settings { enabled: true, revision: 300, secret: Secret(Bytes::from_static(b"s")) };
        assert_eq!(settings.encode(), b"\x01\x01\xac\x02\x01s".as_slice());
        assert_eq!(Settings::decode(&settings.encode()), settings);
        let user = User {
            password: Password::Hash(Secret(Bytes::from_static(b"h"))),
            proofs_since: 2,
            roles: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(user.encode(), b"\x01\x01\x01h\x02\x02\x01a\x01b".as_slice());
        assert_eq!(User::decode(&user.encode()), user);
        let without = User { password: Password::None, ..user };
        assert_eq!(User::decode(&without.encode()), without);
        let key = |key: &'static str| Bytes::from_static(key.as_bytes());
        let role = Role {
            permissions: vec![
                Permission { kind: PermissionKind::Read, range: KeyRange::Key(key("k")) },
                Permission {
                    kind: PermissionKind::Write,
                    range: KeyRange::Span { start: key("l"), end: Some(key("m")) },
                },
                Permission {
                    kind: PermissionKind::ReadWrite,
                    range: KeyRange::Span { start: key("n"), end: None },
                },
            ],
        };
        assert_eq!(role.encode(), b"\x01\x03\x00\x00\x01k\x01\x01\x01l\x01m\x02\x02\x01n".as_slice());
        assert_eq!(Role::decode(&role.encode()), role);
    }
}
