//! Client and hub.

use bytes::Bytes;
use secmon_protocol::{
    codec::{self, Fragment},
    command::{OutputStream, RunEnd},
    facet::{FacetId, FacetStatus},
    ids::{Cursor, Epoch, JobId, RequestId, Seq},
    message::{
        client::{
            ClientToHub, FacetSummary, Filter, From, Gap, HubToClient, JobFilter, JobState, JobSummary,
            NodeDetail, NodeSummary, Presence, Role, Rule, TokenText, VERSION, WhoAmI,
        },
        node::HostFacts,
    },
    record::{Envelope, LogRecord, Origin},
};

use crate::{
    case::Cases,
    samples::{
        CURSOR, NODE, TIME, USAGE, args, auth_event, bare_run, command_run, commands, facts, name, refusal,
        session, unavailable,
    },
};

const REQUEST: RequestId = RequestId(8);

pub(crate) fn add(cases: &mut Cases) {
    let subscribe = |from, filter| ClientToHub::Subscribe { request: REQUEST, from, filter };
    let filter = Filter { nodes: vec!["web-*".into()], types: vec!["auth.*".into(), "gap".into()] };
    cases.variants([
        ("", ClientToHub::Hello { version: VERSION, agent: "secmon 0.1.0".into() }),
        ("", ClientToHub::List { request: REQUEST }),
        ("", ClientToHub::Get { request: RequestId(u64::MAX), node: "web-1".into() }),
        ("", subscribe(From::Cursor(CURSOR), filter)),
        ("now", subscribe(From::Now, Filter::default())),
        ("snapshot", subscribe(From::Snapshot, Filter::default())),
        (
            "",
            ClientToHub::Run {
                request: REQUEST,
                node: "web-1".into(),
                label: "tail".into(),
                args: args(),
                credit: 1 << 20,
                stdin: true,
            },
        ),
        ("", ClientToHub::Credit { request: REQUEST, credit: 65_536 }),
        ("", ClientToHub::Cancel { request: REQUEST }),
        ("", ClientToHub::Enroll { request: REQUEST, name: name(), valid_secs: 3600, replace: true }),
        ("", ClientToHub::Stdin { request: REQUEST, data: Bytes::from_static(b"in\n") }),
        (
            "",
            ClientToHub::Submit {
                request: REQUEST,
                node: "web-1".into(),
                label: "tail".into(),
                args: args(),
                queue_secs: 3_600,
            },
        ),
        ("", ClientToHub::Jobs { request: REQUEST, filter: job_filter() }),
        ("", ClientToHub::Job { request: REQUEST, job: "00decade".into() }),
        (
            "",
            ClientToHub::JobOutput { request: REQUEST, job: "00decade".into(), follow: true, credit: 65_536 },
        ),
        ("", ClientToHub::CancelJob { request: REQUEST, job: "00decade".into() }),
        ("", ClientToHub::WhoAmI { request: REQUEST }),
        ("", ClientToHub::Remove { request: REQUEST, node: "web-1".into() }),
        ("", ClientToHub::Fragment(Fragment::End)),
    ]);
    cases.variants([
        ("", From::Now),
        ("", From::Cursor(CURSOR)),
        ("", From::Snapshot),
        ("", From::Time(TIME)),
    ]);
    cases.variants(JobState::ALL.map(|state| ("", state)));
    cases.variants([("", Role::Viewer), ("", Role::Operator), ("", Role::Admin)]);
    cases.variants(answers().into_iter().chain(output()).chain(of_jobs()));
    cases.variants([
        ("", Presence::Online { since: TIME }),
        ("", Presence::Away { since: TIME }),
        ("", Presence::Expected { since: TIME }),
    ]);
}

fn answers() -> Vec<(&'static str, HubToClient)> {
    let subscribed =
        |snapshot| HubToClient::Subscribed { request: REQUEST, after: CURSOR, snapshot, whole: true };
    let to = Cursor { n: CURSOR.n + 5, ..CURSOR };
    let gap = Gap { after: CURSOR, to, reason: "no longer kept".into() };
    vec![
        ("", HubToClient::Welcome { version: VERSION, agent: "0.1.0".into(), newest: CURSOR, clock: TIME }),
        ("", HubToClient::Reject(refusal())),
        ("", HubToClient::Event { request: REQUEST, record: codec::encode(&record()) }),
        ("", subscribed(None)),
        ("snapshot", subscribed(Some(vec![detail(), bare_detail()]))),
        ("", HubToClient::Gap { request: REQUEST, gap }),
        ("", HubToClient::Progress { request: REQUEST, cursor: CURSOR }),
        ("", HubToClient::Nodes { request: REQUEST, nodes: vec![detail().summary, bare_detail().summary] }),
        ("", HubToClient::Node { request: REQUEST, node: Box::new(detail()) }),
    ]
}

