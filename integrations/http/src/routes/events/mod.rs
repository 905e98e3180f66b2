//! `/v1/events`: events as they happen, as server-sent events, over WebSocket or by long poll, with the same filters and
//! the same lines.

mod sse;

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use secmon_client::cli::since;
use secmon_protocol::{ids::Cursor, message::client::From as StartFrom};
use tokio_util::sync::CancellationToken;

use super::{
    query::{Caller, Params, bad},
    schema,
};
use crate::{
    access::Principal,
    hub::{Hub, Listener, Selection, counts::Kind},
    problem::Problem,
};

/// Those who listen at once. One costs some KiB; the server's own limit of connections is reached before.
const MAX_LISTENERS: usize = 10_000;

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
        let counted = hub.counts.listen(kind, MAX_LISTENERS).ok_or_else(|| {
            let detail = format!("{MAX_LISTENERS} others listen already; try again later");
            let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", detail);
            problem.retry_after = Some(10);
            problem
        })?;
        Ok(Listener::open(hub, self.from, self.selection, self.ended, counted).await?)
    }
}

/// When who asks is nobody any more.
pub(super) fn ended(_who: &Principal) -> CancellationToken {
    CancellationToken::new()
}

/// Events as they happen: server-sent events, a WebSocket, or a long poll, by what the request asks for.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    operation_id = "events",
    params(
        ("node" = Option<Vec<String>>, Query, description = "Only of nodes whose name or id matches; `*` and `?` are wildcards; may be given several times"),
        ("type" = Option<Vec<String>>, Query, description = "Only events whose `secmon.type` matches; gaps are never left out; may be given several times"),
        ("since" = Option<String>, Query, description = "From there on: a `secmon.cursor`, `10m`, `boot`, a time of RFC 3339, or `now`, the default"),
        ("snapshot" = Option<bool>, Query, description = "First what stands: an event per node, facet, session and WireGuard peer; not for a long poll"),
        ("Last-Event-ID" = Option<String>, Header, description = "After this cursor; wins over `since`. An EventSource sends it when it comes back"),
    ),
    responses(
        (status = 200, description = "With `Accept: text/event-stream` a stream of events without end; `id:` is a cursor", content(
            (schema::Event = "text/event-stream"),
        )),
    ),
)]
pub(super) async fn events(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(&mut params, &headers, &who)?;
    params.done()?;
    sse::answer(wanted.listen(&hub, Kind::Sse).await?)
}

#[expect(dead_code, reason = "long poll comes next")]
fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| part.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(kind)))
}
