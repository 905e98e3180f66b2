//! A topic of ntfy, <https://docs.ntfy.sh/publish/#publish-as-json>.
//!
//! Texts go in JSON, not in headers, so that a title may be in any script. Nothing is formatted: `markdown` is left out.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, StatusCode};
use secmon_notify::{Kind, Notice, Receipt, SendError, Sending, Service, Severity, web};
use secmon_protocol::{
    text::{is_unsafe, printable},
    time::UnixNanos,
};
use serde_json::{Value, json};

use crate::address::Topic;

/// Longest message in bytes; ntfy makes an attachment of a longer one, <https://docs.ntfy.sh/publish/#limitations>.
const MESSAGE: usize = 4096;
/// Longest title in bytes: what a phone shows of it is far less.
const TITLE: usize = 512;
/// How long a request may take.
const WITHIN: Duration = Duration::from_secs(45);
/// How much of an answer is read.
const MAX_ANSWER: usize = 64 << 10;
/// How long to wait when the messages of a day are used up; 42908 is ntfy's code for it.
const DAY_IS_OVER: Duration = Duration::from_secs(900);
const DAILY_QUOTA: u64 = 42_908;
/// Longest text of the server's in an error of ours, in characters.
const WORDS: usize = 200;

/// One topic.
pub(crate) struct Ntfy {
    client: Client,
    topic: Topic,
    token: Option<secmon_notify::Secret>,
    updates: bool,
}

impl std::fmt::Debug for Ntfy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ntfy")
            .field("topic", &self.topic)
            .field("updates", &self.updates)
            .finish_non_exhaustive()
    }
}

impl Ntfy {
    /// Nothing is connected to yet. With `updates` a digest is one notification that changes, which takes a server of 2.16 or newer.
    pub(crate) fn new(
        client: Client,
        topic: Topic,
        token: Option<secmon_notify::Secret>,
        updates: bool,
    ) -> Self {
        Self { client, topic, token, updates }
    }

    /// Publishes; the id of the message.
    async fn publish(&self, notice: &Notice, sequence: Option<&str>) -> Result<String, SendError> {
        let mut body = message(notice, &self.topic.name, Timestamp::now().into());
        if let Some(sequence) = sequence {
            body["sequence_id"] = json!(sequence);
        }
        let mut request = self.client.post(self.topic.server.clone()).json(&body).timeout(WITHIN);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = request.send().await.map_err(web::unreachable)?;
        let (status, after) = (response.status(), web::retry_after(&response));
        let body = web::body(response, MAX_ANSWER).await;
        if status.is_success() {
            // Cut off, it has arrived all the same.
            let Ok(body) = body else { return Ok(String::new()) };
            let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            return match answer["id"].as_str() {
                Some(id) => Ok(if is_id(id) { id.to_owned() } else { String::new() }),
                None => Err(SendError::Failed {
                    reason: format!(
                        "{}, but with no message: something else than ntfy answers there",
                        status.as_u16()
                    ),
                }),
            };
        }
        Err(refused(status, after, &body.unwrap_or_default(), &self.topic.name))
    }
}

impl Service for Ntfy {
    fn edits(&self) -> bool {
        self.updates
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Sending<'a, Receipt> {
        Box::pin(async move { self.publish(notice, None).await.map(Receipt) })
    }

    fn edit<'a>(&'a self, receipt: &'a Receipt, notice: &'a Notice) -> Sending<'a, ()> {
        Box::pin(async move {
            if !is_id(&receipt.0) {
                return Err(SendError::Vanished);
            }
            // The id of the first message is that of the sequence.
            self.publish(notice, Some(&receipt.0)).await.map(|_| ())
        })
    }
}

fn is_id(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(sound)
}

fn message(notice: &Notice, topic: &str, now: UnixNanos) -> Value {
    let mut text = notice.text.trim().to_owned();
    if text.is_empty() {
        let lines: Vec<String> =
            notice.fields.iter().map(|field| format!("{}: {}", field.name, field.value)).collect();
        text = lines.join("\n");
    }
    if text.is_empty() {
        // ntfy would say "triggered".
        text.clone_from(&notice.title);
    }
    if let Some(late) = notice.late(now) {
        text = format!("{late}\n{text}");
    }
    json!({
        "topic": topic,
        "title": cut(&notice.title.replace('\n', " "), TITLE),
        "message": cut(&text, MESSAGE),
        "priority": priority(notice.severity),
        "tags": tags(notice),
    })
}

