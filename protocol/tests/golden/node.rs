//! Node and hub.

use bytes::Bytes;
use secmon_protocol::{
    codec::{self, Fragment},
    command::{OutputStream, RunEnd, RunFailure},
    ids::{Epoch, JobId, Seq},
    message::{
        ErrorCode, Refusal,
        node::{HeldJob, Hello, HostFacts, HubToNode, NodeToHub, Order, Resume, Welcome},
    },
    record::{Envelope, NodeRecord},
    time::UnixNanos,
};

use crate::{
    case::Cases,
    samples::{JOB, NODE, TIME, USAGE, args, auth_event, commands, facts, name, typed_command},
};

pub(crate) fn add(cases: &mut Cases) {
    let record = |seq| NodeRecord { seq: Seq(seq), envelope: Envelope::auth(&auth_event()) };
    cases.variants([
        ("", NodeToHub::Hello(hello())),
        ("bare", NodeToHub::Hello(bare_hello())),
        ("", NodeToHub::Records(codec::encode_list(&[record(7), record(8)]))),
        ("", NodeToHub::Pong { nonce: 0x1122_3344_5566_7788 }),
        ("", NodeToHub::Commands(commands())),
        ("none", NodeToHub::Commands(vec![])),
        ("typed", NodeToHub::Commands(vec![typed_command()])),
        ("", NodeToHub::Started { job: JobId(77), pid: 4321 }),
        (
            "",
            NodeToHub::Output {
                job: JobId(77),
                stream: OutputStream::Stdout,
                at: 70_000,
                data: Bytes::from_static(b"ok\n"),
            },
        ),
        (
            "err",
            NodeToHub::Output {
                job: JobId(77),
                stream: OutputStream::Stderr,
                at: 0,
                data: Bytes::from_static(&[0xff]),
            },
        ),
        ("", NodeToHub::Exit { job: JobId(77), end: RunEnd::Exited(3), usage: Some(USAGE) }),
        ("failed", NodeToHub::Exit { job: JobId(77), end: failed(), usage: None }),
        ("", NodeToHub::StdinCredit { job: JOB, credit: 65_536 }),
        (
            "",
            NodeToHub::Jobs(vec![
                HeldJob { job: JOB, pid: Some(4321) },
                HeldJob { job: JobId(77), pid: None },
            ]),
        ),
        ("", NodeToHub::Fragment(Fragment::Begin { len: 2_000_000 })),
        ("part", NodeToHub::Fragment(Fragment::Part(Bytes::from_static(b"part")))),
        ("end", NodeToHub::Fragment(Fragment::End)),
    ]);
    cases.variants([
        ("", HubToNode::Welcome(welcome(Resume::After(Seq(300))))),
        ("oldest", HubToNode::Welcome(welcome(Resume::Oldest))),
        ("", HubToNode::Reject(Refusal::new(ErrorCode::Version, "too old"))),
        ("", HubToNode::Ack { seq: Seq(300) }),
        ("", HubToNode::Resync),
        ("", HubToNode::Ping { nonce: 5 }),
        ("", HubToNode::Run(order())),
        ("bare", HubToNode::Run(bare_order())),
        ("", HubToNode::Cancel { job: JobId(77) }),
        ("", HubToNode::Credit { job: JobId(77), credit: 4096 }),
        ("", HubToNode::Stdin { job: JOB, data: Bytes::from_static(b"in\n") }),
        ("end", HubToNode::Stdin { job: JOB, data: Bytes::new() }),
        ("", HubToNode::Resume { job: JOB, have: 70_000 }),
        ("", HubToNode::Forget { job: JOB }),
        ("", HubToNode::Fragment(Fragment::End)),
    ]);
    cases.variants([("", Resume::After(Seq(300))), ("", Resume::Oldest)]);
}

fn order() -> Order {
    Order { job: JOB, label: "tail".into(), args: args(), credit: 1 << 20, stdin: false, detached: true }
}

fn bare_order() -> Order {
    Order {
        job: JobId(77),
        label: "uptime".into(),
        args: vec![],
        credit: 4_096,
        stdin: true,
        detached: false,
    }
}

fn hello() -> Hello {
    Hello {
        agent: "0.1.0".into(),
        facts: facts(),
        epoch: Epoch(0x0102_0304_0506_0708),
        oldest: Seq(250),
        newest: Seq(300),
        clock: TIME,
        extensions: [(1, Bytes::from_static(b"one")), (500, Bytes::new())].into(),
    }
}

fn bare_hello() -> Hello {
    Hello {
        agent: String::new(),
        facts: HostFacts::default(),
        epoch: Epoch(0),
        oldest: Seq(1),
        newest: Seq(0),
        clock: UnixNanos(0),
        extensions: [].into(),
    }
}

fn welcome(resume: Resume) -> Welcome {
    Welcome {
        node: NODE,
        name: name(),
        resume,
        heartbeat_ms: 15_000,
        clock: TIME,
        extensions: [(2, Bytes::from_static(b"two"))].into(),
    }
}

fn failed() -> RunEnd {
    RunEnd::Failed { why: RunFailure::Spawn, message: "cannot start /usr/bin/nope".into() }
}
