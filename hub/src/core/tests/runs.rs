//! Attached runs: their credit, their input, their ends, and who decides what there is to run.

use std::sync::Arc;

use secmon_protocol::{
    command::{Arg, MAX_LABEL, RunEnd, RunFailure},
    hub_event::Requester,
    ids::RequestId,
    limits::{MIN_CHUNK_COST, OUTPUT_WINDOW},
    message::Refusal,
};

use super::*;
use crate::access::Grants;

const CLIENT: ClientId = ClientId(1);
const LINK: Link = Link(1);

pub(super) fn wish_for(node: &str, job: u64) -> Wish {
    let by = Requester { uid: 1000, user: Some("alice".into()), pid: None, agent: "test".into() };
    let grants = Arc::new(Grants::everything("test"));
    Wish { node: node.into(), label: "up".into(), args: vec![], job: JobId(job), grants, by }
}

fn run(request: u64, credit: u32) -> RunRequest {
    RunRequest { request: RequestId(request), wish: wish_for("web-1", request), credit, stdin: false }
}

fn online() -> Core {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    core
}

/// What comes of something, flushed.
fn effects(core: &mut Core, what: impl FnOnce(&mut Core, &mut Effects)) -> Effects {
    let mut out = vec![];
    what(core, &mut out);
    core.flush(&mut out);
    out
}

fn asks(core: &mut Core, asked: RunRequest) -> Effects {
    effects(core, |core, out| core.handle_run(at(4), CLIENT, asked, out))
}

fn says(core: &mut Core, message: NodeToHub) -> Effects {
    effects(core, |core, out| core.handle_message(at(5), LINK, message, out))
}

fn exits(core: &mut Core, job: u64, end: RunEnd) -> Effects {
    says(core, NodeToHub::Exit { job: JobId(job), end, usage: None })
}

fn prints(core: &mut Core, job: u64) -> Effects {
    let (stream, data) = (OutputStream::Stdout, Bytes::from_static(b"x"));
    says(core, NodeToHub::Output { job: JobId(job), stream, at: 0, data })
}

fn refused(out: &Effects) -> Option<&Refusal> {
    out.iter().find_map(|effect| match effect {
        Effect::ToClient(_, HubToClient::Error { refusal, .. }) => Some(refusal),
        _ => None,
    })
}

fn closed(out: &Effects) -> usize {
    count(out, |effect| matches!(effect, Effect::Close(..)))
}

/// The records of the hub's own about commands, with the node that each is about.
pub(super) fn told(out: &Effects) -> Vec<(NodeId, HubEvent)> {
    let of = |effect: &Effect| match effect {
        Effect::Publish(record) => match record.envelope.decode() {
            Ok(Body::Hub(event)) => Some((record.node, event)),
            _ => None,
        },
        _ => None,
    };
    out.iter().filter_map(of).collect()
}

#[test]
fn a_run_is_logged_when_its_process_stands_and_when_it_ends_with_who_what_and_where() {
    let mut core = online();
    let mut asked = run(1, 0);
    asked.wish.args = vec![Arg { name: "lines".into(), value: "5".into() }];
    let out = asks(&mut core, asked.clone());
    assert_eq!(logged(&out), Vec::<String>::new(), "it has not started");
    assert_eq!(count(&out, |e| matches!(e, Effect::Store(Write::Job(row)) if !row.summary.run.detached)), 1);
    let out = says(&mut core, NodeToHub::Started { job: JobId(1), pid: 7 });
    let expected = asked.wish.run_of(false);
    assert_eq!(told(&out), [(NodeId([1; 16]), HubEvent::CommandStarted(expected.clone()))]);
    let usage = Some(secmon_protocol::command::Usage { output: 3, ..Default::default() });
    let out = says(&mut core, NodeToHub::Exit { job: JobId(1), end: RunEnd::Exited(3), usage });
    let finished = HubEvent::CommandFinished { run: expected, end: RunEnd::Exited(3), usage };
    assert_eq!(told(&out), [(NodeId([1; 16]), finished)]);
    assert!(out.contains(&Effect::Store(Write::ForgetJob(JobId(1)))), "an attached run is not kept");
}

