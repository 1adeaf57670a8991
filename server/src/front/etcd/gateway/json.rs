//! Messages in JSON, as the schemas describe them.
//!
//! Names of fields are the schema's own, 64-bit numbers are strings, bytes are in base64, values of
//! enumerations are names, and fields that hold their default are left out. Taken in is all that the
//! JSON mapping of Protobuf allows; unknown fields are passed over, as etcd does.

use super::{SchemaError, fault};
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use tonic::Status;

/// All schemas of the program.
pub(super) struct Schemas {
    pool: DescriptorPool,
}

/// One call's schema.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: MethodDescriptor,
    path: PathAndQuery,
}

impl Schemas {
    pub(super) fn compiled_in() -> Result<Self, SchemaError> {
        let pool = DescriptorPool::decode(oarlock_proto::DESCRIPTORS);
        Ok(Self { pool: pool.map_err(|error| SchemaError(error.to_string()))? })
    }

    pub(super) fn call(&self, service: &str, method: &str) -> Result<Call, SchemaError> {
        let missing = || SchemaError(format!("they have no {service}.{method}"));
        let described = self.pool.get_service_by_name(service).ok_or_else(missing)?;
        let found = described.methods().find(|found| found.name() == method).ok_or_else(missing)?;
        let path = format!("/{service}/{method}").parse().map_err(|_| missing())?;
        Ok(Call { method: found, path })
    }
}

impl Call {
    /// The path of the call in gRPC.
    pub(super) fn path(&self) -> PathAndQuery {
        self.path.clone()
    }

    pub(super) fn is_client_streaming(&self) -> bool {
        self.method.is_client_streaming()
    }

    pub(super) fn is_server_streaming(&self) -> bool {
        self.method.is_server_streaming()
    }

    /// The first message of a text that may go on, encoded, and the bytes that it took. No message
    /// if the text ends before the message does.
    ///
    /// # Errors
    /// The text is not JSON, or not such a message.
    pub(super) fn request_from_json(&self, text: &[u8]) -> Result<(Option<Bytes>, usize), Status> {
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<serde::de::IgnoredAny>();
        match values.next() {
            None => return Ok((None, 0)),
            Some(Err(error)) if error.is_eof() => return Ok((None, 0)),
            Some(Err(error)) => return Err(Status::invalid_argument(error.to_string())),
            Some(Ok(_)) => {}
        }
        let taken = values.byte_offset();
        Ok((Some(from_json(self.method.input(), &text[..taken])?), taken))
    }

    /// A reply as JSON.
    ///
    /// # Errors
    /// The service answers with something else than its schema says.
    pub(super) fn reply_to_json(&self, reply: Bytes) -> Result<Vec<u8>, Status> {
        let message = DynamicMessage::decode(self.method.output(), reply).map_err(fault)?;
        let mut text = Vec::new();
        let options = SerializeOptions::new().use_proto_field_name(true);
        message
            .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
            .map_err(fault)?;
        Ok(text)
    }
}

fn from_json(kind: MessageDescriptor, text: &[u8]) -> Result<Bytes, Status> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(kind, &mut deserializer, &options)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(message.encode_to_vec().into())
}
