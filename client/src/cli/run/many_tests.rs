//! Many nodes behind a hub that plays a script: what starts when, what is printed, how it is summed up.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use secmon_protocol::{
    codec::{self, Assembler},
    command::{OutputStream, RunEnd},
    ids::{Cursor, JobId, LogId, NodeId, RequestId},
    limits::MAX_CHUNK,
    message::{
        ErrorCode, Refusal,
        client::{ClientToHub, HubToClient},
    },
    time::UnixNanos,
};
use tokio::{net::UnixStream, task::JoinHandle};
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    sync::CancellationToken,
};

use super::{
    What,
    many::{Ended, Outcome, Work, row, run_all},
    paper::{Form, Style},
    plan::Order,
    screen::Screen,
    targets::Target,
};
use crate::{
    Client,
    cli::Failure,
    render::{self, LONGEST_LINE, Look},
};

/// What was written, stdout and stderr apart.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that has gone away.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that does not read until it is told to.
struct Stuck(std::sync::mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An error is the drop of the other end, which says the same.
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Hub {
    frames: Framed<UnixStream, LengthDelimitedCodec>,
    assembler: Assembler<ClientToHub>,
}

impl Hub {
    async fn pair() -> (Client, Self) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut hub = Self { frames: Framed::new(theirs, codec::frames()), assembler: Assembler::default() };
        let client = tokio::spawn(async move { Client::over(ours, "test 1").await });
        assert!(matches!(hub.recv().await, ClientToHub::Hello { .. }));
        let newest = Cursor { log: LogId(7), n: 0 };
        hub.send(HubToClient::Welcome { version: 1, agent: "0.1.0".into(), newest, clock: UnixNanos(0) })
            .await;
        (client.await.unwrap().unwrap(), hub)
    }

    async fn recv(&mut self) -> ClientToHub {
        let next = async {
            loop {
                let frame = self.frames.next().await.expect("the client hung up").unwrap();
                if let Some(message) = self.assembler.push(&frame).unwrap() {
                    return message;
                }
            }
        };
        within(next).await
    }

    async fn send(&mut self, message: HubToClient) {
        for frame in codec::encode_frames(&message).unwrap() {
            within(self.frames.send(frame)).await.unwrap();
        }
    }

    /// The next run: its request and its node, by the number in its id.
    async fn run(&mut self) -> (RequestId, u8) {
        match self.recv().await {
            ClientToHub::Run { request, node, label, stdin: false, .. } => {
                assert_eq!(label, "tail");
                (request, u8::from_str_radix(&node[..2], 16).unwrap())
            }
            other => panic!("not a Run: {other:?}"),
        }
    }

    async fn started(&mut self, request: RequestId) {
        self.send(HubToClient::Started { request, job: JobId(1), node: NodeId([1; 16]), pid: 9 }).await;
    }

    async fn print(&mut self, request: RequestId, stream: OutputStream, data: &str) {
        let data = Bytes::copy_from_slice(data.as_bytes());
        self.send(HubToClient::Output { request, stream, data }).await;
    }

    async fn exit(&mut self, request: RequestId, end: RunEnd) {
        self.send(HubToClient::Exit { request, end, usage: None }).await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing within 20 s")
}

fn targets(count: u8) -> Vec<Target> {
    let target = |n: u8| Target { id: NodeId([n; 16]), name: format!("web-{n}"), online: true };
    (1..=count).map(target).collect()
}

/// A run on many that goes on beside the test.
struct Scene {
    hub: Hub,
    out: Written,
    err: Written,
    cancel: CancellationToken,
    all: JoinHandle<(Vec<Outcome>, Result<(), Failure>)>,
}

impl Scene {
    async fn new(count: u8, order: Order, form: Form) -> Self {
        let (out, err) = (Written::default(), Written::default());
        let screen = Screen::new(Box::new(out.clone()), Box::new(err.clone()));
        Self::on(screen, count, order, form, out, err).await
    }

    async fn on(screen: Screen, count: u8, order: Order, form: Form, out: Written, err: Written) -> Self {
        let (client, hub) = Hub::pair().await;
        let cancel = CancellationToken::new();
        let style = Style { form, stdout: Look::plain(), stderr: Look::plain(), width: 5, at_once: 4 };
        let what = What { label: "tail".into(), args: vec![] };
        let work = Work { what, order, style, screen, cancel: cancel.clone() };
        let all = tokio::spawn(async move {
            let mut outcomes = vec![];
            let result = run_all(&[client], &targets(count), &work, &mut outcomes).await;
            (outcomes, result)
        });
        Self { hub, out, err, cancel, all }
    }

    async fn ended(self) -> (Vec<Outcome>, Result<(), Failure>, Written, Written) {
        let (mut outcomes, result) = within(self.all).await.unwrap();
        for outcome in &mut outcomes {
            outcome.took = None;
        }
        (outcomes, result, self.out, self.err)
    }
}

fn ends(outcomes: &[Outcome]) -> Vec<(String, Ended)> {
    outcomes.iter().map(|outcome| (outcome.target.name.clone(), outcome.end.clone())).collect()
}

const OUT: OutputStream = OutputStream::Stdout;

#[tokio::test]
async fn no_more_than_so_many_run_side_by_side_and_a_failure_stops_none() {
    let mut scene = Scene::new(3, Order::Parallel(2), Form::Prefixed).await;
    let (first, one) = scene.hub.run().await;
    let (second, two) = scene.hub.run().await;
    assert_eq!((one, two), (1, 2));
    scene.hub.exit(second, RunEnd::Exited(3)).await;
    let (third, three) = scene.hub.run().await;
    assert_eq!(three, 3, "it begins only when another has ended");
    scene.hub.exit(first, RunEnd::Exited(0)).await;
    scene.hub.exit(third, RunEnd::Exited(0)).await;
    let (outcomes, result, ..) = scene.ended().await;
    assert!(result.is_ok());
    let end = |code| Ended::Run(RunEnd::Exited(code));
    assert_eq!(
        ends(&outcomes),
        [("web-2".into(), end(3)), ("web-1".into(), end(0)), ("web-3".into(), end(0))]
    );
}

#[tokio::test]
async fn a_rolling_run_stops_at_the_first_failure_and_names_what_it_left_out() {
    let mut scene = Scene::new(4, Order::Rolling(1), Form::Prefixed).await;
    let (first, _) = scene.hub.run().await;
    scene.hub.exit(first, RunEnd::Exited(0)).await;
    let (second, _) = scene.hub.run().await;
    let refusal = Refusal::new(ErrorCode::NodeAway, "the node web-2 is not connected");
    scene.hub.send(HubToClient::Error { request: second, refusal }).await;
    let (outcomes, ..) = scene.ended().await;
    let rows: Vec<_> =
        outcomes.iter().map(|outcome| render::SummaryRow { took: None, ..row(outcome) }).collect();
    insta::assert_snapshot!(render::summary(&rows, &Look::plain()), @"
    NODE   TIME  RESULT
    web-2  -     the node web-2 is not connected
    web-3  -     not run
    web-4  -     not run
    web-1  -     exited with 0
    4 nodes: 1 failed, 2 not run, 1 exited with 0
    ");
}

#[tokio::test]
async fn lines_of_many_are_whole_and_named_and_their_streams_stay_apart() {
    let mut scene = Scene::new(2, Order::Parallel(2), Form::Prefixed).await;
    let (a, _) = scene.hub.run().await;
    let (b, _) = scene.hub.run().await;
    scene.hub.started(a).await;
    scene.hub.print(a, OUT, "one, be").await;
    scene.hub.print(b, OUT, "other\n").await;
    scene.hub.print(b, OutputStream::Stderr, "bad\n").await;
    scene.hub.print(a, OUT, "gun\ntwo, without an end").await;
    scene.hub.exit(b, RunEnd::Exited(0)).await;
    scene.hub.exit(a, RunEnd::Exited(0)).await;
    let (_, _, out, err) = scene.ended().await;
    let mut lines: Vec<String> = out.text().lines().map(str::to_owned).collect();
    // Which of two nodes comes first is nobody's promise; the order of each one's lines is.
    lines.sort_by_key(|line| line.starts_with("web-2"));
    assert_eq!(lines, ["web-1 | one, begun", "web-1 | two, without an end", "web-2 | other"]);
    assert_eq!(err.text(), "web-2 | bad\n");
}

#[tokio::test]
async fn in_groups_all_of_a_node_comes_in_one_piece_however_much_it_is() {
    let mut scene = Scene::new(2, Order::Parallel(2), Form::Grouped).await;
    let (a, _) = scene.hub.run().await;
    let (b, _) = scene.hub.run().await;
    // More than is kept in memory: 4 MiB of the 16 for each of four.
    let line = format!("{}\n", "x".repeat(LONGEST_LINE - 1)).repeat(4);
    let mut credit = 1_i64 << 20;
    for n in 0..200 {
        while credit < line.len() as i64 {
            match scene.hub.recv().await {
                ClientToHub::Credit { request, credit: more } if request == a => credit += i64::from(more),
                other => panic!("not a Credit: {other:?}"),
            }
        }
        credit -= line.len() as i64;
        scene.hub.print(a, OUT, &line).await;
        if n == 80 {
            scene.hub.print(b, OUT, "between\n").await;
        }
    }
    scene.hub.exit(a, RunEnd::Exited(0)).await;
    // The other one ends behind it.
    within(async {
        while !scene.out.text().contains("web-1") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    scene.hub.exit(b, RunEnd::Exited(0)).await;
    let (_, _, out, _) = scene.ended().await;
    let text = out.text();
    assert_eq!(text.matches(&line).count(), 200);
    assert!(text.starts_with("==> web-1 <==\nxxx"));
    assert!(text.ends_with("x\n==> web-2 <==\nbetween\n"));
}

#[tokio::test]
async fn json_has_a_line_per_piece_and_one_for_the_end_of_each_node() {
    let mut scene = Scene::new(2, Order::Rolling(1), Form::Json).await;
    let (a, _) = scene.hub.run().await;
    scene.hub.print(a, OutputStream::Stderr, "no\n").await;
    scene.hub.exit(a, RunEnd::Exited(2)).await;
    let (_, _, out, err) = scene.ended().await;
    let lines: Vec<serde_json::Value> =
        out.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["host"]["name"], &lines[0]["stream"]), (&"web-1".into(), &"stderr".into()));
    assert_eq!((&lines[1]["end"], &lines[1]["exit_code"]), (&"exited".into(), &2.into()));
    assert!(lines[1]["duration_ms"].is_u64());
    assert_eq!((&lines[2]["host"]["name"], &lines[2]["end"]), (&"web-2".into(), &"not_run".into()));
    assert_eq!(err.text(), "");
}

#[tokio::test]
async fn when_all_are_told_to_end_nothing_new_begins_and_every_end_is_awaited() {
    let mut scene = Scene::new(3, Order::Parallel(2), Form::Prefixed).await;
    let (a, _) = scene.hub.run().await;
    let (b, _) = scene.hub.run().await;
    scene.hub.started(a).await;
    scene.cancel.cancel();
    let mut told = vec![];
    for _ in 0..2 {
        match scene.hub.recv().await {
            ClientToHub::Cancel { request } => told.push(request),
            other => panic!("not a Cancel: {other:?}"),
        }
    }
    told.sort();
    assert_eq!(told, [a, b]);
    scene.hub.print(a, OUT, "last words\n").await;
    scene.hub.exit(a, RunEnd::Cancelled).await;
    scene.hub.exit(b, RunEnd::Cancelled).await;
    let (outcomes, _, out, _) = scene.ended().await;
    let cancelled = || Ended::Run(RunEnd::Cancelled);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.end == cancelled()).count(), 2);
    assert_eq!(outcomes[2].end, Ended::NotRun);
    assert_eq!(out.text(), "web-1 | last words\n");
}

