//! Strategies for the messages of clients.

use proptest::{collection::vec, option, prelude::*};
use secmon_protocol::{
    codec,
    ids::{JobId, RequestId},
    message::client::{
        ClientToHub, FacetSummary, Filter, From, Gap, HubToClient, NodeDetail, NodeSummary, Presence,
        TokenText,
    },
};

use crate::{
    basics::{
        bytes, commands, cursor, facet, facts, fragment, name, node, number, refusal, run_end, status,
        stream, text, texts, time,
    },
    records::log_record,
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
        (request(), text(), text(), any::<u32>())
            .prop_map(|(request, node, label, credit)| ClientToHub::Run { request, node, label, credit }),
        (request(), any::<u32>()).prop_map(|(request, credit)| ClientToHub::Credit { request, credit }),
        request().prop_map(|request| ClientToHub::Cancel { request }),
        (request(), name(), any::<u32>(), any::<bool>()).prop_map(|(request, name, valid_secs, replace)| {
            ClientToHub::Enroll { request, name, valid_secs, replace }
        }),
        fragment().prop_map(ClientToHub::Fragment),
    ]
    .boxed()
}

pub(crate) fn hub_to_client() -> BoxedStrategy<HubToClient> {
    prop_oneof![stream_messages(), answers(), run_messages()].boxed()
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
        (request(), cursor(), option::of(vec(detail(), 0..3)))
            .prop_map(|(request, after, snapshot)| HubToClient::Subscribed { request, after, snapshot }),
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
        (request(), run_end()).prop_map(|(request, end)| HubToClient::Exit { request, end, usage: None }),
    ]
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
