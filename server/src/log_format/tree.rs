//! Operations of the znode tree. One flat message serves all kinds; this page says which fields
//! each of them uses.
//!
//! | kind | operation | fields beside `path` |
//! | --- | --- | --- |
//! | 1 | create | `data`, `acl`, `mode`, `owner` or `ttl_ms`, `want_stat` |
//! | 2 | delete | `version` |
//! | 3 | set data | `data`, `version` |
//! | 4 | set access list | `acl`, `version` |
//! | 5 | check | `version` |
//! | 6 | multi (no path) | `ops` |
//! | 7 | delete idle | `version` is the `cversion`, `guard_revision` the `mzxid` |
//!
//! A create's `mode` is 0 persistent, 1 ephemeral, 2 container, 3 with a time to live; plus 16 when
//! sequential.

use super::{FormatError, FormatResult};
use oarlock_proto::internal::log as pb;
use oarlock_state::tree::{Create, NodeKind, TreeOp};
use oarlock_state::{Revision, SessionId};

const CREATE: u32 = 1;
const DELETE: u32 = 2;
const SET_DATA: u32 = 3;
const SET_ACL: u32 = 4;
const CHECK: u32 = 5;
const MULTI: u32 = 6;
const DELETE_IDLE: u32 = 7;

const PERSISTENT: u32 = 0;
const EPHEMERAL: u32 = 1;
const CONTAINER: u32 = 2;
const WITH_TTL: u32 = 3;
const SEQUENTIAL: u32 = 16;

pub(super) fn to_proto(op: &TreeOp) -> pb::Tree {
    let none = pb::Tree::default();
    match op {
        TreeOp::Create(create) => create_to_proto(create),
        TreeOp::Delete { path, version } => {
            pb::Tree { kind: DELETE, path: path.clone(), version: (*version).into(), ..none }
        }
        TreeOp::SetData { path, data, version } => pb::Tree {
            kind: SET_DATA,
            path: path.clone(),
            data: data.clone(),
            version: (*version).into(),
            ..none
        },
        TreeOp::SetAcl { path, acl, version } => pb::Tree {
            kind: SET_ACL,
            path: path.clone(),
            acl: acl.clone(),
            version: (*version).into(),
            ..none
        },
        TreeOp::Check { path, version } => {
            pb::Tree { kind: CHECK, path: path.clone(), version: (*version).into(), ..none }
        }
        TreeOp::Multi(ops) => pb::Tree { kind: MULTI, ops: ops.iter().map(to_proto).collect(), ..none },
        TreeOp::DeleteIdle { path, cversion, mzxid } => pb::Tree {
            kind: DELETE_IDLE,
            path: path.clone(),
            version: (*cversion).into(),
            guard_revision: mzxid.get(),
            ..none
        },
    }
}

pub(super) fn from_proto(op: pb::Tree) -> FormatResult<TreeOp> {
    let version = i32::try_from(op.version)
        .map_err(|_| FormatError::Unknown { what: "a znode's version", number: op.version })?;
    Ok(match op.kind {
        CREATE => TreeOp::Create(create_from_proto(op)?),
        DELETE => TreeOp::Delete { path: op.path, version },
        SET_DATA => TreeOp::SetData { path: op.path, data: op.data, version },
        SET_ACL => TreeOp::SetAcl { path: op.path, acl: op.acl, version },
        CHECK => TreeOp::Check { path: op.path, version },
        MULTI => TreeOp::Multi(op.ops.into_iter().map(from_proto).collect::<FormatResult<_>>()?),
        DELETE_IDLE => {
            TreeOp::DeleteIdle { path: op.path, cversion: version, mzxid: Revision(op.guard_revision) }
        }
        0 | 8.. => return Err(FormatError::Unknown { what: "a tree operation", number: op.kind.into() }),
    })
}

fn create_to_proto(create: &Create) -> pb::Tree {
    let (mode, owner, ttl_ms) = match create.kind {
        NodeKind::Persistent => (PERSISTENT, 0, 0),
        NodeKind::Ephemeral(session) => (EPHEMERAL, session.get(), 0),
        NodeKind::Container => (CONTAINER, 0, 0),
        NodeKind::Ttl(ttl_ms) => (WITH_TTL, 0, ttl_ms),
    };
    pb::Tree {
        kind: CREATE,
        path: create.path.clone(),
        data: create.data.clone(),
        acl: create.acl.clone(),
        mode: mode | if create.sequential { SEQUENTIAL } else { 0 },
        owner,
        ttl_ms,
        want_stat: create.want_stat,
        ..pb::Tree::default()
    }
}

fn create_from_proto(op: pb::Tree) -> FormatResult<Create> {
    let kind = match op.mode & !SEQUENTIAL {
        PERSISTENT => NodeKind::Persistent,
        EPHEMERAL => NodeKind::Ephemeral(SessionId(op.owner)),
        CONTAINER => NodeKind::Container,
        WITH_TTL => NodeKind::Ttl(op.ttl_ms),
        4.. => return Err(FormatError::Unknown { what: "a znode's mode", number: op.mode.into() }),
    };
    Ok(Create {
        path: op.path,
        data: op.data,
        acl: op.acl,
        kind,
        sequential: op.mode & SEQUENTIAL != 0,
        want_stat: op.want_stat,
    })
}
