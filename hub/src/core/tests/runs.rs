//! Runs: their credit, their ends, and who decides what there is to run.

use std::sync::Arc;

use secmon_protocol::{
    command::{MAX_LABEL, OutputStream, RunEnd, RunFailure},
    hub_event::Requester,
    ids::RequestId,
    limits::{MIN_CHUNK_COST, OUTPUT_WINDOW},
};

use super::*;
use crate::access::Grants;

fn wish(request: u64, credit: u32) -> RunRequest {
    let by = Requester { uid: 0, user: None, pid: None, agent: String::new() };
    let (node, label, args) = ("web-1".into(), "up".into(), vec![]);
    let (job, grants) = (JobId(request), Arc::new(Grants::everything("test")));
    RunRequest { request: RequestId(request), node, label, args, credit, stdin: false, job, grants, by }
}

#[test]
fn credit_is_counted_and_never_over_the_window() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    let mut out = vec![];
    core.handle_run(at(4), ClientId(1), wish(1, OUTPUT_WINDOW + 1), &mut out);
    assert!(matches!(&out[0], Effect::ToClient(_, HubToClient::Error { .. })), "{out:?}");
    out.clear();
    core.handle_run(at(4), ClientId(1), wish(1, MIN_CHUNK_COST), &mut out);
    assert_eq!(logged(&out), ["command.started"]);
    out.clear();
    let chunk = |out: &mut Effects, core: &mut Core| {
        let data = (OutputStream::Stdout, Bytes::from_static(b"x"));
        core.handle_output(at(4), Link(1), JobId(1), data, out);
    };
    chunk(&mut out, &mut core);
    core.handle_credit(ClientId(1), RequestId(1), MIN_CHUNK_COST, &mut out);
    chunk(&mut out, &mut core);
    assert_eq!(count(&out, |e| matches!(e, Effect::ToClient(_, HubToClient::Output { .. }))), 2);
    assert_eq!(count(&out, |e| matches!(e, Effect::Close(..))), 0);
    out.clear();
    core.handle_credit(ClientId(1), RequestId(1), OUTPUT_WINDOW + 1, &mut out);
    assert_eq!(count(&out, |e| matches!(e, Effect::ToNode(_, HubToNode::Cancel { .. }))), 1);
    out.clear();
    chunk(&mut out, &mut core);
    assert_eq!(count(&out, |e| matches!(e, Effect::Close(..))), 1, "more than was granted");
    assert_eq!(logged(&out), ["command.finished", "node.disconnected"]);
}

/// The hub once refused what was not in the list that it had heard last: a label added a moment ago, and
/// every label of a node whose allowlist cannot be trusted, without its reason.
#[test]
fn whether_there_is_a_command_is_the_nodes_to_say() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    let mut out = vec![];
    core.handle_run(at(4), ClientId(1), RunRequest { label: "new".into(), ..wish(1, 0) }, &mut out);
    assert_eq!(logged(&out), ["command.started"]);
    let run = |e: &Effect| matches!(e, Effect::ToNode(_, HubToNode::Run(order)) if order.label == "new");
    assert_eq!(count(&out, run), 1);
    out.clear();
    let end = RunEnd::Failed { why: RunFailure::Refused, message: "others may write it".into() };
    core.handle_exit(at(5), Link(1), JobId(1), (end.clone(), None), &mut out);
    assert_eq!(logged(&out), ["command.finished"]);
    assert!(out.contains(&Effect::ToClient(
        ClientId(1),
        HubToClient::Exit { request: RequestId(1), end, usage: None }
    )));
    for label in [String::new(), "x".repeat(MAX_LABEL + 1)] {
        out.clear();
        core.handle_run(at(4), ClientId(1), RunRequest { label, ..wish(2, 0) }, &mut out);
        assert!(
            matches!(&out[..], [Effect::ToClient(_, HubToClient::Error { refusal, .. })] if refusal.code == ErrorCode::UnknownLabel)
        );
    }
}

#[test]
fn a_run_outlives_its_client_until_its_exit() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    let mut out = vec![];
    core.handle_run(at(4), ClientId(1), wish(1, 0), &mut out);
    out.clear();
    core.handle_client_down(ClientId(1), &mut out);
    assert_eq!(out, [Effect::ToNode(Link(1), HubToNode::Cancel { job: JobId(1) })]);
    out.clear();
    core.handle_exit(at(5), Link(1), JobId(1), (RunEnd::Cancelled, None), &mut out);
    assert_eq!(logged(&out), ["command.finished"]);
    assert_eq!(count(&out, |e| matches!(e, Effect::ToClient(..))), 0);
}
