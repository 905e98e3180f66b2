//! What the fake knows: chats, messages, updates.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};

use super::{BOT, html, limits::Limits};

/// Longest text, in UTF-16 units, after its entities are parsed.
const MAX_TEXT: usize = 4096;
/// Longest data of a button, in bytes.
const MAX_DATA: usize = 64;
const BOT_ID: i64 = 123_456_789;

/// A result, or the body of a refusal.
pub(super) type Answer = Result<Value, Value>;

pub(super) fn failed(code: u16, description: &str) -> Value {
    json!({ "ok": false, "error_code": code, "description": description })
}

fn bad(description: &str) -> Value {
    failed(400, &format!("Bad Request: {description}"))
}

/// A button of an inline keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What it says.
    pub text: String,
    /// What a press sends.
    pub data: String,
}

/// A message of the bot, as it is now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// Its number within the chat.
    pub id: i64,
    /// The chat.
    pub chat: i64,
    /// The topic.
    pub thread: Option<i64>,
    /// Its text, as people see it.
    pub text: String,
    /// As it was sent.
    pub html: String,
    /// Its keyboard, in one row.
    pub buttons: Vec<Button>,
    /// The texts that it had before, the oldest first.
    pub before: Vec<String>,
    /// Whether it made no sound.
    pub silent: bool,
    /// Whether people's clients open an answer to it.
    pub force_reply: bool,
    /// What it answers.
    pub reply_to: Option<i64>,
    /// A file, with its name.
    pub file: Option<(String, Vec<u8>)>,
}

impl Message {
    /// Its button that begins with a text.
    #[must_use]
    pub fn button(&self, text: &str) -> Option<&Button> {
        self.buttons.iter().find(|button| button.text.starts_with(text))
    }
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) chats: BTreeSet<i64>,
    pub(super) blocked: Vec<i64>,
    pub(super) moved: HashMap<i64, i64>,
    messages: BTreeMap<(i64, i64), Message>,
    /// Those that are not confirmed.
    pub(super) updates: Vec<Value>,
    next_message: i64,
    next_update: i64,
    next_press: u64,
    /// Which getUpdates is the latest.
    pub(super) poll: u64,
    pub(super) answered: HashMap<String, String>,
    open_presses: BTreeSet<String>,
    pub(super) calls: HashMap<String, usize>,
    pub(super) menus: Vec<i64>,
    pub(super) limits: Limits,
}

impl Inner {
    pub(super) fn messages(&self, chat: i64) -> Vec<Message> {
        self.messages.range((chat, 0)..=(chat, i64::MAX)).map(|(_, message)| message.clone()).collect()
    }

    pub(super) fn all(&self) -> Vec<Message> {
        self.messages.values().cloned().collect()
    }

    pub(super) fn delete(&mut self, chat: i64, id: i64) {
        self.messages.remove(&(chat, id));
    }

    /// Whether the bot may speak in a chat.
    fn reach(&mut self, parameters: &Value) -> Result<i64, Value> {
        let chat = parameters["chat_id"].as_i64().ok_or_else(|| bad("chat_id is empty"))?;
        if let Some(to) = self.moved.get(&chat) {
            let mut refusal = bad("group chat was upgraded to a supergroup chat");
            refusal["parameters"] = json!({ "migrate_to_chat_id": to });
            return Err(refusal);
        }
        if !self.chats.contains(&chat) {
            return Err(bad("chat not found"));
        }
        if self.blocked.contains(&chat) {
            let words =
                if chat > 0 { "bot was blocked by the user" } else { "bot was kicked from the group chat" };
            return Err(failed(403, &format!("Forbidden: {words}")));
        }
        if let Some(wait) = self.limits.count(chat) {
            let mut refusal = failed(429, &format!("Too Many Requests: retry after {wait}"));
            refusal["parameters"] = json!({ "retry_after": wait });
            return Err(refusal);
        }
        Ok(chat)
    }

    fn send(&mut self, parameters: &Value, file: Option<(String, Vec<u8>)>) -> Answer {
        let chat = self.reach(parameters)?;
        let (text, html) = if file.is_some() { Default::default() } else { texts(parameters)? };
        if parameters["message_thread_id"].as_i64().is_some_and(|thread| thread > 1000) {
            return Err(bad("message thread not found"));
        }
        self.next_message += 1;
        let message = Message {
            id: self.next_message,
            chat,
            thread: parameters["message_thread_id"].as_i64(),
            text,
            html,
            buttons: buttons(parameters)?,
            before: vec![],
            silent: parameters["disable_notification"].as_bool().unwrap_or(false),
            force_reply: parameters["reply_markup"]["force_reply"].as_bool().unwrap_or(false),
            reply_to: parameters["reply_parameters"]["message_id"].as_i64(),
            file,
        };
        let answer = own(&message);
        self.messages.insert((chat, message.id), message);
        Ok(answer)
    }

