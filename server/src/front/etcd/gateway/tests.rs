//! Conversions and refusals, with services that only the tests have.

use super::json::Schemas;
use super::refusal::{last_line, refused};
use super::table::{PATHS, Shape, shape};
use super::*;
use futures::StreamExt;
use oarlock_proto::etcd::etcdserverpb as pb;
use oarlock_proto::etcd::mvccpb::KeyValue;
use prost::Message;

fn call(service: &str, method: &str) -> Call {
    Schemas::compiled_in().expect("readable").call(service, method).expect("described")
}

fn put(text: &str) -> Result<pb::PutRequest, Status> {
    let (message, _) = call("etcdserverpb.KV", "Put").request_from_json(text.as_bytes())?;
    Ok(pb::PutRequest::decode(message.expect("whole")).expect("encoded"))
}

fn shown(service: &str, method: &str, reply: &impl Message) -> String {
    let text = call(service, method).reply_to_json(reply.encode_to_vec().into()).expect("fits");
    String::from_utf8(text).expect("JSON")
}

#[test]
fn every_path_is_described_and_named_once() {
    let schemas = Schemas::compiled_in().expect("readable");
    let mut paths: Vec<&str> = PATHS.iter().map(|(path, ..)| *path).collect();
    for (path, service, method) in PATHS {
        let call = schemas.call(service, method).expect("described");
        let is_stream = ["Watch", "LeaseKeepAlive", "Snapshot", "Observe"].contains(method);
        assert_eq!(shape(&call, path) != Shape::Unary, is_stream, "{path}");
    }
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), PATHS.len());
    assert!(schemas.call("etcdserverpb.KV", "Nothing").is_err());
}

#[test]
fn every_path_can_be_routed() {
    assert!(routes(&Routes::default(), 1024).is_ok());
}

#[test]
fn numbers_may_be_strings_and_bytes_are_base64() {
    for text in [
        r#"{"key":"Zm9v","value":"YmFy","lease":"7","prev_kv":true}"#,
        r#"{"key":"Zm9v","value":"YmFy","lease":7,"prevKv":true,"unknown":[1]} trailing"#,
    ] {
        let put = put(text).expect(text);
        assert_eq!(
            (&put.key[..], &put.value[..], put.lease, put.prev_kv),
            (&b"foo"[..], &b"bar"[..], 7, true)
        );
    }
}

#[test]
fn what_is_no_message_is_refused() {
    for text in ["[]", "{\"key\":1}", "{\"key\":\"***\"}", "{\"lease\":\"x\"}", "nonsense", "{\"lease\":1.5}"]
    {
        assert_eq!(put(text).expect_err(text).code(), Code::InvalidArgument, "{text}");
    }
}

#[test]
fn a_message_that_is_not_whole_is_waited_for() {
    let watch = call("etcdserverpb.Watch", "Watch");
    let text = b" {\"create_request\":{\"key\":\"Zm9v\"}}\n{\"cancel";
    let (message, taken) = watch.request_from_json(text).expect("good");
    assert!(message.is_some());
    assert_eq!(watch.request_from_json(&text[taken..]).expect("good"), (None, 0));
}

