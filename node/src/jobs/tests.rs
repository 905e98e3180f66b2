//! The task, between an executor and a hub that the tests play.

use std::time::Duration;

use bytes::Bytes;
use secmon_protocol::{
    command::{OutputStream, RunEnd, RunFailure},
    ids::JobId,
    limits::MAX_CHUNK,
    message::node::Order,
};
use tokio::{task::JoinHandle, time::timeout};

use super::*;

const JOB: JobId = JobId(7);
/// Far longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    jobs: Jobs,
    orders: mpsc::Receiver<NodeToRunner>,
    news: mpsc::Sender<RunnerToNode>,
    task: JoinHandle<()>,
    stop: CancellationToken,
    state: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(state: tempfile::TempDir) -> Self {
        let (orders, ordered) = mpsc::channel(4);
        let (news, told) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let (jobs, task) = jobs(Executor { orders, news: told }, state.path(), stop.clone());
        Self { jobs, orders: ordered, news, task: tokio::spawn(task), stop, state }
    }

    async fn order(&mut self) -> NodeToRunner {
        timeout(PATIENCE, self.orders.recv()).await.expect("an order in time").expect("an order")
    }

    async fn tell(&self, news: RunnerToNode) {
        timeout(PATIENCE, self.news.send(news)).await.expect("room in time").unwrap();
    }

    /// A connection that has heard what comes first.
    async fn link(&self) -> Linked {
        let mut linked = self.jobs.link().await.unwrap();
        assert!(matches!(next(&mut linked).await, NodeToHub::Commands(_)));
        assert!(matches!(next(&mut linked).await, NodeToHub::Jobs(_)));
        linked
    }
}

async fn next(linked: &mut Linked) -> NodeToHub {
    timeout(PATIENCE, linked.messages.recv()).await.expect("a message in time").expect("a message")
}

fn run(job: JobId, detached: bool) -> HubToNode {
    let (label, args, credit) = ("x".to_owned(), vec![], OUTPUT_WINDOW);
    HubToNode::Run(Order { job, label, args, credit, stdin: false, detached })
}

fn exit(job: JobId) -> RunnerToNode {
    RunnerToNode::Exit { job, end: RunEnd::Exited(0), usage: None }
}

