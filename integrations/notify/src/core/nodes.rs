//! Which nodes are away, which came back, and which cannot see their auth log. All times in whole seconds, as they are kept.

use std::collections::{BTreeMap, HashSet};

use secmon_protocol::{
    event::{Detail, Event},
    facet::{FacetId, FacetStatus},
    hub_event::HubEvent,
    ids::NodeId,
    message::client::{self, NodeSummary},
    time::UnixNanos,
};

use super::facts::{NodeNews, Presence};
use crate::config::{AwaySection, Repeat};

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;
/// Nodes of which something is remembered; more are not told apart, and a message says that there are more.
pub(super) const MAX_NODES: usize = 10_000;
/// How long the first news of a kind waits for others: what takes one node away takes many, and not in the same second.
const GATHER: i64 = 10;
/// Who is due to be told again within this part of the pause is told with the others.
const REPEAT_PART: i64 = 8;

/// All nodes of which there is something to remember.
#[derive(Debug)]
pub(super) struct Nodes {
    after: i64,
    repeat: Option<i64>,
    pub(super) table: BTreeMap<NodeId, Node>,
    /// Nodes had to be left out.
    pub(super) more: bool,
    /// The hub is away, and what it says of nodes is old.
    pub(super) frozen: bool,
    /// When something is due, or a little before.
    due: Option<i64>,
    /// What happened long ago is being heard of: before then, what comes behind it may say that a node is back.
    late: i64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Empty where it is not known.
    pub(super) name: String,
    pub(super) state: NodeState,
    /// When it went.
    pub(super) since: i64,
    /// When it is due to be told, was told the last time, or came back.
    pub(super) mark: i64,
    /// It cannot see its auth log.
    pub(super) blind: bool,
}

/// Whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeState {
    Here,
    /// Away, and not told yet.
    Away,
    /// Away, and told.
    Told,
    /// Back, and that is not told yet.
    Back,
}

/// What is to be told of a node.
#[derive(Debug, Clone)]
pub(super) struct News {
    id: NodeId,
    name: String,
    what: Presence,
    since: i64,
    at: i64,
}

impl News {
    pub(super) fn as_news(&self) -> NodeNews<'_> {
        let nanos = |seconds: i64| UnixNanos(seconds.saturating_mul(SECOND));
        let Self { what, id, since, at, .. } = *self;
        NodeNews { what, id, name: &self.name, since: nanos(since), at: nanos(at) }
    }
}

impl Nodes {
    pub(super) fn new(
        section: &AwaySection,
        table: BTreeMap<NodeId, Node>,
        more: bool,
        frozen: bool,
    ) -> Self {
        let repeat = match section.repeat {
            Repeat::Never => None,
            Repeat::Every(span) => Some(span.nanos() / SECOND),
        };
        let after = section.after.nanos() / SECOND;
        let mut nodes = Self { after, repeat, table, more, frozen, due: None, late: 0 };
        nodes.find_due();
        nodes
    }

    /// Whether a node cannot see its auth log.
    pub(super) fn blind(&self, id: NodeId) -> bool {
        self.table.get(&id).is_some_and(|node| node.blind)
    }

    /// Looks at an event.
    pub(super) fn look(&mut self, now: UnixNanos, event: &Event) {
        let Some((id, name)) = &event.node else { return };
        let at = event.time.0.div_euclid(SECOND);
        match &event.detail {
            Detail::Hub(HubEvent::Disconnected { .. }) => {
                let now = now.0.div_euclid(SECOND);
                if at + self.after <= now {
                    self.late = now + GATHER;
                }
                self.left(*id, name.as_str(), at, at + self.after);
            }
            Detail::Hub(HubEvent::Connected { .. }) => self.came(*id, at),
            Detail::Hub(HubEvent::Removed { .. }) => {
                self.table.remove(id);
            }
            Detail::Facet(FacetId::AUTH_LOG, status) => {
                self.sees(*id, name.as_str(), *status == FacetStatus::Ready);
            }
            _ => {}
        }
    }

    /// All nodes as they stand.
    pub(super) fn settle(&mut self, now: UnixNanos, all: &[NodeSummary]) {
        let now = now.0.div_euclid(SECOND);
        let known: HashSet<NodeId> = all.iter().map(|node| node.id).collect();
        self.table.retain(|id, _| known.contains(id));
        self.more = false;
        self.go_on(UnixNanos(now.saturating_mul(SECOND)));
        for node in all {
            let name = node.name.as_str();
            if let Some(known) = self.table.get_mut(&node.id) {
                known.name = name.to_owned();
            }
            match node.presence {
                client::Presence::Online { since } => self.came(node.id, since.0.div_euclid(SECOND)),
                // One that never came is not away.
                client::Presence::Away { since } if !node.agent.is_empty() => {
                    self.left(node.id, name, since.0.div_euclid(SECOND), now + self.after);
                }
                client::Presence::Away { .. } | client::Presence::Expected { .. } => {}
            }
            let seen = node.facets.iter().find(|facet| facet.facet == FacetId::AUTH_LOG);
            match seen.map(|facet| &facet.status) {
                Some(FacetStatus::Ready) => self.sees(node.id, name, true),
                Some(FacetStatus::Unavailable(_) | FacetStatus::NotMonitored) => {
                    self.sees(node.id, name, false);
                }
                Some(FacetStatus::Pending) | None => {}
            }
        }
        self.find_due();
    }

