//! A thin client of the Telegram Bot API, <https://core.telegram.org/bots/api>: a method for each call that this bot makes, its errors
//! told apart, and the pace that Telegram asks for. Nothing here knows what is said.

mod error;
mod pace;
mod types;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use reqwest::multipart::{Form, Part};
use secmon_notify::{Secret, web};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub(crate) use self::{error::ApiError, types::*};
use self::{error::Parameters, pace::Pace};
use crate::text::Html;

/// Largest answer, in bytes: 100 updates of some KiB each.
const MAX_ANSWER: usize = 8 << 20;
/// How long getUpdates waits for something to happen, in seconds; below the time after which our client gives a connection up.
const POLL_SECONDS: u32 = 25;
/// Most updates of one answer; what Telegram gives at most.
const BATCH: u32 = 100;
/// Longest wait for a turn before an answer is given up: a group that is told all that it can take is a minute behind at most.
const LONGEST_TURN: Duration = Duration::from_secs(70);

/// Most groups that move while we run: as many as can be configured.
const MAX_MOVED: usize = 256;

/// The API of one bot. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    /// `https://api.telegram.org/bot` and the token.
    base: Secret,
    pace: Arc<Mutex<Pace>>,
    /// Groups that became supergroups since the configuration was written: from the configured number to the present one.
    moved: Arc<Mutex<HashMap<ChatId, ChatId>>>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api(…)")
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    ok: bool,
    result: Option<T>,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

/// Whether a message makes a sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sound {
    On,
    Off,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) html: Html,
    pub(crate) markup: Option<Markup>,
    pub(crate) sound: Sound,
    /// The message that it answers.
    pub(crate) reply_to: Option<MessageId>,
}

impl Outgoing {
    pub(crate) fn new(html: Html) -> Self {
        Self { html, markup: None, sound: Sound::On, reply_to: None }
    }
}

impl Api {
    pub(crate) fn new(base: &str, token: &Secret) -> Result<Self, web::NoHttps> {
        let base = Secret::new(format!("{}/bot{}", base.trim_end_matches('/'), token.expose()));
        Ok(Self { http: web::client()?, base, pace: Arc::default(), moved: Arc::default() })
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) -> MutexGuard<'_, HashMap<ChatId, ChatId>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group became a supergroup. From here on its configured number stands for it.
    pub(crate) fn has_moved(&self, from: ChatId, to: ChatId) {
        let mut moved = self.moved();
        if moved.len() < MAX_MOVED && moved.insert(from, to) != Some(to) {
            tracing::warn!(
                old_id = from.0,
                new_id = to.0,
                "a group became a supergroup and has a new id; it is used from now on: put it into the configuration"
            );
        }
    }

    /// The present number of a chat.
    fn present(&self, chat: ChatId) -> ChatId {
        self.moved().get(&chat).copied().unwrap_or(chat)
    }

    /// The configured number of a chat.
    pub(crate) fn configured(&self, chat: ChatId) -> ChatId {
        self.moved().iter().find(|(_, to)| **to == chat).map_or(chat, |(from, _)| *from)
    }

    /// Whether there is a turn in a chat right now; takes it if so.
    pub(crate) fn try_turn(&self, chat: ChatId) -> bool {
        self.pace().take(chat, Instant::now()).is_ok()
    }

