//! The Telegram Bot API, as far as a bot that talks needs it: <https://core.telegram.org/bots/api>.
//!
//! It keeps messages per chat with their numbers and edits, gives updates by long poll and takes them as confirmed by the offset, refuses what Telegram
//! refuses (HTML that does not parse, too long texts, edits that change nothing, chats that do not exist or have blocked the bot), and can
//! count and refuse what is over Telegram's limits. Descriptions of errors are in the words of the real server.

mod html;
mod limits;
mod state;

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State as Shared},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};

use self::state::{Answer, Inner, State, failed};
pub use self::state::{Button, Message};
use super::faults::{Fault, Faults, Server};
use crate::wait::DEADLINE;

/// The token of the fake's only bot.
pub const TOKEN: &str = "123456789:AAF-a_token_of_the_fake";
/// The bot's name.
pub const BOT: &str = "secmon_test_bot";
/// Largest file that a bot may send, in bytes.
const MAX_FILE: usize = 50 << 20;

/// A Telegram of its own, with one bot.
pub struct Telegram {
    server: Server,
    /// What goes wrong next; the path of a request ends with its method (`sendMessage`).
    pub faults: Faults,
    state: Arc<State>,
}

impl Telegram {
    /// One with these chats; positive numbers are people.
    ///
    /// # Panics
    /// When the loopback has no port for it.
    #[must_use]
    pub fn start(chats: &[i64]) -> Self {
        let state = Arc::new(State::new(chats));
        let router = Router::new()
            .route("/{bot}/{method}", post(call))
            .layer(DefaultBodyLimit::max(MAX_FILE + 4096))
            .with_state(Arc::clone(&state));
        let faults = Faults::default();
        Self { server: Server::start(router, &faults), faults, state }
    }

    /// The base of the API.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Somebody writes into a chat; the message's number.
    pub fn say(&self, user: i64, chat: i64, text: &str) -> i64 {
        self.state.said(user, chat, text, None, now())
    }

    /// The same, as an answer to another message.
    pub fn reply(&self, user: i64, chat: i64, to: i64, text: &str) -> i64 {
        self.state.said(user, chat, text, Some(to), now())
    }

    /// The same, so long ago.
    pub fn said_before(&self, user: i64, chat: i64, text: &str, ago: Duration) -> i64 {
        self.state.said(user, chat, text, None, now() - i64::try_from(ago.as_secs()).unwrap_or(0))
    }

    /// Somebody presses the button that begins with `text`; returns the number of the press.
    ///
    /// # Panics
    /// When the message has no such button now.
    #[track_caller]
    pub fn press(&self, user: i64, message: &Message, text: &str) -> String {
        let now = self.message(message.chat, message.id).expect("the message is there");
        let button = now.button(text).unwrap_or_else(|| panic!("no button {text:?} in {now:#?}"));
        self.state.pressed(user, &now, &button.data)
    }

    /// Presses what is no longer, or never was, on the keyboard.
    pub fn press_data(&self, user: i64, message: &Message, data: &str) -> String {
        self.state.pressed(user, message, data)
    }

    /// What was said to who pressed a button; waits for it. Empty where nothing was.
    ///
    /// # Panics
    /// When the press is not answered in time.
    #[track_caller]
    pub fn answer_to(&self, press: &str) -> String {
        self.wait(&format!("an answer to the press {press}"), |inner| inner.answered.get(press).cloned())
    }

    /// All messages of the bot in a chat, the oldest first.
    #[must_use]
    pub fn messages(&self, chat: i64) -> Vec<Message> {
        self.lock().messages(chat)
    }

    /// One message as it is now.
    #[must_use]
    pub fn message(&self, chat: i64, id: i64) -> Option<Message> {
        self.messages(chat).into_iter().find(|message| message.id == id)
    }

    /// The first message of the bot in a chat that `wanted` accepts, now or later.
    ///
    /// # Panics
    /// When none comes in time; what came is shown.
    #[track_caller]
    pub fn wait_for(&self, chat: i64, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        self.wait(what, |inner| inner.messages(chat).into_iter().find(&wanted))
    }

    /// The first message that contains a text.
    ///
    /// # Panics
    /// As [`Telegram::wait_for`].
    #[track_caller]
    pub fn wait_for_text(&self, chat: i64, text: &str) -> Message {
        self.wait_for(chat, &format!("a message with {text:?}"), |message| message.text.contains(text))
    }

