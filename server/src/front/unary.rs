//! Unary calls, as both ways in see them: one question to the node, and an answer made of its reply.
//!
//! Most calls are that and nothing else. Taken apart into the two halves, they need no task and no
//! future while the node works, so the port's fast way in ([`super::h2`]) can keep thousands of them
//! in a table. tonic's services, and through them JSON over HTTP, run the same halves by [`run`].

use crate::node::handle::Handle;
use crate::node::request::{self, Request as Ask};
use futures::future::BoxFuture;
use oarlock_state::Caller as Who;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// What a call answers: a message with metadata, or a refusal.
pub type Answer<T> = Result<Response<T>, Status>;

/// A call, from when its question is known until it is answered.
pub trait Unary: Sized + Send + 'static {
    /// Who serves it.
    type Service: Clone + Send + Sync + 'static;
    /// What it is sent.
    type Question: Message + Default;
    /// What it answers.
    type Reply: Message + 'static;
    /// The path of its requests.
    const PATH: &'static str;

    /// Checks the message, and makes it a question for the node.
    ///
    /// # Errors
    /// The call is refused without asking the node.
    fn begin(
        service: &Self::Service,
        metadata: &MetadataMap,
        message: Self::Question,
    ) -> Result<Asked<Self>, Status>;

    /// Makes the answer of the node's reply.
    fn end(self, service: &Self::Service, reply: request::Result) -> End<Self::Reply>;
}

/// What the node is to be asked for a call.
pub struct Asked<C> {
    /// On whose behalf.
    pub who: Who,
    /// The question.
    pub ask: Ask,
    /// What is left to do once it is answered.
    pub call: C,
}

/// What a call comes to after the node's first reply.
pub enum End<T> {
    /// It is answered.
    Now(Answer<T>),
    /// The node must be asked more.
    Later(BoxFuture<'static, Answer<T>>),
}

/// The whole call.
///
/// # Errors
/// Whatever refuses it.
pub async fn run<C: Unary>(
    service: &C::Service,
    handle: &Handle,
    request: Request<C::Question>,
) -> Answer<C::Reply> {
    let (metadata, _, message) = request.into_parts();
    let Asked { who, ask, call } = C::begin(service, &metadata, message)?;
    match call.end(service, handle.call_as(&who, ask).await) {
        End::Now(answer) => answer,
        End::Later(answer) => answer.await,
    }
}
