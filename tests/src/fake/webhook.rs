//! A receiver of webhooks that checks signatures as
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md> tells receivers to, with no code of the product.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::faults::{Faults, Server};

/// The secret that it shares with its sender; the specification's own example.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// How far a sender's clock may be off, in seconds.
const TOLERANCE: u64 = 300;

/// A request that was taken.
#[derive(Debug, Clone)]
pub struct Posted {
    /// `webhook-id`.
    pub id: String,
    /// All its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Value,
}

/// A receiver at `/hook`.
#[derive(Debug)]
pub struct FakeWebhook {
    server: Server,
    seen: Shared,
    /// What goes wrong.
    pub faults: Faults,
}

#[derive(Debug, Default)]
struct Seen {
    posted: Vec<Posted>,
    refused: Vec<String>,
    answer: Option<StatusCode>,
}

type Shared = Arc<Mutex<Seen>>;

impl FakeWebhook {
    /// Starts it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a server, which a default should not")]
    pub fn new() -> Self {
        let seen = Shared::default();
        let faults = Faults::default();
        let router = Router::new().route("/hook", post(take)).with_state(seen.clone());
        Self { server: Server::start(router, &faults), seen, faults }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/hook", self.server.url())
    }

    /// What was taken, in order, repeats among it.
    #[must_use]
    pub fn posted(&self) -> Vec<Posted> {
        lock(&self.seen).posted.clone()
    }

    /// Why requests were refused.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        lock(&self.seen).refused.clone()
    }

    /// What it answers from now on to what it would take; `None` is 204.
    pub fn answer(&self, status: Option<StatusCode>) {
        lock(&self.seen).answer = status;
    }
}

fn lock(seen: &Shared) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(State(seen): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut seen = lock(&seen);
    if let Some(status) = seen.answer {
        return status;
    }
    match verify(&headers, &body) {
        Ok((id, body)) => {
            seen.posted.push(Posted { id, headers, body });
            StatusCode::NO_CONTENT
        }
        Err(why) => {
            seen.refused.push(why);
            StatusCode::BAD_REQUEST
        }
    }
}

fn verify(headers: &HeaderMap, body: &[u8]) -> Result<(String, Value), String> {
    let header = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).ok_or_else(|| format!("no header {name}"))
    };
    if header("content-type")? != "application/json" {
        return Err("not JSON by its content type".into());
    }
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    if id.is_empty() || id.contains('.') {
        return Err(format!("the id {id:?}"));
    }
    let sent: u64 = timestamp.parse().map_err(|_| format!("the timestamp {timestamp:?}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs();
    if now.abs_diff(sent) > TOLERANCE {
        return Err(format!("sent at {sent}, and now it is {now}"));
    }
    let key = SECRET.strip_prefix("whsec_").and_then(|secret| BASE64_STANDARD.decode(secret).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key.expect("a constant"));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let fits = |signature: &str| {
        let tag = signature.strip_prefix("v1,").and_then(|tag| BASE64_STANDARD.decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(&key, &signed, &tag).is_ok())
    };
    if !header("webhook-signature")?.split(' ').any(fits) {
        return Err("no signature fits".into());
    }
    let body = serde_json::from_slice(body).map_err(|error| format!("its body: {error}"))?;
    Ok((id.to_owned(), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_signed_by_the_shared_secret_is_taken() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
        let key = BASE64_STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let tag = BASE64_STANDARD.encode(hmac::sign(&key, format!("a.{now}.{{}}").as_bytes()));
        let with = |signature: &str, id: &str| {
            [
                ("content-type", "application/json"),
                ("webhook-id", id),
                ("webhook-timestamp", &now),
                ("webhook-signature", signature),
            ]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>()
        };
        let good = format!("v1,AAAA v1,{tag}");
        assert!(verify(&with(&good, "a"), b"{}").is_ok());
        assert!(verify(&with(&good, "b"), b"{}").is_err());
        assert!(verify(&with(&good, "a"), b"[]").is_err());
        assert!(verify(&with("v1,AAAA", "a"), b"{}").is_err());
    }
}
