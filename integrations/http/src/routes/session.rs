//! What the document says of routes that others serve: sessions and health. They say the same themselves.

use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// A token.
#[derive(Serialize, ToSchema)]
pub(super) struct Token {
    /// As `secmon http token add` printed it.
    token: String,
}

/// Who asks.
#[derive(Serialize, ToSchema)]
pub(super) struct Who {
    /// The token's name.
    name: String,
    /// `viewer`, `operator` or `admin`.
    role: String,
    /// Patterns of nodes; none: all.
    nodes: Vec<String>,
    /// Patterns of commands, for an operator; none: all.
    commands: Vec<String>,
    hub: TheHub,
}

/// The hub.
#[derive(Serialize, ToSchema)]
pub(super) struct TheHub {
    /// Its version, once it was reached.
    version: Option<String>,
    /// Whether it is there.
    connected: bool,
}

/// Makes a session of a token: a cookie that scripts cannot read.
#[utoipa::path(post, path = "/v1/session", tag = "session", operation_id = "beginSession", security(()),
    request_body = Token,
    responses((status = 204, description = "The cookie is set", headers(("Set-Cookie" = String, description = "The session")))))]
#[expect(dead_code, reason = "for the document")]
pub(super) fn begin() {}

/// Who one is, and whether the hub is there.
#[utoipa::path(get, path = "/v1/session", tag = "session", operation_id = "getSession",
    responses((status = 200, description = "Who asks", body = Who)))]
#[expect(dead_code, reason = "for the document")]
pub(super) fn who() {}

/// Ends the session.
#[utoipa::path(delete, path = "/v1/session", tag = "session", operation_id = "endSession",
    responses((status = 204, description = "It has ended")))]
#[expect(dead_code, reason = "for the document")]
pub(super) fn end() {}

/// It serves.
#[utoipa::path(get, path = "/healthz", tag = "bridge", operation_id = "healthy", security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
#[expect(dead_code, reason = "for the document")]
pub(super) fn healthy() {}

/// The hub is there.
#[utoipa::path(get, path = "/readyz", tag = "bridge", operation_id = "ready", security(()),
    responses(
        (status = 200, description = "It is", body = String, content_type = "text/plain"),
        (status = 503, description = "It is not", body = Problem, content_type = "application/problem+json"),
    ))]
#[expect(dead_code, reason = "for the document")]
pub(super) fn ready() {}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "bridge", operation_id = "document",
    responses((status = 200, description = "OpenAPI", body = Object), (status = 304, description = "As it was")))]
#[expect(dead_code, reason = "for the document")]
pub(super) fn document() {}