    fn edit(&mut self, parameters: &Value) -> Answer {
        let chat = self.reach(parameters)?;
        let (text, html) = texts(parameters)?;
        let buttons = buttons(parameters)?;
        let id = parameters["message_id"].as_i64().unwrap_or(0);
        let Some(message) = self.messages.get_mut(&(chat, id)) else {
            return Err(bad("message to edit not found"));
        };
        if message.html == html && message.buttons == buttons {
            let words = "message is not modified: specified new message content and reply markup are exactly the same as a \
                         current content and reply markup of the message";
            return Err(bad(words));
        }
        message.before.push(std::mem::replace(&mut message.text, text));
        (message.html, message.buttons) = (html, buttons);
        Ok(own(message))
    }

    fn answer_press(&mut self, parameters: &Value) -> Answer {
        let press = parameters["callback_query_id"].as_str().unwrap_or_default().to_owned();
        if !self.open_presses.remove(&press) {
            return Err(bad("query is too old and response timeout expired or query ID is invalid"));
        }
        let words = parameters["text"].as_str().unwrap_or_default();
        if words.chars().count() > 200 {
            return Err(bad("MESSAGE_TOO_LONG"));
        }
        self.answered.insert(press, words.to_owned());
        Ok(json!(true))
    }

    fn set_commands(&mut self, parameters: &Value) -> Answer {
        let chat = parameters["scope"]["chat_id"].as_i64().unwrap_or(0);
        if !self.chats.contains(&chat) {
            return Err(bad("chat not found"));
        }
        let good = |command: &Value| {
            let name = command["command"].as_str().unwrap_or_default();
            let words = command["description"].as_str().unwrap_or_default();
            (1..=32).contains(&name.len())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                && (1..=256).contains(&words.len())
        };
        if !parameters["commands"].as_array().is_some_and(|all| all.len() <= 100 && all.iter().all(good)) {
            return Err(bad("BOT_COMMAND_INVALID"));
        }
        self.menus.push(chat);
        Ok(json!(true))
    }

    fn update(&mut self, mut update: Value) {
        self.next_update += 1;
        update["update_id"] = (800_000_000 + self.next_update).into();
        self.updates.push(update);
    }
}

/// A message of the bot as the API shows it.
fn own(message: &Message) -> Value {
    let kind = if message.chat > 0 { "private" } else { "supergroup" };
    let mut value = json!({
        "message_id": message.id,
        "from": { "id": BOT_ID, "is_bot": true, "first_name": "secmon", "username": BOT },
        "chat": { "id": message.chat, "type": kind },
        "date": super::now(),
        "text": message.text,
    });
    if let Some(thread) = message.thread {
        value["message_thread_id"] = thread.into();
        value["is_topic_message"] = true.into();
    }
    value
}

fn texts(parameters: &Value) -> Result<(String, String), Value> {
    let source = parameters["text"].as_str().unwrap_or_default();
    let text = match parameters["parse_mode"].as_str() {
        Some("HTML") => html::text(source).map_err(|words| failed(400, &words))?,
        Some(_) => return Err(bad("unsupported parse_mode")),
        None => source.to_owned(),
    };
    if text.trim().is_empty() {
        return Err(bad("message text is empty"));
    }
    if text.encode_utf16().count() > MAX_TEXT {
        return Err(bad("message is too long"));
    }
    Ok((text, source.to_owned()))
}

fn buttons(parameters: &Value) -> Result<Vec<Button>, Value> {
    let mut out = vec![];
    let rows = parameters["reply_markup"]["inline_keyboard"].as_array().cloned().unwrap_or_default();
    for button in rows.iter().filter_map(Value::as_array).flatten() {
        let text = button["text"].as_str().unwrap_or_default().to_owned();
        let data = button["callback_data"].as_str().unwrap_or_default().to_owned();
        if text.is_empty() {
            return Err(bad("inline keyboard button text can't be empty"));
        }
        if data.is_empty() || data.len() > MAX_DATA {
            return Err(bad("BUTTON_DATA_INVALID"));
        }
        out.push(Button { text, data });
    }
    if out.len() > 100 {
        return Err(bad("REPLY_MARKUP_TOO_LONG"));
    }
    Ok(out)
}

