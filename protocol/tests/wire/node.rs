//! Strategies for the messages of nodes: those of a standing connection, and those of joining.

use proptest::{collection::vec, prelude::*};
use secmon_protocol::{
    codec,
    ids::{Epoch, JobId, Seq},
    message::{
        join::{HubToJoin, Join, JoinToHub, Joined},
        node::{Hello, HubToNode, NodeToHub, Resume, Welcome},
    },
};

use crate::{
    basics::{
        bytes, commands, extensions, facts, fragment, name, node, number, refusal, run_end, stream, text,
        time,
    },
    records::node_record,
};

fn job() -> impl Strategy<Value = JobId> + Clone {
    number().prop_map(JobId)
}

pub(crate) fn node_to_hub() -> BoxedStrategy<NodeToHub> {
    prop_oneof![
        hello().prop_map(NodeToHub::Hello),
        vec(node_record(), 0..4).prop_map(|records| NodeToHub::Records(codec::encode_list(&records))),
        number().prop_map(|nonce| NodeToHub::Pong { nonce }),
        commands().prop_map(NodeToHub::Commands),
        (job(), any::<u32>()).prop_map(|(job, pid)| NodeToHub::Started { job, pid }),
        (job(), stream(), bytes()).prop_map(|(job, stream, data)| NodeToHub::Output {
            job,
            stream,
            at: 0,
            data
        }),
        (job(), run_end()).prop_map(|(job, end)| NodeToHub::Exit { job, end, usage: None }),
        fragment().prop_map(NodeToHub::Fragment),
    ]
    .boxed()
}

fn hello() -> BoxedStrategy<Hello> {
    let numbers = (number(), number(), number(), time());
    (text(), facts(), numbers, commands(), extensions())
        .prop_map(|(agent, facts, (epoch, oldest, newest, clock), commands, extensions)| Hello {
            agent,
            facts,
            epoch: Epoch(epoch),
            oldest: Seq(oldest),
            newest: Seq(newest),
            clock,
            commands,
            extensions,
        })
        .boxed()
}

pub(crate) fn hub_to_node() -> BoxedStrategy<HubToNode> {
    prop_oneof![
        welcome().prop_map(HubToNode::Welcome),
        refusal().prop_map(HubToNode::Reject),
        number().prop_map(|seq| HubToNode::Ack { seq: Seq(seq) }),
        Just(HubToNode::Resync),
        number().prop_map(|nonce| HubToNode::Ping { nonce }),
        (job(), text(), any::<u32>()).prop_map(|(job, label, credit)| HubToNode::Run { job, label, credit }),
        job().prop_map(|job| HubToNode::Cancel { job }),
        (job(), any::<u32>()).prop_map(|(job, credit)| HubToNode::Credit { job, credit }),
        fragment().prop_map(HubToNode::Fragment),
    ]
    .boxed()
}

fn welcome() -> BoxedStrategy<Welcome> {
    let resume = prop_oneof![number().prop_map(|seq| Resume::After(Seq(seq))), Just(Resume::Oldest)];
    (node(), name(), resume, any::<u32>(), time(), extensions())
        .prop_map(|(node, name, resume, heartbeat_ms, clock, extensions)| Welcome {
            node,
            name,
            resume,
            heartbeat_ms,
            clock,
            extensions,
        })
        .boxed()
}

pub(crate) fn join_to_hub() -> BoxedStrategy<JoinToHub> {
    let join = (bytes(), bytes(), text()).prop_map(|(secret, csr, agent)| Join { secret, csr, agent });
    prop_oneof![join.prop_map(JoinToHub::Join), fragment().prop_map(JoinToHub::Fragment)].boxed()
}

pub(crate) fn hub_to_join() -> BoxedStrategy<HubToJoin> {
    let joined = (node(), name(), bytes(), vec(bytes(), 0..3))
        .prop_map(|(node, name, certificate, ca_set)| Joined { node, name, certificate, ca_set });
    prop_oneof![
        joined.prop_map(HubToJoin::Joined),
        refusal().prop_map(HubToJoin::Reject),
        fragment().prop_map(HubToJoin::Fragment),
    ]
    .boxed()
}
