//! Any webhook: ECS as JSON, signed as Standard Webhooks has it.

mod sign;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap},
};
use secmon_notify::{Kind, Notice, Receipt, SendError, Sending, Service, web};
use serde::Deserialize;
use serde_json::json;

pub(crate) use self::sign::Key;

/// How long a request may take, as the specification advises.
const WITHIN: Duration = Duration::from_secs(30);
/// How much of an answer is read, so that its connection can be used again.
const MAX_ANSWER: usize = 4096;

/// What is posted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The event in ECS, with what notify adds under `secmon.notice`.
    #[default]
    Event,
    /// `{"type", "timestamp", "data"}` with the notice's own words and, within, the event.
    Notice,
}

/// One receiver.
pub(crate) struct Receiver {
    client: Client,
    url: Url,
    form: Form,
    keys: Vec<Key>,
    headers: HeaderMap,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("host", &self.url.host_str())
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// Nothing is connected to yet. `headers` are sent beside our own.
    pub(crate) fn new(client: Client, url: Url, form: Form, keys: Vec<Key>, headers: HeaderMap) -> Self {
        Self { client, url, form, keys, headers }
    }

    async fn post(&self, notice: &Notice) -> Result<Receipt, SendError> {
        let body = body(notice, self.form);
        let id = sign::id(&notice.id);
        let timestamp = Timestamp::now().as_second();
        let mut request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .timeout(WITHIN);
        if !self.keys.is_empty() {
            request =
                request.header("webhook-signature", sign::signatures(&self.keys, &id, timestamp, &body));
        }
        let response = request.body(body).send().await.map_err(web::unreachable)?;
        let (status, after) = (response.status(), web::retry_after(&response));
        // What it says is its own: it may repeat our secrets, so it is not told.
        let _ = web::body(response, MAX_ANSWER).await;
        if status.is_success() { Ok(Receipt(id)) } else { Err(refused(status, after)) }
    }
}

impl Service for Receiver {
    fn edits(&self) -> bool {
        false
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Sending<'a, Receipt> {
        Box::pin(self.post(notice))
    }

    fn edit<'a>(&'a self, _: &'a Receipt, notice: &'a Notice) -> Sending<'a, ()> {
        Box::pin(async move { self.post(notice).await.map(|_| ()) })
    }
}

fn body(notice: &Notice, form: Form) -> Vec<u8> {
    let json = match form {
        Form::Event => notice.json.clone(),
        Form::Notice => json!({
            "type": kind(notice.kind),
            "timestamp": notice.time.rfc3339(),
            "data": {
                "id": notice.id,
                "severity": notice.severity,
                "title": notice.title,
                "text": notice.text,
                "fields": notice.fields,
                "node": notice.node,
                "event": notice.json,
            },
        }),
    };
    json.to_string().into_bytes()
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Event => "notice.event",
        Kind::Digest { .. } => "notice.digest",
        Kind::Away => "notice.away",
        Kind::Back => "notice.back",
        Kind::Missing => "notice.missing",
        Kind::Test => "notice.test",
    }
}

fn refused(status: StatusCode, after: Option<Duration>) -> SendError {
    let reason = format!("it answered {status}");
    match status {
        StatusCode::SERVICE_UNAVAILABLE if after.is_some() => SendError::Busy { after },
        StatusCode::GONE => {
            SendError::Forbidden { reason: format!("{reason}: it wants no messages any more") }
        }
        status if status.is_redirection() => SendError::Refused {
            reason: format!("{reason}: it has moved, and redirections are not followed; correct the address"),
        },
        status => web::refusal(status, after, reason),
    }
}

#[cfg(test)]
mod tests {
    use secmon_notify::{Field, Severity};
    use secmon_protocol::time::UnixNanos;
    use serde_json::Value;

    use super::*;

    fn notice() -> Notice {
        Notice {
            id: "0190-1-17-0".into(),
            kind: Kind::Event,
            severity: Severity::Warning,
            title: "web-1: accepted publickey for alice".into(),
            text: String::new(),
            fields: vec![Field { name: "user".into(), value: "alice".into() }],
            node: Some("web-1".into()),
            time: UnixNanos(1_700_000_000_000_000_000),
            json: json!({ "event": { "kind": "event" }, "secmon": { "notice": { "severity": "warning" } } }),
        }
    }

    #[test]
    fn a_receiver_gets_the_event_or_the_notice_around_it() {
        assert_eq!(serde_json::from_slice::<Value>(&body(&notice(), Form::Event)).unwrap(), notice().json);
        let whole: Value = serde_json::from_slice(&body(&notice(), Form::Notice)).unwrap();
        insta::assert_json_snapshot!(whole, @r#"
            {
              "type": "notice.event",
              "timestamp": "2023-11-14T22:13:20Z",
              "data": {
                "id": "0190-1-17-0",
                "severity": "warning",
                "title": "web-1: accepted publickey for alice",
                "text": "",
                "fields": [
                  {
                    "name": "user",
                    "value": "alice"
                  }
                ],
                "node": "web-1",
                "event": {
                  "event": {
                    "kind": "event"
                  },
                  "secmon": {
                    "notice": {
                      "severity": "warning"
                    }
                  }
                }
              }
            }
            "#);
    }

    #[test]
    fn refusals_are_read_as_the_specification_has_them() {
        let of = |status, after| refused(StatusCode::from_u16(status).unwrap(), after);
        assert!(matches!(of(410, None), SendError::Forbidden { .. }));
        assert!(matches!(of(429, None), SendError::Busy { .. }));
        assert!(matches!(of(302, None), SendError::Refused { .. }));
        assert!(matches!(of(500, None), SendError::Failed { .. }));
        let after = Some(Duration::from_secs(3));
        assert_eq!(of(503, after), SendError::Busy { after });
    }
}
