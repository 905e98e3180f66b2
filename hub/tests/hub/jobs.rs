//! Jobs: from a client into the hub's store, to a node when it comes, and back.

use std::path::Path;

use bytes::Bytes;
use secmon_hub::{HubConfig, JobsSection};
use secmon_protocol::{
    command::{OutputStream, RunEnd},
    hub_event::HubEvent,
    ids::{JobId, RequestId},
    limits::{MAX_CHUNK, MIN_CHUNK_COST, OUTPUT_WINDOW, chunk_cost},
    message::{
        ErrorCode, Refusal,
        client::{ClientToHub, Filter, From, HubToClient, JobFilter, JobState, JobSummary},
        node::{HeldJob, HubToNode, NodeToHub, Order},
    },
    record::Body,
};

use crate::common::{Client, Node, Papers, Running, config, run, start};

const HOUR: u32 = 3600;

async fn submit(client: &mut Client, queue_secs: u32) -> Result<JobSummary, Refusal> {
    let request = client.request();
    let (node, label) = ("web-1".to_owned(), "backup".to_owned());
    client.wire.send(&ClientToHub::Submit { request, node, label, args: vec![], queue_secs }).await;
    answer(client).await
}

async fn answer(client: &mut Client) -> Result<JobSummary, Refusal> {
    match client.next().await {
        HubToClient::Job { job, .. } => Ok(*job),
        HubToClient::Error { refusal, .. } => Err(refusal),
        other => panic!("{other:?}"),
    }
}

async fn job(client: &mut Client, job: JobId) -> JobSummary {
    let request = client.request();
    client.wire.send(&ClientToHub::Job { request, job: job.to_string() }).await;
    answer(client).await.unwrap()
}

/// Waits until the hub says that a job stands there.
async fn stands(client: &mut Client, id: JobId, state: JobState) -> JobSummary {
    loop {
        let job = job(client, id).await;
        if job.state == state {
            return job;
        }
        assert!(!job.state.is_over(), "{job:?}");
    }
}

async fn cancel(client: &mut Client, job: JobId) -> Result<JobSummary, Refusal> {
    let request = client.request();
    client.wire.send(&ClientToHub::CancelJob { request, job: job.to_string() }).await;
    answer(client).await
}

async fn read(client: &mut Client, job: JobId, follow: bool, credit: u32) -> RequestId {
    let request = client.request();
    client.wire.send(&ClientToHub::JobOutput { request, job: job.to_string(), follow, credit }).await;
    request
}

/// A node that comes and holds these.
async fn comes(hub: &Running, papers: &Papers, held: &[(JobId, Option<u32>)]) -> Node {
    let mut node = hub.node(papers).await;
    let held = held.iter().map(|(job, pid)| HeldJob { job: *job, pid: *pid }).collect();
    node.wire.send(&NodeToHub::Jobs(held)).await;
    node
}

/// The next message about runs.
async fn next(node: &mut Node) -> Option<HubToNode> {
    loop {
        match node.next().await {
            // It has sent no records.
            Some(HubToNode::Resync) => {}
            other => return other,
        }
    }
}

async fn handed_over(node: &mut Node) -> JobId {
    match next(node).await {
        Some(HubToNode::Run(Order { job, credit: OUTPUT_WINDOW, detached: true, .. })) => job,
        other => panic!("{other:?}"),
    }
}

async fn started(node: &mut Node, job: JobId) {
    node.wire.send(&NodeToHub::Started { job, pid: 7 }).await;
}

/// Prints, and waits until that is kept.
async fn prints(node: &mut Node, job: JobId, at: &mut u64, data: Bytes) {
    let (len, stream) = (data.len(), OutputStream::Stdout);
    node.wire.send(&NodeToHub::Output { job, stream, at: *at, data }).await;
    *at += len as u64;
    assert_eq!(next(node).await, Some(HubToNode::Credit { job, credit: chunk_cost(len) }));
}

async fn exits(node: &mut Node, job: JobId, end: RunEnd) {
    node.wire.send(&NodeToHub::Exit { job, end, usage: None }).await;
    assert_eq!(next(node).await, Some(HubToNode::Forget { job }));
}

