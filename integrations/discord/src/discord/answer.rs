//! What an answer of Discord's means. Pure.
//!
//! Codes: <https://discord.com/developers/docs/topics/opcodes-and-status-codes#json>; the shape of errors:
//! <https://discord.com/developers/docs/reference#error-messages>.

use std::{fmt::Write as _, time::Duration};

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use secmon_notify::{SendError, web};
use secmon_protocol::text::printable;
use serde_json::Value;

use super::limits::{Route, Said};

/// How long all is quiet when what answers is not Discord but what stands before it: a ban lasts about so long.
const BANNED: Duration = Duration::from_secs(600);
/// How long, when a 429 does not say.
const UNSAID: Duration = Duration::from_secs(5);
/// Longest text of Discord's in an error of ours, in characters.
const WORDS: usize = 200;
/// How many wrong fields an error names, and how deep they are looked for.
const WRONG: usize = 4;
const DEEP: usize = 8;

/// What is to be done about a refusal, beside telling the caller.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    /// For the caller.
    pub(crate) error: SendError,
    /// What must not be asked for how long.
    pub(crate) hold: Option<Hold>,
}

/// What has to wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Hold {
    /// This route of this webhook.
    Route(Duration),
    /// Every webhook of this process.
    All(Duration),
}

/// What the headers of any answer say about limits.
pub(crate) fn said(headers: &HeaderMap) -> Said {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    Said {
        bucket: text("x-ratelimit-bucket").map(|bucket| bucket.chars().take(128).collect()),
        remaining: text("x-ratelimit-remaining").and_then(|text| text.parse().ok()),
        reset_after: text("x-ratelimit-reset-after").and_then(|text| web::seconds(text.parse().ok()?)),
    }
}

