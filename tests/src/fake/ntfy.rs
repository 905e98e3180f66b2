//! An ntfy server, as <https://docs.ntfy.sh/publish/#publish-as-json> has it: one topic that takes messages as JSON, with a token or without.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::post,
};
use serde_json::{Value, json};

use super::faults::{Faults, Server};

/// The topic, which may be a secret.
pub const TOPIC: &str = "t0pic-9f8e7d";
/// The token that it takes.
pub const TOKEN: &str = "tk_agq3r9ql1wzx5c8b7n6m4k2j0h9";

/// A server with one topic.
#[derive(Debug)]
pub struct FakeNtfy {
    server: Server,
    seen: Shared,
    /// What goes wrong.
    pub faults: Faults,
}

#[derive(Debug, Default)]
struct Seen {
    messages: Vec<Value>,
}

type Shared = Arc<Mutex<Seen>>;

impl FakeNtfy {
    /// Starts it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a server, which a default should not")]
    pub fn new() -> Self {
        let seen = Shared::default();
        let faults = Faults::default();
        let router = Router::new().route("/", post(publish)).with_state(seen.clone());
        Self { server: Server::start(router, &faults), seen, faults }
    }

    /// The address of its topic.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{TOPIC}", self.server.url())
    }

    /// All messages as they were published, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        lock(&self.seen).messages.clone()
    }
}

fn lock(seen: &Shared) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn publish(State(seen): State<Shared>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let refused = |status: StatusCode, code: u32, error: &str| {
        (
            status,
            Json(
                json!({ "code": code, "http": status.as_u16(), "error": error, "link": "https://ntfy.sh/docs/" }),
            ),
        )
    };
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return refused(
            StatusCode::BAD_REQUEST,
            40_017,
            "invalid request: request body must be message JSON",
        );
    };
    let bearer = format!("Bearer {TOKEN}");
    if headers.get(AUTHORIZATION).is_none_or(|value| value.as_bytes() != bearer.as_bytes()) {
        return refused(StatusCode::UNAUTHORIZED, 40_101, "unauthorized");
    }
    if message["topic"] != TOPIC {
        return refused(StatusCode::FORBIDDEN, 40_301, "forbidden");
    }
    if message["message"].as_str().is_some_and(|text| text.len() > 4096) {
        // The real one makes an attachment of it, which is not what anybody wanted.
        return refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            41_301,
            "attachment too large, or bandwidth limit reached",
        );
    }
    if message.get("priority").is_some_and(|priority| !(1..=5).contains(&priority.as_u64().unwrap_or(0))) {
        return refused(StatusCode::BAD_REQUEST, 40_007, "invalid request: priority invalid");
    }
    let mut seen = lock(&seen);
    let id = format!("m{:011}", seen.messages.len());
    seen.messages.push(message.clone());
    (
        StatusCode::OK,
        Json(json!({ "id": id, "event": "message", "topic": TOPIC, "message": message["message"] })),
    )
}
