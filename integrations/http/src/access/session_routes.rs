//! `/v1/session`: signing in, who one is, signing out.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Principal,
    gate::{Access, whole},
    origin::{Client, Page, page},
    sessions::{clear_cookie, cookie_of},
};
use crate::{hub::Hub, problem::Problem};

/// Longest body of a sign-in, in bytes: a token and some words around it. Nobody is known yet who sends it.
const MAX_SIGN_IN: usize = 4096;

/// What signs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
}

/// Who asks.
#[derive(Debug, Serialize)]
struct Session {
    name: String,
    role: &'static str,
    nodes: Vec<String>,
    commands: Vec<String>,
    hub: TheHub,
}

/// What he could ask of.
#[derive(Debug, Serialize)]
struct TheHub {
    version: Option<String>,
    connected: bool,
}

/// Signing in, which needs nobody known.
pub(crate) fn open(access: Arc<Access>) -> Router {
    Router::new().route("/v1/session", post(sign_in)).with_state(access)
}

/// The rest, which does.
pub(crate) fn known(access: Arc<Access>, hub: Arc<Hub>) -> Router {
    let who = Router::new().route("/v1/session", get(session)).with_state(hub);
    who.merge(Router::new().route("/v1/session", delete(sign_out)).with_state(access))
}

async fn sign_in(
    State(access): State<Arc<Access>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    if page(&parts.headers, &client) == Page::Other {
        let detail = "a page of another origin may not sign in here";
        return Problem::new(StatusCode::FORBIDDEN, "other_origin", detail).into_response();
    }
    if let Err(response) = access.unknown(&client) {
        return response;
    }
    let body = match whole(&parts.headers, body, MAX_SIGN_IN).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    // What serde says of it might repeat the token.
    let Ok(SignIn { token }) = serde_json::from_slice(&body) else {
        let detail = "the body is not {\"token\":\"secmon_…\"}";
        return Problem::new(StatusCode::BAD_REQUEST, "bad_body", detail).into_response();
    };
    let token = Zeroizing::new(token);
    let live = match access.token(Some(token.trim()), &client) {
        Ok(live) => live,
        Err(response) => return response,
    };
    // One browser has one session: the one before is over.
    if let Some(before) = cookie_of(&parts.headers, client.secure) {
        access.sessions.end(before);
    }
    let cookie = access.sessions.begin(&live).map(|value| access.sessions.set_cookie(&value, client.secure));
    match cookie {
        Ok(Some(cookie)) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        Ok(None) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no cookie could be made")
            .into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error).into_response(),
    }
}

async fn session(State(hub): State<Arc<Hub>>, Extension(principal): Extension<Principal>) -> Json<Session> {
    let hub = TheHub { version: hub.version(), connected: hub.is_connected() };
    Json(Session {
        name: principal.name.to_string(),
        role: principal.role.as_str(),
        nodes: principal.nodes.texts(),
        commands: principal.commands.texts(),
        hub,
    })
}

async fn sign_out(
    State(access): State<Arc<Access>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Response {
    if let Some(cookie) = cookie_of(&headers, client.secure) {
        access.sessions.end(cookie);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = clear_cookie(client.secure) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
