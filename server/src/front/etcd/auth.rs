//! etcd's `Auth` service: users, roles, permissions, and logging in.
//!
//! Passwords end here: what goes to the node is a hash, and a hash that a client sends is not looked
//! at. Who may call what is decided where the request takes effect.

use super::door::{Caller, Door};
use super::errors;
use crate::node::request::{Consistency, Refusal, Request as Ask, Response as Told, Write};
use bytes::Bytes;
use oarlock_proto::etcd::authpb::{self, permission::Type};
use oarlock_proto::etcd::etcdserverpb::{self as pb, ResponseHeader, auth_server::Auth};
use oarlock_state::auth::{AuthAnswer, AuthOp, AuthQuery, Password, Permission, PermissionKind, Secret};
use oarlock_state::command::{Answer, KeyRange};
use oarlock_state::{Caller as Who, Command, Query, Revision};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status};

/// Bytes of the secret that tokens are signed with.
const SECRET_BYTES: usize = 32;

/// Serves users and roles.
pub struct AuthService {
    door: Arc<Door>,
}

type Served<T> = Result<Response<T>, Status>;

impl AuthService {
    /// The service behind this door.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    async fn change(&self, caller: &Caller, op: AuthOp) -> Result<Option<ResponseHeader>, Status> {
        match self.door.ask(caller, Ask::Write(Write::of(Command::Auth(op)))).await? {
            Told::Written(reply) => Ok(Some(self.door.header(reply.revision))),
            other => Err(unexpected(&other)),
        }
    }

    async fn question(&self, caller: &Caller, query: AuthQuery) -> Result<Found, Status> {
        let query = Query::Auth(query);
        let ask = Ask::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 };
        match self.door.ask(caller, ask).await? {
            Told::Answer { answer: Answer::Auth(answer), revision, .. } => Ok(Found { answer, revision }),
            other => Err(unexpected(&other)),
        }
    }

    async fn names(
        &self,
        caller: &Caller,
        query: AuthQuery,
    ) -> Result<(Option<ResponseHeader>, Vec<String>), Status> {
        let Found { answer, revision } = self.question(caller, query).await?;
        let AuthAnswer::Names(names) = answer else { return Err(unexpected(&answer)) };
        Ok((Some(self.door.header(revision)), names))
    }

    async fn hash(&self, password: String) -> Result<Secret, Status> {
        self.door.gate().hash(password).await.map_err(|refusal| match refusal {
            // Go's words, which etcd passes on.
            Refusal::Invalid { .. } => Status::new(Code::Unknown, "bcrypt: password length exceeds 72 bytes"),
            refusal => errors::status(&refusal),
        })
    }
}

struct Found {
    answer: AuthAnswer,
    revision: Revision,
}