/// What an answer that is no success means.
pub(crate) fn refused(route: Route, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refused {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = json["code"].as_u64();
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    // The body's is the more precise one.
    let after = json["retry_after"].as_f64().or(header).and_then(web::seconds);
    if status == StatusCode::TOO_MANY_REQUESTS {
        return busy(headers, &json, after);
    }
    if status == StatusCode::FORBIDDEN && !json.is_object() {
        let after = after.unwrap_or(BANNED);
        let reason = "403, and not in Discord's words: a proxy between us, or Cloudflare after too many invalid requests".to_owned();
        return Refused { error: SendError::Unreachable { reason }, hold: Some(Hold::All(after)) };
    }
    let reason = reason(status, code, &json);
    let error = match code {
        // Unknown Message; of another author; too many edits of an old one: it is sent anew.
        Some(10_008 | 50_005 | 30_046) if route == Route::Edit => SendError::Vanished,
        // Unknown Webhook, Unknown Channel, Invalid Webhook Token.
        Some(10_015 | 50_027 | 10_003) => SendError::Forbidden {
            reason: format!("{reason}: make the webhook anew, and put its address in place of the old one"),
        },
        // The thread is archived, or locked.
        Some(50_083 | 160_005) => SendError::Forbidden { reason: format!("{reason}: open the thread") },
        // A forum's webhook without a thread; one that is no forum's with one.
        Some(220_001..=220_003) => SendError::Forbidden { reason: format!("{reason}: see `thread_id`") },
        _ => web::refusal(status, None, reason),
    };
    Refused { error, hold: None }
}

fn busy(headers: &HeaderMap, json: &Value, after: Option<Duration>) -> Refused {
    // Cloudflare's own 429 has no JSON and none of Discord's headers.
    let foreign = !json.is_object() && !headers.contains_key("x-ratelimit-scope");
    let global = json["global"].as_bool() == Some(true)
        || headers.contains_key("x-ratelimit-global")
        || headers.get("x-ratelimit-scope").is_some_and(|scope| scope == "global");
    let after = after.unwrap_or(if foreign { BANNED } else { UNSAID });
    let hold = if global || foreign { Hold::All(after) } else { Hold::Route(after) };
    Refused { error: SendError::Busy { after: Some(after) }, hold: Some(hold) }
}

/// `400 Invalid Form Body (50035): embeds.0.title: Must be 256 or fewer in length.`
fn reason(status: StatusCode, code: Option<u64>, json: &Value) -> String {
    let mut out = status.as_u16().to_string();
    if let Some(message) = json["message"].as_str() {
        let _ = write!(out, " {}", words(message));
    }
    if let Some(code) = code.filter(|code| *code != 0) {
        let _ = write!(out, " ({code})");
    }
    let mut wrong = Vec::new();
    find(&json["errors"], &mut Vec::new(), &mut wrong);
    if !wrong.is_empty() {
        let _ = write!(out, ": {}", wrong.join("; "));
    }
    out
}

/// The fields that an error names, in its nested form.
fn find(errors: &Value, path: &mut Vec<String>, wrong: &mut Vec<String>) {
    let Some(errors) = errors.as_object().filter(|_| path.len() < DEEP) else { return };
    for (key, value) in errors {
        if wrong.len() == WRONG {
            return;
        }
        if key == "_errors" {
            let message = value[0]["message"].as_str().unwrap_or("wrong");
            wrong.push(format!("{}: {}", path.join("."), words(message)));
        } else {
            path.push(words(key));
            find(value, path, wrong);
            path.pop();
        }
    }
}

fn words(text: &str) -> String {
    printable(&text.chars().take(WORDS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn of(status: u16, body: &str) -> SendError {
        refused(Route::Edit, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes()).error
    }

    #[test]
    fn each_refusal_says_what_is_to_be_done() {
        assert_eq!(of(404, r#"{"message": "Unknown Message", "code": 10008}"#), SendError::Vanished);
        for (status, body, word) in [
            (404, r#"{"message": "Unknown Webhook", "code": 10015}"#, "404 Unknown Webhook (10015): make"),
            (401, r#"{"message": "Invalid Webhook Token", "code": 50027}"#, "make the webhook anew"),
            (400, r#"{"message": "Thread is archived", "code": 50083}"#, "open the thread"),
            (400, r#"{"message": "Webhooks posted to forum channels …", "code": 220001}"#, "thread_id"),
            (404, r#"{"message": "404: Not Found", "code": 0}"#, "404 404: Not Found"),
        ] {
            let error = of(status, body);
            assert!(
                matches!(error, SendError::Forbidden { .. }) && error.to_string().contains(word),
                "{error}"
            );
        }
        let wrong = r#"{"message": "Invalid Form Body", "code": 50035, "errors": {"embeds": {"0": {"title": {"_errors":
            [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 256 or fewer in length."}]}}}}}"#;
        let reason =
            "400 Invalid Form Body (50035): embeds.0.title: Must be 256 or fewer in length.".to_owned();
        assert_eq!(of(400, wrong), SendError::Refused { reason });
        assert_eq!(of(502, "<html>"), SendError::Failed { reason: "502".into() });
    }

    #[test]
    fn a_429_holds_what_it_is_about_for_as_long_as_its_body_says() {
        let busy = |list: &[_], body: &str| {
            let refused =
                refused(Route::Send, StatusCode::TOO_MANY_REQUESTS, &headers(list), body.as_bytes());
            assert!(matches!(refused.error, SendError::Busy { after: Some(_) }));
            refused.hold.unwrap()
        };
        let user = r#"{"message": "You are being rate limited.", "retry_after": 0.35, "global": false}"#;
        let scope = [("retry-after", "1"), ("x-ratelimit-scope", "user")];
        assert_eq!(busy(&scope, user), Hold::Route(Duration::from_millis(350)));
        assert_eq!(busy(&scope, ""), Hold::Route(Duration::from_secs(1)));
        let global = r#"{"message": "You are being rate limited.", "retry_after": 64.57, "global": true}"#;
        assert_eq!(busy(&[("retry-after", "65")], global), Hold::All(Duration::from_millis(64_570)));
        assert_eq!(
            busy(&[("retry-after", "9"), ("x-ratelimit-global", "true")], ""),
            Hold::All(Duration::from_secs(9))
        );
        assert_eq!(busy(&[], "<html>error 1015"), Hold::All(BANNED));
        let forever = r#"{"retry_after": 1e300, "global": false}"#;
        assert_eq!(busy(&scope, forever), Hold::Route(UNSAID), "no such time: not believed");
    }

    #[test]
    fn a_403_that_is_not_discords_is_not_the_webhooks_fault() {
        let it = refused(Route::Send, StatusCode::FORBIDDEN, &HeaderMap::new(), b"<!DOCTYPE html>");
        assert!(matches!(it.error, SendError::Unreachable { .. }), "{it:?}");
        assert_eq!(it.hold, Some(Hold::All(BANNED)));
    }
}
