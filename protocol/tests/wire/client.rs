//! Strategies for the messages of clients.

use proptest::{collection::vec, option, prelude::*, sample::select};
use secmon_protocol::{
    codec,
    ids::{JobId, RequestId},
    message::client::{
        ClientToHub, FacetSummary, Filter, From, Gap, HubToClient, JobFilter, JobState, JobSummary,
        NodeDetail, NodeSummary, Presence, Role, Rule, TokenText, WhoAmI,
    },
};

use crate::{
    basics::{
        args, bytes, commands, cursor, facet, facts, fragment, maybe_text, name, node, number, refusal,
        run_end, status, stream, text, texts, time, usage,
    },
    records::{command_run, log_record},
};

fn request() -> impl Strategy<Value = RequestId> + Clone {
    number().prop_map(RequestId)
}

pub(crate) fn client_to_hub() -> BoxedStrategy<ClientToHub> {
    let from = prop_oneof![
        Just(From::Now),
        cursor().prop_map(From::Cursor),
        Just(From::Snapshot),
        time().prop_map(From::Time)
    ];
    let filter = (texts(), texts()).prop_map(|(nodes, types)| Filter { nodes, types });
    prop_oneof![
        (any::<u16>(), text()).prop_map(|(version, agent)| ClientToHub::Hello { version, agent }),
        request().prop_map(|request| ClientToHub::List { request }),
        (request(), text()).prop_map(|(request, node)| ClientToHub::Get { request, node }),
        (request(), from, filter).prop_map(|(request, from, filter)| ClientToHub::Subscribe {
            request,
            from,
            filter
        }),
        (request(), text(), text(), args(), (any::<u32>(), any::<bool>())).prop_map(
            |(request, node, label, args, (credit, stdin))| ClientToHub::Run {
                request,
                node,
                label,
                args,
                credit,
                stdin
            }
        ),
        (request(), any::<u32>()).prop_map(|(request, credit)| ClientToHub::Credit { request, credit }),
        request().prop_map(|request| ClientToHub::Cancel { request }),
        (request(), name(), any::<u32>(), any::<bool>()).prop_map(|(request, name, valid_secs, replace)| {
            ClientToHub::Enroll { request, name, valid_secs, replace }
        }),
        fragment().prop_map(ClientToHub::Fragment),
        about_jobs(),
    ]
    .boxed()
}

fn about_jobs() -> BoxedStrategy<ClientToHub> {
    let filter = (texts(), vec(job_state(), 0..4), any::<u32>())
        .prop_map(|(nodes, states, limit)| JobFilter { nodes, states, limit });
    prop_oneof![
        (request(), bytes()).prop_map(|(request, data)| ClientToHub::Stdin { request, data }),
        (request(), text(), text(), args(), any::<u32>()).prop_map(
            |(request, node, label, args, queue_secs)| ClientToHub::Submit {
                request,
                node,
                label,
                args,
                queue_secs
            }
        ),
        (request(), filter).prop_map(|(request, filter)| ClientToHub::Jobs { request, filter }),
        (request(), text()).prop_map(|(request, job)| ClientToHub::Job { request, job }),
        (request(), text(), any::<bool>(), any::<u32>()).prop_map(|(request, job, follow, credit)| {
            ClientToHub::JobOutput { request, job, follow, credit }
        }),
        (request(), text()).prop_map(|(request, job)| ClientToHub::CancelJob { request, job }),
        request().prop_map(|request| ClientToHub::WhoAmI { request }),
        (request(), text()).prop_map(|(request, node)| ClientToHub::Remove { request, node }),
    ]
    .boxed()
}

fn job_state() -> impl Strategy<Value = JobState> + Clone {
    select(JobState::ALL.to_vec())
}

pub(crate) fn hub_to_client() -> BoxedStrategy<HubToClient> {
    prop_oneof![stream_messages(), answers(), run_messages(), job_messages()].boxed()
}

fn stream_messages() -> BoxedStrategy<HubToClient> {
    let gap = (cursor(), cursor(), text()).prop_map(|(after, to, reason)| Gap { after, to, reason });
    prop_oneof![
        (any::<u16>(), text(), cursor(), time()).prop_map(|(version, agent, newest, clock)| {
            HubToClient::Welcome { version, agent, newest, clock }
        }),
        refusal().prop_map(HubToClient::Reject),
        (request(), log_record())
            .prop_map(|(request, record)| HubToClient::Event { request, record: codec::encode(&record) }),
        (request(), cursor(), option::of(vec(detail(), 0..3)), any::<bool>()).prop_map(
            |(request, after, snapshot, whole)| HubToClient::Subscribed { request, after, snapshot, whole }
        ),
        (request(), gap).prop_map(|(request, gap)| HubToClient::Gap { request, gap }),
        (request(), cursor()).prop_map(|(request, cursor)| HubToClient::Progress { request, cursor }),
    ]
    .boxed()
}

