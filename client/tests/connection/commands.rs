//! What a client says and hears of commands: arguments, input, windows, jobs, and who it is.

use std::time::Duration;

use bytes::Bytes;
use secmon_client::{ClientError, JobEvent, RunEvent, RunOptions};
use secmon_protocol::{
    command::{Arg, OutputStream, RunEnd, Usage},
    hub_event::{CommandRun, Requester},
    ids::{JobId, NodeId, RequestId},
    limits::{MAX_CHUNK, MIN_CHUNK_COST, OUTPUT_WINDOW},
    message::{
        ErrorCode, Refusal,
        client::{ClientToHub, HubToClient, JobFilter, JobState, JobSummary, Role, Rule, WhoAmI},
    },
    time::UnixNanos,
};

use crate::{Peer, pair, within};

fn args() -> Vec<Arg> {
    vec![Arg { name: "lines".into(), value: "5".into() }]
}

fn job(state: JobState) -> JobSummary {
    let by = Requester { uid: 0, user: None, pid: None, agent: "test 1".into() };
    JobSummary {
        node: NodeId([1; 16]),
        name: "web-1".parse().unwrap(),
        run: CommandRun { job: JobId(4), label: "tail".into(), args: args(), by, detached: true },
        state,
        made: UnixNanos(1),
        expires: None,
        started: None,
        ended: None,
        end: None,
        usage: None,
        output: 0,
        dropped: 0,
    }
}

#[tokio::test]
async fn arguments_and_the_window_reach_the_hub_and_use_comes_back() {
    let (client, mut peer) = pair().await;
    let options = RunOptions { stdin: false, window: 1 };
    let mut run = client.run("web-1", "tail", args(), options).await.unwrap();
    let ClientToHub::Run { request, args: sent, credit, stdin: false, .. } = peer.recv().await else {
        panic!("not a Run")
    };
    assert_eq!(
        (sent, credit),
        (args(), 128 << 10),
        "a window in which the largest chunk would not fit is none"
    );
    let data = Bytes::from(vec![7; MAX_CHUNK]);
    let (stream, end) = (OutputStream::Stderr, RunEnd::TooMuchOutput);
    let usage = Some(Usage { output: MAX_CHUNK as u64, ..Usage::default() });
    peer.send(&HubToClient::Output { request, stream, data: data.clone() }).await;
    assert_eq!(within(run.next()).await, Ok(Some(RunEvent::Output { stream, data })));
    peer.send(&HubToClient::Exit { request, end: end.clone(), usage }).await;
    assert_eq!(within(run.next()).await, Ok(Some(RunEvent::Exit { end, usage })));
    let credit = MAX_CHUNK as u32;
    assert_eq!(peer.recv().await, ClientToHub::Credit { request, credit });
}

#[tokio::test]
async fn input_is_sent_as_far_as_it_is_asked_for_and_no_further() {
    let (client, mut peer) = pair().await;
    let options = RunOptions { stdin: true, ..RunOptions::default() };
    let mut run = client.run("web-1", "import", vec![], options).await.unwrap();
    let ClientToHub::Run { request, stdin: true, .. } = peer.recv().await else { panic!("not a Run") };
    assert_eq!((run.input_room(), run.send_input(b"early").await), (0, Ok(0)), "nobody has asked");
    peer.send(&HubToClient::StdinCredit { request, credit: 2 * MIN_CHUNK_COST + 1 }).await;
    assert_eq!(within(run.next()).await, Ok(Some(RunEvent::InputWanted)));
    assert_eq!(run.input_room(), 2 * MIN_CHUNK_COST as usize + 1);
    assert_eq!(run.send_input(b"abc").await, Ok(3));
    assert_eq!(run.input_room(), MIN_CHUNK_COST as usize + 1, "a small piece costs as much as one of 4 KiB");
    assert_eq!(run.send_input(&[7; 10_000]).await, Ok(MIN_CHUNK_COST as usize + 1), "the rest has to wait");
    assert_eq!((run.input_room(), run.send_input(b"more").await), (0, Ok(0)));
    let mut sent = vec![];
    for _ in 0..2 {
        let ClientToHub::Stdin { request: of, data } = peer.recv().await else { panic!("not input") };
        assert_eq!(of, request);
        sent.push(data.len());
    }
    assert_eq!(sent, [3, MIN_CHUNK_COST as usize + 1]);
    peer.send(&HubToClient::StdinCredit { request, credit: u32::MAX }).await;
    assert_eq!(within(run.next()).await, Ok(Some(RunEvent::InputWanted)));
    assert_eq!(run.input_room(), MAX_CHUNK, "however much is asked for, a piece is a piece");
    assert_eq!(run.send_input(b"").await, Ok(0));
    assert_eq!(peer.recv().await, ClientToHub::Stdin { request, data: Bytes::new() }, "the end");
    peer.send(&HubToClient::Exit { request, end: RunEnd::Exited(0), usage: None }).await;
    assert!(matches!(within(run.next()).await, Ok(Some(RunEvent::Exit { .. }))));
    assert_eq!(run.input_room(), 0, "who is over reads nothing");
}