    /// Waits for a turn in a chat, at most so long.
    pub(crate) async fn turn(&self, chat: ChatId, longest: Duration) -> Result<(), ApiError> {
        let deadline = Instant::now() + longest;
        loop {
            let taken = self.pace().take(chat, Instant::now());
            match taken {
                Ok(()) => return Ok(()),
                Err(wait) if Instant::now() + wait > deadline => return Err(ApiError::Busy { after: wait }),
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, body: &impl Serialize) -> Result<T, ApiError> {
        let request = self.http.post(format!("{}/{method}", self.base.expose())).json(body);
        self.answer(request).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ApiError> {
        let response = request.send().await.map_err(web::unreachable)?;
        let status = response.status();
        let body = web::body(response, MAX_ANSWER).await?;
        let Ok(answer) = serde_json::from_slice::<Answer<T>>(&body) else {
            // A proxy, or a gateway before Telegram, has answered.
            return Err(match status.as_u16() {
                code @ (429 | 500..) => ApiError::of(code, &status.to_string(), &Parameters::default()),
                _ => ApiError::Unreachable {
                    reason: format!("its answer ({status}) is not one of the Bot API"),
                },
            });
        };
        match answer {
            Answer { ok: true, result: Some(result), .. } => Ok(result),
            Answer { error_code, description, parameters, .. } => {
                Err(ApiError::of(error_code.unwrap_or(status.as_u16()), &description, &parameters))
            }
        }
    }

    /// The same in a chat, whose pace is kept: the caller has a turn. A group that has moved is followed, once.
    async fn call_in<T: DeserializeOwned>(
        &self,
        chat: ChatId,
        method: &str,
        mut body: Value,
    ) -> Result<T, ApiError> {
        body["chat_id"] = json!(self.present(chat));
        match self.call(method, &body).await {
            Err(ApiError::Moved { to }) => {
                self.has_moved(chat, to);
                body["chat_id"] = json!(to);
                self.kept(chat, self.call(method, &body).await)
            }
            other => self.kept(chat, other),
        }
    }

    fn kept<T>(&self, chat: ChatId, result: Result<T, ApiError>) -> Result<T, ApiError> {
        if let Err(ApiError::Busy { after }) = &result {
            self.pace().hold(chat, *after, Instant::now());
        }
        result
    }

    /// Who we are.
    pub(crate) async fn get_me(&self) -> Result<User, ApiError> {
        self.call("getMe", &json!({})).await
    }

    /// What came in since; by asking, everything before `offset` is confirmed. Waits some seconds for the first.
    pub(crate) async fn get_updates(&self, offset: i64) -> Result<Vec<Update>, ApiError> {
        let body = json!({
            "offset": offset,
            "limit": BATCH,
            "timeout": POLL_SECONDS,
            "allowed_updates": ["message", "callback_query"],
        });
        let raw: Vec<Value> = self.call("getUpdates", &body).await?;
        // One that we cannot read must not keep us from the others: it counts by its number alone.
        Ok(raw
            .into_iter()
            .filter_map(|value| {
                let id = value.get("update_id").and_then(Value::as_i64)?;
                let empty = Update { update_id: id, message: None, callback_query: None };
                Some(serde_json::from_value(value).unwrap_or(empty))
            })
            .collect())
    }

    /// Sends a message; the caller has a turn.
    pub(crate) async fn send_now(&self, spot: Spot, message: &Outgoing) -> Result<MessageId, ApiError> {
        let mut body = json!({
            "text": message.html.as_str(),
            "parse_mode": "HTML",
            "link_preview_options": { "is_disabled": true },
        });
        if let Some(thread) = spot.thread {
            body["message_thread_id"] = thread.into();
        }
        if message.sound == Sound::Off {
            body["disable_notification"] = true.into();
        }
        if let Some(markup) = &message.markup {
            body["reply_markup"] = json!(markup);
        }
        if let Some(id) = message.reply_to {
            body["reply_parameters"] = json!({ "message_id": id, "allow_sending_without_reply": true });
        }
        let sent: Message = self.call_in(spot.chat, "sendMessage", body).await?;
        Ok(sent.message_id)
    }

    /// Edits a message; the caller has a turn. That nothing changes is no error.
    pub(crate) async fn edit_now(
        &self,
        chat: ChatId,
        id: MessageId,
        html: &Html,
        keyboard: &Keyboard,
    ) -> Result<(), ApiError> {
        let body = json!({
            "message_id": id,
            "text": html.as_str(),
            "parse_mode": "HTML",
            "link_preview_options": { "is_disabled": true },
            "reply_markup": { "inline_keyboard": keyboard },
        });
        match self.call_in::<Value>(chat, "editMessageText", body).await {
            Ok(_) | Err(ApiError::NotModified) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a file; the caller has a turn.
    pub(crate) async fn send_file_now(
        &self,
        spot: Spot,
        name: &str,
        data: bytes::Bytes,
        reply_to: Option<MessageId>,
    ) -> Result<MessageId, ApiError> {
        let length = data.len() as u64;
        let part = Part::stream_with_length(data, length).file_name(name.to_owned());
        let part =
            part.mime_str("text/plain").map_err(|_| ApiError::Refused { reason: "a kind of file".into() })?;
        let mut form =
            Form::new().text("chat_id", self.present(spot.chat).0.to_string()).part("document", part);
        if let Some(thread) = spot.thread {
            form = form.text("message_thread_id", thread.to_string());
        }
        if let Some(id) = reply_to {
            let reply = json!({ "message_id": id, "allow_sending_without_reply": true });
            form = form.text("reply_parameters", reply.to_string());
        }
        let request = self.http.post(format!("{}/sendDocument", self.base.expose())).multipart(form);
        let sent: Message = self.kept(spot.chat, self.answer(request).await)?;
        Ok(sent.message_id)
    }

    /// Ends the waiting of a button that was pressed; `words` are shown to who pressed it.
    pub(crate) async fn answer_press(&self, press: &str, words: Option<&str>) -> Result<(), ApiError> {
        let mut body = json!({ "callback_query_id": press });
        if let Some(words) = words {
            body["text"] = words.into();
            body["show_alert"] = true.into();
        }
        self.call::<bool>("answerCallbackQuery", &body).await.map(drop)
    }

    /// The menu of commands in one chat.
    pub(crate) async fn set_commands(&self, chat: ChatId, commands: &[MenuCommand]) -> Result<(), ApiError> {
        let body = json!({ "commands": commands, "scope": { "type": "chat", "chat_id": chat } });
        self.call::<bool>("setMyCommands", &body).await.map(drop)
    }

    /// Sends a message when it is its turn.
    pub(crate) async fn send(&self, spot: Spot, message: &Outgoing) -> Result<MessageId, ApiError> {
        self.turn(spot.chat, LONGEST_TURN).await?;
        self.send_now(spot, message).await
    }

    /// Edits a message when it is its turn.
    pub(crate) async fn edit(
        &self,
        chat: ChatId,
        id: MessageId,
        html: &Html,
        keyboard: &Keyboard,
    ) -> Result<(), ApiError> {
        self.turn(chat, LONGEST_TURN).await?;
        self.edit_now(chat, id, html, keyboard).await
    }
}
