//! The gate: every request of the API goes through it, and has a [`super::Principal`] behind it or is refused.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Keyring, Peer,
    keyring::{Live, NoToken},
    origin::{Client, Hosts, Page, Proxies, page, relayed},
    pace::{Key, Pace, Wrong, source},
    secret::{self, Hash},
    sessions::{Held, Sessions, cookie_of},
};
use crate::{problem::Problem, server::body::Until};

/// How long a body may take to come: at the usual limit that is 70 KB a second.
const BODY: Duration = Duration::from_secs(30);
/// How long an answer may take to begin. The hub answers in milliseconds, or is away; a long poll waits for less.
const ANSWER: Duration = Duration::from_secs(90);

/// What the gate decides by.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) keyring: Keyring,
    pub(crate) sessions: Sessions,
    pub(crate) hosts: Hosts,
    pub(crate) proxies: Proxies,
    /// Origins whose pages may ask with a token.
    pub(crate) cors: Vec<HeaderValue>,
    pub(crate) pace: Pace,
    pub(crate) wrong: Wrong,
    /// Most bytes of a body.
    pub(crate) body: usize,
    /// The bridge stops.
    pub(crate) stop: CancellationToken,
}

/// Whose answer it is, for the log.
#[derive(Debug, Clone)]
pub(crate) struct Whose(pub(crate) Arc<str>);

/// Lets those through who are known, for as long as they are.
pub(crate) async fn gate(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let (Some(peer), Some(client)) = (parts.extensions.get::<Peer>(), parts.extensions.get::<Client>())
    else {
        // Every connection has them; nobody is let in by a mistake.
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the connection is not known")
            .into_response();
    };
    let Held { principal, use_of } = match access.who(&parts.method, &parts.headers, peer, client) {
        Ok(held) => held,
        Err(response) => return response,
    };
    if let Err(wait) = access.pace.ask(Key::Known(principal.by, principal.name.clone())) {
        return too_many("requests come faster than limits.requests_per_second allows", wait).into_response();
    }
    let bytes = match whole(&parts.headers, body, access.body).await {
        Ok(bytes) => bytes,
        Err(problem) => return problem.into_response(),
    };
    let slow = parts.method == Method::POST && parts.uri.path().contains("/commands/");
    let (ended, name) = (principal.ended.clone(), principal.name.clone());
    parts.extensions.insert(principal);
    let answer = next.run(Request::from_parts(parts, Body::from(bytes)));
    let mut response = tokio::select! {
        biased;
        () = ended.cancelled() => return unauthorized("the token or session was ended while this was done", true),
        answer = answered(slow, answer) => answer,
    };
    response.extensions_mut().insert(Whose(name));
    response.map(|body| Body::new(Until::new(body, ended, use_of)))
}