/// The hub is killed and starts again: it finds what a copy of its folder has at this moment, and no goodbye.
async fn killed(hub: Running, dir: &Path) -> (Running, tempfile::TempDir) {
    let copy = tempfile::tempdir().unwrap();
    let to = copy.path().join("state");
    std::fs::create_dir(&to).unwrap();
    for file in std::fs::read_dir(dir.join("state")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&to, mode).unwrap();
    hub.stop().await;
    let hub = start(copy.path()).await;
    (hub, copy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_for_its_node_is_handed_over_once_and_its_output_and_end_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let (mut client, mut watcher) = (hub.client().await, hub.client().await);
    watcher.subscribe(From::Now, Filter { types: vec!["command.*".into()], ..Filter::default() }).await;
    assert_eq!(submit(&mut client, 0).await.unwrap_err().code, ErrorCode::NodeAway);
    let queued = submit(&mut client, HOUR).await.unwrap();
    assert_eq!(queued.state, JobState::Queued);
    let id = queued.run.job;
    drop(client);
    let mut node = comes(&hub, &papers, &[]).await;
    assert_eq!(handed_over(&mut node).await, id);
    started(&mut node, id).await;
    let mut at = 0;
    prints(&mut node, id, &mut at, Bytes::from_static(b"\x00\xffone\n")).await;
    exits(&mut node, id, RunEnd::Exited(3)).await;
    // It comes anew: nothing is started again.
    drop(node);
    let mut node = comes(&hub, &papers, &[]).await;
    let mut client = hub.client().await;
    let second = submit(&mut client, 0).await.unwrap().run.job;
    assert_eq!(handed_over(&mut node).await, second);

    let done = job(&mut client, id).await;
    assert_eq!((done.state, done.end, done.output), (JobState::Finished, Some(RunEnd::Exited(3)), 6));
    let request = read(&mut client, id, false, OUTPUT_WINDOW).await;
    let (stream, data) = (OutputStream::Stdout, Bytes::from_static(b"\x00\xffone\n"));
    assert_eq!(client.next().await, HubToClient::Output { request, stream, data });
    assert!(matches!(client.next().await, HubToClient::Job { job, .. } if job.run.job == id));
    for wanted in ["command.refused", "command.queued", "command.started", "command.finished"] {
        let record = watcher.event(wanted).await;
        let Ok(Body::Hub(event)) = record.envelope.decode() else { panic!("{record:?}") };
        let (HubEvent::CommandRefused { run, .. }
        | HubEvent::CommandQueued { run, .. }
        | HubEvent::CommandStarted(run)
        | HubEvent::CommandFinished { run, .. }) = event
        else {
            panic!("{event:?}")
        };
        assert!(run.detached && run.by.uid == nix_uid() && run.label == "backup");
    }
    hub.stop().await;
}

fn nix_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_killed_between_handing_over_and_the_start_asks_the_node_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut client = hub.client().await;
    let mut node = comes(&hub, &papers, &[]).await;
    let id = submit(&mut client, 0).await.unwrap().run.job;
    handed_over(&mut node).await;
    drop((client, node));
    let (hub, copy) = killed(hub, dir.path()).await;
    let mut client = hub.client().await;
    assert_eq!(job(&mut client, id).await.state, JobState::Sent);
    // Its process stands by now.
    let mut node = comes(&hub, &papers, &[(id, Some(7))]).await;
    assert_eq!(next(&mut node).await, Some(HubToNode::Resume { job: id, have: 0 }));
    stands(&mut client, id, JobState::Running).await;
    let mut at = 0;
    prints(&mut node, id, &mut at, Bytes::from_static(b"abc")).await;
    drop((client, node));
    let (hub, _copy) = killed(hub, copy.path()).await;
    let mut node = comes(&hub, &papers, &[(id, Some(7))]).await;
    assert_eq!(next(&mut node).await, Some(HubToNode::Resume { job: id, have: 3 }));
    exits(&mut node, id, RunEnd::Exited(0)).await;
    let mut client = hub.client().await;
    assert_eq!(stands(&mut client, id, JobState::Finished).await.output, 3);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_node_was_restarted_is_lost_and_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let (mut client, mut watcher) = (hub.client().await, hub.client().await);
    watcher.subscribe(From::Now, Filter::default()).await;
    let mut node = comes(&hub, &papers, &[]).await;
    let id = submit(&mut client, HOUR).await.unwrap().run.job;
    handed_over(&mut node).await;
    started(&mut node, id).await;
    stands(&mut client, id, JobState::Running).await;
    drop(node);
    let mut node = comes(&hub, &papers, &[]).await;
    watcher.event("command.finished").await;
    assert_eq!(job(&mut client, id).await.state, JobState::Lost);
    let next = submit(&mut client, HOUR).await.unwrap().run.job;
    assert_eq!(handed_over(&mut node).await, next, "nothing of the lost one came before");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_open_when_the_hub_was_killed_is_told_to_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut client = hub.client().await;
    let mut node = comes(&hub, &papers, &[]).await;
    let request = client.request();
    let (node_name, label) = ("web-1".to_owned(), "uptime".to_owned());
    let asked = ClientToHub::Run { request, node: node_name, label, args: vec![], credit: 0, stdin: false };
    client.wire.send(&asked).await;
    let Some(HubToNode::Run(order)) = next(&mut node).await else { panic!("a Run") };
    started(&mut node, order.job).await;
    assert!(matches!(client.next().await, HubToClient::Started { .. }));
    let (hub, _copy) = killed(hub, dir.path()).await;
    let mut watcher = hub.client().await;
    watcher.subscribe(From::Time(secmon_protocol::time::UnixNanos(0)), Filter::default()).await;
    let record = watcher.event("command.finished").await;
    let Ok(Body::Hub(HubEvent::CommandFinished { run, end, .. })) = record.envelope.decode() else {
        panic!("{record:?}")
    };
    assert!(run.job == order.job && matches!(end, RunEnd::Failed { .. }), "{end:?}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_kept_up_to_its_limit_and_what_lies_between_is_told_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = JobsSection { output: 256 << 10, ..JobsSection::default() };
    let hub = run(secmon_hub::start(HubConfig { jobs, ..config(dir.path()) }).await.unwrap());
    let papers = hub.enrol("web-1").await;
    let mut client = hub.client().await;
    let mut node = comes(&hub, &papers, &[]).await;
    let id = submit(&mut client, 0).await.unwrap().run.job;
    handed_over(&mut node).await;
    started(&mut node, id).await;
    let mut at = 0;
    for chunk in 0..16 {
        prints(&mut node, id, &mut at, Bytes::from(vec![chunk; MAX_CHUNK])).await;
    }
    exits(&mut node, id, RunEnd::Exited(0)).await;
    // A reader that grants little at a time.
    let request = read(&mut client, id, false, MIN_CHUNK_COST).await;
    let (mut got, mut missing) = (vec![], 0);
    let last = loop {
        match client.next().await {
            HubToClient::Output { data, .. } => {
                assert!(data.len() <= MIN_CHUNK_COST as usize);
                got.extend_from_slice(&data);
                client.wire.send(&ClientToHub::Credit { request, credit: MIN_CHUNK_COST }).await;
            }
            HubToClient::OutputMissing { bytes, .. } => {
                assert!(got.iter().all(|byte| *byte < 2), "the first half came before it");
                missing += bytes;
            }
            HubToClient::Job { job, .. } => break job,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((got.len() as u64 + missing, last.output, last.dropped), (at, at, missing));
    assert!(got.len() <= 256 << 10 && got.ends_with(&[15; MAX_CHUNK]));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_job_gets_what_it_prints_and_its_end_also_over_the_nodes_absence() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let (mut client, mut follower) = (hub.client().await, hub.client().await);
    let id = submit(&mut client, HOUR).await.unwrap().run.job;
    let request = read(&mut follower, id, true, OUTPUT_WINDOW).await;
    let mut node = comes(&hub, &papers, &[]).await;
    handed_over(&mut node).await;
    started(&mut node, id).await;
    let mut at = 0;
    for (text, cut) in [("one\n", true), ("two\n", false), ("three\n", false)] {
        prints(&mut node, id, &mut at, Bytes::from_static(text.as_bytes())).await;
        let HubToClient::Output { data, request: of, .. } = follower.next().await else { panic!("output") };
        assert_eq!((data.as_ref(), of), (text.as_bytes(), request));
        if cut {
            drop(node);
            node = comes(&hub, &papers, &[(id, Some(7))]).await;
            assert_eq!(next(&mut node).await, Some(HubToNode::Resume { job: id, have: at }));
        }
    }
    exits(&mut node, id, RunEnd::Signalled(9)).await;
    match follower.next().await {
        HubToClient::Job { job, .. } => assert_eq!(job.end, Some(RunEnd::Signalled(9))),
        other => panic!("{other:?}"),
    }
    // One that is ended by its client, and one of no job.
    let endless = submit(&mut client, 0).await.unwrap().run.job;
    let request = read(&mut follower, endless, true, 0).await;
    follower.wire.send(&ClientToHub::Cancel { request }).await;
    read(&mut follower, JobId(1), true, 0).await;
    assert_eq!(answer(&mut follower).await.unwrap_err().code, ErrorCode::UnknownJob);
    // Credit beyond the window ends that and no other.
    let request = read(&mut follower, endless, true, 1).await;
    follower.wire.send(&ClientToHub::Credit { request, credit: OUTPUT_WINDOW }).await;
    assert_eq!(answer(&mut follower).await.unwrap_err().code, ErrorCode::Protocol);
    assert!(!follower.list().await.is_empty());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_listed_and_cancelled_queued_and_running() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut client = hub.client().await;
    let first = submit(&mut client, HOUR).await.unwrap().run.job;
    let second = submit(&mut client, HOUR).await.unwrap().run.job;
    assert_eq!(cancel(&mut client, first).await.unwrap().state, JobState::Cancelled);
    assert_eq!(cancel(&mut client, first).await.unwrap_err().code, ErrorCode::JobState);
    let mut node = comes(&hub, &papers, &[]).await;
    assert_eq!(handed_over(&mut node).await, second);
    started(&mut node, second).await;
    stands(&mut client, second, JobState::Running).await;
    cancel(&mut client, second).await.unwrap();
    assert_eq!(next(&mut node).await, Some(HubToNode::Cancel { job: second }));
    exits(&mut node, second, RunEnd::Cancelled).await;
    let list = async |client: &mut Client, filter: JobFilter| {
        let request = client.request();
        client.wire.send(&ClientToHub::Jobs { request, filter }).await;
        match client.next().await {
            HubToClient::Jobs { jobs, more, .. } => {
                (jobs.iter().map(|job| job.run.job).collect::<Vec<_>>(), more)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(&mut client, JobFilter::default()).await, (vec![second, first], false));
    let one = JobFilter { limit: 1, nodes: vec!["web*".into()], ..JobFilter::default() };
    assert_eq!(list(&mut client, one).await, (vec![second], true));
    let none = JobFilter { states: vec![JobState::Running], ..JobFilter::default() };
    assert_eq!(list(&mut client, none).await, (vec![], false));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_given_up_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    hub.enrol("web-1").await;
    let (mut client, mut watcher) = (hub.client().await, hub.client().await);
    watcher.subscribe(From::Now, Filter::default()).await;
    let id = submit(&mut client, 1).await.unwrap().run.job;
    watcher.event("command.finished").await;
    assert_eq!(job(&mut client, id).await.state, JobState::Expired);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_takes_nothing_no_job_is_taken_and_it_is_said_why() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    hub.enrol("web-1").await;
    let mut client = hub.client().await;
    let database = rusqlite::Connection::open(dir.path().join("state/hub.db")).unwrap();
    database.busy_timeout(crate::common::PATIENCE).unwrap();
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    database.execute_batch(trigger).unwrap();
    let refusal = submit(&mut client, HOUR).await.unwrap_err();
    assert!(refusal.code == ErrorCode::Internal && refusal.message.contains("disk full"), "{refusal}");
    database.execute_batch("DROP TRIGGER full").unwrap();
    // After a pause the next is a try.
    let job = loop {
        if let Ok(job) = submit(&mut client, HOUR).await {
            break job;
        }
    };
    assert_eq!(job.state, JobState::Queued);
    hub.stop().await;
}
