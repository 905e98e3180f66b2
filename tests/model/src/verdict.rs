//! The reference model: what must be in the hub's log when everything has calmed down, and what each
//! subscriber must have got of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use secmon_protocol::{
    facet::FacetId,
    hub_event::HubEvent,
    ids::NodeId,
    record::{Body, LogRecord},
    state::{NodeState, RawFacet},
};

use crate::{
    Faults,
    hub::Hub,
    node::Node,
    subscriber::{Got, Shown, Subscriber, follow},
};

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Lines that were written.
    pub lines: u64,
    /// Records in the hub's log.
    pub records: u64,
    /// Lines that are said to be lost, at most.
    pub lost: u64,
    /// Lines that came more than once, after a power cut.
    pub again: u64,
    /// Gaps that subscribers were told.
    pub gaps: u64,
    /// Steps taken.
    pub steps: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.records += other.records;
        self.lost += other.lost;
        self.again += other.again;
        self.gaps += other.gaps;
        self.steps += other.steps;
    }
}

/// What a record of a node's stream says.
enum Said {
    Line(u64),
    /// So many records are missing here.
    Missing(u64),
    Else,
}

fn said(record: &LogRecord) -> Result<Said, String> {
    let body = record.envelope.decode().map_err(|error| format!("{}: {error}", record.cursor))?;
    Ok(match body {
        Body::Auth(event) => Said::Line(event.message.parse().map_err(|_| "a line without a number")?),
        Body::Lost(lost) => Said::Missing(lost.count),
        Body::Hub(HubEvent::Gap { from, to, .. }) => Said::Missing(to.0 + 1 - from.0),
        _ => Said::Else,
    })
}

/// Holds the hub's log against what a node's log and its sessions were.
///
/// # Errors
/// What is wrong.
pub(crate) fn node(node: &Node, hub: &Hub, faults: Faults, tally: &mut Tally) -> Result<(), String> {
    let name = format!("node {}", node.id.0[0]);
    tally.lines += node.written;
    let (mut at, mut missing) = (0, 0);
    // A hub that was restored cannot tell what it once had of a numbering that its node has left meanwhile.
    let left = faults.restore && node.cuts > 0;
    // Where lines came again, what follows them may have come before.
    let mut seen = BTreeSet::new();
    let mut holes = hub.disk.holes.iter().peekable();
    for record in hub.disk.all.values().filter(|record| record.node == node.id) {
        while holes.next_if(|hole| hole.to < record.cursor.n).is_some() {
            // The hub's machine lost power; what it had taken and then lost is missing for everybody.
            missing = u64::MAX;
        }
        let said = said(record)?;
        if let Said::Line(n) = said {
            seen.insert(n);
        }
        match said {
            Said::Line(n) if n == at + 1 => (at, missing) = (n, 0),
            Said::Line(n) if n > at => {
                let unseen = (at + 1..n).filter(|line| !seen.contains(line)).count() as u64;
                if unseen > missing && !left {
                    return Err(format!(
                        "{name}: line {n} comes after {at} at {}, and {missing} are said to be missing",
                        record.cursor
                    ));
                }
                tally.lost += unseen;
                (at, missing) = (n, 0);
            }
            Said::Line(n) => {
                if node.cuts == 0 {
                    return Err(format!("{name}: line {n} comes again after {at}, at {}", record.cursor));
                }
                tally.again += 1;
                at = n;
            }
            Said::Missing(count) => {
                // A change that comes again under another number does not fit, and is said to be missing.
                let again = faults.disk && node.cuts > 0;
                if !(faults.tight || faults.power || faults.restore || faults.rate || again) {
                    return Err(format!("{name}: {count} are said to be missing: {record:?}"));
                }
                missing = missing.saturating_add(count);
            }
            Said::Else => {}
        }
    }
    if (at + 1..=node.written).filter(|line| !seen.contains(line)).count() as u64 > missing && !left {
        return Err(format!("{name}: the last line is {at}, of {}, and {missing} are missing", node.written));
    }
    let Some((row, state)) = hub.node(node.id) else { return Err(format!("{name}: not known")) };
    if row.stale {
        return Err(format!("{name}: the hub takes its state for wrong"));
    }
    if *state.facet(FacetId::SESSIONS) != RawFacet::encode(&node.facet()) {
        return Err(format!("{name}: the hub has other sessions than it has"));
    }
    Ok(())
}

/// The diffs of the log add up to the state that the hub has.
///
/// # Errors
/// What is wrong.
pub(crate) fn states(hub: &Hub, nodes: &[Node]) -> Result<(), String> {
    let mut states = BTreeMap::new();
    for record in hub.disk.all.values() {
        follow(&mut states, record)?;
    }
    for node in nodes {
        same(hub, node.id, states.get(&node.id), "the log")?;
    }
    Ok(())
}

fn same(hub: &Hub, id: NodeId, state: Option<&NodeState>, whose: &str) -> Result<(), String> {
    let held = hub.node(id).map(|(_, state)| state.clone()).unwrap_or_default();
    match state.cloned().unwrap_or_default() == held {
        true => Ok(()),
        false => Err(format!("by {whose} node {} has another state than the hub holds", id.0[0])),
    }
}

/// Holds what a subscriber got against the log.
///
/// # Errors
/// What is wrong.
pub(crate) fn subscriber(
    number: usize,
    subscriber: &Subscriber,
    hub: &Hub,
    shown: &Shown,
    faults: Faults,
    tally: &mut Tally,
) -> Result<(), String> {
    let Some(since) = subscriber.since else { return Err(format!("subscriber {number} never subscribed")) };
    let mut gaps = vec![];
    let mut got: BTreeMap<_, u32> = BTreeMap::new();
    for item in &subscriber.got {
        match item {
            Got::Gap(after, to) => gaps.push((*after, *to)),
            Got::Record(record) => *got.entry(record.cursor).or_default() += 1,
        }
    }
    tally.gaps += gaps.len() as u64;
    let allowed = faults.tight || faults.power || faults.restore;
    if !allowed && !gaps.is_empty() {
        return Err(format!("subscriber {number} was told of gaps: {gaps:?}"));
    }
    if let Some((cursor, count)) = got.iter().find(|(_, count)| **count > 1) {
        return Err(format!("subscriber {number} got {cursor} {count} times"));
    }
    for (n, record) in hub.disk.all.range(since + 1..) {
        let told = gaps.iter().any(|(after, to)| after < n && n <= to);
        if !got.contains_key(&record.cursor) && !told {
            return Err(format!("subscriber {number} never got {} and was not told so", record.cursor));
        }
        if shown
            .get(&record.cursor)
            .is_some_and(|shown| shown != record && Rc::as_ref(shown) != Rc::as_ref(record))
        {
            return Err(format!("the cursor {} was shown with another record", record.cursor));
        }
    }
    if let Some(states) = &subscriber.states {
        for id in hub.disk.all.values().map(|record| record.node).collect::<BTreeSet<_>>() {
            same(hub, id, states.get(&id), &format!("subscriber {number}"))?;
        }
    }
    Ok(())
}
