//! What is done to whom, and when: made from a seed, before anything runs. Pure.

use std::{fmt, ops::Range};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// A kind of fault; by these names they are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub(crate) enum Fault {
    /// SIGKILL to the hub, which is started again a while later.
    HubKills,
    /// The same to a node.
    NodeKills,
    /// The same to a subscriber; the one in this process drops its connection.
    WatchKills,
    /// A node's link goes down, on either end: nothing is closed, nothing is refused.
    LinkCuts,
    /// SIGSTOP to the hub, for longer than the heartbeat.
    HubStops,
    /// The same to a node.
    NodeStops,
    /// The same to a subscriber, which reads nothing meanwhile.
    WatchStops,
    /// The file system of the hub's state is full.
    HubDisk,
    /// That of a node's, which must not disturb it; every other node's disk takes nothing at all.
    NodeDisk,
    /// SIGKILL to the hub, which is started again in what looks like another boot: after a power cut. What the system
    /// had not written yet is there all the same, which it cannot know.
    HubPower,
    /// The same to a node.
    NodePower,
    /// The auth log is rotated, by renaming it or by copying and truncating it.
    Rotations,
    /// SIGKILL to the bot that tells of logins.
    BotKills,
    /// The service that the bot tells them to fails for some requests, wants to be left alone, or breaks off.
    ServiceFaults,
}

impl Fault {
    /// How long it lasts, in milliseconds. The heartbeat is one second and three make a peer gone, so that some are
    /// noticed by that and some are not; longer than a few seconds only makes a run longer.
    fn lasts(self) -> Range<u64> {
        match self {
            Self::HubKills
            | Self::NodeKills
            | Self::WatchKills
            | Self::HubPower
            | Self::NodePower
            | Self::BotKills => 50..2_500,
            Self::LinkCuts => 300..7_000,
            Self::HubStops | Self::NodeStops => 500..6_000,
            Self::WatchStops => 1_000..10_000,
            Self::HubDisk | Self::NodeDisk => 500..4_000,
            Self::Rotations | Self::ServiceFaults => 1..2,
        }
    }

    /// How often it is done, beside the others.
    fn weight(self) -> u32 {
        match self {
            Self::HubPower | Self::NodePower => 1,
            Self::HubKills | Self::HubStops | Self::HubDisk => 2,
            Self::NodeKills | Self::LinkCuts | Self::WatchKills | Self::BotKills => 4,
            Self::NodeStops | Self::WatchStops | Self::NodeDisk => 3,
            Self::Rotations | Self::ServiceFaults => 5,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use clap::ValueEnum as _;
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// Who it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// The hub.
    Hub,
    /// A node, by its number.
    Node(usize),
    /// A subscriber, by its number.
    Watch(usize),
    /// The bot.
    Bot,
    /// What it speaks to.
    Service,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Node(at) => write!(f, "n{at}"),
            Self::Watch(at) => write!(f, "w{at}"),
            Self::Bot => f.write_str("the bot"),
            Self::Service => f.write_str("the service"),
        }
    }
}

/// One fault, with times in milliseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) fault: Fault,
    pub(crate) part: Part,
    /// What is left to chance within the fault: which end of a link, which way of rotating.
    pub(crate) coin: bool,
}

/// Who is there, and how many of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast {
    pub(crate) nodes: usize,
    /// All subscribers.
    pub(crate) watches: usize,
    /// Those of them that are processes of their own, and come first.
    pub(crate) processes: usize,
}

/// Between the beginnings of two faults, in milliseconds: several run at once most of the time.
const PAUSE: Range<u64> = 100..1_200;
/// A part is left alone for so long after a fault that it may come back, in milliseconds: one that is always down
/// shows nothing.
const REST: u64 = 1_500;

/// The faults of `millis`, in the order of their beginnings. No part has two at once.
pub(crate) fn plan(seed: u64, millis: u64, cast: Cast, faults: &[Fault]) -> Vec<Step> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut steps: Vec<Step> = Vec::new();
    let weights: u32 = faults.iter().map(|fault| fault.weight()).sum();
    let mut now = PAUSE.end;
    if weights == 0 {
        return steps;
    }
    loop {
        now += chance.random_range(PAUSE);
        let mut at = chance.random_range(0..weights);
        let fault = faults.iter().copied().find(|fault| match at.checked_sub(fault.weight()) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        });
        let Some(fault) = fault else { break };
        let part = match fault {
            Fault::HubKills | Fault::HubStops | Fault::HubDisk | Fault::HubPower => Part::Hub,
            Fault::NodeKills
            | Fault::LinkCuts
            | Fault::NodeStops
            | Fault::NodeDisk
            | Fault::NodePower
            | Fault::Rotations => Part::Node(chance.random_range(0..cast.nodes)),
            Fault::BotKills => Part::Bot,
            Fault::ServiceFaults => Part::Service,
            Fault::WatchKills => Part::Watch(chance.random_range(0..cast.watches)),
            Fault::WatchStops => Part::Watch(chance.random_range(0..cast.processes)),
        };
        let to = now + chance.random_range(fault.lasts());
        let coin = chance.random();
        if to > millis {
            break;
        }
        // A rotation disturbs nobody, and is worth most while the node is down.
        let busy = |step: &Step| {
            step.part == part
                && (step.fault == Fault::Rotations) == (fault == Fault::Rotations)
                && step.to + REST > now
        };
        if !steps.iter().any(busy) {
            steps.push(Step { from: now, to, fault, part, coin });
        }
    }
    steps
}

/// Numbers for one of several purposes of a run, from its seed.
pub(crate) fn chance(seed: u64, purpose: &str, at: usize) -> StdRng {
    // FNV-1a; any spread of the three will do, but the same one in every build.
    let bytes = purpose.bytes().chain(at.to_le_bytes());
    let salt = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    StdRng::seed_from_u64(seed ^ salt)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    const CAST: Cast = Cast { nodes: 3, watches: 6, processes: 3 };

    #[test]
    fn a_seed_makes_the_same_plan_and_another_seed_another() {
        let of = |seed| plan(seed, 60_000, CAST, Fault::value_variants());
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn every_fault_is_done_within_the_time_and_none_twice_at_once_to_a_part() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let steps = plan(seed, 60_000, CAST, Fault::value_variants());
            for (at, step) in steps.iter().enumerate() {
                assert!(step.from < step.to && step.to <= 60_000, "{step:?}");
                seen.insert(step.fault);
                for later in &steps[at + 1..] {
                    let both = later.part == step.part && later.from < step.to;
                    assert!(!both || later.fault != step.fault, "{step:?} {later:?}");
                }
            }
        }
        assert_eq!(seen.len(), Fault::value_variants().len());
    }

    #[test]
    fn a_fault_that_is_left_out_is_not_done() {
        assert!(plan(1, 60_000, CAST, &[Fault::LinkCuts]).iter().all(|step| step.fault == Fault::LinkCuts));
        assert_eq!(plan(1, 60_000, CAST, &[]), []);
    }
}