#[test]
fn credit_is_counted_and_never_over_the_window() {
    let mut core = online();
    assert!(refused(&asks(&mut core, run(1, OUTPUT_WINDOW + 1))).is_some());
    asks(&mut core, run(1, MIN_CHUNK_COST));
    let mut out = prints(&mut core, 1);
    out.extend(effects(&mut core, |core, out| core.handle_credit(CLIENT, RequestId(1), MIN_CHUNK_COST, out)));
    out.extend(prints(&mut core, 1));
    assert_eq!(count(&out, |e| matches!(e, Effect::ToClient(_, HubToClient::Output { .. }))), 2);
    assert_eq!(closed(&out), 0);
    let out =
        effects(&mut core, |core, out| core.handle_credit(CLIENT, RequestId(1), OUTPUT_WINDOW + 1, out));
    assert_eq!(count(&out, |e| matches!(e, Effect::ToNode(_, HubToNode::Cancel { .. }))), 1);
    let out = prints(&mut core, 1);
    assert_eq!(closed(&out), 1, "more than was granted");
    assert_eq!(logged(&out), ["command.finished", "node.disconnected"]);
}

/// Each of these went on to the node, so that one client could fill its queue and have its connection cut.
#[test]
fn a_client_that_says_the_same_again_and_again_makes_no_messages_for_the_node() {
    let mut core = online();
    asks(&mut core, run(1, 0));
    asks(&mut core, run(2, 0));
    let to_node = |out: &Effects| count(out, |e| matches!(e, Effect::ToNode(..)));
    let out = effects(&mut core, |core, out| {
        (0..1000).for_each(|_| core.handle_credit(CLIENT, RequestId(1), 0, out));
        (0..1000).for_each(|_| core.handle_credit(CLIENT, RequestId(1), 1, out));
    });
    assert_eq!((to_node(&out), refused(&out).unwrap().code), (1, ErrorCode::Protocol), "it is cancelled");
    let out = effects(&mut core, |core, out| {
        (0..1000).for_each(|_| core.handle_cancel(CLIENT, RequestId(2), out));
        core.handle_client_down(CLIENT, out);
    });
    assert_eq!(to_node(&out), 1);
    assert_eq!(logged(&exits(&mut core, 1, RunEnd::Cancelled)), ["command.refused"]);
    assert_eq!(logged(&exits(&mut core, 2, RunEnd::Cancelled)), ["command.refused"]);
}

/// A core with so many nodes that are there: `web-2` on link 2, and so on.
fn fleet(nodes: u8) -> Core {
    let mut core = core();
    for n in 2..2 + nodes {
        let (id, secret, name) = (NodeId([n; 16]), [n; 32], format!("web-{n}").parse().unwrap());
        let wish = Enrolling { secret, id, name, valid: Duration::ZERO, replace: false };
        core.enroll(at(0), wish, &mut vec![]).unwrap();
        core.join(at(1), &secret, [n; 32], "", &mut vec![]).unwrap();
        let (papers, address, hello) = ([n; 32], String::new(), hello(1, 1, 0));
        let from = Introduction { papers, address, hello, fresh: Epoch(1) };
        core.handle_hello(at(2), Link(u64::from(n)), from, &mut vec![]);
    }
    core
}

#[test]
fn all_runs_of_a_client_together_are_bounded_in_credit() {
    let mut core = fleet(1);
    let on = |request, credit| RunRequest { wish: wish_for("web-2", request), ..run(request, credit) };
    for request in 0..u64::from(MAX_CREDIT_PER_CLIENT / OUTPUT_WINDOW) {
        assert_eq!(refused(&asks(&mut core, on(request, OUTPUT_WINDOW))), None);
    }
    let refusal = refused(&asks(&mut core, on(99, 1))).cloned().unwrap();
    assert!(refusal.code == ErrorCode::TooMany && refusal.message.contains("32 MiB"), "{refusal}");
    // What has ended, and what was printed, counts no more.
    effects(&mut core, |core, out| {
        let message = NodeToHub::Exit { job: JobId(0), end: RunEnd::Exited(0), usage: None };
        core.handle_message(at(5), Link(2), message, out);
        let (stream, data) = (OutputStream::Stdout, Bytes::from_static(b"x"));
        core.handle_message(at(5), Link(2), NodeToHub::Output { job: JobId(1), stream, at: 0, data }, out);
    });
    assert_eq!(refused(&asks(&mut core, on(99, OUTPUT_WINDOW))), None);
    assert_eq!(refused(&asks(&mut core, on(100, MIN_CHUNK_COST))), None);
    assert!(refused(&asks(&mut core, on(101, 1))).is_some() && core.runs_are_consistent());
    effects(&mut core, |core, out| core.handle_client_down(CLIENT, out));
    assert!(core.runs_are_consistent() && core.open_of_client(CLIENT) == 0);
}

