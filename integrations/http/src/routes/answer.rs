//! Answers: JSON as `protocol::ecs` prints it, with a tag by which a client knows that nothing has changed.

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use secmon_protocol::ecs;
use serde_json::Value;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON value, with an `ETag`; 304 where the client has it already (RFC 9110 §13.1.2).
///
/// The tag is a hash of the body, and weak: a compressed answer has the same.
pub(super) fn tagged(headers: &HeaderMap, kind: HeaderValue, body: Bytes) -> Response {
    let hash = digest(&SHA256, &body);
    let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{hex}\"");
    let mut response = if has(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    };
    if let Ok(tag) = HeaderValue::try_from(format!("W/{tag}")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    let private = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, private);
    response
}

/// Whether the client has what is tagged so.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = given.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

/// A JSON value as a body.
pub(super) fn body(value: &Value) -> Bytes {
    ecs::line(value).into()
}

/// One JSON value, as it is.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, JSON)], body(value)).into_response()
}

/// An answer that goes on for long: not kept by anybody on the way, and not held back by proxies that collect
/// (nginx: <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering>).
pub(super) fn stream(kind: &'static str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_gets_nothing_and_who_has_another_gets_it() {
        let answer = |given: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(header::IF_NONE_MATCH, given.parse().unwrap());
            }
            let response = tagged(&headers, JSON, Bytes::from_static(b"{}"));
            (response.status().as_u16(), response.headers()[header::ETAG].to_str().unwrap().to_owned())
        };
        let (status, tag) = answer(None);
        assert_eq!(status, 200);
        assert!(tag.starts_with("W/\"") && tag.len() == 36, "{tag}");
        let strong = tag.trim_start_matches("W/");
        for has in [&*tag, strong, "*", &format!("\"x\", {tag}")] {
            assert_eq!(answer(Some(has)), (304, tag.clone()), "{has}");
        }
        assert_eq!(answer(Some("\"x\", W/\"y\"")).0, 200);
    }
}
