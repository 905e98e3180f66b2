//! The fan-out through a hub: TLS in, ordered, stored, filtered.

use std::time::Duration;

use secmon_testkit::product::{Hub, Lab, Place};

use super::{Arguments, Carrier, begin, end};
use crate::load::{fleet, node::SimNode, subscriber::Subscriber, tally::Tally};

/// A hub, nodes and subscribers.
pub(super) struct Secmon {
    nodes: Vec<SimNode>,
    subscribers: Vec<Subscriber>,
    /// Records of all nodes so far.
    sent: u64,
    hub: Hub<'static>,
    /// The hub's folder.
    _lab: Lab,
}

impl Secmon {
    pub(super) async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let lab = Lab::new();
        let hub = Hub::start(&lab, Place::Here);
        let members = fleet::enrol(hub.socket(), usize::try_from(arguments.nodes)?).await?;
        let mut nodes = Vec::new();
        for member in &members {
            nodes.push(SimNode::connect(member, hub.address).await?);
        }
        let mut subscribers = Vec::new();
        for _ in 0..arguments.clients {
            subscribers.push(Subscriber::subscribe(hub.socket()).await?);
        }
        Ok(Self { nodes, subscribers, sent: 0, hub, _lab: lab })
    }

    async fn go(&mut self, each: u64, period: Option<Duration>) -> anyhow::Result<()> {
        self.sent += each * self.nodes.len() as u64;
        let all = self.sent;
        let sending = begin(&mut self.nodes, |mut node| async move {
            match period {
                Some(period) => node.send_paced(each, period).await?,
                None => node.send(each).await?,
            }
            Ok(node)
        });
        let reading = begin(&mut self.subscribers, |mut subscriber| async move {
            subscriber.read_until(all).await?;
            Ok(subscriber)
        });
        self.nodes = end(sending).await?;
        self.subscribers = end(reading).await?;
        Ok(())
    }
}

impl Carrier for Secmon {
    async fn round(&mut self, each: u64) -> anyhow::Result<()> {
        self.go(each, None).await
    }

    async fn paced(&mut self, each: u64, period: Duration) -> anyhow::Result<()> {
        self.go(each, Some(period)).await
    }

    fn tallies(&mut self) -> impl Iterator<Item = &mut Tally> {
        self.subscribers.iter_mut().map(|subscriber| &mut subscriber.tally)
    }

    fn pid(&self) -> u32 {
        self.hub.process().pid()
    }
}
