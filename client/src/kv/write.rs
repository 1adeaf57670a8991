//! Puts and deletes.

use crate::error::Result;
use crate::session::Session;
use crate::target::Target;
use crate::types::{KeyValue, Token};
use futures::future::BoxFuture;
use oarlock_proto::v1;
use std::future::IntoFuture;

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Revision of the write.
    pub revision: u64,
    /// The record before, when it was asked for and there was one.
    pub previous: Option<KeyValue>,
}

/// A put that is about to happen.
#[must_use = "nothing happens until it is awaited"]
pub struct Put {
    pub(super) target: Target,
    pub(super) request: v1::PutRequest,
}

impl Put {
    /// The key goes when this session ends.
    pub fn owner(mut self, session: &Session) -> Self {
        self.request.owner = session.id();
        self
    }

    /// The key goes when the session of this id ends.
    pub fn owner_id(mut self, session: u64) -> Self {
        self.request.owner = session;
        self
    }

    /// Only if the key does not exist; otherwise it is refused.
    pub fn if_absent(mut self) -> Self {
        self.request.if_absent = true;
        self
    }

    /// Only while this token is current. May be given several times; all must hold.
    pub fn guard(mut self, token: Token) -> Self {
        self.request.options.get_or_insert_default().guards.push(token.into());
        self
    }

    /// Return the record before.
    pub fn previous(mut self) -> Self {
        self.request.want_previous = true;
        self
    }
}

impl IntoFuture for Put {
    type Output = Result<Written>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let response = self.target.put(self.request).await?;
            Ok(Written {
                revision: response.header.unwrap_or_default().revision,
                previous: response.previous.map(Into::into),
            })
        })
    }
}

/// A delete that is about to happen.
#[must_use = "nothing happens until it is awaited"]
pub struct Delete {
    pub(super) target: Target,
    pub(super) request: v1::DeleteRequest,
}

/// How a delete ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Revision of the delete, or the current one if there was nothing to delete.
    pub revision: u64,
    /// How many keys were removed.
    pub deleted: u64,
    /// The records before, when asked for.
    pub previous: Vec<KeyValue>,
}

impl Delete {
    /// Only while this token is current.
    pub fn guard(mut self, token: Token) -> Self {
        self.request.options.get_or_insert_default().guards.push(token.into());
        self
    }

    /// Return the records before.
    pub fn previous(mut self) -> Self {
        self.request.want_previous = true;
        self
    }
}

impl IntoFuture for Delete {
    type Output = Result<Deleted>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let response = self.target.delete(self.request).await?;
            Ok(Deleted {
                revision: response.header.unwrap_or_default().revision,
                deleted: response.deleted,
                previous: response.previous.into_iter().map(Into::into).collect(),
            })
        })
    }
}
