//! The services against fakes that speak their documented APIs over real HTTP.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test as the test itself does")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::LazyLock,
    time::{Duration, Instant},
};

use secmon_discord::{Config, Discord};
use secmon_notify::{Destination, Field, Kind, Notice, Receipt, SendError, Severity};
use secmon_protocol::time::UnixNanos;
use secmon_testkit::fake::{
    discord::{self, FakeDiscord, Limit},
    faults::Fault,
    ntfy::{self, FakeNtfy},
    webhook::{self, FakeWebhook},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Destinations of a configuration; `@name` in it is a file with the text of that name.
fn destinations(config: &str, secrets: &[(&str, &str)]) -> Vec<Destination> {
    let folder = TempDir::new().unwrap();
    let mut config = config.to_owned();
    for (name, text) in secrets {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        config = config.replace(&format!("@{name}"), path.to_str().unwrap());
    }
    let config: Config = toml::from_str(&config).unwrap();
    Discord::new(config).unwrap().destinations()
}

fn one(config: &str, secrets: &[(&str, &str)]) -> Destination {
    destinations(config, secrets).remove(0)
}

fn to_discord(fake: &FakeDiscord) -> Destination {
    one("[[discord]]\nname = 'ops'\nurl_file = '@url'", &[("url", &fake.url())])
}

fn to_webhook(fake: &FakeWebhook) -> Destination {
    let config = format!("[[webhook]]\nname = 'siem'\nurl = '{}'\nsecret_file = '@secret'", fake.url());
    one(&config, &[("secret", webhook::SECRET)])
}

fn to_ntfy(fake: &FakeNtfy, updates: bool) -> Destination {
    let config =
        format!("[[ntfy]]\nname = 'phone'\nurl_file = '@url'\ntoken_file = '@token'\nupdates = {updates}");
    one(&config, &[("url", &fake.url()), ("token", ntfy::TOKEN)])
}

fn notice(n: u32) -> Notice {
    Notice {
        id: format!("0190-1-{n}-0"),
        kind: Kind::Event,
        severity: Severity::Warning,
        title: format!("web-1: login number {n} of @everyone"),
        text: String::new(),
        fields: vec![Field { name: "user".into(), value: "[x](https://evil.example)".into() }],
        node: Some("web-1".into()),
        time: UnixNanos(1_700_000_000_000_000_000),
        json: json!({ "event": { "id": format!("0190-1-{n}-0") }, "secmon": { "type": "auth.accepted" } }),
    }
}

fn edition(count: u64, open: bool) -> Notice {
    Notice { kind: Kind::Digest { open, count }, title: format!("{count} logins"), ..notice(0) }
}

/// Requests are made on it; the fakes have runtimes of their own.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn send(to: &Destination, notice: &Notice) -> Result<Receipt, SendError> {
    RUNTIME.block_on(to.service.send(notice))
}

fn edit(to: &Destination, receipt: &Receipt, notice: &Notice) -> Result<(), SendError> {
    RUNTIME.block_on(to.service.edit(receipt, notice))
}

/// None of them may be in what people or logs see.
fn without_secrets(error: &SendError) -> String {
    let text = format!("{error} {error:?}");
    for secret in [discord::TOKEN, ntfy::TOPIC, ntfy::TOKEN, webhook::SECRET, "127.0.0.1"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[test]
fn a_digest_at_discord_is_one_message_that_changes() {
    let fake = FakeDiscord::new();
    let to = to_discord(&fake);
    let receipt = send(&to, &edition(2, true)).unwrap();
    edit(&to, &receipt, &edition(9, true)).unwrap();
    edit(&to, &receipt, &edition(9, true)).unwrap();
    edit(&to, &receipt, &edition(12, false)).unwrap();
    let [message] = &fake.messages()[..] else { panic!("{:?}", fake.messages()) };
    assert_eq!((message.title(), message.before.len()), ("12 logins", 3));
    assert_eq!(message.body["embeds"][0]["footer"]["text"], "secmon, warning, 12 in all");

    fake.delete_messages();
    assert_eq!(edit(&to, &receipt, &edition(13, true)), Err(SendError::Vanished));
    let lost = Receipt(String::new());
    assert_eq!(edit(&to, &lost, &edition(13, true)), Err(SendError::Vanished));
}

#[test]
fn a_thread_is_named_in_every_request() {
    let fake = FakeDiscord::new();
    let config = "[[discord]]\nname = 'ops'\nurl_file = '@url'\nthread_id = '777'\nusername = 'secmon'";
    let to = one(config, &[("url", &fake.url())]);
    let receipt = send(&to, &edition(2, true)).unwrap();
    edit(&to, &receipt, &edition(3, true)).unwrap();
    let message = fake.messages().remove(0);
    assert_eq!(message.thread.as_deref(), Some("777"));
    assert_eq!(message.before[0]["username"], "secmon");
    assert_eq!(message.body.get("username"), None, "an edit has no such key");
}

#[test]
fn the_limit_of_a_webhook_is_not_run_into() {
    let fake = FakeDiscord::new();
    fake.limit(Limit { requests: 3, window: Duration::from_millis(300) });
    let to = to_discord(&fake);
    for n in 0..10 {
        send(&to, &notice(n)).unwrap();
    }
    assert_eq!(fake.messages().len(), 10);
    assert!(fake.statuses().iter().all(|status| *status == 200), "{:?}", fake.statuses());
}

#[test]
fn a_limit_that_others_used_up_is_told_and_then_waited_for() {
    let fake = FakeDiscord::new();
    let to = to_discord(&fake);
    let body =
        r#"{"message": "You are being rate limited.", "retry_after": 0.3, "global": false}"#.to_owned();
    let headers = [("x-ratelimit-scope".parse().unwrap(), "shared".parse().unwrap())].into_iter().collect();
    fake.faults.next("", Fault::Answer { status: status(429), headers, body });
    let started = Instant::now();
    assert_eq!(send(&to, &notice(2)), Err(SendError::Busy { after: Some(Duration::from_millis(300)) }));
    send(&to, &notice(2)).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300), "it was not waited for");
}

