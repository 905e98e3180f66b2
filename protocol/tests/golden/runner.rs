//! Node and runner.

use bytes::Bytes;
use secmon_protocol::{
    codec::Fragment,
    command::{OutputStream, RunEnd, RunFailure},
    message::runner::{NodeToRunner, RunnerToNode, VERSION},
};

use crate::{
    case::Cases,
    samples::{JOB, USAGE, args, refusal, typed_command},
};

pub(crate) fn add(cases: &mut Cases) {
    let start =
        |args, stdin| NodeToRunner::Start { job: JOB, label: "tail".into(), args, credit: 1 << 20, stdin };
    cases.variants([
        ("", NodeToRunner::Hello { version: VERSION, agent: "0.1.0".into() }),
        ("", start(args(), true)),
        ("bare", start(vec![], false)),
        ("", NodeToRunner::Stdin { job: JOB, data: Bytes::from_static(b"in\n") }),
        ("", NodeToRunner::Credit { job: JOB, credit: 65_536 }),
        ("", NodeToRunner::Cancel { job: JOB }),
        ("", NodeToRunner::Fragment(Fragment::End)),
    ]);
    let why = RunFailure::BadArgument;
    let failed = RunEnd::Failed { why, message: "lines is 1 to 1000, not 0".into() };
    let data = Bytes::from_static(b"ok\n");
    cases.variants([
        ("", RunnerToNode::Welcome { version: VERSION, agent: "0.1.0".into() }),
        ("", RunnerToNode::Reject(refusal())),
        ("", RunnerToNode::Commands(vec![typed_command()])),
        ("", RunnerToNode::Started { job: JOB, pid: 4321 }),
        ("", RunnerToNode::Output { job: JOB, stream: OutputStream::Stderr, data }),
        ("", RunnerToNode::StdinCredit { job: JOB, credit: 65_536 }),
        ("", RunnerToNode::Exit { job: JOB, end: RunEnd::Exited(0), usage: Some(USAGE) }),
        ("failed", RunnerToNode::Exit { job: JOB, end: failed, usage: None }),
        ("", RunnerToNode::Fragment(Fragment::End)),
    ]);
}
