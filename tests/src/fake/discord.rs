//! Discord's webhooks, as <https://discord.com/developers/docs/resources/webhook> has them: messages sent and edited, the limits of embeds
//! (read as strictly as the words allow), limits of requests with their headers, and its errors in its own shape.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{patch, post},
};
use serde_json::{Map, Value, json};

use super::faults::{Fault, Faults, Server};

/// The webhook's id and its token; the latter is a secret.
pub const WEBHOOK: &str = "223704706495545344";
/// See [`WEBHOOK`].
pub const TOKEN: &str =
    "3d89bb7572e0fb30d8128367b3b1b44fecd1726de135cbe28a41f8b2f777c372ba2939e72279b94526ff5d1bd4358d65cf11";

/// A message in the channel.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The body as it was sent, or edited last.
    pub body: Value,
    /// All bodies before, the oldest first.
    pub before: Vec<Value>,
    /// The thread that it is in.
    pub thread: Option<String>,
}

impl Message {
    /// The title of its embed.
    #[must_use]
    pub fn title(&self) -> &str {
        self.body["embeds"][0]["title"].as_str().unwrap_or_default()
    }
}

/// How many requests of a kind are taken in a window of time.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// So many,
    pub requests: u32,
    /// in so long.
    pub window: Duration,
}

#[derive(Debug, Default)]
struct Channel {
    messages: Vec<Message>,
    next: u64,
    gone: bool,
    limit: Option<Limit>,
    windows: HashMap<&'static str, (Instant, u32)>,
    /// Statuses that were answered, in order.
    statuses: Vec<u16>,
}

/// A channel with one webhook.
#[derive(Debug)]
pub struct FakeDiscord {
    server: Server,
    channel: Shared,
    /// What goes wrong.
    pub faults: Faults,
}

type Shared = Arc<Mutex<Channel>>;

impl FakeDiscord {
    /// Starts it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a server, which a default should not")]
    pub fn new() -> Self {
        let channel = Shared::default();
        let faults = Faults::default();
        let router = Router::new()
            .route("/api/v10/webhooks/{id}/{token}", post(send))
            .route("/api/v10/webhooks/{id}/{token}/messages/{message}", patch(edit))
            .with_state(channel.clone());
        Self { server: Server::start(router, &faults), channel, faults }
    }

    /// The webhook's address, as Discord shows it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/api/webhooks/{WEBHOOK}/{TOKEN}", self.server.url())
    }

    /// All messages, the oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.channel).messages.clone()
    }

    /// The statuses of all requests that were handled, faults left out.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        lock(&self.channel).statuses.clone()
    }

    /// Somebody deletes all messages.
    pub fn delete_messages(&self) {
        lock(&self.channel).messages.clear();
    }

    /// Somebody deletes the webhook.
    pub fn delete_webhook(&self) {
        lock(&self.channel).gone = true;
    }

    /// Takes fewer requests, of sends and of edits each.
    pub fn limit(&self, limit: Limit) {
        let mut channel = lock(&self.channel);
        channel.limit = Some(limit);
        channel.windows.clear();
    }

    /// The documented answer to too many requests of all together.
    #[must_use]
    pub fn global_limit(after: f64) -> Fault {
        let headers = [
            ("retry-after", format!("{}", after.ceil())),
            ("x-ratelimit-global", "true".to_owned()),
            ("x-ratelimit-scope", "global".to_owned()),
        ];
        let headers = headers.into_iter().map(|(name, value)| {
            (name.parse().expect("a header"), HeaderValue::try_from(value).expect("a value"))
        });
        let body = json!({ "message": "You are being rate limited.", "retry_after": after, "global": true });
        Fault::Answer {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: headers.collect(),
            body: body.to_string(),
        }
    }
}

fn lock(channel: &Shared) -> MutexGuard<'_, Channel> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A refusal: status, Discord's code, its words, its `errors`.
struct Refusal(StatusCode, u32, String, Value);

impl Refusal {
    fn form(path: &str, code: &str, message: &str) -> Self {
        let mut errors = json!({ "_errors": [{ "code": code, "message": message }] });
        for part in path.rsplit('.') {
            errors = Value::Object(Map::from_iter([(part.to_owned(), errors)]));
        }
        Self(StatusCode::BAD_REQUEST, 50_035, "Invalid Form Body".into(), errors)
    }

    fn response(self) -> (StatusCode, Value) {
        let Self(status, code, message, errors) = self;
        let mut body = json!({ "message": message, "code": code });
        if !errors.is_null() {
            body["errors"] = errors;
        }
        (status, body)
    }
}

