//! Bodies of requests: bounded, and JSON.

use super::asked::time;
use super::refused::Refused;
use axum::body::Body;
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Reads a body of at most so many bytes; none at all is an object without fields.
///
/// # Errors
/// It is too large, or not what is expected.
pub async fn read<T: DeserializeOwned>(body: Body, bytes_max: usize) -> Result<T, Refused> {
    let bytes = axum::body::to_bytes(body, bytes_max).await.map_err(|_| {
        let text = format!("the body is longer than {bytes_max} bytes, or was cut off");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
    })?;
    let bytes: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes)
        .map_err(|error| Refused::bad(format!("the body is not as expected: {error}")))
}

/// A time in JSON: a text such as "30s", or a number of seconds.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Time(Value);

impl Time {
    /// The time; `None` if it is none.
    pub fn get(&self) -> Option<Duration> {
        match &self.0 {
            Value::String(text) => time(text),
            Value::Number(number) => {
                number.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_are_bounded_json() {
        let empty: Value = read(Body::empty(), 10).await.expect("nothing is an empty object");
        assert_eq!(empty, serde_json::json!({}));
        assert!(read::<Value>(Body::from("{"), 10).await.is_err());
        assert!(
            read::<Value>(Body::from("[1,2,3,4,5]"), 10)
                .await
                .expect_err("long")
                .is(StatusCode::PAYLOAD_TOO_LARGE)
        );
    }

    #[test]
    fn times_are_texts_or_seconds() {
        let of = |text: &str| serde_json::from_str::<Time>(text).expect("JSON").get();
        assert_eq!(of("\"1500ms\""), Some(Duration::from_millis(1500)));
        assert_eq!((of("10"), of("0.5")), (Some(Duration::from_secs(10)), Some(Duration::from_millis(500))));
        assert_eq!((of("-1"), of("\"soon\""), of("[]")), (None, None, None));
    }
}
