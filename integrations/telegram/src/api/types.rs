//! What the Bot API says and takes, as far as this bot needs it: <https://core.telegram.org/bots/api#available-types>.

use serde::{Deserialize, Serialize};

/// A user's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct UserId(pub(crate) i64);

/// A chat's number: a user's own for a private chat, negative for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ChatId(pub(crate) i64);

/// A message's number within its chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct MessageId(pub(crate) i64);

impl ChatId {
    /// Whether it is one person's.
    pub(crate) fn is_private(self) -> bool {
        self.0 > 0
    }
}

/// Something that came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(crate) update_id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Message>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) callback_query: Option<Press>,
}

/// A message, of somebody or of ourselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) message_id: MessageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<User>,
    /// Who speaks where it is a chat that speaks: a channel, or an anonymous administrator. `from` is nobody then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sender_chat: Option<Chat>,
    pub(crate) chat: Chat,
    /// Seconds since 1970.
    #[serde(default)]
    pub(crate) date: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_thread_id: Option<i64>,
    /// Whether that thread is a topic of a forum; it may be a thread of replies otherwise.
    #[serde(default)]
    pub(crate) is_topic_message: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to_message: Option<ReplyTo>,
    /// The group became a supergroup of this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) migrate_to_chat_id: Option<ChatId>,
}

/// What a message answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReplyTo {
    pub(crate) message_id: MessageId,
}

/// A person, or a bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: UserId,
    #[serde(default)]
    pub(crate) is_bot: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
}

/// Where a message stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Chat {
    pub(crate) id: ChatId,
}

/// A button was pressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Press {
    pub(crate) id: String,
    pub(crate) from: User,
    /// The message with the keyboard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Message>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<String>,
}

/// A button below a message. Its data has at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Button {
    pub(crate) text: String,
    #[serde(rename = "callback_data")]
    pub(crate) data: String,
}

/// Rows of buttons.
pub(crate) type Keyboard = Vec<Vec<Button>>;

/// What stands below a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Markup {
    /// Buttons.
    Inline { inline_keyboard: Keyboard },
    /// The person's client opens an answer to this message.
    ForceReply { force_reply: bool, selective: bool, input_field_placeholder: String },
}

/// A command in the menu of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MenuCommand {
    pub(crate) command: &'static str,
    pub(crate) description: &'static str,
}

/// Where in a chat: the chat, and the topic of a forum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Spot {
    pub(crate) chat: ChatId,
    pub(crate) thread: Option<i64>,
}