#[test]
fn all_runs_of_a_client_and_of_a_node_are_bounded_in_number() {
    let mut core = fleet(5);
    let mut refusals = vec![];
    for request in 0..300 {
        let node = format!("web-{}", 2 + request / MAX_RUNS_PER_NODE as u64);
        let out = asks(&mut core, RunRequest { wish: wish_for(&node, request), ..run(request, 0) });
        refusals.extend(refused(&out).cloned());
    }
    assert_eq!(
        (core.open_of_client(CLIENT), refusals.len()),
        (MAX_RUNS_PER_CLIENT, 300 - MAX_RUNS_PER_CLIENT)
    );
    assert!(refusals.iter().all(|refusal| refusal.code == ErrorCode::TooMany));
    let other = RunRequest { wish: wish_for("web-2", 999), ..run(1, 0) };
    let out = effects(&mut core, |core, out| core.handle_run(at(4), ClientId(2), other, out));
    assert!(refused(&out).unwrap().message.contains("64 runs are open on web-2"));
}

#[test]
fn input_flows_as_far_as_the_node_asks_for_it_and_ends_once() {
    let mut core = online();
    asks(&mut core, RunRequest { stdin: true, ..run(1, 0) });
    let sends = |core: &mut Core, data: &'static [u8]| {
        effects(core, |core, out| core.handle_stdin(CLIENT, RequestId(1), Bytes::from_static(data), out))
    };
    let credit = NodeToHub::StdinCredit { job: JobId(1), credit: MIN_CHUNK_COST };
    let out = says(&mut core, credit.clone());
    let passed = HubToClient::StdinCredit { request: RequestId(1), credit: MIN_CHUNK_COST };
    assert_eq!(out, [Effect::ToClient(CLIENT, passed)]);
    let input = |data: &'static [u8]| HubToNode::Stdin { job: JobId(1), data: Bytes::from_static(data) };
    assert_eq!(sends(&mut core, b"abc"), [Effect::ToNode(LINK, input(b"abc"))]);
    assert_eq!(sends(&mut core, b""), [Effect::ToNode(LINK, input(b""))]);
    assert!(says(&mut core, credit).is_empty(), "after its end nobody asks for more");
    let out = sends(&mut core, b"d");
    assert_eq!(refused(&out).unwrap().code, ErrorCode::Protocol);
    assert_eq!(count(&out, |e| matches!(e, Effect::ToNode(_, HubToNode::Cancel { .. }))), 1);
    // Of a run without input, and more than was asked for.
    for (request, stdin) in [(2, false), (3, true)] {
        asks(&mut core, RunRequest { stdin, ..run(request, 0) });
        let send = |core: &mut Core, out: &mut Effects| {
            core.handle_stdin(CLIENT, RequestId(request), Bytes::from_static(b"x"), out);
        };
        assert_eq!(refused(&effects(&mut core, send)).unwrap().code, ErrorCode::Protocol);
    }
    asks(&mut core, RunRequest { stdin: true, ..run(4, 0) });
    let greedy = NodeToHub::StdinCredit { job: JobId(4), credit: OUTPUT_WINDOW + 1 };
    assert_eq!(closed(&says(&mut core, greedy)), 1);
}

/// The hub once refused what was not in the list that it had heard last: a label added a moment ago, and
/// every label of a node whose allowlist cannot be trusted, without its reason.
#[test]
fn whether_there_is_a_command_is_the_nodes_to_say() {
    let mut core = online();
    let mut asked = run(1, 0);
    asked.wish.label = "new".into();
    let out = asks(&mut core, asked);
    let handed = |e: &Effect| matches!(e, Effect::ToNode(_, HubToNode::Run(order)) if order.label == "new");
    assert_eq!(count(&out, handed), 1);
    let end = RunEnd::Failed { why: RunFailure::Refused, message: "others may write it".into() };
    let out = exits(&mut core, 1, end.clone());
    assert!(
        matches!(&told(&out)[..], [(_, HubEvent::CommandRefused { reason, .. })] if reason == "others may write it")
    );
    let exit = HubToClient::Exit { request: RequestId(1), end, usage: None };
    assert!(out.contains(&Effect::ToClient(CLIENT, exit)));
}