fn output() -> Vec<(&'static str, HubToClient)> {
    let data = Bytes::from_static(b"up 3 days\n");
    let expires = TIME;
    vec![
        ("", HubToClient::Started { request: REQUEST, job: JobId(77), node: NODE, pid: 4321 }),
        ("", HubToClient::Output { request: REQUEST, stream: OutputStream::Stdout, data }),
        ("", HubToClient::Exit { request: REQUEST, end: RunEnd::Signalled(15), usage: Some(USAGE) }),
        (
            "",
            HubToClient::Enrolling {
                request: REQUEST,
                token: TokenText("secmon1.AA".into()),
                expires,
                addresses: vec!["hub.example.org:7373".into()],
            },
        ),
        ("", HubToClient::Error { request: REQUEST, refusal: refusal() }),
        ("", HubToClient::Fragment(Fragment::Begin { len: 2_000_000 })),
    ]
}

fn of_jobs() -> Vec<(&'static str, HubToClient)> {
    let job = |job| HubToClient::Job { request: REQUEST, job: Box::new(job) };
    vec![
        ("", HubToClient::StdinCredit { request: REQUEST, credit: 65_536 }),
        ("", job(summary_of_job())),
        ("bare", job(bare_job())),
        ("", HubToClient::Jobs { request: REQUEST, jobs: vec![summary_of_job(), bare_job()], more: true }),
        ("", HubToClient::OutputMissing { request: REQUEST, bytes: 70_000 }),
        ("", HubToClient::You { request: REQUEST, who: Box::new(who()) }),
        ("", HubToClient::Removed { request: REQUEST, node: NODE, name: name() }),
    ]
}

fn job_filter() -> JobFilter {
    let states = vec![JobState::Queued, JobState::Lost];
    JobFilter { nodes: vec!["web-*".into()], states, limit: 100 }
}

fn summary_of_job() -> JobSummary {
    JobSummary {
        node: NODE,
        name: name(),
        run: command_run(),
        state: JobState::Finished,
        made: TIME,
        expires: Some(TIME),
        started: Some(TIME),
        ended: Some(TIME),
        end: Some(RunEnd::TooMuchOutput),
        usage: Some(USAGE),
        output: 5_000_000,
        dropped: 4_000_000,
    }
}

fn bare_job() -> JobSummary {
    JobSummary {
        node: NODE,
        name: name(),
        run: bare_run(),
        state: JobState::Sent,
        made: TIME,
        expires: None,
        started: None,
        ended: None,
        end: None,
        usage: None,
        output: 0,
        dropped: 0,
    }
}

fn who() -> WhoAmI {
    let rule = |role, nodes: &[&str], commands: &[&str]| Rule {
        name: "[[access]] 2 (group ops)".into(),
        role,
        nodes: nodes.iter().map(|&text| text.to_owned()).collect(),
        commands: commands.iter().map(|&text| text.to_owned()).collect(),
    };
    WhoAmI {
        uid: 1000,
        user: Some("alice".into()),
        groups: vec![(1000, Some("alice".into())), (4242, None)],
        rules: vec![rule(Role::Operator, &["web-*"], &["restart-*"]), rule(Role::Viewer, &[], &[])],
    }
}

fn record() -> LogRecord {
    LogRecord {
        cursor: CURSOR,
        node: NODE,
        name: name(),
        origin: Origin::Node { epoch: Epoch(9), seq: Seq(300) },
        envelope: Envelope::auth(&auth_event()),
    }
}

fn detail() -> NodeDetail {
    let ready = FacetSummary { facet: FacetId::SESSIONS, status: FacetStatus::Ready, entries: 1 };
    let blind = FacetSummary {
        facet: FacetId::AUTH_LOG,
        status: FacetStatus::Unavailable(unavailable()),
        entries: 0,
    };
    NodeDetail {
        summary: NodeSummary {
            id: NODE,
            name: name(),
            presence: Presence::Online { since: TIME },
            agent: "0.1.0".into(),
            address: "192.0.2.1:40000".into(),
            facts: facts(),
            clock_offset: -1_500_000,
            facets: vec![ready, blind],
            commands: 2,
            stale: true,
        },
        commands: commands(),
        entries: vec![(
            FacetId::SESSIONS,
            codec::encode_value(&"s-1".to_owned()),
            codec::encode_value(&session()),
        )],
    }
}

fn bare_detail() -> NodeDetail {
    NodeDetail {
        summary: NodeSummary {
            id: NODE,
            name: name(),
            presence: Presence::Expected { since: TIME },
            agent: String::new(),
            address: String::new(),
            facts: HostFacts::default(),
            clock_offset: 0,
            facets: vec![],
            commands: 0,
            stale: false,
        },
        commands: vec![],
        entries: vec![],
    }
}