#[tokio::test]
async fn when_nobody_reads_any_more_all_are_told_to_end() {
    let screen = Screen::new(Box::new(Closed), Box::new(Closed));
    let mut scene =
        Scene::on(screen, 3, Order::Parallel(2), Form::Prefixed, Written::default(), Written::default())
            .await;
    let (a, _) = scene.hub.run().await;
    let (b, _) = scene.hub.run().await;
    scene.hub.print(a, OUT, "x\n").await;
    for _ in 0..2 {
        assert!(matches!(scene.hub.recv().await, ClientToHub::Cancel { .. }));
    }
    scene.hub.exit(a, RunEnd::Cancelled).await;
    scene.hub.exit(b, RunEnd::Cancelled).await;
    let (outcomes, result, ..) = scene.ended().await;
    assert!(matches!(result, Err(Failure::Closed)));
    assert_eq!(outcomes.len(), 3);
}

#[tokio::test]
async fn a_hub_that_is_lost_is_a_failure_of_every_node() {
    let mut scene = Scene::new(3, Order::Parallel(2), Form::Prefixed).await;
    scene.hub.run().await;
    scene.hub.run().await;
    let Scene { hub, out, err, cancel, all } = scene;
    drop(hub);
    let (outcomes, result) = within(all).await.unwrap();
    assert!(result.is_ok() && !cancel.is_cancelled());
    assert!(outcomes.iter().all(|outcome| matches!(outcome.end, Ended::Error(_))), "{outcomes:?}");
    assert_eq!((outcomes.len(), out.text(), err.text()), (3, String::new(), String::new()));
}

#[tokio::test]
async fn an_output_that_nobody_takes_slows_its_node_and_holds_up_no_cancel() {
    let (go_on, stuck) = std::sync::mpsc::sync_channel(1);
    let screen = Screen::new(Box::new(Stuck(stuck)), Box::new(Closed));
    let mut scene =
        Scene::on(screen, 1, Order::Parallel(1), Form::Prefixed, Written::default(), Written::default())
            .await;
    let (a, _) = scene.hub.run().await;
    // As much as the window pays for; not a byte more is asked for.
    for _ in 0..16 {
        scene.hub.print(a, OUT, &format!("{}\n", "x".repeat(MAX_CHUNK - 1))).await;
    }
    scene.cancel.cancel();
    assert!(matches!(scene.hub.recv().await, ClientToHub::Cancel { request } if request == a));
    drop(go_on);
    scene.hub.exit(a, RunEnd::Cancelled).await;
    let (outcomes, ..) = scene.ended().await;
    assert_eq!(outcomes[0].end, Ended::Run(RunEnd::Cancelled));
}