#[test]
fn a_global_limit_holds_every_webhook_of_the_process() {
    let (one, other) = (FakeDiscord::new(), FakeDiscord::new());
    let config = "[[discord]]\nname = 'a'\nurl_file = '@a'\n[[discord]]\nname = 'b'\nurl_file = '@b'";
    let all = destinations(config, &[("a", &one.url()), ("b", &other.url())]);
    one.faults.next("/webhooks/", FakeDiscord::global_limit(64.57));
    for to in &all {
        let error = send(to, &notice(1)).unwrap_err();
        let SendError::Busy { after: Some(after) } = error else { panic!("{error:?}") };
        assert!(after > Duration::from_secs(30) && after <= Duration::from_millis(64_570), "{after:?}");
    }
    assert!(one.statuses().is_empty() && other.statuses().is_empty(), "nothing was asked behind it");
}

#[test]
fn a_webhook_that_is_gone_is_said_with_what_to_do() {
    let fake = FakeDiscord::new();
    fake.delete_webhook();
    let error = send(&to_discord(&fake), &notice(1)).unwrap_err();
    assert!(matches!(error, SendError::Forbidden { .. }), "{error:?}");
    assert!(without_secrets(&error).contains("Unknown Webhook (10015): make the webhook anew"));
}

#[test]
fn a_wrong_token_is_said_and_not_shown() {
    let fake = FakeDiscord::new();
    let url = fake.url().replace(discord::TOKEN, "wr0ng-token");
    let to = one("[[discord]]\nname = 'ops'\nurl_file = '@url'", &[("url", &url)]);
    let error = send(&to, &notice(1)).unwrap_err();
    assert!(without_secrets(&error).contains("Invalid Webhook Token (50027)"), "{error}");
    assert!(!error.to_string().contains("wr0ng-token"), "{error}");
}

#[test]
fn what_discord_does_not_take_is_named() {
    let fake = FakeDiscord::new();
    let body = json!({ "message": "Invalid Form Body", "code": 50035, "errors": { "embeds": { "0": { "title": {
        "_errors": [{ "code": "BASE_TYPE_MAX_LENGTH", "message": format!("Not {}.", discord::TOKEN) }] } } } } });
    fake.faults
        .next("", Fault::Answer { status: status(400), headers: Default::default(), body: body.to_string() });
    let error = send(&to_discord(&fake), &notice(1)).unwrap_err();
    let text = without_secrets(&error);
    assert!(matches!(error, SendError::Refused { .. }) && text.contains("embeds.0.title: Not …."), "{text}");
}

fn status(status: u16) -> reqwest::StatusCode {
    reqwest::StatusCode::from_u16(status).unwrap()
}

#[test]
fn an_answer_that_is_cut_off_repeats_nothing_and_a_request_that_is_says_so() {
    let fake = FakeDiscord::new();
    let to = to_discord(&fake);
    // It says 200 before it is cut: the message has arrived, and cannot be edited.
    fake.faults.next("", Fault::CutAnswer);
    let receipt = send(&to, &edition(1, true)).unwrap();
    assert_eq!(edit(&to, &receipt, &edition(2, true)), Err(SendError::Vanished));
    assert_eq!(fake.messages().len(), 1);
    let down = to_discord(&fake);
    drop(fake);
    let error = send(&down, &notice(1)).unwrap_err();
    assert!(matches!(error, SendError::Unreachable { .. }), "{error:?}");
    without_secrets(&error);
}