/// All of it, and who waits for a change.
#[derive(Debug)]
pub(super) struct State {
    inner: Mutex<Inner>,
    /// For tests.
    pub(super) changed: Condvar,
    /// For long polls.
    pub(super) news: Notify,
}

impl State {
    pub(super) fn new(chats: &[i64]) -> Self {
        let inner = Inner { chats: chats.iter().copied().collect(), ..Inner::default() };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), news: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn said(&self, user: i64, chat: i64, text: &str, reply_to: Option<i64>, date: i64) -> i64 {
        let id = {
            let mut inner = self.lock();
            inner.chats.insert(chat);
            inner.next_message += 1;
            let id = inner.next_message;
            let mut message = json!({
                "message_id": id,
                "from": { "id": user, "is_bot": false, "first_name": "Somebody" },
                "chat": { "id": chat, "type": if chat > 0 { "private" } else { "supergroup" } },
                "date": date,
                "text": text,
            });
            if let Some(to) = reply_to {
                let ours = inner.messages.get(&(chat, to)).map(own);
                let others = json!({ "message_id": to, "chat": { "id": chat }, "date": date });
                message["reply_to_message"] = ours.unwrap_or(others);
            }
            inner.update(json!({ "message": message }));
            id
        };
        self.news.notify_waiters();
        id
    }

    pub(super) fn pressed(&self, user: i64, message: &Message, data: &str) -> String {
        let press = {
            let mut inner = self.lock();
            inner.next_press += 1;
            let press = format!("press-{}", inner.next_press);
            inner.open_presses.insert(press.clone());
            let query = json!({
                "id": press,
                "from": { "id": user, "is_bot": false, "first_name": "Somebody" },
                "message": own(message),
                "chat_instance": "1",
                "data": data,
            });
            inner.update(json!({ "callback_query": query }));
            press
        };
        self.news.notify_waiters();
        press
    }

    /// Long poll: what is there behind the offset, or what comes in time.
    pub(super) async fn updates(&self, parameters: &Value) -> Answer {
        let offset = parameters["offset"].as_i64().unwrap_or(0);
        let limit = parameters["limit"].as_u64().unwrap_or(100).clamp(1, 100) as usize;
        let wait = Duration::from_secs(parameters["timeout"].as_u64().unwrap_or(0));
        let poll = {
            let mut inner = self.lock();
            inner.poll += 1;
            inner.updates.retain(|update| update["update_id"].as_i64().unwrap_or(0) >= offset);
            inner.poll
        };
        // Who polled before is told to stop; tests may wait for what was confirmed.
        self.news.notify_waiters();
        self.changed.notify_all();
        let found = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                {
                    let inner = self.lock();
                    if inner.poll != poll {
                        let words = "Conflict: terminated by other getUpdates request; make sure that only one bot instance \
                                     is running";
                        return Err(failed(409, words));
                    }
                    if !inner.updates.is_empty() {
                        return Ok(Value::from(
                            inner.updates.iter().take(limit).cloned().collect::<Vec<_>>(),
                        ));
                    }
                }
                news.await;
            }
        };
        timeout(wait, found).await.unwrap_or_else(|_| Ok(json!([])))
    }

    /// Everything else.
    pub(super) fn act(&self, method: &str, parameters: &Value, file: Option<(String, Vec<u8>)>) -> Answer {
        let mut inner = self.lock();
        let answer = match method {
            "getMe" => Ok(json!({ "id": BOT_ID, "is_bot": true, "first_name": "secmon", "username": BOT })),
            "sendMessage" => inner.send(parameters, None),
            "sendDocument" => match file {
                Some((_, data)) if data.is_empty() => Err(bad("file must be non-empty")),
                Some(file) => inner.send(parameters, Some(file)),
                None => Err(bad("there is no document in the request")),
            },
            "editMessageText" => inner.edit(parameters),
            "answerCallbackQuery" => inner.answer_press(parameters),
            "setMyCommands" => inner.set_commands(parameters),
            _ => Err(failed(404, "Not Found: method not found")),
        };
        drop(inner);
        self.changed.notify_all();
        answer
    }
}
