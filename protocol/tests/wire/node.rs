//! Strategies for the messages of nodes: those of a standing connection, and those of joining.

use proptest::{collection::vec, prelude::*};
use secmon_protocol::{
    codec,
    ids::{Epoch, Seq},
    message::{
        join::{HubToJoin, Join, JoinToHub, Joined},
        node::{HeldJob, Hello, HubToNode, NodeToHub, Order, Resume, Welcome},
        runner::{NodeToRunner, RunnerToNode},
    },
};

use crate::{
    basics::{
        args, bytes, commands, extensions, facts, fragment, job, name, node, number, refusal, run_end,
        stream, text, time, usage,
    },
    records::node_record,
};

pub(crate) fn node_to_hub() -> BoxedStrategy<NodeToHub> {
    prop_oneof![
        hello().prop_map(NodeToHub::Hello),
        vec(node_record(), 0..4).prop_map(|records| NodeToHub::Records(codec::encode_list(&records))),
        number().prop_map(|nonce| NodeToHub::Pong { nonce }),
        commands().prop_map(NodeToHub::Commands),
        (job(), any::<u32>()).prop_map(|(job, pid)| NodeToHub::Started { job, pid }),
        (job(), stream(), number(), bytes()).prop_map(|(job, stream, at, data)| NodeToHub::Output {
            job,
            stream,
            at,
            data
        }),
        (job(), run_end(), usage()).prop_map(|(job, end, usage)| NodeToHub::Exit { job, end, usage }),
        (job(), any::<u32>()).prop_map(|(job, credit)| NodeToHub::StdinCredit { job, credit }),
        vec((job(), any::<Option<u32>>()).prop_map(|(job, pid)| HeldJob { job, pid }), 0..4)
            .prop_map(NodeToHub::Jobs),
        fragment().prop_map(NodeToHub::Fragment),
    ]
    .boxed()
}

fn hello() -> BoxedStrategy<Hello> {
    let numbers = (number(), number(), number(), time());
    (text(), facts(), numbers, extensions())
        .prop_map(|(agent, facts, (epoch, oldest, newest, clock), extensions)| Hello {
            agent,
            facts,
            epoch: Epoch(epoch),
            oldest: Seq(oldest),
            newest: Seq(newest),
            clock,
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
        order().prop_map(HubToNode::Run),
        job().prop_map(|job| HubToNode::Cancel { job }),
        (job(), any::<u32>()).prop_map(|(job, credit)| HubToNode::Credit { job, credit }),
        (job(), bytes()).prop_map(|(job, data)| HubToNode::Stdin { job, data }),
        (job(), number()).prop_map(|(job, have)| HubToNode::Resume { job, have }),
        job().prop_map(|job| HubToNode::Forget { job }),
        fragment().prop_map(HubToNode::Fragment),
    ]
    .boxed()
}

fn order() -> impl Strategy<Value = Order> + Clone {
    (job(), text(), args(), any::<u32>(), any::<(bool, bool)>()).prop_map(
        |(job, label, args, credit, (stdin, detached))| Order { job, label, args, credit, stdin, detached },
    )
}

pub(crate) fn node_to_runner() -> BoxedStrategy<NodeToRunner> {
    prop_oneof![
        (any::<u16>(), text()).prop_map(|(version, agent)| NodeToRunner::Hello { version, agent }),
        (job(), text(), args(), any::<u32>(), any::<bool>()).prop_map(|(job, label, args, credit, stdin)| {
            NodeToRunner::Start { job, label, args, credit, stdin }
        }),
        (job(), bytes()).prop_map(|(job, data)| NodeToRunner::Stdin { job, data }),
        (job(), any::<u32>()).prop_map(|(job, credit)| NodeToRunner::Credit { job, credit }),
        job().prop_map(|job| NodeToRunner::Cancel { job }),
        fragment().prop_map(NodeToRunner::Fragment),
    ]
    .boxed()
}

pub(crate) fn runner_to_node() -> BoxedStrategy<RunnerToNode> {
    prop_oneof![
        (any::<u16>(), text()).prop_map(|(version, agent)| RunnerToNode::Welcome { version, agent }),
        refusal().prop_map(RunnerToNode::Reject),
        commands().prop_map(RunnerToNode::Commands),
        (job(), any::<u32>()).prop_map(|(job, pid)| RunnerToNode::Started { job, pid }),
        (job(), stream(), bytes()).prop_map(|(job, stream, data)| RunnerToNode::Output { job, stream, data }),
        (job(), any::<u32>()).prop_map(|(job, credit)| RunnerToNode::StdinCredit { job, credit }),
        (job(), run_end(), usage()).prop_map(|(job, end, usage)| RunnerToNode::Exit { job, end, usage }),
        fragment().prop_map(RunnerToNode::Fragment),
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