fn unexpected(what: &impl std::fmt::Debug) -> Status {
    Status::internal(format!("etcdserver: an answer of another kind: {what:?}"))
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(&self, request: Request<pb::AuthEnableRequest>) -> Served<pb::AuthEnableResponse> {
        let caller = self.door.caller(request.metadata())?;
        let secret: [u8; SECRET_BYTES] = rand::random();
        let secret = Secret(Bytes::copy_from_slice(&secret));
        let header = self.change(&caller, AuthOp::Enable { secret }).await?;
        Ok(Response::new(pb::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Served<pb::AuthDisableResponse> {
        let caller = self.door.caller(request.metadata())?;
        let header = self.change(&caller, AuthOp::Disable).await?;
        Ok(Response::new(pb::AuthDisableResponse { header }))
    }

    async fn auth_status(&self, request: Request<pb::AuthStatusRequest>) -> Served<pb::AuthStatusResponse> {
        // A token that is shown must be good, but none is needed.
        self.door.caller(request.metadata())?;
        let query = Query::Auth(AuthQuery::Status);
        let ask = Ask::Read { query, consistency: Consistency::Linearizable, timeout_ms: 0 };
        let told = self.door.handle().call_as(&Who::Server, ask).await;
        match told.map_err(|refusal| errors::status(&refusal))? {
            Told::Answer {
                answer: Answer::Auth(AuthAnswer::Status { enabled, revision: auth_revision }),
                revision,
                ..
            } => {
                let header = Some(self.door.header(revision));
                Ok(Response::new(pb::AuthStatusResponse { header, enabled, auth_revision }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Served<pb::AuthenticateResponse> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        let token = self.door.gate().log_in(name, password).await;
        let token = token.map_err(|refusal| errors::status(&refusal))?;
        Ok(Response::new(pb::AuthenticateResponse { header: Some(self.door.header_now()), token }))
    }

    async fn user_add(&self, request: Request<pb::AuthUserAddRequest>) -> Served<pb::AuthUserAddResponse> {
        let caller = self.door.caller(request.metadata())?;
        let pb::AuthUserAddRequest { name, password, options, hashed_password: _ } = request.into_inner();
        let without = options.is_some_and(|options| options.no_password);
        let password = if without {
            Password::None
        } else {
            Password::Hash(self.checked_hash(&caller, password).await?)
        };
        let header = self.change(&caller, AuthOp::AddUser { name, password }).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    async fn user_get(&self, request: Request<pb::AuthUserGetRequest>) -> Served<pb::AuthUserGetResponse> {
        let caller = self.door.caller(request.metadata())?;
        let name = request.into_inner().name;
        let (header, roles) = self.names(&caller, AuthQuery::User { name }).await?;
        Ok(Response::new(pb::AuthUserGetResponse { header, roles }))
    }

    async fn user_list(&self, request: Request<pb::AuthUserListRequest>) -> Served<pb::AuthUserListResponse> {
        let caller = self.door.caller(request.metadata())?;
        let (header, users) = self.names(&caller, AuthQuery::Users).await?;
        Ok(Response::new(pb::AuthUserListResponse { header, users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Served<pb::AuthUserDeleteResponse> {
        let caller = self.door.caller(request.metadata())?;
        let name = request.into_inner().name;
        let header = self.change(&caller, AuthOp::DeleteUser { name }).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Served<pb::AuthUserChangePasswordResponse> {
        let caller = self.door.caller(request.metadata())?;
        let request = request.into_inner();
        // As in etcd, an empty password shuts the user out.
        let hash = match request.password {
            empty if empty.is_empty() => Secret::default(),
            password => self.checked_hash(&caller, password).await?,
        };
        let header = self.change(&caller, AuthOp::ChangePassword { name: request.name, hash }).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Served<pb::AuthUserGrantRoleResponse> {
        let caller = self.door.caller(request.metadata())?;
        let pb::AuthUserGrantRoleRequest { user, role } = request.into_inner();
        let header = self.change(&caller, AuthOp::GrantRole { user, role }).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Served<pb::AuthUserRevokeRoleResponse> {
        let caller = self.door.caller(request.metadata())?;
        let pb::AuthUserRevokeRoleRequest { name, role } = request.into_inner();
        let header = self.change(&caller, AuthOp::RevokeRole { user: name, role }).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(&self, request: Request<pb::AuthRoleAddRequest>) -> Served<pb::AuthRoleAddResponse> {
        let caller = self.door.caller(request.metadata())?;
        let name = request.into_inner().name;
        let header = self.change(&caller, AuthOp::AddRole { name }).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header }))
    }

    async fn role_get(&self, request: Request<pb::AuthRoleGetRequest>) -> Served<pb::AuthRoleGetResponse> {
        let caller = self.door.caller(request.metadata())?;
        let name = request.into_inner().role;
        let Found { answer, revision } = self.question(&caller, AuthQuery::Role { name }).await?;
        let AuthAnswer::Permissions(permissions) = answer else { return Err(unexpected(&answer)) };
        let perm = permissions.into_iter().map(permission_to_proto).collect();
        Ok(Response::new(pb::AuthRoleGetResponse { header: Some(self.door.header(revision)), perm }))
    }

    async fn role_list(&self, request: Request<pb::AuthRoleListRequest>) -> Served<pb::AuthRoleListResponse> {
        let caller = self.door.caller(request.metadata())?;
        let (header, roles) = self.names(&caller, AuthQuery::Roles).await?;
        Ok(Response::new(pb::AuthRoleListResponse { header, roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Served<pb::AuthRoleDeleteResponse> {
        let caller = self.door.caller(request.metadata())?;
        let name = request.into_inner().role;
        let header = self.change(&caller, AuthOp::DeleteRole { name }).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Served<pb::AuthRoleGrantPermissionResponse> {
        let caller = self.door.caller(request.metadata())?;
        let pb::AuthRoleGrantPermissionRequest { name, perm } = request.into_inner();
        let permission = permission_from_proto(perm.ok_or(errors::PERMISSION_NOT_GIVEN)?);
        let header = self.change(&caller, AuthOp::GrantPermission { role: name, permission }).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Served<pb::AuthRoleRevokePermissionResponse> {
        let caller = self.door.caller(request.metadata())?;
        let pb::AuthRoleRevokePermissionRequest { role, key, range_end } = request.into_inner();
        let range = range_from_proto(key, range_end);
        let header = self.change(&caller, AuthOp::RevokePermission { role, range }).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header }))
    }
}

impl AuthService {
    /// The hash of a password that only an administrator may set: nobody else makes the server work
    /// for it. The change itself is checked again where it takes effect.
    async fn checked_hash(&self, caller: &Caller, password: String) -> Result<Secret, Status> {
        self.door.check_admin(caller).await?;
        self.hash(password).await
    }
}

/// No end: one key; a zero byte: to the last key.
fn range_from_proto(key: Bytes, end: Bytes) -> KeyRange {
    match end.as_ref() {
        [] => KeyRange::Key(key),
        [0] => KeyRange::Span { start: key, end: None },
        _ => KeyRange::Span { start: key, end: Some(end) },
    }
}

fn permission_from_proto(permission: authpb::Permission) -> Permission {
    let kind = match permission.perm_type() {
        Type::Read => PermissionKind::Read,
        Type::Write => PermissionKind::Write,
        Type::Readwrite => PermissionKind::ReadWrite,
    };
    Permission { kind, range: range_from_proto(permission.key, permission.range_end) }
}

fn permission_to_proto(permission: Permission) -> authpb::Permission {
    let perm_type = match permission.kind {
        PermissionKind::Read => Type::Read,
        PermissionKind::Write => Type::Write,
        PermissionKind::ReadWrite => Type::Readwrite,
    };
    let (key, range_end) = match permission.range {
        KeyRange::Key(key) => (key, Bytes::new()),
        KeyRange::Span { start, end: Some(end) } => (start, end),
        KeyRange::Span { start, end: None } => (start, Bytes::from_static(&[0])),
    };
    authpb::Permission { perm_type: perm_type.into(), key, range_end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_come_back_as_they_were_given() {
        for (key, end) in [("k", ""), ("k", "\0"), ("k", "l"), ("\0", "\0")] {
            for kind in [Type::Read, Type::Write, Type::Readwrite] {
                let given = authpb::Permission {
                    perm_type: kind.into(),
                    key: Bytes::copy_from_slice(key.as_bytes()),
                    range_end: Bytes::copy_from_slice(end.as_bytes()),
                };
                assert_eq!(permission_to_proto(permission_from_proto(given.clone())), given);
            }
        }
    }
}
