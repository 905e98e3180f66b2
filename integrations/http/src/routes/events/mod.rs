//! `/v1/events`: events as they happen, as server-sent events, over WebSocket or by long poll, with the same filters and
//! the same lines.

mod poll;
mod sse;
mod ws;

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, Request, State, ws::WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::Response,
};
use secmon_client::cli::since;
use secmon_protocol::{ids::Cursor, message::client::From as StartFrom};
use tokio_util::sync::CancellationToken;

use self::poll::Poll;
use super::{
    query::{Caller, Params, bad},
    schema,
};
use crate::{
    access::Principal,
    hub::{Hub, Listener, Over, Selection, counts::Kind},
    problem::Problem,
};

/// Those who listen at once. One costs some KiB; the server's own limit of connections is reached before.
const MAX_LISTENERS: usize = 10_000;
/// Of them, of one token or user.
const MAX_OF_ONE: usize = 2_500;

/// What somebody wants to hear.
struct Wanted {
    from: StartFrom,
    selection: Selection,
    ended: CancellationToken,
}

impl Wanted {
    fn read(params: &mut Params, headers: &HeaderMap, who: &Principal) -> Result<Self, Problem> {
        let (nodes, types) = (params.patterns("node")?, params.patterns("type")?);
        let from = params.read("since", |text| match text {
            "now" => Ok(StartFrom::Now),
            text => since(text),
        })?;
        let snapshot = params.flag("snapshot")?;
        if snapshot && from.is_some() {
            return Err(bad("since and snapshot exclude each other: a snapshot stands at the present place"));
        }
        // An EventSource that comes back sends it with the address that it was made with.
        let last = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default()) {
            None | Some("") => None,
            Some(text) => {
                let cursor = text.parse::<Cursor>();
                Some(cursor.map_err(|error| bad(format!("Last-Event-ID: {error}")))?)
            }
        };
        let from = match (last, from) {
            (Some(cursor), _) => StartFrom::Cursor(cursor),
            (None, Some(from)) => from,
            (None, None) if snapshot => StartFrom::Snapshot,
            (None, None) => StartFrom::Now,
        };
        Ok(Self { from, selection: Selection::new(nodes, types, who.clone()), ended: ended(who) })
    }

    async fn listen(self, hub: &Arc<Hub>, kind: Kind) -> Result<Listener, Problem> {
        let counted = hub.counts.listen(kind, self.selection.who(), MAX_LISTENERS, MAX_OF_ONE).ok_or_else(|| {
            let detail = format!("too many listen already: {MAX_LISTENERS}, or {MAX_OF_ONE} of this token or user; try again later");
            let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", detail);
            problem.retry_after = Some(10);
            problem
        })?;
        Ok(Listener::open(hub, self.from, self.selection, self.ended, counted).await?)
    }
}

/// When who asks is nobody any more.
pub(super) fn ended(who: &Principal) -> CancellationToken {
    who.ended.clone()
}

/// Why there is no more, for those to whom a status can still be said.
pub(super) fn over(why: &Over) -> Problem {
    match why {
        Over::Refused(error) => error.clone().into(),
        Over::Ended => Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", why.to_string()),
        Over::Stopped | Over::Slow => {
            let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", why.to_string());
            problem.retry_after = Some(1);
            problem
        }
    }
}

/// Events as they happen, by what the request asks for: with `Accept: text/event-stream` server-sent events, with an upgrade a
/// WebSocket, else a long poll.
///
/// Server-sent events: unnamed events whose `data:` is one event; `id:` is a cursor and stands on a record's last event only.
/// Where the filter matched nothing for long, an event `progress` has an `id:` alone.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    operation_id = "events",
    params(
        ("node" = Option<Vec<String>>, Query, description = "Only of nodes whose name or id matches; `*` and `?` are wildcards; may be given several times"),
        ("type" = Option<Vec<String>>, Query, description = "Only events whose `secmon.type` matches; gaps are never left out; may be given several times", example = json!(["session.*"])),
        ("since" = Option<String>, Query, description = "From there on: a `secmon.cursor`, `10m`, `boot`, a time of RFC 3339, or `now`, the default", example = "10m"),
        ("snapshot" = Option<bool>, Query, description = "First what stands: an event per node, facet, session and WireGuard peer; not for a long poll"),
        ("after" = Option<String>, Query, description = "Long poll: everything after this cursor, the `after` of the last answer"),
        ("wait" = Option<String>, Query, description = "Long poll: how long to wait for the first event, at most `60s`", example = "30s"),
        ("limit" = Option<u32>, Query, description = "Long poll: most events of the answer", minimum = 1, maximum = 5000, example = 500),
        ("Last-Event-ID" = Option<String>, Header, description = "After this cursor; wins over `since`. An EventSource sends it when it comes back"),
    ),
    responses(
        (status = 101, description = "A WebSocket: one text frame per event; `{\"progress\":CURSOR}` where nothing matched for long"),
        (status = 200, description = "Events", content(
            (schema::Events = "application/json"),
            (String = "text/event-stream"),
        )),
    ),
)]
pub(super) async fn events(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    if wants_upgrade(&parts.headers) {
        return websocket(&hub, &who, parts).await;
    }
    let mut params = Params::from_request_parts(&mut parts, &()).await?;
    let wanted = Wanted::read(&mut params, &parts.headers, &who)?;
    if accepts(&parts.headers, "text/event-stream") {
        params.done()?;
        return sse::answer(wanted.listen(&hub, Kind::Sse).await?);
    }
    let (mut wanted, poll) = (wanted, Poll::read(&mut params)?);
    if let Some(after) = params.read("after", str::parse::<Cursor>)? {
        wanted.from = StartFrom::Cursor(after);
    }
    params.done()?;
    if let StartFrom::Snapshot = wanted.from {
        return Err(bad("snapshot is for streams; a long poll begins with GET /v1/nodes"));
    }
    poll.answer(wanted.listen(&hub, Kind::Poll).await?).await
}

/// A WebSocket of events, for clients whose proxies know upgrades on a path of their own.
#[utoipa::path(
    get,
    path = "/v1/events/ws",
    tag = "events",
    operation_id = "eventsWebSocket",
    params(
        ("node" = Option<Vec<String>>, Query, description = "As in `/v1/events`"),
        ("type" = Option<Vec<String>>, Query, description = "As in `/v1/events`"),
        ("since" = Option<String>, Query, description = "As in `/v1/events`"),
        ("snapshot" = Option<bool>, Query, description = "As in `/v1/events`"),
    ),
    responses(
        (status = 101, description = "One text frame per event; `{\"progress\":CURSOR}` where nothing matched for long"),
        (status = 426, description = "The request is no upgrade to a WebSocket", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn websocket_only(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    websocket(&hub, &who, parts).await
}

async fn websocket(hub: &Arc<Hub>, who: &Principal, mut parts: Parts) -> Result<Response, Problem> {
    let mut params = Params::from_request_parts(&mut parts, &()).await?;
    let wanted = Wanted::read(&mut params, &parts.headers, who)?;
    params.done()?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|error| {
        let detail = format!("this is no upgrade to a WebSocket of version 13: {error}");
        Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
    })?;
    Ok(ws::answer(upgrade, wanted.listen(hub, Kind::WebSocket).await?))
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| part.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(kind)))
}
