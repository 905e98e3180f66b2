//! What can go wrong between the Bot API and us.

use std::time::Duration;

use secmon_notify::SendError;
use serde::Deserialize;

use super::ChatId;

/// Why a call did not do what it should. No text holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// No answer, or one that was cut short.
    #[error("cannot reach Telegram: {reason}")]
    Unreachable { reason: String },
    /// 429: too many requests.
    #[error("Telegram wants us to wait for {} s", after.as_secs())]
    Busy { after: Duration },
    /// 5xx.
    #[error("Telegram failed: {reason}")]
    Failed { reason: String },
    /// 401 or 404: no bot has this token.
    #[error(
        "Telegram knows no bot with this token: ask @BotFather for the right one (/token), and put it into the file or credential"
    )]
    Token,
    /// 409 of getUpdates.
    #[error(
        "another program asks for this bot's updates: {reason}; a bot may run once only, or give this one a token of its own"
    )]
    Conflict { reason: String },
    /// The chat takes nothing of ours.
    #[error("{reason}")]
    Forbidden { reason: String },
    /// The group became a supergroup.
    #[error("the group became a supergroup with the id {}", to.0)]
    Moved { to: ChatId },
    /// An edit that changes nothing.
    #[error("nothing to change")]
    NotModified,
    /// What was to be edited is gone.
    #[error("the message is not there any more")]
    Vanished,
    /// 400 and the like: this request, never.
    #[error("Telegram does not take it: {reason}")]
    Refused { reason: String },
}

/// Further facts of a refusal, <https://core.telegram.org/bots/api#responseparameters>.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) retry_after: Option<f64>,
    pub(crate) migrate_to_chat_id: Option<ChatId>,
}

/// A wait where Telegram names none, though it always does.
const SOME_WAIT: Duration = Duration::from_secs(5);

impl ApiError {
    /// From an answer that says no. The codes are those of HTTP; what exactly is meant stands in the description alone, whose
    /// wordings are those of <https://github.com/tdlib/telegram-bot-api>.
    pub(crate) fn of(code: u16, description: &str, parameters: &Parameters) -> Self {
        if let Some(to) = parameters.migrate_to_chat_id {
            return Self::Moved { to };
        }
        let words = description.to_lowercase();
        let has = |any: &[&str]| any.iter().any(|part| words.contains(part));
        let reason = description.to_owned();
        match code {
            401 | 404 => Self::Token,
            409 => Self::Conflict { reason },
            429 => Self::Busy {
                after: parameters.retry_after.and_then(secmon_notify::web::seconds).unwrap_or(SOME_WAIT),
            },
            403 => Self::Forbidden {
                reason: format!(
                    "{description}; the person must start the bot, or it must be added to the group, again"
                ),
            },
            500.. => Self::Failed { reason },
            _ if has(&["message is not modified"]) => Self::NotModified,
            _ if has(&["message to edit not found", "message can't be edited", "message_id_invalid"]) => {
                Self::Vanished
            }
            _ if has(&["chat not found"]) => Self::Forbidden {
                reason: format!(
                    "{description}; is the id right, and has the person started the bot, or was it added to the group?"
                ),
            },
            _ if has(&["message thread not found", "topic_closed", "topic_deleted"]) => {
                Self::Forbidden { reason: format!("{description}; is `thread` of the chat right?") }
            }
            _ if has(&["not enough rights", "have no rights", "chat_write_forbidden", "chat_restricted"]) => {
                Self::Forbidden { reason: format!("{description}; the group does not let the bot write") }
            }
            _ => Self::Refused { reason },
        }
    }

    /// How long to wait before another attempt, where one makes sense.
    pub(crate) fn again_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after } => Some(*after),
            Self::Unreachable { .. } | Self::Failed { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Unreachable { reason } => Self::Unreachable { reason },
            other => Self::Unreachable { reason: other.to_string() },
        }
    }
}

impl From<ApiError> for SendError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unreachable { reason } => Self::Unreachable { reason },
            ApiError::Busy { after } => Self::Busy { after: Some(after) },
            ApiError::Failed { reason } => Self::Failed { reason },
            // Never a message's fault: it waits for the right token.
            ApiError::Token | ApiError::Conflict { .. } => Self::Unreachable { reason: error.to_string() },
            ApiError::Forbidden { reason } => Self::Forbidden { reason },
            ApiError::Vanished => Self::Vanished,
            ApiError::Moved { .. } | ApiError::NotModified => Self::Refused { reason: error.to_string() },
            ApiError::Refused { reason } => Self::Refused { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_known_for_what_it_is() {
        let of = |code, description: &str| ApiError::of(code, description, &Parameters::default());
        assert_eq!(of(401, "Unauthorized"), ApiError::Token);
        assert_eq!(of(400, "Bad Request: message is not modified: specified new …"), ApiError::NotModified);
        assert_eq!(of(400, "Bad Request: message to edit not found"), ApiError::Vanished);
        assert!(matches!(of(403, "Forbidden: bot was blocked by the user"), ApiError::Forbidden { .. }));
        assert!(matches!(of(400, "Bad Request: chat not found"), ApiError::Forbidden { .. }));
        assert!(matches!(of(400, "Bad Request: can't parse entities"), ApiError::Refused { .. }));
        assert!(matches!(of(502, "Bad Gateway"), ApiError::Failed { .. }));
        let wait = Parameters { retry_after: Some(3.0), ..Parameters::default() };
        assert_eq!(
            ApiError::of(429, "Too Many Requests: retry after 3", &wait),
            ApiError::Busy { after: Duration::from_secs(3) }
        );
        let to = ChatId(-1_001);
        let moved = Parameters { migrate_to_chat_id: Some(to), ..Parameters::default() };
        assert_eq!(
            ApiError::of(400, "Bad Request: group chat was upgraded to a supergroup chat", &moved),
            ApiError::Moved { to }
        );
    }
}
