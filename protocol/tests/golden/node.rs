//! Node and hub.

use bytes::Bytes;
use secmon_protocol::{
    codec::{self, Fragment},
    command::{OutputStream, RunEnd, RunFailure},
    ids::{Epoch, JobId, Seq},
    message::{
        ErrorCode, Refusal,
        node::{Hello, HostFacts, HubToNode, NodeToHub, Resume, Welcome},
    },
    record::{Envelope, NodeRecord},
    time::UnixNanos,
};

use crate::{
    case::Cases,
    samples::{NODE, TIME, auth_event, commands, facts, name},
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
        ("", NodeToHub::Started { job: JobId(77), pid: 4321 }),
        (
            "",
            NodeToHub::Output {
                job: JobId(77),
                stream: OutputStream::Stdout,
                data: Bytes::from_static(b"ok\n"),
            },
        ),
        (
            "err",
            NodeToHub::Output {
                job: JobId(77),
                stream: OutputStream::Stderr,
                data: Bytes::from_static(&[0xff]),
            },
        ),
        ("", NodeToHub::Exit { job: JobId(77), end: RunEnd::Exited(3), usage: None }),
        ("failed", NodeToHub::Exit { job: JobId(77), end: failed(), usage: None }),
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
        ("", HubToNode::Run { job: JobId(77), label: "uptime".into(), credit: 1 << 20 }),
        ("", HubToNode::Cancel { job: JobId(77) }),
        ("", HubToNode::Credit { job: JobId(77), credit: 4096 }),
        ("", HubToNode::Fragment(Fragment::End)),
    ]);
    cases.variants([("", Resume::After(Seq(300))), ("", Resume::Oldest)]);
}

fn hello() -> Hello {
    Hello {
        agent: "0.1.0".into(),
        facts: facts(),
        epoch: Epoch(0x0102_0304_0506_0708),
        oldest: Seq(250),
        newest: Seq(300),
        clock: TIME,
        commands: commands(),
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
        commands: vec![],
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