    /// Waits until the bot has asked for updates behind all that came so far.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_until_taken(&self) {
        self.wait("all updates to be taken", |inner| inner.updates.is_empty().then_some(()));
    }

    /// A person deletes a message.
    pub fn delete(&self, chat: i64, id: i64) {
        self.lock().delete(chat, id);
    }

    /// A person blocks the bot, or a group throws it out; or not any more.
    pub fn block(&self, chat: i64, blocked: bool) {
        let mut inner = self.lock();
        inner.blocked.retain(|other| *other != chat);
        if blocked {
            inner.blocked.push(chat);
        }
    }

    /// A group becomes a supergroup of another number.
    pub fn migrate(&self, from: i64, to: i64) {
        let mut inner = self.lock();
        inner.chats.insert(to);
        inner.moved.insert(from, to);
    }

    /// From now on what is over Telegram's limits is counted, and answered with 429.
    pub fn enforce_limits(&self) {
        self.lock().limits.enforced = true;
    }

    /// How often a limit was broken.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.lock().limits.violations
    }

    /// How often a method was called.
    #[must_use]
    pub fn calls(&self, method: &str) -> usize {
        self.lock().calls.get(method).copied().unwrap_or(0)
    }

    /// Chats whose menu of commands was set.
    #[must_use]
    pub fn menus(&self) -> Vec<i64> {
        self.lock().menus.clone()
    }

    /// The next `times` calls of a method are refused: too many requests, wait so many seconds.
    pub fn too_many(&self, method: &str, times: usize, retry_after: u64) {
        let body = json!({
            "ok": false,
            "error_code": 429,
            "description": format!("Too Many Requests: retry after {retry_after}"),
            "parameters": { "retry_after": retry_after },
        });
        let fault = Fault::Answer {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers: HeaderMap::new(),
            body: body.to_string(),
        };
        self.faults.times(times, method, &fault);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.state.lock()
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, mut look: impl FnMut(&Inner) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut inner = self.lock();
        loop {
            if let Some(found) = look(&inner) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let all = inner.all();
                drop(inner);
                panic!("waited {DEADLINE:?} in vain for {what}; there are {all:#?}");
            }
            inner = self.state.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

async fn call(
    Shared(state): Shared<Arc<State>>,
    Path((bot, method)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if bot != format!("bot{TOKEN}") {
        return respond(Err(failed(401, "Unauthorized")));
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (parameters, file) = match kind.split_once("boundary=") {
        Some((_, boundary)) => multipart(&body, boundary.trim_matches('"')),
        None => (serde_json::from_slice(&body).unwrap_or(Value::Null), None),
    };
    *state.lock().calls.entry(method.clone()).or_default() += 1;
    let answer = match method.as_str() {
        "getUpdates" => state.updates(&parameters).await,
        other => state.act(other, &parameters, file),
    };
    respond(answer)
}

fn respond(answer: Answer) -> Response {
    let (status, body) = match answer {
        Ok(result) => (StatusCode::OK, json!({ "ok": true, "result": result })),
        Err(refusal) => {
            let code =
                refusal["error_code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            (StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), refusal)
        }
    };
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// The fields of a form, RFC 7578, and its one file.
fn multipart(body: &[u8], boundary: &str) -> (Value, Option<(String, Vec<u8>)>) {
    let (mut fields, mut file) = (serde_json::Map::new(), None);
    let mark = format!("--{boundary}");
    let starts: Vec<usize> = memchr::memmem::find_iter(body, mark.as_bytes()).collect();
    for pair in starts.windows(2) {
        let part = &body[pair[0] + mark.len()..pair[1]];
        let Some(end) = memchr::memmem::find(part, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&part[..end]).into_owned();
        let data = &part[end + 4..part.len().saturating_sub(2)];
        let named = |key: &str| {
            let (_, rest) = head.split_once(&format!("{key}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        match (named(" name"), named("filename")) {
            (_, Some(name)) => file = Some((name, data.to_vec())),
            (Some(name), None) => {
                let text = String::from_utf8_lossy(data).into_owned();
                // Numbers and objects come as text in a form.
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                fields.insert(name, value);
            }
            (None, None) => {}
        }
    }
    (Value::Object(fields), file)
}
