//! The registry: nodes, their connections coming and going, and how they are listed.

use std::{collections::VecDeque, time::Duration};

use secmon_protocol::{
    command::CommandInfo,
    hub_event::HubEvent,
    ids::{Epoch, NodeId, NodeName, Seq},
    limits::{MAX_MESSAGE, clip},
    message::{
        ErrorCode, Refusal,
        client::{FacetSummary, NodeDetail, NodeSummary, Presence},
        node::{Hello, HostFacts, HubToNode, Resume, Welcome},
    },
    state::{NodeState, RawFacet},
    time::UnixNanos,
};
use serde::{Deserialize, Serialize};

use super::{Core, Dirty, Effect, Effects, Link, LinkState, Notice, Now};
use crate::ca::Fingerprint;

/// A clock that is off by more than this is worth a warning.
const CLOCK_TOLERANCE: i64 = 2_000_000_000;
/// Epochs of a node that are remembered beside its own. A node keeps its epoch over restarts; it begins a new one
/// where its outbox was lost or cannot be kept on its disk, and there are seldom more than two copies of a machine.
const OTHERS: usize = 4;
/// A connection that takes the place of a live one this often …
const FLAPS: usize = 3;
/// … within this time means that two machines have the same papers.
const FLAP_TIME: Duration = Duration::from_secs(60);

/// All that is kept about a node but its state.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// SHA-256 of its certificate.
    pub papers: Fingerprint,
    /// When it was last heard, or enrolled.
    pub seen: UnixNanos,
    /// Its version.
    pub agent: String,
    /// Where it last came from.
    pub address: String,
    /// Its server.
    pub facts: HostFacts,
    /// Its clock minus the hub's, in nanoseconds.
    pub clock_offset: i64,
    /// The epoch that it names; none until it first came.
    pub epoch: Option<Epoch>,
    /// The epoch under which its records are logged; another one after the node went back in time.
    pub log_epoch: Epoch,
    /// The last record taken.
    pub last: Seq,
    /// Whether its state may be wrong.
    pub stale: bool,
    /// Whether it was connected when this was written.
    pub connected: bool,
    /// Where its other epochs stand, the latest first: of machines that have the same papers and take turns.
    pub others: Vec<Standing>,
    /// What may be run there, sorted by label.
    pub commands: Vec<CommandInfo>,
}

/// Where one epoch of a node stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The epoch that the node names.
    pub epoch: Epoch,
    /// The epoch under which its records are logged.
    pub log_epoch: Epoch,
    /// The last record taken.
    pub last: Seq,
}

/// A node that is known.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) row: NodeRow,
    pub(super) state: NodeState,
    pub(super) online: Option<(Link, UnixNanos)>,
    /// When live connections were replaced lately.
    flaps: VecDeque<Duration>,
}

impl NodeRow {
    /// Makes an epoch the node's own; whether it was known. One that is not begins at nothing.
    fn turn_to(&mut self, epoch: Epoch) -> bool {
        if self.epoch == Some(epoch) {
            return true;
        }
        // Until the snapshot with which a new numbering begins, what is held is the old one's.
        self.stale = true;
        if let Some(old) = self.epoch {
            self.others.insert(0, Standing { epoch: old, log_epoch: self.log_epoch, last: self.last });
        }
        let found = self.others.iter().position(|other| other.epoch == epoch);
        let other = found.map(|at| self.others.remove(at));
        self.others.truncate(OTHERS);
        let known = other.is_some();
        let now = other.unwrap_or(Standing { epoch, log_epoch: epoch, last: Seq(0) });
        (self.epoch, self.log_epoch, self.last) = (Some(now.epoch), now.log_epoch, now.last);
        known
    }
}

impl Node {
    pub(super) fn away(row: NodeRow, state: NodeState) -> Self {
        Self { row, state, online: None, flaps: VecDeque::new() }
    }

    fn flapped(&mut self, at: Duration) -> bool {
        self.flaps.push_back(at);
        while self.flaps.len() > FLAPS || self.flaps.front().is_some_and(|first| *first + FLAP_TIME < at) {
            self.flaps.pop_front();
        }
        self.flaps.len() == FLAPS
    }

    pub(super) fn summary(&self) -> NodeSummary {
        let row = &self.row;
        NodeSummary {
            id: row.id,
            name: row.name.clone(),
            presence: match self.online {
                Some((_, since)) => Presence::Online { since },
                None => Presence::Away { since: row.seen },
            },
            agent: row.agent.clone(),
            address: row.address.clone(),
            facts: row.facts.clone(),
            clock_offset: row.clock_offset,
            facets: self
                .state
                .facets()
                .map(|(facet, raw)| FacetSummary { facet, status: raw.status(), entries: entries(raw) })
                .collect(),
            commands: u32::try_from(row.commands.len()).unwrap_or(u32::MAX),
            stale: row.stale,
        }
    }

