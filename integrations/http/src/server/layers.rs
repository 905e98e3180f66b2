//! What every request and every answer goes through, whoever asks.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use tower_http::{
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, NotForContentType, Predicate as _},
    },
    cors::CorsLayer,
};
use tracing::{debug, error};

use crate::{
    access::{
        Peer,
        gate::{self, Access, Whose},
        origin::Client,
        session_routes,
    },
    problem::Problem,
};

/// Longest path and query, in bytes: room for many filters.
const MAX_URI: usize = 8 << 10;
/// The header by which a request is found in logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long browsers may keep what a page of another origin may do.
const CORS_AGE: Duration = Duration::from_secs(600);
/// Paths that are asked for by machines which know us by some address or other, and from which nothing is learnt.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The whole: `known` for those who are known, `open` for everybody.
pub(super) fn app(known: Router, open: Router, access: &Arc<Access>) -> Router {
    let gate = middleware::from_fn_with_state(access.clone(), gate::gate);
    let known = known.method_not_allowed_fallback(wrong_method).layer(gate.clone());
    let app = open
        .method_not_allowed_fallback(wrong_method)
        // One path is both: who is unknown may sign in there. Its wrong methods are behind the gate.
        .merge(session_routes::open(access.clone()))
        .merge(known)
        // What there is below /v1 is nobody's business who is not known.
        .nest("/v1", Router::new().fallback(self::nothing_known).layer(gate))
        .fallback(nothing)
        // Secrets are in no body, so that a length tells nothing of them (BREACH). A stream must not wait for a block.
        .layer(CompressionLayer::new().compress_when(
            DefaultPredicate::new().and(NotForContentType::const_new("application/x-ndjson")),
        ));
    let app = if access.cors.is_empty() { app } else { app.layer(cors(access.cors.clone())) };
    app.layer(middleware::from_fn_with_state(access.clone(), around))
}

async fn nothing() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_path",
        "there is nothing here; /openapi.json says what there is",
    )
}

async fn nothing_known() -> Problem {
    nothing().await
}

async fn wrong_method(method: Method) -> Problem {
    let detail = format!("{method} is not for this path; /openapi.json says what is");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail)
}

/// Pages of other origins, with a token: never with the cookie.
fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    let last_event_id = HeaderName::from_static("last-event-id");
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_NONE_MATCH, last_event_id])
        .expose_headers([header::ETAG, header::LOCATION, header::RETRY_AFTER, REQUEST_ID])
        .max_age(CORS_AGE)
}

/// Who asks and for what name, before; what every answer has, after.
async fn around(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the connection is not known")
            .into_response();
    };
    let client =
        Client::new(peer.address(), peer.is_tls(), request.uri(), request.headers(), &access.proxies);
    let behind_proxy = peer.address().is_some_and(|address| access.proxies.trusts(address));
    let id = request_id(request.headers(), behind_proxy);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let address = client.address;
    let refused = refused(&access, &peer, &client, &request);
    request.extensions_mut().insert(client);
    let mut response = match refused {
        Some(problem) => problem.into_response(),
        None => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => panicked(&*panic, &id),
        },
    };
    // The status of a panic, and every other, goes on with these.
    headers(response.headers_mut(), &path, peer.is_tls());
    let whose = response.extensions_mut().remove::<Whose>();
    let (status, whose) = (response.status().as_u16(), whose.as_ref().map(|Whose(name)| &**name));
    let micros = began.elapsed().as_micros();
    let address = address.map(|address| address.to_string());
    debug!(%method, path, status, whose, address, id, micros, "request");
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Why it is not even looked at.
fn refused(access: &Access, peer: &Peer, client: &Client, request: &Request) -> Option<Problem> {
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|uri| uri.as_str().len() > MAX_URI) {
        let detail = format!("path and query are over {MAX_URI} bytes");
        return Some(Problem::new(StatusCode::URI_TOO_LONG, "too_long", detail));
    }
    // No browser comes by a Unix socket.
    let Peer::Tcp { local, .. } = peer else { return None };
    if HEALTH.contains(&uri.path()) {
        return None;
    }
    let Some(host) = &client.host else {
        let detail = "the request says no name of a host, or several";
        return Some(Problem::new(StatusCode::BAD_REQUEST, "no_host", detail));
    };
    if access.hosts.answer_to(host, *local) {
        return None;
    }
    let detail = "this server does not answer to that name; hosts of http.toml says to which it does";
    Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", detail))
}

/// A proxy's id, where it makes sense, or one of ours.
fn request_id(headers: &HeaderMap, behind_proxy: bool) -> String {
    let fine = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(fine).filter(|_| behind_proxy);
    given.map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}

fn panicked(panic: &(dyn Any + Send), id: &str) -> Response {
    let said =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    error!(id, panic = said.unwrap_or_default(), "a request made the bridge panic; this is a bug");
    let detail = format!("something is broken here; the log says more at id={id}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

/// What every answer has. The page says more exactly what it may load; where it does, that stands.
fn headers(headers: &mut HeaderMap, path: &str, tls: bool) {
    let set = |headers: &mut HeaderMap, name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::X_FRAME_OPTIONS, "DENY");
    set(headers, header::REFERRER_POLICY, "no-referrer");
    set(headers, header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(headers, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(headers, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if tls {
        set(headers, header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    let private = ["/v1", "/metrics", "/openapi.json"].iter().any(|start| path.starts_with(start));
    if private {
        // What has an ETag may be kept, and is asked about each time.
        let value = if headers.contains_key(header::ETAG) { "private, no-cache" } else { "no-store" };
        set(headers, header::CACHE_CONTROL, value);
    }
    // A compressed body is another one, byte for byte (RFC 9110 §8.8.1).
    let strong = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(tag) = strong.filter(|_| headers.contains_key(header::CONTENT_ENCODING)) {
        let weak = [b"W/", tag.as_bytes()].concat();
        if let Ok(weak) = HeaderValue::from_bytes(&weak) {
            headers.insert(header::ETAG, weak);
        }
    }
}