#[test]
fn replies_have_the_schemas_names_and_leave_out_defaults() {
    let kv = KeyValue { key: "foo".into(), create_revision: 5, ..KeyValue::default() };
    let header = pb::ResponseHeader { cluster_id: u64::MAX, ..pb::ResponseHeader::default() };
    let reply = pb::RangeResponse { header: Some(header), kvs: vec![kv], more: false, count: 1 };
    assert_eq!(
        shown("etcdserverpb.KV", "Range", &reply),
        r#"{"header":{"cluster_id":"18446744073709551615"},"kvs":[{"key":"Zm9v","create_revision":"5"}],"count":"1"}"#
    );
    let member = pb::Member { id: 3, peer_ur_ls: vec!["http://a:1".into()], ..pb::Member::default() };
    let reply = pb::MemberListResponse { header: None, members: vec![member] };
    assert_eq!(
        shown("etcdserverpb.Cluster", "MemberList", &reply),
        r#"{"members":[{"ID":"3","peerURLs":["http://a:1"]}]}"#
    );
    let alarm = pb::AlarmMember { member_id: 3, alarm: pb::AlarmType::Nospace.into() };
    let reply = pb::AlarmResponse { header: None, alarms: vec![alarm] };
    let text = shown("etcdserverpb.Maintenance", "Alarm", &reply);
    assert_eq!(text, r#"{"alarms":[{"memberID":"3","alarm":"NOSPACE"}]}"#);
}

#[tokio::test]
async fn refusals_have_the_names_of_both_releases() {
    let status: Status = crate::front::etcd::errors::COMPACTED.into();
    let response = refused(&status);
    assert_eq!(response.status(), 400);
    let body = axum::body::to_bytes(response.into_body(), 1000).await.expect("short");
    let text = "etcdserver: mvcc: required revision has been compacted";
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body, serde_json::json!({ "error": text, "code": 11, "message": text }));
    let line = last_line(&status)["error"].clone();
    assert_eq!(
        (&line["grpc_code"], &line["http_code"], &line["code"]),
        (&11.into(), &400.into(), &11.into())
    );
    assert_eq!(line["http_status"], "Bad Request");
}

async fn ask(method: &str, path: &str, body: &str) -> (u16, String) {
    let router = routes(&Routes::default(), 1024).expect("described");
    let request = http::Request::builder().method(method).uri(path).body(Body::from(body.to_owned()));
    let response = tower::ServiceExt::oneshot(router, request.expect("proper")).await.expect("infallible");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("short");
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn what_is_not_there_or_not_posted_or_too_large_is_refused() {
    assert_eq!(ask("POST", "/v3/kv/nothing", "{}").await.0, 404);
    assert_eq!(ask("GET", "/v3/kv/range", "").await.0, 501);
    assert_eq!(ask("POST", "/v3/kv/range", "{").await.0, 400);
    let (status, text) = ask("POST", "/v3beta/kv/put", &" ".repeat(3000)).await;
    assert!(status == 400 && text.contains("etcdserver: request is too large"), "{status} {text}");
    // No service is behind it here.
    assert_eq!(ask("POST", "/v3/kv/put", "{}").await.0, 501);
}

#[tokio::test]
async fn messages_come_one_by_one_and_a_broken_body_is_reported() {
    let watch = call("etcdserverpb.Watch", "Watch");
    let body = "{\"create_request\":{}} {\"cancel_request\":{}}\n{]";
    let (messages, broken) = lines::messages(watch.clone(), Body::from(body), 1000, true);
    let mut messages = std::pin::pin!(messages);
    for _ in 0..2 {
        assert!(messages.next().await.is_some());
    }
    let told = tokio::select! {
        told = broken => told.expect("told"),
        more = messages.next() => panic!("unexpected {more:?}"),
    };
    assert_eq!(told.code(), Code::InvalidArgument);

    let keep = |text: &'static str, bytes| {
        let (messages, broken) = lines::messages(watch.clone(), Body::from(text), bytes, false);
        (Box::pin(messages), broken)
    };
    let (mut messages, _broken) = keep(" {} ", 1000);
    assert!(messages.next().await.is_some() && messages.next().await.is_none());
    for (text, bytes) in [("{\"create", 1000), ("{\"create_request\":{\"key\":\"AAAAAAAAAAAA\"", 8)] {
        let (mut messages, broken) = keep(text, bytes);
        let told = tokio::select! { told = broken => told, _ = messages.next() => panic!("no message") };
        assert_eq!(told.expect("told").code(), Code::InvalidArgument, "{text}");
    }
}

#[test]
fn the_token_and_named_headers_are_passed_on() {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("secret"));
    headers.insert("grpc-metadata-hasleader", HeaderValue::from_static("true"));
    headers.insert("cookie", HeaderValue::from_static("c"));
    let metadata = metadata(&headers);
    assert_eq!(metadata.get("authorization").map(|value| value.as_bytes()), Some(&b"secret"[..]));
    assert_eq!(metadata.get("hasleader").map(|value| value.as_bytes()), Some(&b"true"[..]));
    assert_eq!(metadata.len(), 2);
}
