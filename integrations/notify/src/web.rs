//! HTTP to services: one client for all, with TLS of our own kind, the proxy of the environment and a limit on everything.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header::RETRY_AFTER, redirect};

use crate::SendError;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer may take, and a piece of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait that a service is believed, in either direction of a mistake.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A client that trusts the system's authorities, goes through `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` less `NO_PROXY`, and follows no
/// redirection: no service that we speak to has one, and what follows takes a secret with it.
///
/// # Errors
/// The system has no authorities to trust, or a proxy's address makes no sense.
pub fn client() -> Result<Client, NoHttps> {
    // Said once per process; whoever was first said the same.
    let _ = rustls::crypto::CryptoProvider::install_default(rustls::crypto::aws_lc_rs::default_provider());
    Client::builder()
        .user_agent(concat!("secmon/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(ANSWER_WITHIN)
        .timeout(2 * ANSWER_WITHIN)
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(2)
        .build()
        .map_err(|error| NoHttps(chain(error)))
}

/// Why there is no HTTPS.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot set up HTTPS: {0}; are the certificates of the authorities installed that this system trusts (Debian: the package \
     ca-certificates)?"
)]
pub struct NoHttps(String);

/// An error with its causes, and without the address, which may be a secret.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    reason
}

/// A request that got no answer. The address, which may be a secret, is left out.
#[must_use]
pub fn unreachable(error: reqwest::Error) -> SendError {
    SendError::Unreachable { reason: chain(error) }
}

/// What an answer's status says, with the `Retry-After` of a 429 in seconds (RFC 9110 §10.2.3); `reason` is the service's words.
#[must_use]
pub fn refusal(status: StatusCode, after: Option<Duration>, reason: String) -> SendError {
    match status {
        StatusCode::TOO_MANY_REQUESTS => SendError::Busy { after },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
            SendError::Forbidden { reason }
        }
        StatusCode::REQUEST_TIMEOUT => SendError::Unreachable { reason },
        status if status.is_server_error() => SendError::Failed { reason },
        _ => SendError::Refused { reason },
    }
}

/// The `Retry-After` of an answer, in seconds, whole or not, at most [`LONGEST_WAIT`].
#[must_use]
pub fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds(text.trim().parse().ok()?)
}

/// Seconds of a service as a time to wait.
#[must_use]
pub fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(LONGEST_WAIT))
}

/// The body of an answer, cut off behind `limit` bytes.
///
/// # Errors
/// It was cut short.
pub async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, SendError> {
    let mut out = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        let room = limit - out.len();
        out.extend_from_slice(&piece[..piece.len().min(room)]);
        if out.len() == limit {
            break;
        }
    }
    Ok(out)
}