#[tokio::test]
async fn a_number_is_started_once_over_a_restart_of_the_node() {
    let mut scene = Scene::new();
    let linked = scene.link().await;
    linked.hub.send(run(JOB, true)).await.unwrap();
    assert!(matches!(scene.order().await, NodeToRunner::Start { job: JOB, .. }));
    scene.tell(RunnerToNode::Started { job: JOB, pid: 1 }).await;
    // It is killed.
    scene.task.abort();
    let mut scene = Scene::at(scene.state);
    let mut linked = scene.link().await;
    linked.hub.send(run(JOB, true)).await.unwrap();
    match next(&mut linked).await {
        NodeToHub::Exit { job: JOB, end: RunEnd::Failed { why: RunFailure::Lost, message }, .. } => {
            assert!(message.contains("started before"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    linked.hub.send(run(JobId(8), true)).await.unwrap();
    assert!(matches!(scene.order().await, NodeToRunner::Start { job: JobId(8), .. }));
}

#[tokio::test]
async fn without_detached_jobs_nothing_is_written() {
    let mut scene = Scene::new();
    let mut linked = scene.link().await;
    linked.hub.send(run(JOB, false)).await.unwrap();
    scene.order().await;
    scene.tell(exit(JOB)).await;
    assert!(matches!(next(&mut linked).await, NodeToHub::Exit { .. }));
    assert_eq!(std::fs::read_dir(scene.state.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_takes_nothing_refuses_a_job_and_says_why() {
    let mut scene = Scene::new();
    std::fs::create_dir(scene.state.path().join("jobs.db")).unwrap();
    let mut linked = scene.link().await;
    linked.hub.send(run(JOB, true)).await.unwrap();
    match next(&mut linked).await {
        NodeToHub::Exit { end: RunEnd::Failed { why: RunFailure::Refused, message }, .. } => {
            assert!(message.contains("disk"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    linked.hub.send(run(JOB, false)).await.unwrap();
    assert!(matches!(scene.order().await, NodeToRunner::Start { .. }), "others run as before");
}

#[tokio::test]
async fn a_disk_that_hangs_stops_neither_other_runs_nor_the_node() {
    let mut scene = Scene::new();
    // Opening it waits for somebody who reads.
    let fifo = scene.state.path().join("jobs.db");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut linked = scene.link().await;
    linked.hub.send(run(JOB, true)).await.unwrap();
    linked.hub.send(run(JobId(8), false)).await.unwrap();
    assert!(matches!(scene.order().await, NodeToRunner::Start { job: JobId(8), .. }));
    scene.tell(exit(JobId(8))).await;
    assert!(matches!(next(&mut linked).await, NodeToHub::Exit { job: JobId(8), .. }));
    drop((linked, scene.jobs, scene.news));
    timeout(PATIENCE, scene.task).await.unwrap().unwrap();
    assert!(scene.orders.recv().await.is_none_or(|order| order == NodeToRunner::Cancel { job: JOB }));
    // Lets the thread go.
    drop(std::fs::File::open(&fifo));
}

#[tokio::test]
async fn a_connection_that_goes_ends_what_is_attached_to_it_and_nothing_else() {
    let mut scene = Scene::new();
    let linked = scene.link().await;
    linked.hub.send(run(JOB, false)).await.unwrap();
    linked.hub.send(run(JobId(8), true)).await.unwrap();
    scene.order().await;
    scene.order().await;
    drop(linked);
    assert_eq!(scene.order().await, NodeToRunner::Cancel { job: JOB });
    let mut linked = scene.jobs.link().await.unwrap();
    next(&mut linked).await;
    match next(&mut linked).await {
        NodeToHub::Jobs(held) => assert_eq!(held.iter().map(|held| held.job.0).collect::<Vec<_>>(), [8]),
        other => panic!("{other:?}"),
    }
}

/// A hub that grants and does not read stops its own runs, and can still end them.
#[tokio::test]
async fn a_hub_that_does_not_read_is_still_heard() {
    let mut scene = Scene::new();
    let mut linked = scene.link().await;
    linked.hub.send(run(JOB, false)).await.unwrap();
    scene.order().await;
    let data = Bytes::from(vec![0; MAX_CHUNK]);
    let news = scene.news.clone();
    let prints = tokio::spawn(async move {
        for _ in 0..16 {
            let (stream, data) = (OutputStream::Stdout, data.clone());
            news.send(RunnerToNode::Output { job: JOB, stream, data }).await.unwrap();
        }
    });
    linked.hub.send(HubToNode::Cancel { job: JOB }).await.unwrap();
    assert_eq!(scene.order().await, NodeToRunner::Cancel { job: JOB });
    let mut got = 0;
    while got < 16 * MAX_CHUNK {
        match next(&mut linked).await {
            NodeToHub::Output { at, data, .. } => {
                assert_eq!(at, got as u64);
                got += data.len();
            }
            other => panic!("{other:?}"),
        }
    }
    prints.await.unwrap();
}

#[tokio::test]
async fn a_hub_that_breaks_the_protocol_is_told_to_the_connection_and_its_runs_end() {
    let mut scene = Scene::new();
    let linked = scene.link().await;
    for _ in 0..2 {
        linked.hub.send(run(JOB, false)).await.unwrap();
    }
    assert_eq!(timeout(PATIENCE, linked.violation).await.unwrap(), Ok(Violation::Twice));
    assert!(matches!(scene.order().await, NodeToRunner::Start { .. }));
    assert_eq!(scene.order().await, NodeToRunner::Cancel { job: JOB });
}

#[tokio::test]
async fn a_node_that_stops_is_done_when_the_hub_has_the_ends_and_the_executor_is_gone() {
    let mut scene = Scene::new();
    let mut linked = scene.link().await;
    linked.hub.send(run(JOB, false)).await.unwrap();
    scene.order().await;
    scene.stop.cancel();
    linked.hub.send(run(JobId(8), false)).await.unwrap();
    match next(&mut linked).await {
        NodeToHub::Exit { job: JobId(8), end: RunEnd::Failed { why, .. }, .. } => {
            assert_eq!(why, RunFailure::Stopped);
        }
        other => panic!("{other:?}"),
    }
    assert!(timeout(Duration::ZERO, scene.jobs.drained()).await.is_err());
    scene.tell(exit(JOB)).await;
    assert!(matches!(next(&mut linked).await, NodeToHub::Exit { job: JOB, .. }));
    assert!(timeout(PATIENCE, scene.jobs.drained()).await.unwrap());
    drop((linked, scene.jobs));
    // Nobody can give orders any more: the executor sees that, and ends.
    assert!(timeout(PATIENCE, scene.orders.recv()).await.unwrap().is_none());
    drop(scene.news);
    timeout(PATIENCE, scene.task).await.unwrap().unwrap();
}
