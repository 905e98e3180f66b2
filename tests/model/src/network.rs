//! Connections between nodes and the hub: two queues each, which deliver in order until they are cut. What was
//! on its way when one is cut arrives up to some place, and each side learns of the end some time later.

use std::collections::{BTreeMap, VecDeque};

use rand::{Rng as _, rngs::SmallRng};
use secmon_protocol::message::node::{HubToNode, NodeToHub};

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) up: VecDeque<NodeToHub>,
    pub(crate) down: VecDeque<HubToNode>,
    /// Nothing that is sent now arrives.
    pub(crate) broken: bool,
    /// The node has not noticed its end.
    pub(crate) at_node: bool,
    /// The hub has it and has not noticed its end.
    pub(crate) at_hub: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) wires: BTreeMap<u64, Wire>,
    next: u64,
}

impl Network {
    /// A new connection of a node.
    pub(crate) fn open(&mut self, node: usize, first: NodeToHub) -> u64 {
        self.next += 1;
        let number = self.number(node);
        let wire = Wire { at_node: true, at_hub: true, up: VecDeque::from([first]), ..Wire::default() };
        self.wires.insert(number, wire);
        number
    }

    /// The number that the next connection of a node will have.
    fn number(&self, node: usize) -> u64 {
        (self.next << 8) | (node as u64 + 1)
    }

    pub(crate) fn upcoming(&self, node: usize) -> u64 {
        ((self.next + 1) << 8) | (node as u64 + 1)
    }

    pub(crate) fn node_of(wire: u64) -> usize {
        (wire & 0xff) as usize - 1
    }

    /// Cuts a connection: of what is on its way, a random part still arrives.
    pub(crate) fn cut(&mut self, number: u64, rng: &mut SmallRng) {
        if let Some(wire) = self.wires.get_mut(&number)
            && !wire.broken
        {
            wire.broken = true;
            wire.up.truncate(rng.random_range(0..=wire.up.len()));
            wire.down.truncate(rng.random_range(0..=wire.down.len()));
        }
    }

    pub(crate) fn send_up(&mut self, number: u64, message: NodeToHub) {
        if let Some(wire) = self.wires.get_mut(&number)
            && !wire.broken
        {
            wire.up.push_back(message);
        }
    }

    pub(crate) fn send_down(&mut self, number: u64, message: HubToNode) {
        if let Some(wire) = self.wires.get_mut(&number)
            && !wire.broken
        {
            wire.down.push_back(message);
        }
    }

    /// Forgets the connections that nobody has any more.
    pub(crate) fn tidy(&mut self) {
        self.wires.retain(|_, wire| wire.at_node || wire.at_hub);
    }

    pub(crate) fn pick(&self, rng: &mut SmallRng) -> Option<u64> {
        let at = rng.random_range(0..self.wires.len().max(1));
        self.wires.keys().nth(at).copied()
    }
}