fn answers() -> BoxedStrategy<HubToClient> {
    prop_oneof![
        (request(), vec(summary(), 0..3)).prop_map(|(request, nodes)| HubToClient::Nodes { request, nodes }),
        (request(), detail()).prop_map(|(request, node)| HubToClient::Node { request, node: Box::new(node) }),
        (request(), text(), time(), texts()).prop_map(|(request, token, expires, addresses)| {
            HubToClient::Enrolling { request, token: TokenText(token), expires, addresses }
        }),
        (request(), refusal()).prop_map(|(request, refusal)| HubToClient::Error { request, refusal }),
        fragment().prop_map(HubToClient::Fragment),
    ]
    .boxed()
}

fn run_messages() -> BoxedStrategy<HubToClient> {
    prop_oneof![
        (request(), number(), node(), any::<u32>()).prop_map(|(request, job, node, pid)| {
            HubToClient::Started { request, job: JobId(job), node, pid }
        }),
        (request(), stream(), bytes()).prop_map(|(request, stream, data)| HubToClient::Output {
            request,
            stream,
            data
        }),
        (request(), run_end(), usage()).prop_map(|(request, end, usage)| HubToClient::Exit {
            request,
            end,
            usage
        }),
        (request(), any::<u32>()).prop_map(|(request, credit)| HubToClient::StdinCredit { request, credit }),
    ]
    .boxed()
}

fn job_messages() -> BoxedStrategy<HubToClient> {
    let role = select(vec![Role::Viewer, Role::Operator, Role::Admin]);
    let rule = (text(), role, texts(), texts()).prop_map(|(name, role, nodes, commands)| Rule {
        name,
        role,
        nodes,
        commands,
    });
    let who = (any::<u32>(), maybe_text(), vec((any::<u32>(), maybe_text()), 0..3), vec(rule, 0..3))
        .prop_map(|(uid, user, groups, rules)| WhoAmI { uid, user, groups, rules });
    prop_oneof![
        (request(), job_summary())
            .prop_map(|(request, job)| HubToClient::Job { request, job: Box::new(job) }),
        (request(), vec(job_summary(), 0..3), any::<bool>())
            .prop_map(|(request, jobs, more)| HubToClient::Jobs { request, jobs, more }),
        (request(), number()).prop_map(|(request, bytes)| HubToClient::OutputMissing { request, bytes }),
        (request(), who).prop_map(|(request, who)| HubToClient::You { request, who: Box::new(who) }),
        (request(), node(), name()).prop_map(|(request, node, name)| HubToClient::Removed {
            request,
            node,
            name
        }),
    ]
    .boxed()
}

fn job_summary() -> BoxedStrategy<JobSummary> {
    let times = (time(), option::of(time()), option::of(time()), option::of(time()));
    let ending = (option::of(run_end()), usage(), number(), number());
    (node(), name(), command_run(), job_state(), times, ending)
        .prop_map(
            |(node, name, run, state, (made, expires, started, ended), (end, usage, output, dropped))| {
                JobSummary {
                    node,
                    name,
                    run,
                    state,
                    made,
                    expires,
                    started,
                    ended,
                    end,
                    usage,
                    output,
                    dropped,
                }
            },
        )
        .boxed()
}

fn summary() -> BoxedStrategy<NodeSummary> {
    let presence = prop_oneof![
        time().prop_map(|since| Presence::Online { since }),
        time().prop_map(|since| Presence::Away { since }),
        time().prop_map(|since| Presence::Expected { since }),
    ];
    let facets = (facet(), status(), number()).prop_map(|(facet, status, entries)| FacetSummary {
        facet,
        status,
        entries,
    });
    let known = (node(), name(), presence, text(), text(), facts());
    (known, any::<i64>(), vec(facets, 0..3), any::<u32>(), any::<bool>())
        .prop_map(|((id, name, presence, agent, address, facts), clock_offset, facets, commands, stale)| {
            NodeSummary { id, name, presence, agent, address, facts, clock_offset, facets, commands, stale }
        })
        .boxed()
}

fn detail() -> BoxedStrategy<NodeDetail> {
    (summary(), commands(), vec((facet(), bytes(), bytes()), 0..3))
        .prop_map(|(summary, commands, entries)| NodeDetail { summary, commands, entries })
        .boxed()
}