#[test]
fn a_receiver_can_check_who_sent_and_what_is_a_repeat() {
    let fake = FakeWebhook::new();
    let to = to_webhook(&fake);
    assert!(!to.service.edits());
    for n in [1, 2, 2] {
        send(&to, &notice(n)).unwrap();
    }
    assert_eq!(fake.refused(), [""; 0]);
    let posted = fake.posted();
    assert_eq!(
        posted.iter().map(|post| post.id.as_str()).collect::<Vec<_>>(),
        ["0190-1-1-0", "0190-1-2-0", "0190-1-2-0"]
    );
    assert_eq!(posted[0].body, notice(1).json);
}

#[test]
fn while_a_secret_is_exchanged_receivers_with_either_are_served() {
    let fake = FakeWebhook::new();
    let config = format!(
        "[[webhook]]\nname = 'siem'\nurl = '{}'\nsecret_file = '@new'\nold_secret_file = '@old'\ntoken_file = '@token'\n\
         form = 'notice'\nheaders = {{ 'X-Env' = 'prod' }}",
        fake.url()
    );
    let to = one(
        &config,
        &[("new", "the-new-secret-of-24-bytes-or-more"), ("old", webhook::SECRET), ("token", "tk_1")],
    );
    send(&to, &notice(1)).unwrap();
    let post = fake.posted().remove(0);
    assert_eq!(
        (&post.headers["x-env"], &post.headers["authorization"]),
        (&"prod".parse().unwrap(), &"Bearer tk_1".parse().unwrap())
    );
    assert_eq!((&post.body["type"], &post.body["data"]["event"]), (&json!("notice.event"), &notice(1).json));
}

#[test]
fn a_receiver_with_another_secret_refuses_and_one_that_is_gone_is_left() {
    let fake = FakeWebhook::new();
    let config = format!("[[webhook]]\nname = 'siem'\nurl = '{}'\nsecret_file = '@secret'", fake.url());
    let to = one(&config, &[("secret", "another-secret-of-24-bytes-or-more")]);
    assert!(matches!(send(&to, &notice(1)), Err(SendError::Refused { .. })));
    assert_eq!(fake.refused(), ["no signature fits"]);
    fake.answer(Some(status(410)));
    let error = send(&to, &notice(1)).unwrap_err();
    assert!(matches!(error, SendError::Forbidden { .. }), "{error:?}");
    without_secrets(&error);
}

#[test]
fn a_topic_gets_title_text_and_loudness_in_any_script() {
    let fake = FakeNtfy::new();
    let to = to_ntfy(&fake, false);
    assert!(!to.service.edits());
    let mut critical = notice(1);
    critical.title = "web-1: 漢字 ünï 🦀".into();
    critical.severity = Severity::Critical;
    critical.text = "é".repeat(3000);
    send(&to, &critical).unwrap();
    let message = fake.messages().remove(0);
    assert_eq!((&message["title"], &message["priority"]), (&json!("web-1: 漢字 ünï 🦀"), &json!(5)));
    let text = message["message"].as_str().unwrap();
    assert!(text.len() <= 4096 && text.ends_with('…'));
    assert_eq!(message.get("sequence_id"), None);
}

#[test]
fn a_digest_at_ntfy_changes_where_the_configuration_says_that_it_can() {
    let fake = FakeNtfy::new();
    let to = to_ntfy(&fake, true);
    assert!(to.service.edits());
    let receipt = send(&to, &edition(1, true)).unwrap();
    edit(&to, &receipt, &edition(2, false)).unwrap();
    let of: Vec<Value> = fake.messages().iter().map(|message| message["sequence_id"].clone()).collect();
    assert_eq!(of, [Value::Null, json!(receipt.0)]);
}

#[test]
fn a_wrong_token_of_ntfy_is_forbidden_and_a_limit_is_waited_for() {
    let fake = FakeNtfy::new();
    let to = one("[[ntfy]]\nname = 'phone'\nurl_file = '@url'", &[("url", &fake.url())]);
    let error = send(&to, &notice(1)).unwrap_err();
    assert!(matches!(error, SendError::Forbidden { .. }), "{error:?}");
    assert!(without_secrets(&error).contains("token_file"));
    let body = r#"{"code":42901,"http":429,"error":"limit reached: too many requests"}"#.to_owned();
    let headers = [("retry-after".parse().unwrap(), "7".parse().unwrap())].into_iter().collect();
    fake.faults.next("", Fault::Answer { status: status(429), headers, body });
    let error = send(&to_ntfy(&fake, false), &notice(1)).unwrap_err();
    assert_eq!(error, SendError::Busy { after: Some(Duration::from_secs(7)) });
}