/// <https://docs.ntfy.sh/publish/#message-priority>: 3 is the default, 4 is loud, 5 is louder.
fn priority(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 3,
        Severity::Warning => 4,
        Severity::Critical => 5,
    }
}

/// <https://docs.ntfy.sh/emojis/>: shown as a picture before the title.
fn tags(notice: &Notice) -> Vec<&'static str> {
    match (notice.kind, notice.severity) {
        (Kind::Back, _) => vec!["white_check_mark"],
        (_, Severity::Critical) => vec!["rotating_light"],
        (_, Severity::Warning) => vec!["warning"],
        (_, Severity::Info) => vec![],
    }
}

/// At most so many bytes, with `…` where some are left out; nothing that misleads, should such have come so far.
fn cut(text: &str, limit: usize) -> String {
    let text: String =
        text.trim().chars().map(|c| if c != '\n' && is_unsafe(c) { '\u{fffd}' } else { c }).collect();
    if text.len() <= limit {
        return text;
    }
    let mut end = limit - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text[..end].trim_end())
}

/// ntfy's errors are `{"code":42901,"http":429,"error":"limit reached: …","link":"…"}`.
fn refused(status: StatusCode, after: Option<Duration>, body: &[u8], topic: &str) -> SendError {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let words: String = json["error"].as_str().unwrap_or_default().chars().take(WORDS).collect();
    let words = printable(&words);
    // The topic may be a secret.
    let reason = format!("{} {}", status.as_u16(), words.replace(topic, "…")).trim_end().to_owned();
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            let daily = json["code"].as_u64() == Some(DAILY_QUOTA);
            SendError::Busy { after: after.or(daily.then_some(DAY_IS_OVER)) }
        }
        StatusCode::SERVICE_UNAVAILABLE if after.is_some() => SendError::Busy { after },
        status if status.is_redirection() => SendError::Refused {
            reason: format!("{reason}: it has moved, and redirections are not followed; correct the address"),
        },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => SendError::Forbidden {
            reason: format!(
                "{reason}: see whether the token of `token_file` is valid and may write to the topic"
            ),
        },
        _ => web::refusal(status, after, reason),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secmon_notify::Field;
    use secmon_protocol::time::UnixNanos;

    use super::*;

    fn notice(title: &str, text: &str) -> Notice {
        Notice {
            id: "1".into(),
            kind: Kind::Event,
            severity: Severity::Critical,
            title: title.into(),
            text: text.into(),
            fields: vec![Field { name: "user".into(), value: "ünï".into() }],
            node: None,
            time: UnixNanos(0),
            json: Value::Null,
        }
    }

    #[test]
    fn a_notice_is_a_title_a_text_and_how_loud_it_is() {
        insta::assert_json_snapshot!(message(&notice("web-1: 漢 logged in", ""), "t", UnixNanos(0)), @r#"
            {
              "topic": "t",
              "title": "web-1: 漢 logged in",
              "message": "user: ünï",
              "priority": 5,
              "tags": [
                "rotating_light"
              ]
            }
            "#);
    }

    #[test]
    fn refusals_say_what_to_do_and_never_name_the_topic() {
        let of = |status, body: &str| {
            refused(StatusCode::from_u16(status).unwrap(), None, body.as_bytes(), "t0pic")
        };
        assert_eq!(of(429, r#"{"code":42901,"error":"limit reached"}"#), SendError::Busy { after: None });
        assert_eq!(
            of(429, r#"{"code":42908,"error":"limit"}"#),
            SendError::Busy { after: Some(DAY_IS_OVER) }
        );
        let error = of(403, r#"{"code":40301,"error":"forbidden: t0pic"}"#);
        assert!(
            matches!(error, SendError::Forbidden { .. }) && !error.to_string().contains("t0pic"),
            "{error}"
        );
        assert_eq!(of(507, "x"), SendError::Failed { reason: "507".into() });
        assert!(matches!(of(413, ""), SendError::Refused { .. }));
    }

    #[test]
    fn what_comes_late_says_so_first() {
        let body = message(&notice("web-1: a login", "more"), "t", UnixNanos(3_600_000_000_000));
        assert_eq!(body["message"], "This was 1h ago: 1970-01-01 00:00:00 UTC\nmore");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_notice_is_within_the_limits(title in r"\PC{0,600}", text in r"([🦀é\n]|\PC){0,3000}") {
            let body = message(&notice(&title, &text), "t", UnixNanos(i64::MAX));
            let message = body["message"].as_str().unwrap();
            prop_assert!(message.len() <= 4096 && !message.trim().is_empty());
            prop_assert!(body["title"].as_str().unwrap().len() <= 512);
        }
    }
}
