//! In this process.

use std::{fs, os::unix::fs::PermissionsExt as _};

use nix::sys::signal::{Signal, raise};
use secmon_node::commands::MAX_RUNS;
use secmon_protocol::{
    command::{RunEnd, RunFailure},
    ids::JobId,
    limits::OUTPUT_WINDOW,
    message::runner::{NodeToRunner, RunnerToNode},
};
use tokio::{sync::mpsc::error::TrySendError, time::timeout};

use super::scene::{PATIENCE, Scene, gone, write};

const FILE: &str = r#"
[commands.echo]
run = ["echo", "{word}"]
args.word = { type = "string", pattern = "[a-z]+" }

[commands.sleep]
run = ["sleep", "1000"]

[commands.one]
run = ["sleep", "1000"]
concurrency = 1

[commands.cat]
run = ["cat"]
stdin = "client"

[commands.much]
run = ["sh", "-c", "while :; do echo much; done"]
max_output = "64KiB"

[commands.short]
run = ["sleep", "1000"]
timeout = "100ms"
"#;

async fn scene() -> Scene {
    let mut scene = Scene::new(FILE);
    assert_eq!(scene.labels().await, ["cat", "echo", "much", "one", "short", "sleep"]);
    scene
}

#[tokio::test]
async fn a_command_runs_with_its_arguments_and_what_the_file_does_not_allow_does_not() {
    let mut scene = scene().await;
    scene.start_with(1, "echo", OUTPUT_WINDOW, &[("word", "hello")]).await;
    assert_eq!(scene.finish(1).await, ("hello\n".to_owned(), RunEnd::Exited(0)));
    scene.start_with(2, "echo", OUTPUT_WINDOW, &[("word", "hello; id")]).await;
    assert_eq!(scene.refusal(2).await.0, RunFailure::BadArgument);
    scene.start_with(3, "sh", OUTPUT_WINDOW, &[]).await;
    assert_eq!(scene.refusal(3).await.0, RunFailure::UnknownLabel);
    // The number of one that has ended is free.
    scene.start_with(1, "echo", OUTPUT_WINDOW, &[("word", "again")]).await;
    assert_eq!(scene.finish(1).await.0, "again\n");
}

#[tokio::test]
async fn each_limit_of_an_entry_ends_it_by_its_name() {
    let mut scene = scene().await;
    scene.start(1, "much").await;
    let (stdout, end) = scene.finish(1).await;
    assert_eq!((stdout.len(), end), (64 << 10, RunEnd::TooMuchOutput));
    scene.start(2, "short").await;
    assert_eq!(scene.finish(2).await.1, RunEnd::TimedOut);
    scene.start(3, "one").await;
    scene.started(3).await;
    scene.start(4, "one").await;
    let (why, message) = scene.refusal(4).await;
    assert_eq!(why, RunFailure::Busy);
    assert!(message.contains("as often as its entry allows"), "{message}");
    scene.cancel(3).await;
    assert_eq!(scene.finish(3).await.1, RunEnd::Cancelled);
    scene.start(5, "one").await;
    scene.started(5).await;
}

#[tokio::test]
async fn only_so_many_run_at_once_and_an_end_makes_room() {
    let mut scene = scene().await;
    for job in 0..MAX_RUNS as u64 {
        scene.start(job, "sleep").await;
        scene.started(job).await;
    }
    scene.start(100, "sleep").await;
    assert_eq!(scene.refusal(100).await.0, RunFailure::Busy);
    scene.cancel(3).await;
    assert_eq!(scene.finish(3).await.1, RunEnd::Cancelled);
    scene.start(100, "sleep").await;
    scene.started(100).await;
}

#[tokio::test]
async fn input_goes_to_the_one_that_reads_it_until_its_end() {
    let mut scene = scene().await;
    scene.start(1, "cat").await;
    scene.started(1).await;
    assert!(
        matches!(scene.next().await, Some(RunnerToNode::StdinCredit { job: JobId(1), credit }) if credit > 0)
    );
    scene.stdin(1, b"one\n").await;
    scene.stdin(1, b"two\n").await;
    scene.stdin(1, b"").await;
    assert_eq!(scene.finish(1).await, ("one\ntwo\n".to_owned(), RunEnd::Exited(0)));
    // It is over: what still comes harms nobody.
    scene.stdin(1, b"three\n").await;
    scene.start_with(2, "echo", OUTPUT_WINDOW, &[("word", "still")]).await;
    assert_eq!(scene.finish(2).await.0, "still\n");
}