    /// The hub is back.
    pub(super) fn go_on(&mut self, now: UnixNanos) {
        let now = now.0.div_euclid(SECOND);
        if std::mem::take(&mut self.frozen) {
            // Those that were about to be told get the time anew that they had for coming back.
            let late = self.table.values_mut().filter(|node| node.state == NodeState::Away);
            late.for_each(|node| node.mark = node.mark.max(now + self.after));
            self.find_due();
        }
    }

    fn entry(&mut self, id: NodeId, name: &str) -> Option<&mut Node> {
        if self.table.len() >= MAX_NODES && !self.table.contains_key(&id) {
            self.more = true;
            return None;
        }
        let new = Node { name: String::new(), state: NodeState::Here, since: 0, mark: 0, blind: false };
        let node = self.table.entry(id).or_insert(new);
        if node.name != name {
            name.clone_into(&mut node.name);
        }
        Some(node)
    }

    fn left(&mut self, id: NodeId, name: &str, since: i64, due: i64) {
        let Some(node) = self.entry(id, name) else { return };
        match node.state {
            NodeState::Away | NodeState::Told => {}
            NodeState::Here => {
                (node.state, node.since, node.mark) = (NodeState::Away, since, due);
                self.due = Some(self.due.map_or(due + GATHER, |before| before.min(due + GATHER)));
            }
            // It was back for a moment that nobody heard of.
            NodeState::Back => (node.state, node.mark) = (NodeState::Told, since),
        }
    }

    fn came(&mut self, id: NodeId, at: i64) {
        let Some(node) = self.table.get_mut(&id) else { return };
        match node.state {
            NodeState::Here | NodeState::Back => return,
            // While the hub was away it could not come; else it was away for long enough, though nobody looked.
            NodeState::Away if self.frozen || at < node.mark => node.state = NodeState::Here,
            NodeState::Away | NodeState::Told => {
                (node.state, node.mark) = (NodeState::Back, at);
                let due = at + GATHER;
                self.due = Some(self.due.map_or(due, |before| before.min(due)));
                return;
            }
        }
        if !node.blind {
            self.table.remove(&id);
        }
    }

    fn sees(&mut self, id: NodeId, name: &str, sees: bool) {
        if !sees {
            if let Some(node) = self.entry(id, name) {
                node.blind = true;
            }
        } else if let Some(node) = self.table.get_mut(&id) {
            node.blind = false;
            if node.state == NodeState::Here {
                self.table.remove(&id);
            }
        }
    }

    /// When there is news.
    pub(super) fn due(&self) -> Option<UnixNanos> {
        let due = self.due.filter(|_| !self.frozen)?;
        Some(UnixNanos(due.max(self.late).saturating_mul(SECOND)))
    }

    /// What is to be told now, by kind.
    pub(super) fn news(&mut self, now: UnixNanos) -> Vec<Vec<News>> {
        if self.due().is_none_or(|due| due > now) {
            return vec![];
        }
        let now = now.0.div_euclid(SECOND);
        let ripe = |state, earliest: i64| {
            self.table.values().any(|node| node.state == state && node.mark + earliest <= now)
        };
        let (away, back) = (ripe(NodeState::Away, GATHER), ripe(NodeState::Back, GATHER));
        let again = self.repeat.filter(|repeat| ripe(NodeState::Told, *repeat));
        let (mut gone, mut still, mut here) = (vec![], vec![], vec![]);
        for (id, node) in &mut self.table {
            let told = |what, at, into: &mut Vec<News>| {
                into.push(News { id: *id, name: node.name.clone(), what, since: node.since, at });
            };
            match node.state {
                NodeState::Away if away && node.mark <= now => {
                    told(Presence::Away, now, &mut gone);
                    (node.state, node.mark) = (NodeState::Told, now);
                }
                NodeState::Told
                    if again.is_some_and(|repeat| node.mark + repeat - repeat / REPEAT_PART <= now) =>
                {
                    told(Presence::StillAway, now, &mut still);
                    node.mark = now;
                }
                NodeState::Back if back => {
                    told(Presence::Back, node.mark, &mut here);
                    node.state = NodeState::Here;
                }
                _ => {}
            }
        }
        self.table.retain(|_, node| node.blind || node.state != NodeState::Here);
        self.more &= !self.table.is_empty();
        self.find_due();
        [gone, still, here].into_iter().filter(|news| !news.is_empty()).collect()
    }

    fn find_due(&mut self) {
        let due = self.table.values().filter_map(|node| match node.state {
            NodeState::Here => None,
            NodeState::Away | NodeState::Back => Some(node.mark + GATHER),
            NodeState::Told => self.repeat.map(|repeat| node.mark + repeat),
        });
        self.due = due.min();
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, now: UnixNanos) {
        let now = now.0.div_euclid(SECOND);
        for node in self.table.values_mut() {
            let latest = if node.state == NodeState::Away { now + self.after } else { now };
            node.mark = node.mark.min(latest);
        }
        self.late = self.late.min(now + GATHER);
        self.find_due();
    }
}
