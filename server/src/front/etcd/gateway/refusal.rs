//! Refusals in JSON, readable for clients of etcd 3.5 and of 3.6 alike: their two releases of the
//! gateway name the parts differently, and both sets of names are given.

use super::as_json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use tonic::{Code, Status};

/// The answer to a call that was refused as a whole.
pub(super) fn refused(status: &Status) -> Response {
    let code = status.code() as i32;
    let body = json!({ "error": status.message(), "code": code, "message": status.message() });
    let mut response = as_json(Body::from(body.to_string()));
    *response.status_mut() = http_status(status.code());
    response
}

/// The last line of a stream that ends with a refusal.
pub(super) fn last_line(status: &Status) -> Value {
    let (code, http) = (status.code() as i32, http_status(status.code()));
    json!({ "error": {
        "grpc_code": code,
        "http_code": http.as_u16(),
        "message": status.message(),
        "http_status": http.canonical_reason().unwrap_or_default(),
        "code": code,
    }})
}

/// The status of HTTP that the gateway of gRPC has for a code.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        // 499, "client closed request", which is in no standard.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