async fn send(
    State(channel): State<Shared>,
    Path((id, token)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Response {
    answer(&channel, "send", |channel| {
        known(channel, &id, &token)?;
        valid(&body)?;
        channel.next += 1;
        let message = Message {
            id: (1_100_000_000_000_000_000 + channel.next).to_string(),
            body: body.clone(),
            before: vec![],
            thread: query.get("thread_id").cloned(),
        };
        let shown = json!({ "id": message.id, "embeds": body["embeds"], "webhook_id": WEBHOOK });
        channel.messages.push(message);
        Ok((query.get("wait").is_some_and(|wait| wait == "true")).then_some(shown))
    })
}

async fn edit(
    State(channel): State<Shared>,
    Path((id, token, message)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Response {
    answer(&channel, "edit", |channel| {
        known(channel, &id, &token)?;
        let thread = query.get("thread_id");
        let found = channel.messages.iter_mut().find(|m| m.id == message && m.thread.as_ref() == thread);
        let Some(found) = found else {
            return Err(Refusal(StatusCode::NOT_FOUND, 10_008, "Unknown Message".into(), Value::Null));
        };
        valid(&body)?;
        found.before.push(std::mem::replace(&mut found.body, body.clone()));
        Ok(Some(json!({ "id": message, "embeds": body["embeds"] })))
    })
}

/// Takes a request within its limit, with the headers that every answer has.
fn answer(
    channel: &Shared,
    route: &'static str,
    handle: impl FnOnce(&mut Channel) -> Result<Option<Value>, Refusal>,
) -> Response {
    let mut channel = lock(channel);
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: String| {
        headers.insert(name, HeaderValue::try_from(value).expect("a value"));
    };
    if let Some(Limit { requests, window }) = channel.limit {
        let now = Instant::now();
        let place = channel.windows.entry(route).or_insert((now, 0));
        if now >= place.0 + window {
            *place = (now, 0);
        }
        let reset = (place.0 + window - now).as_secs_f64();
        let over = place.1 >= requests;
        place.1 += 1;
        let remaining = requests.saturating_sub(place.1);
        set("x-ratelimit-limit", requests.to_string());
        set("x-ratelimit-remaining", remaining.to_string());
        // To the millisecond, and never less than it is.
        set("x-ratelimit-reset-after", format!("{:.3}", reset + 0.001));
        set("x-ratelimit-bucket", format!("bucket-{route}"));
        if over {
            set("x-ratelimit-scope", "user".into());
            set("retry-after", format!("{}", reset.ceil()));
            channel.statuses.push(429);
            let body =
                json!({ "message": "You are being rate limited.", "retry_after": reset, "global": false });
            return (StatusCode::TOO_MANY_REQUESTS, headers, Json(body)).into_response();
        }
    }
    let (status, body) = match handle(&mut channel) {
        Ok(Some(body)) => (StatusCode::OK, body),
        Ok(None) => (StatusCode::NO_CONTENT, Value::Null),
        Err(refusal) => refusal.response(),
    };
    channel.statuses.push(status.as_u16());
    (status, headers, Json(body)).into_response()
}

fn known(channel: &Channel, id: &str, token: &str) -> Result<(), Refusal> {
    if channel.gone || id != WEBHOOK {
        return Err(Refusal(StatusCode::NOT_FOUND, 10_015, "Unknown Webhook".into(), Value::Null));
    }
    if token != TOKEN {
        return Err(Refusal(StatusCode::UNAUTHORIZED, 50_027, "Invalid Webhook Token".into(), Value::Null));
    }
    Ok(())
}

/// The limits of embeds, counted in UTF-16 units, and what a message of ours must have beside them.
fn valid(body: &Value) -> Result<(), Refusal> {
    // Discord would take it; a product that may ping is what no test lets pass.
    if body["allowed_mentions"] != json!({ "parse": [] }) {
        return Err(Refusal::form("allowed_mentions", "TEST", "Must be empty in every request."));
    }
    let embeds = body["embeds"].as_array().map(Vec::as_slice).unwrap_or_default();
    if embeds.is_empty() && body["content"].as_str().unwrap_or_default().trim().is_empty() {
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            50_006,
            "Cannot send an empty message".into(),
            Value::Null,
        ));
    }
    at_most(embeds.len(), 10, "embeds")?;
    let mut total = 0;
    for (i, embed) in embeds.iter().enumerate() {
        let at = |key: &str| format!("embeds.{i}.{key}");
        for (key, limit) in [("title", 256), ("description", 4096)] {
            if !embed[key].is_null() {
                total += text(&embed[key], limit, false, &at(key))?;
            }
        }
        if !embed["footer"].is_null() {
            total += text(&embed["footer"]["text"], 2048, true, &at("footer.text"))?;
        }
        if embed["color"].as_u64().is_some_and(|color| color > 0xff_ff_ff) {
            return Err(Refusal::form(
                &at("color"),
                "NUMBER_TYPE_MAX",
                "int value should be less than or equal to 16777215.",
            ));
        }
        let time = embed["timestamp"].as_str().unwrap_or_default();
        if time.parse::<jiff::Timestamp>().is_err()
            || time.split('.').nth(1).is_some_and(|part| part.len() > 7)
        {
            return Err(Refusal::form(&at("timestamp"), "DATE_TIME_TYPE_PARSE", "Could not parse."));
        }
        let fields = embed["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        at_most(fields.len(), 25, &at("fields"))?;
        for (n, field) in fields.iter().enumerate() {
            for (key, limit) in [("name", 256), ("value", 1024)] {
                total += text(&field[key], limit, true, &at(&format!("fields.{n}.{key}")))?;
            }
        }
    }
    if total > 6000 {
        return Err(Refusal::form(
            "embeds",
            "MAX_EMBED_SIZE_EXCEEDED",
            "Embed size exceeds maximum size of 6000",
        ));
    }
    Ok(())
}

fn text(value: &Value, limit: usize, required: bool, path: &str) -> Result<usize, Refusal> {
    let text = value.as_str().unwrap_or_default().trim();
    if required && text.is_empty() {
        return Err(Refusal::form(path, "BASE_TYPE_REQUIRED", "This field is required"));
    }
    let length = text.encode_utf16().count();
    at_most(length, limit, path)?;
    Ok(length)
}

fn at_most(length: usize, limit: usize, path: &str) -> Result<(), Refusal> {
    if length > limit {
        return Err(Refusal::form(
            path,
            "BASE_TYPE_MAX_LENGTH",
            &format!("Must be {limit} or fewer in length."),
        ));
    }
    Ok(())
}