#[tokio::test]
async fn a_changed_file_is_told_at_once_and_by_sighup_and_a_refused_one_allows_nothing() {
    let mut scene = scene().await;
    write(&scene.path(), "[commands.new]\nrun = [\"true\"]\n");
    assert_eq!(scene.labels().await, ["new"]);
    scene.start(1, "echo").await;
    assert_eq!(scene.refusal(1).await.0, RunFailure::UnknownLabel);
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o620)).unwrap();
    assert_eq!(scene.labels().await, Vec::<String>::new());
    scene.start(2, "new").await;
    let (why, message) = scene.refusal(2).await;
    assert_eq!(why, RunFailure::Refused);
    assert!(message.contains("0620"), "{message}");
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(scene.labels().await, ["new"]);
    raise(Signal::SIGHUP).unwrap();
    scene.start(3, "new").await;
    assert_eq!(scene.finish(3).await.1, RunEnd::Exited(0));
}

#[tokio::test]
async fn what_runs_ends_with_the_orders_and_with_the_node_and_both_are_told() {
    for by_cancel in [true, false] {
        let mut scene = scene().await;
        scene.start(1, "sleep").await;
        let pid = scene.started(1).await;
        if by_cancel {
            scene.cancel.cancel();
        } else {
            let (gone, _) = tokio::sync::mpsc::channel(1);
            scene.executor.orders = gone;
        }
        let rest = scene.rest().await;
        assert!(
            matches!(
                rest.as_slice(),
                [RunnerToNode::Exit {
                    job: JobId(1),
                    end: RunEnd::Failed { why: RunFailure::Stopped, .. },
                    usage: Some(_)
                }]
            ),
            "{rest:?}"
        );
        gone(pid).await;
    }
}

#[tokio::test]
async fn news_that_nobody_takes_end_with_the_orders() {
    let mut scene = scene().await;
    scene.start(1, "sleep").await;
    let pid = scene.started(1).await;
    let orders = scene.executor.orders.clone();
    drop(scene.executor.news);
    scene.cancel.cancel();
    timeout(PATIENCE, orders.closed()).await.expect("an end");
    gone(pid).await;
}

#[tokio::test]
async fn an_order_that_breaks_the_conversation_ends_it_and_everything() {
    let start = |job, credit, args| NodeToRunner::Start {
        job: JobId(job),
        label: "cat".to_owned(),
        args,
        credit,
        stdin: true,
    };
    let arg = |name: &str| secmon_protocol::command::Arg { name: name.to_owned(), value: String::new() };
    let bad = [
        start(1, OUTPUT_WINDOW, vec![]),
        start(2, OUTPUT_WINDOW + 1, vec![]),
        start(2, 1, vec![arg("a"), arg("a")]),
        NodeToRunner::Credit { job: JobId(1), credit: u32::MAX },
        NodeToRunner::Stdin { job: JobId(1), data: vec![0; 70_000].into() },
        NodeToRunner::Hello { version: 1, agent: String::new() },
    ];
    for order in bad {
        let mut scene = scene().await;
        scene.start(1, "cat").await;
        let pid = scene.started(1).await;
        let said = format!("{order:?}");
        scene.order(order).await;
        let rest = scene.rest().await;
        let ended = |news: &RunnerToNode| matches!(news, RunnerToNode::Exit { job: JobId(1), .. });
        assert_eq!(rest.iter().filter(|news| ended(news)).count(), 1, "{said}: {rest:?}");
        gone(pid).await;
    }
}

#[tokio::test]
async fn more_input_than_was_granted_ends_the_conversation() {
    let mut scene = Scene::new("[commands.deaf]\nrun = [\"sleep\", \"1000\"]\nstdin = \"client\"\n");
    scene.labels().await;
    scene.start(1, "deaf").await;
    scene.started(1).await;
    let mut orders = 0;
    while !scene.executor.orders.is_closed() && orders < 10_000 {
        let data = vec![0; 65_536].into();
        let _ = scene.executor.orders.send(NodeToRunner::Stdin { job: JobId(1), data }).await;
        orders += 1;
        tokio::task::yield_now().await;
    }
    scene.rest().await;
    assert!(orders < 1000, "{orders}");
}

#[tokio::test]
async fn who_asks_on_without_reading_is_cut_off() {
    let scene = scene().await;
    let mut asked = 0;
    for job in 0..1_000_000 {
        let order = NodeToRunner::Start {
            job: JobId(job),
            label: "nothing".to_owned(),
            args: vec![],
            credit: 1,
            stdin: false,
        };
        let sent = scene.executor.orders.try_send(order);
        if matches!(sent, Err(TrySendError::Closed(_))) {
            break;
        }
        asked += u32::from(sent.is_ok());
        tokio::task::yield_now().await;
    }
    assert!(asked < 1000, "{asked}");
    drop(scene.executor.news);
    timeout(PATIENCE, scene.executor.orders.closed()).await.expect("an end");
}