#[test]
fn what_the_hub_refuses_is_logged_with_what_was_asked() {
    let mut core = online();
    let with = |change: &dyn Fn(&mut RunRequest)| {
        let mut asked = run(9, 0);
        change(&mut asked);
        asked
    };
    let long = || vec![Arg { name: "a".into(), value: "x".repeat(5000) }];
    let here = NodeId([1; 16]);
    for (asked, code, about, said) in [
        (with(&|a| a.wish.node = "web-9".into()), ErrorCode::UnknownNode, NodeId::HUB, "\"web-9\""),
        (with(&|a| a.wish.label = String::new()), ErrorCode::UnknownLabel, here, "1 to 64 bytes"),
        (with(&|a| a.wish.label = "x".repeat(MAX_LABEL + 1)), ErrorCode::UnknownLabel, here, "1 to 64"),
        (with(&|a| a.wish.args = long()), ErrorCode::Protocol, here, "over the limit"),
    ] {
        let out = asks(&mut core, asked);
        assert_eq!(refused(&out).unwrap().code, code);
        let told = told(&out);
        let [(node, HubEvent::CommandRefused { run, reason })] = &told[..] else { panic!("{told:?}") };
        assert!((*node, run.by.uid) == (about, 1000) && reason.contains(said), "{reason}");
        assert!(run.label.len() <= MAX_LABEL && run.args.iter().all(|arg| arg.value.len() < 100));
    }
    // Within their limits, but more than is to be kept of what nobody ran.
    let many = |a: &mut RunRequest| {
        a.wish.label = String::new();
        a.wish.args = (0..16).map(|n| Arg { name: format!("a{n}"), value: "x".repeat(4096) }).collect();
    };
    let logged = told(&asks(&mut core, with(&many)));
    assert!(codec::encode(&logged[0].1).len() < 3000, "{}", codec::encode(&logged[0].1).len());
    core.handle_link_down(at(5), LINK, "away", &mut vec![]);
    let out = asks(&mut core, run(9, 0));
    assert!(matches!(&told(&out)[..], [(node, HubEvent::CommandRefused { .. })] if *node == here));
    assert_eq!(refused(&out).unwrap().code, ErrorCode::NodeAway);
}

#[test]
fn refusals_in_a_loop_do_not_fill_the_log_and_are_counted() {
    let mut core = core();
    let mut records = 0;
    for request in 0..500 {
        records += told(&asks(&mut core, run(request, 0))).len();
    }
    assert_eq!(records, 20);
    let out = effects(&mut core, |core, out| core.handle_tick(at(5), out));
    let told = told(&out);
    let [(NodeId::HUB, HubEvent::Denied { by, unlogged: 480, .. })] = &told[..] else { panic!("{told:?}") };
    assert_eq!(by.uid, 1000);
    assert!(effects(&mut core, |core, out| core.handle_tick(at(9), out)).is_empty());
}

#[test]
fn a_run_outlives_its_client_until_its_exit() {
    let mut core = online();
    asks(&mut core, run(1, 0));
    says(&mut core, NodeToHub::Started { job: JobId(1), pid: 7 });
    let out = effects(&mut core, |core, out| core.handle_client_down(CLIENT, out));
    assert_eq!(out, [Effect::ToNode(LINK, HubToNode::Cancel { job: JobId(1) })]);
    let out = exits(&mut core, 1, RunEnd::Cancelled);
    assert_eq!(logged(&out), ["command.finished"]);
    assert_eq!(count(&out, |e| matches!(e, Effect::ToClient(..))), 0);
    asks(&mut core, run(2, 0));
    effects(&mut core, |core, out| core.handle_cancel(CLIENT, RequestId(2), out));
    assert_eq!(logged(&exits(&mut core, 2, RunEnd::Cancelled)), ["command.refused"], "it never stood");
}

#[test]
fn a_run_ends_with_its_link_once() {
    let mut core = online();
    asks(&mut core, run(1, 0));
    asks(&mut core, run(2, 0));
    says(&mut core, NodeToHub::Started { job: JobId(1), pid: 7 });
    let out = effects(&mut core, |core, out| core.handle_link_down(at(6), LINK, "cut", out));
    assert_eq!(logged(&out), ["command.finished", "command.finished", "node.disconnected"]);
    assert_eq!(count(&out, |e| matches!(e, Effect::ToClient(_, HubToClient::Exit { .. }))), 2);
    assert!(core.orphans().is_empty() && core.runs_are_consistent());
    connect(&mut core, 2, hello(1, 1, 0));
    let late = NodeToHub::Started { job: JobId(1), pid: 7 };
    let out = effects(&mut core, |core, out| core.handle_message(at(7), Link(2), late, out));
    assert_eq!(closed(&out), 1, "what is over is nobody's any more");
}
