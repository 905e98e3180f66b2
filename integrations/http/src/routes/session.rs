//! Who one is, and what the document says of the routes beside it, which others serve: signing in and out, health.

use std::sync::Arc;

use axum::{Json, extract::State};
use secmon_protocol::message::client::Role;
use serde::Serialize;
use utoipa::ToSchema;

use super::query::{Caller, Params};
use crate::{hub::Hub, problem::Problem};

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
    #[schema(value_type = String)]
    role: &'static str,
    /// Patterns of nodes; `*`: all.
    nodes: Vec<String>,
    /// Patterns of commands that he may run; none: none.
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
pub(super) async fn who(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    params: Params,
) -> Result<Json<Who>, Problem> {
    params.done()?;
    let all = || vec!["*".to_owned()];
    let commands = match who.role {
        Role::Viewer => vec![],
        Role::Operator if !who.commands.matches_all() => who.commands.texts(),
        Role::Operator | Role::Admin => all(),
    };
    let nodes = if who.may_see_hub() { all() } else { who.nodes.texts() };
    let hub = TheHub { version: hub.version().await, connected: hub.is_connected() };
    Ok(Json(Who { name: who.name.to_string(), role: who.role.as_str(), nodes, commands, hub }))
}

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