/// The answer, if it begins in time; what a command prints in the end (`?wait`) takes as long as the command may.
async fn answered(slow: bool, answer: impl Future<Output = Response>) -> Response {
    if slow {
        return answer.await;
    }
    timeout(ANSWER, answer).await.unwrap_or_else(|_| {
        let detail = format!(
            "there was no answer within {} s; the hub may be overloaded, try again",
            ANSWER.as_secs()
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
    })
}

impl Access {
    /// Who asks.
    #[expect(clippy::result_large_err, reason = "the answer, on its way out")]
    fn who(
        &self,
        method: &Method,
        headers: &HeaderMap,
        peer: &Peer,
        client: &Client,
    ) -> Result<Held, Response> {
        let held = |principal| Held { principal, use_of: Arc::new(()) };
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            self.websocket(headers, client, false)?;
            let live = self.token(bearer(given), client)?;
            return Ok(held(live.principal.clone()));
        }
        // Who came by a proxy is not the proxy's user.
        if let Peer::User { uid, principal } = peer
            && !relayed(headers)
        {
            self.no_strange_page(headers, client)?;
            return principal.clone().map(held).ok_or_else(|| {
                let detail = format!(
                    "no rule says what uid {uid} may do here; name the user in [[users]] of http.toml, or bring a token"
                );
                Problem::new(StatusCode::FORBIDDEN, "not_permitted", detail).into_response()
            });
        }
        if let Some(cookie) = cookie_of(headers, client.secure) {
            // Another port of this host is the same site to a browser: `SameSite` keeps no page there from asking.
            let fine = match page(headers, client) {
                Page::Ours => true,
                Page::Unsaid => method.is_safe(),
                Page::Other => false,
            };
            if !fine {
                let detail =
                    "with a cookie this may be asked for by our own page alone; programs bring a token";
                return Err(other_origin(detail));
            }
            self.websocket(headers, client, true)?;
            return self
                .sessions
                .find(cookie, &self.keyring)
                .ok_or_else(|| self.refuse(client, "the session is over; sign in again"));
        }
        self.unknown(client)?;
        Err(unauthorized(
            "this needs a token: Authorization: Bearer secmon_…; secmon http token add NAME makes one",
            false,
        ))
    }

    /// The kernel says which user it is, and not which page his browser shows, where somebody lets it come by the socket
    /// (`ssh -L 7380:/run/secmon-http/http.sock`).
    #[expect(clippy::result_large_err, reason = "the answer, on its way out")]
    fn no_strange_page(&self, headers: &HeaderMap, client: &Client) -> Result<(), Response> {
        if page(headers, client) == Page::Other {
            return Err(other_origin("pages of other origins may not ask in the name of a user"));
        }
        if self.hosts.answer_by_socket(client.host.as_ref()) {
            return Ok(());
        }
        let detail =
            "this server does not answer to that name; say localhost, or name it in hosts of http.toml";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", detail).into_response())
    }

    /// A WebSocket is bound by no rule of browsers about origins, so that we look ourselves.
    #[expect(clippy::result_large_err, reason = "the answer, on its way out")]
    fn websocket(&self, headers: &HeaderMap, client: &Client, by_cookie: bool) -> Result<(), Response> {
        if !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            return Ok(());
        }
        let fine = match page(headers, client) {
            Page::Ours => true,
            Page::Unsaid => !by_cookie,
            Page::Other => {
                !by_cookie && headers.get(header::ORIGIN).is_some_and(|origin| self.cors.contains(origin))
            }
        };
        if fine {
            return Ok(());
        }
        let detail = "pages of other origins may not open a WebSocket here; cors of http.toml names those that may, with a token";
        Err(other_origin(detail))
    }

    /// The token of that text.
    #[expect(clippy::result_large_err, reason = "the answer, on its way out")]
    pub(crate) fn token(&self, text: Option<&str>, client: &Client) -> Result<Arc<Live>, Response> {
        let found = match text.filter(|text| secret::is_token(text)) {
            Some(text) => self.keyring.find(&Hash::of(text)),
            None => Err(NoToken::Unknown),
        };
        found.map_err(|no| {
            self.refuse(
                client,
                match no {
                    NoToken::Unknown => "this is no token of ours, or it was revoked",
                    NoToken::Expired => "the time of this token is over",
                },
            )
        })
    }

    /// 401, and after some of them 429.
    fn refuse(&self, client: &Client, detail: &str) -> Response {
        let wrong = client.address.map_or(Ok(()), |address| self.wrong.again(address, Instant::now()));
        match wrong {
            Ok(()) => unauthorized(detail, true),
            Err(wait) => too_many("too often there was no token that works", wait).into_response(),
        }
    }

    /// The pace of those who show nothing.
    #[expect(clippy::result_large_err, reason = "the answer, on its way out")]
    pub(crate) fn unknown(&self, client: &Client) -> Result<(), Response> {
        let Some(address) = client.address else { return Ok(()) };
        let paced = self.pace.ask(Key::From(source(address)));
        paced.map_err(|wait| {
            too_many("requests come faster than limits.requests_per_second allows", wait).into_response()
        })
    }
}

/// RFC 6750 §2.1; the scheme is without case by RFC 9110 §11.1.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn other_origin(detail: &str) -> Response {
    Problem::new(StatusCode::FORBIDDEN, "other_origin", detail).into_response()
}

fn unauthorized(detail: &str, wrong: bool) -> Response {
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response();
    // RFC 6750 §3: no word on the error where nothing was shown.
    let challenge =
        if wrong { "Bearer realm=\"secmon\", error=\"invalid_token\"" } else { "Bearer realm=\"secmon\"" };
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

fn too_many(detail: &str, wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_requests",
        format!("{detail}; try again in {seconds} s"),
    );
    problem.retry_after = Some(seconds);
    problem
}

/// A body, whole: no longer than it may be, and in time.
///
/// # Errors
/// It is too long, too slow, or broken off.
pub(crate) async fn whole(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!(
            "the body is over the limit of {limit} bytes; limits.body of http.toml says how much it may be"
        );
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said > limit as u64) {
        return Err(too_large());
    }
    match timeout(BODY, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "bad_body", "the body broke off")),
        Err(_) => {
            let detail = format!("the body did not come within {} s", BODY.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail))
        }
    }
}
