//! The pure cores of node, hub and subscriber in virtual time, over a network that delays, cuts and doubles
//! connections, with crashes between any two steps; and a reference model that says what must arrive.
//!
//! One seed is one run: [`run`] decides everything by it, so that a seed that failed fails again. `world` takes
//! the steps, `node`, `hub`, `network` and `subscriber` are what steps are taken with, `verdict` is the reference model.
//!
//! No sockets, no clock, no disk: what the real edges do around the cores is done here by hand, in the order in
//! which they do it.

mod hub;
mod network;
mod node;
mod subscriber;
mod verdict;
mod world;

use std::fmt;

pub use world::Tally;

/// What may go wrong in a run, beside crashes of every part and cuts of every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Machines may lose power: the last transactions of a node or of the hub are gone.
    pub power: bool,
    /// The hub may be started with an older copy of its store.
    pub restore: bool,
    /// A store may refuse a transaction.
    pub refusals: bool,
    /// Nodes' outboxes and the hub's log are so small that records are dropped.
    pub tight: bool,
    /// A node's disk may refuse for a while, and the node goes on in memory.
    pub disk: bool,
    /// Nodes have a limit on events.
    pub rate: bool,
}

/// A promise that was not kept.
#[derive(Debug)]
pub struct Broken {
    /// The run.
    pub seed: u64,
    /// What was found, and the last steps before it.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl std::error::Error for Broken {}

/// One run.
///
/// # Errors
/// The first promise that was not kept.
pub fn run(seed: u64) -> Result<Tally, Broken> {
    world::World::new(seed).run().map_err(|what| Broken { seed, what })
}