#[tokio::test]
async fn a_job_is_made_looked_at_and_cancelled() {
    let (client, mut peer) = pair().await;
    let answer = async |peer: &mut Peer, request: RequestId, state| {
        peer.send(&HubToClient::Job { request, job: Box::new(job(state)) }).await;
    };
    let making = tokio::spawn({
        let client = client.clone();
        async move { client.submit("web-1", "tail", args(), Some(Duration::from_millis(1500))).await }
    });
    let ClientToHub::Submit { request, node, label, args: sent, queue_secs } = peer.recv().await else {
        panic!("not a Submit")
    };
    assert_eq!((node.as_str(), label.as_str(), sent, queue_secs), ("web-1", "tail", args(), 2));
    answer(&mut peer, request, JobState::Queued).await;
    assert_eq!(within(making).await.unwrap().unwrap(), job(JobState::Queued));

    let looking = tokio::spawn({
        let client = client.clone();
        async move { client.job("0000").await }
    });
    let ClientToHub::Job { request, job: asked } = peer.recv().await else { panic!("not a Job") };
    assert_eq!(asked, "0000");
    let refusal = Refusal::new(ErrorCode::UnknownJob, "no job's number begins with \"0000\"");
    peer.send(&HubToClient::Error { request, refusal: refusal.clone() }).await;
    assert_eq!(within(looking).await.unwrap(), Err(ClientError::Request(refusal)));

    let listing = tokio::spawn({
        let client = client.clone();
        async move { client.jobs(JobFilter { states: vec![JobState::Lost], ..JobFilter::default() }).await }
    });
    let ClientToHub::Jobs { request, filter } = peer.recv().await else { panic!("not Jobs") };
    assert_eq!(filter.states, [JobState::Lost]);
    peer.send(&HubToClient::Jobs { request, jobs: vec![job(JobState::Lost)], more: true }).await;
    assert_eq!(within(listing).await.unwrap(), Ok((vec![job(JobState::Lost)], true)));

    let cancelling = tokio::spawn({
        let client = client.clone();
        async move { client.cancel_job("4").await }
    });
    let ClientToHub::CancelJob { request, .. } = peer.recv().await else { panic!("not a CancelJob") };
    answer(&mut peer, request, JobState::Cancelled).await;
    assert_eq!(within(cancelling).await.unwrap(), Ok(job(JobState::Cancelled)));
}

#[tokio::test]
async fn a_jobs_output_comes_under_credit_with_its_holes_and_its_end() {
    let (client, mut peer) = pair().await;
    let mut output = client.job_output("4", true).await.unwrap();
    let ClientToHub::JobOutput { request, follow: true, credit: OUTPUT_WINDOW, .. } = peer.recv().await
    else {
        panic!("not a JobOutput")
    };
    let stream = OutputStream::Stdout;
    let data = Bytes::from(vec![7; MAX_CHUNK]);
    for _ in 0..4 {
        peer.send(&HubToClient::Output { request, stream, data: data.clone() }).await;
    }
    peer.send(&HubToClient::OutputMissing { request, bytes: 9 }).await;
    peer.send(&HubToClient::Job { request, job: Box::new(job(JobState::Finished)) }).await;
    for _ in 0..4 {
        assert_eq!(within(output.next()).await, Ok(Some(JobEvent::Output { stream, data: data.clone() })));
    }
    assert_eq!(within(output.next()).await, Ok(Some(JobEvent::Missing { bytes: 9 })));
    assert_eq!(within(output.next()).await, Ok(Some(JobEvent::End(Box::new(job(JobState::Finished))))));
    assert_eq!(within(output.next()).await, Ok(None));
    assert_eq!(peer.recv().await, ClientToHub::Credit { request, credit: OUTPUT_WINDOW / 4 });
    // One that is dropped before its end ends the reading.
    let output = client.job_output("4", false).await.unwrap();
    let ClientToHub::JobOutput { request, .. } = peer.recv().await else { panic!("not a JobOutput") };
    drop(output);
    assert_eq!(peer.recv().await, ClientToHub::Cancel { request });
}

#[tokio::test]
async fn one_can_ask_who_one_is_and_have_a_node_removed() {
    let (client, mut peer) = pair().await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.who_am_i().await }
    });
    let ClientToHub::WhoAmI { request } = peer.recv().await else { panic!("not a WhoAmI") };
    let rule = Rule { name: "[[access]] 1".into(), role: Role::Viewer, nodes: vec![], commands: vec![] };
    let who = WhoAmI { uid: 7, user: None, groups: vec![(7, None)], rules: vec![rule] };
    peer.send(&HubToClient::You { request, who: Box::new(who.clone()) }).await;
    assert_eq!(within(asking).await.unwrap(), Ok(who));
    let removing = tokio::spawn(async move { client.remove("web-1").await });
    let ClientToHub::Remove { request, node } = peer.recv().await else { panic!("not a Remove") };
    assert_eq!(node, "web-1");
    let (node, name) = (NodeId([1; 16]), "web-1".parse().unwrap());
    peer.send(&HubToClient::Removed { request, node, name }).await;
    assert_eq!(within(removing).await.unwrap().unwrap().0, node);
}
