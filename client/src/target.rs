//! Where an operation goes: through any endpoint by a call of its own, or through a session.

use crate::client::Client;
use crate::endpoints::Connection;
use crate::error::{Error, Result};
use crate::session::Session;
use oarlock_proto::v1::{self, client_op::Op, kv_client::KvClient, server_item::Item};

/// A server that has heard nothing of a request for so long says so, and the request is repeated
/// under the same name: after a leader's death long before the server's own patience ends, and well
/// above the latency of a busy cluster, as repetitions are work too.
const ATTEMPT_MS: u32 = 2_500;

/// Where an operation goes.
#[derive(Clone)]
pub(crate) enum Target {
    Client(Client),
    Session(Session),
}

/// Largest answers are pages under the server's byte budget, which is far below this.
pub(crate) fn kv(channel: tonic::transport::Channel) -> KvClient<tonic::transport::Channel> {
    KvClient::new(channel)
        .max_decoding_message_size(crate::endpoints::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(crate::endpoints::MESSAGE_BYTES_MAX)
}

/// What a session answered in place of what was asked: a fault of the server, not of the caller.
fn mismatch() -> Error {
    Error::Unknown { message: "the server answered with something else than was asked".into() }
}

macro_rules! write {
    ($name:ident, $request:ident, $response:ident, $op:ident, $method:ident) => {
        pub(crate) async fn $name(&self, mut request: v1::$request) -> Result<v1::$response> {
            match self {
                Self::Client(client) => {
                    let options = request.options.get_or_insert_default();
                    options.idempotency = client.fresh_name();
                    let named = options.idempotency.is_some();
                    client
                        .call(named, |connection| {
                            let mut request = request.clone();
                            request.options.get_or_insert_default().timeout_ms =
                                client.timeout_ms(&connection, named);
                            async move { kv(connection.channel).$method(request).await }
                        })
                        .await
                }
                Self::Session(session) => {
                    let guards = request.options.take().map_or_else(Vec::new, |options| options.guards);
                    request.options = Some(v1::WriteOptions { timeout_ms: ATTEMPT_MS, ..Default::default() });
                    match session.write(Op::$op(request), guards).await? {
                        Item::$op(response) => Ok(response),
                        _ => Err(mismatch()),
                    }
                }
            }
        }
    };
}

impl Target {
    write!(put, PutRequest, PutResponse, Put, put);
    write!(delete, DeleteRequest, DeleteResponse, Delete, delete);
    write!(txn, TxnRequest, TxnResponse, Txn, txn);

    pub(crate) async fn range(&self, mut request: v1::RangeRequest) -> Result<v1::RangeResponse> {
        match self {
            Self::Client(client) => {
                client
                    .call(true, |connection| {
                        let mut request = request.clone();
                        request.options.get_or_insert_default().timeout_ms =
                            client.timeout_ms(&connection, true);
                        async move { kv(connection.channel).range(request).await }
                    })
                    .await
            }
            Self::Session(session) => {
                request.options.get_or_insert_default().timeout_ms = ATTEMPT_MS;
                match session.read(Op::Range(request)).await? {
                    Item::Range(response) => Ok(response),
                    _ => Err(mismatch()),
                }
            }
        }
    }
}

impl Client {
    /// When the server should give up an attempt and say so, which tells more than silence. One that
    /// will not be repeated gets all the time there is.
    pub(crate) fn timeout_ms(&self, connection: &Connection, repeatable: bool) -> u32 {
        let repeats = repeatable && self.inner.options.retries;
        connection.timeout_ms(if repeats { ATTEMPT_MS } else { u32::MAX })
    }
}