    pub(super) fn detail(&self) -> NodeDetail {
        let ready = self.state.facets().filter_map(|(id, facet)| match facet {
            RawFacet::Ready(entries) => Some((id, entries)),
            _ => None,
        });
        NodeDetail {
            summary: self.summary(),
            commands: self.row.commands.clone(),
            entries: ready
                .flat_map(|(id, entries)| entries.iter().map(move |(k, v)| (id, k.clone(), v.clone())))
                .collect(),
        }
    }
}

fn entries(facet: &RawFacet) -> u64 {
    match facet {
        RawFacet::Ready(entries) => entries.len() as u64,
        _ => 0,
    }
}

/// A node at the door.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// SHA-256 of the certificate that it showed.
    pub papers: Fingerprint,
    /// Where it comes from.
    pub address: String,
    /// What it says.
    pub hello: Hello,
    /// A random epoch, for a node that went back in time.
    pub fresh: Epoch,
}

impl Core {
    /// A node says Hello on a new connection.
    pub fn handle_hello(&mut self, now: Now, link: Link, from: Introduction, out: &mut Effects) {
        if let Err(reason) = check(&from.hello) {
            return turn_away(link, ErrorCode::Protocol, reason, out);
        }
        let Some(id) = self.papers.get(&from.papers).copied() else {
            let reason = "this node's papers are not known to this hub: it was removed or enrolled anew; run `secmon \
                          enroll NAME` on the hub and join again";
            return turn_away(link, ErrorCode::NotPermitted, reason.to_owned(), out);
        };
        self.settle(now, out);
        self.replace_link(now, id, &from.address, out);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let hello = from.hello;
        let row = &mut node.row;
        row.agent = clip(&hello.agent).to_owned();
        row.address.clone_from(&from.address);
        row.facts = clipped(&hello.facts);
        row.clock_offset = hello.clock.0.saturating_sub(now.unix.0);
        row.seen = now.unix;
        row.connected = true;
        node.online = Some((link, now.unix));
        if row.clock_offset.saturating_abs() > CLOCK_TOLERANCE {
            out.push(Effect::Notice(Notice::Clock {
                name: row.name.clone(),
                offset: Duration::from_nanos(row.clock_offset.unsigned_abs()),
                ahead: row.clock_offset > 0,
            }));
        }
        let (name, agent) = (row.name.clone(), row.agent.clone());
        self.links.insert(link, (id, LinkState::default()));
        self.mark(id, Dirty::Whole);
        self.tell(now, id, &HubEvent::Connected { address: from.address, agent }, out);
        let welcome = out.len();
        let resume = self.place(now, id, link, (hello.epoch, hello.oldest, hello.newest), from.fresh, out);
        let message = HubToNode::Welcome(Welcome {
            node: id,
            name,
            resume,
            heartbeat_ms: u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX),
            clock: now.unix,
            extensions: Default::default(),
        });
        out.insert(welcome, Effect::ToNode(link, message));
    }

    /// Finds where a node's records go on.
    fn place(
        &mut self,
        now: Now,
        id: NodeId,
        link: Link,
        (epoch, oldest, newest): (Epoch, Seq, Seq),
        fresh: Epoch,
        out: &mut Effects,
    ) -> Resume {
        let Some(row) = self.nodes.get_mut(&id).map(|node| &mut node.row) else { return Resume::Oldest };
        let before_oldest = Seq(oldest.0 - 1);
        let turned = row.epoch != Some(epoch);
        let known = row.turn_to(epoch);
        if known && newest < row.last {
            if let Some((_, state)) = self.links.get_mut(&link) {
                state.back = Some((fresh, before_oldest));
            }
            self.want_snapshot(id, link, "it came back with less than it had sent before", out);
            return Resume::Oldest;
        }
        let (last, stale) = (row.last, row.stale);
        if before_oldest > last {
            let reason = "the node no longer had them when it connected".to_owned();
            self.tell(now, id, &HubEvent::Gap { from: last.next(), to: before_oldest, reason }, out);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.row.last = before_oldest;
            }
            self.want_snapshot(id, link, "it no longer had records that the hub has not seen", out);
        } else if known && stale {
            let reason = match turned {
                true => "another machine with the same papers was here meanwhile",
                false => "the last connection ended before its snapshot came",
            };
            self.want_snapshot(id, link, reason, out);
        }
        if known { Resume::After(last) } else { Resume::Oldest }
    }

    /// Marks a node's state as doubtful and asks for a snapshot, once per connection until it comes.
    pub(super) fn want_snapshot(&mut self, id: NodeId, link: Link, reason: &str, out: &mut Effects) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.row.stale = true;
        let name = node.row.name.clone();
        self.mark(id, Dirty::Progress);
        if let Some((_, state)) = self.links.get_mut(&link)
            && !state.asked
        {
            state.asked = true;
            out.push(Effect::Notice(Notice::Resync { name, reason: reason.to_owned() }));
            out.push(Effect::ToNode(link, HubToNode::Resync));
        }
    }

    fn replace_link(&mut self, now: Now, id: NodeId, address: &str, out: &mut Effects) {
        let Some((old, _)) = self.nodes.get(&id).and_then(|node| node.online) else { return };
        self.close(now, old, "a newer connection of the same node took its place", out);
        if let Some(node) = self.nodes.get_mut(&id)
            && node.flapped(now.mono)
        {
            let notice = Notice::Clone { name: node.row.name.clone(), address: address.to_owned() };
            out.push(Effect::Notice(notice));
        }
    }

    /// Tells of the nodes that were connected, and of the runs that were open, when the last process was killed, or
    /// when the store refused a batch. A node that comes brings it about as well, so that it is told before whoever is back.
    pub fn settle(&mut self, now: Now, out: &mut Effects) {
        for id in std::mem::take(&mut self.cut_off) {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.row.connected = false;
                self.mark(id, Dirty::Whole);
                let reason = "the hub ended while it was connected".to_owned();
                self.tell(now, id, &HubEvent::Disconnected { reason }, out);
            }
        }
        self.settle_runs(now, out);
    }

    /// Ends a node's connection from the hub's side.
    pub(super) fn close(&mut self, now: Now, link: Link, reason: &str, out: &mut Effects) {
        self.handle_link_down(now, link, reason, out);
        out.push(Effect::Close(link, reason.to_owned()));
    }

    /// A node's connection has ended.
    pub fn handle_link_down(&mut self, now: Now, link: Link, reason: &str, out: &mut Effects) {
        let Some((id, _)) = self.links.remove(&link) else { return };
        if let Some(seq) = self.acks.remove(&link) {
            out.push(Effect::ToNode(link, HubToNode::Ack { seq }));
        }
        self.leave_link(now, id, link, out);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.online = None;
            node.row.seen = now.unix;
            node.row.connected = false;
            self.mark(id, Dirty::Whole);
            self.tell(now, id, &HubEvent::Disconnected { reason: clip(reason).to_owned() }, out);
        }
    }

    /// All nodes and the names that are expected, sorted by name.
    pub fn list(&self, now: Now) -> Vec<NodeSummary> {
        let mut all: Vec<_> = self.nodes.values().map(Node::summary).chain(self.expected(now)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Every node that is wanted with its whole state, where one message can hold that.
    ///
    /// # Errors
    /// There is too much of it.
    pub fn details(&self, wanted: impl Fn(NodeId, &NodeName) -> bool) -> Result<Vec<NodeDetail>, Refusal> {
        let (mut nodes, mut size) = (vec![], 0);
        for node in self.names.values().filter_map(|id| self.nodes.get(id)) {
            if wanted(node.row.id, &node.row.name) {
                size += node.state.size();
                if size > MAX_MESSAGE {
                    return Err(snapshot_too_large());
                }
                nodes.push(node.detail());
            }
        }
        Ok(nodes)
    }
}

/// Why a client does not get the state of all the nodes that it wants in one message.
pub fn snapshot_too_large() -> Refusal {
    let message = format!(
        "the state of these nodes has more than {} MiB, the most that one answer can hold; name fewer nodes in \
         the filter, or begin with what happens next and get the nodes one by one",
        MAX_MESSAGE >> 20
    );
    Refusal::new(ErrorCode::TooMany, message)
}

/// A summary of what is only a name yet.
pub(super) fn expected(id: NodeId, name: NodeName, since: UnixNanos) -> NodeSummary {
    NodeSummary {
        id,
        name,
        presence: Presence::Expected { since },
        agent: String::new(),
        address: String::new(),
        facts: HostFacts::default(),
        clock_offset: 0,
        facets: Vec::<FacetSummary>::new(),
        commands: 0,
        stale: false,
    }
}

fn turn_away(link: Link, code: ErrorCode, reason: String, out: &mut Effects) {
    out.push(Effect::ToNode(link, HubToNode::Reject(Refusal::new(code, reason.clone()))));
    out.push(Effect::Close(link, reason));
}

fn check(hello: &Hello) -> Result<(), String> {
    if hello.oldest.0 == 0 || hello.newest.0 == u64::MAX || hello.oldest > hello.newest.next() {
        return Err(format!(
            "the Hello says that its oldest record is {} and its newest {}",
            hello.oldest.0, hello.newest.0
        ));
    }
    Ok(())
}

fn clipped(facts: &HostFacts) -> HostFacts {
    let cut = |text: &str| clip(text).to_owned();
    HostFacts {
        hostname: cut(&facts.hostname),
        os: cut(&facts.os),
        kernel: cut(&facts.kernel),
        arch: cut(&facts.arch),
    }
}
