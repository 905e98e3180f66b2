//! The lines of a watch, and the arguments of the commands.
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, and these are their helpers")]

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use clap::{CommandFactory as _, Parser};
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use secmon_client::{
    Client, Subscription, Update,
    cli::{self, Failure, Form, watch_lines},
    render::Look,
};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec,
    ids::{Cursor, Epoch, LogId, NodeId, RequestId, Seq},
    message::client::{ClientToHub, Filter, From as StartFrom, Gap, HubToClient},
    record::{Envelope, LogRecord, Origin},
    time::UnixNanos,
};
use tokio::{io::AsyncWrite, net::UnixStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    common: cli::Common,
    #[command(subcommand)]
    command: cli::Command,
}

/// Takes writes, and counts flushes; closed once it was flushed `open` times.
struct Out {
    text: Vec<u8>,
    open: usize,
}

impl AsyncWrite for Out {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.open == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.text.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open -= 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn cursor(n: u64) -> Cursor {
    Cursor { log: LogId(7), n }
}

fn event(request: RequestId, n: u64, action: AuthAction, time: i64) -> HubToClient {
    event_of(request, n, action, time, "root")
}

fn event_of(request: RequestId, n: u64, action: AuthAction, time: i64, user: &str) -> HubToClient {
    let mut event =
        AuthEvent::new(UnixNanos(time * 1_000_000_000), "sshd", Some(9), action, "Failed password for root");
    event.user = Some(user.into());
    let record = codec::encode(&LogRecord {
        cursor: cursor(n),
        node: NodeId([1; 16]),
        name: "web-1".parse().unwrap(),
        origin: Origin::Node { epoch: Epoch(1), seq: Seq(n) },
        envelope: Envelope::auth(&event),
    });
    HubToClient::Event { request, record }
}

async fn send(hub: &mut Framed<UnixStream, LengthDelimitedCodec>, message: HubToClient) {
    hub.send(codec::encode(&message)).await.unwrap();
}

/// A subscription that has all these waiting, and a hub that then hangs up.
async fn subscription(messages: impl FnOnce(RequestId) -> Vec<HubToClient>) -> Subscription {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut hub = Framed::new(theirs, codec::frames());
    let subscribing = tokio::spawn(async move {
        let client = Client::over(ours, "test 1").await?;
        client.subscribe(StartFrom::Now, Filter::default()).await
    });
    hub.next().await.unwrap().unwrap();
    let newest = cursor(0);
    send(&mut hub, HubToClient::Welcome { version: 1, agent: "0.1.0".into(), newest, clock: UnixNanos(0) })
        .await;
    let frame = hub.next().await.unwrap().unwrap();
    let ClientToHub::Subscribe { request, .. } = codec::decode(&frame).unwrap() else {
        panic!("not a Subscribe")
    };
    send(&mut hub, HubToClient::Subscribed { request, after: newest, snapshot: None, whole: true }).await;
    for message in messages(request) {
        send(&mut hub, message).await;
    }
    subscribing.await.unwrap().unwrap()
}

/// 1970-01-02T00:00:00Z and 12 hours later.
const DAY: i64 = 86_400;

fn a_few(request: RequestId) -> Vec<HubToClient> {
    vec![
        event(request, 1, AuthAction::Failed, DAY),
        event(request, 2, AuthAction::SessionOpened, DAY + 1),
        HubToClient::Progress { request, cursor: cursor(3) },
        event(request, 4, AuthAction::Failed, 2 * DAY),
    ]
}

async fn watched(
    messages: impl FnOnce(RequestId) -> Vec<HubToClient>,
    types: &[&str],
    form: Form,
    open: usize,
) -> (String, Failure) {
    let subscription = subscription(messages).await;
    let types: Vec<String> = types.iter().map(|t| (*t).to_owned()).collect();
    let mut out = Out { text: vec![], open };
    let watching = watch_lines(subscription.map_ok(Update::Item), &types, &form, &mut out);
    let failure =
        tokio::time::timeout(std::time::Duration::from_secs(10), watching).await.unwrap().unwrap_err();
    (String::from_utf8(out.text).unwrap(), failure)
}

#[tokio::test]
async fn a_watch_prints_a_line_per_event_and_a_line_per_day_and_says_how_it_ended() {
    let (text, failure) = watched(a_few, &[], Form::Text(Look::plain()), 99).await;
    insta::assert_snapshot!(text, @"
    --- 1970-01-02 ---
    00:00:00  web-1         auth.failed           failed login for root
    00:00:01  web-1         auth.session_opened   sshd session opened for root
    --- 1970-01-03 ---
    00:00:00  web-1         auth.failed           failed login for root
    ");
    assert_eq!(failure.exit_code(), 3);
    assert_eq!(failure.to_string(), "the connection to the hub was lost: the hub closed it");
}

#[tokio::test]
async fn json_lines_read_the_same_for_ever() {
    let (text, _) = watched(a_few, &["auth.f*"], Form::Json, 99).await;
    // The order of keys is another one where anything in the build wants serde_json to keep that of their making.
    let sorted = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.sort_all_objects();
        value.to_string()
    };
    let text: Vec<String> = text.lines().map(sorted).collect();
    let text = text.join("\n");
    insta::assert_snapshot!(text, @r#"
    {"@timestamp":"1970-01-02T00:00:00Z","event":{"action":"auth.failed","category":["authentication"],"id":"01010101-0101-0101-0101-010101010101-1-1-0","kind":"event","outcome":"failure","sequence":1,"type":["start"]},"host":{"id":"01010101-0101-0101-0101-010101010101","name":"web-1"},"message":"Failed password for root","process":{"name":"sshd","pid":9},"secmon":{"cursor":"0000000000000007-1","type":"auth.failed"},"user":{"name":"root"}}
    {"@timestamp":"1970-01-03T00:00:00Z","event":{"action":"auth.failed","category":["authentication"],"id":"01010101-0101-0101-0101-010101010101-1-4-0","kind":"event","outcome":"failure","sequence":4,"type":["start"]},"host":{"id":"01010101-0101-0101-0101-010101010101","name":"web-1"},"message":"Failed password for root","process":{"name":"sshd","pid":9},"secmon":{"cursor":"0000000000000007-4","type":"auth.failed"},"user":{"name":"root"}}
    "#);
}

#[tokio::test]
async fn hostile_texts_cannot_steer_a_terminal_through_json_and_parse_as_they_were() {
    let hostile = "a\u{9b}31m\u{7f}\u{202e}b\u{200b}";
    let one = |request| vec![event_of(request, 1, AuthAction::Failed, DAY, hostile)];
    let (text, _) = watched(one, &[], Form::Json, 99).await;
    assert!(text.contains(r#""name":"a\u009b31m\u007f\u202eb\u200b""#), "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["user"]["name"], hostile);
}

#[tokio::test]
async fn types_leave_out_what_does_not_match_and_never_a_gap() {
    let with_gap = |request| {
        let gap = Gap { after: cursor(4), to: cursor(9), reason: "too slow".into() };
        let mut all = a_few(request);
        all.push(HubToClient::Gap { request, gap });
        all
    };
    let (text, _) = watched(with_gap, &["auth.session_*", "wg.*"], Form::Json, 99).await;
    let types: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["secmon"]["type"].clone())
        .collect();
    assert_eq!(types, ["auth.session_opened", "gap"]);
}

#[tokio::test]
async fn a_closed_output_ends_a_watch_cleanly() {
    let (text, failure) = watched(a_few, &[], Form::Json, 0).await;
    assert_eq!((text.as_str(), failure.exit_code()), ("", 0));
    assert!(matches!(failure, Failure::Closed), "{failure}");
}

#[test]
fn every_command_has_examples_and_the_exit_codes_in_its_help() {
    Cli::command().debug_assert();
    let mut cli = Cli::command();
    for command in cli.get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:\n  secmon "), "{help}");
        assert!(help.contains("Exit codes:\n  0 "), "{help}");
        // These print no data of their own, or the job's.
        let without = ["job", "remove", "completions"].contains(&command.get_name());
        assert!(without || help.contains("--json"), "{help}");
        assert!(command.render_help().to_string().contains("Examples:"), "{}", command.get_name());
    }
}

#[test]
fn arguments_are_checked_before_a_hub_is_asked() {
    for good in [
        "secmon list --json --socket /x",
        "secmon watch --node web-* --node db --type auth.* --json",
        "secmon watch --since 10m --type auth.*",
        "secmon watch --since boot",
        "secmon watch --since 0000000000000007-4",
        "secmon watch --since 2026-11-20T10:00:00Z --json",
        "secmon watch --snapshot --node web-*",
        "secmon run web-1 uptime",
        "secmon run web-1,db-1 tail lines=5 file=a=b --parallel 256",
        "secmon run --all uptime --rolling 2 --continue --group",
        "secmon run web-1 uptime -n --queue-for 8h --json",
        "secmon jobs --node web-* --state queued --state running --limit 5 --json",
        "secmon job output 3f9a --follow",
        "secmon job show 3f9a --json",
        "secmon job cancel 3f9a",
        "secmon commands web-1 tail",
        "secmon whoami --json",
        "secmon remove web-1 --yes",
        "secmon completions zsh",
        "secmon enroll web-1 --expires 2h --replace",
        "secmon show 0199 --json",
    ] {
        Cli::try_parse_from(good.split(' ')).unwrap();
    }
    for bad in [
        "secmon enroll -x",
        "secmon enroll a/b",
        "secmon enroll a --expires 0s",
        "secmon run",
        "secmon run web-1 uptime --parallel 0",
        "secmon run web-1 uptime --parallel 257",
        "secmon run web-1 uptime --parallel 2 --rolling 2",
        "secmon run web-1 uptime --continue",
        "secmon run web-1 uptime --group --json",
        "secmon run web-1 uptime --queue-for 0s",
        "secmon jobs --state lots",
        "secmon jobs --limit 0",
        "secmon job",
        "secmon completions csh",
        "secmon watch --since lately",
        "secmon watch --since 3000-01-01",
        "secmon watch --since 10m --snapshot",
    ] {
        assert_eq!(Cli::try_parse_from(bad.split(' ')).unwrap_err().exit_code(), 2, "{bad}");
    }
}

#[test]
fn the_socket_that_is_named_is_the_one_that_is_used() {
    let cli = Cli::try_parse_from(["secmon", "list", "--socket", "/x"]).unwrap();
    assert_eq!(cli.common.socket(), std::path::Path::new("/x"));
    assert!(matches!(cli.command, cli::Command::List(_)));
}
