//! The hub: its core, a store that crashes, the ring, and who reads.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use secmon_hub::core::{
    Core, Effect, Effects, Enrolling, Hole, Incoming, Introduction, JobLimits, Kept, Link, LogRow, Next,
    NodeRow, Now, Reading, Shelf, Start, TokenRow, Write,
};
use secmon_protocol::{
    ids::{Cursor, Epoch, LogId, NodeId, NodeName},
    message::{
        Refusal,
        client::NodeDetail,
        node::{HubToNode, NodeToHub},
    },
    record::LogRecord,
    state::NodeState,
    time::UnixNanos,
};

/// Time between heartbeats; nothing here waits for it.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// States of the store that a power cut may go back to.
const EARLIER: usize = 3;

/// What the store keeps.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) log: LogRow,
    nodes: BTreeMap<NodeId, (NodeRow, NodeState)>,
    tokens: BTreeMap<[u8; 32], TokenRow>,
    /// What it holds of the log.
    records: BTreeMap<u64, Rc<LogRecord>>,
    pub(crate) holes: Vec<Hole>,
    /// All that it ever held: what must arrive.
    pub(crate) all: BTreeMap<u64, Rc<LogRecord>>,
    /// The next start is the first since a power cut.
    lost_power: bool,
}

impl Disk {
    fn apply(&mut self, writes: Vec<Write>, records: &[Rc<LogRecord>], most: usize) {
        for write in writes {
            match write {
                Write::Node(row) => match self.nodes.get_mut(&row.id) {
                    Some((held, _)) => *held = *row,
                    None => drop(self.nodes.insert(row.id, (*row, NodeState::default()))),
                },
                Write::Progress { node, last, seen, stale } => {
                    let row = &mut self.nodes.get_mut(&node).expect("a known node").0;
                    (row.last, row.seen, row.stale) = (last, seen, stale);
                }
                Write::State(node, ops) => {
                    let state = &mut self.nodes.get_mut(&node).expect("a known node").1;
                    state.apply(&ops).expect("operations that fit the stored state");
                }
                Write::Token(token) => drop(self.tokens.insert(token.secret, token)),
                Write::ForgetToken(secret) => drop(self.tokens.remove(&secret)),
                Write::ForgetNode(node) => drop(self.nodes.remove(&node)),
                Write::Job(_)
                | Write::JobProgress { .. }
                | Write::JobOutput { .. }
                | Write::DropOutput { .. }
                | Write::ForgetJob(_) => panic!("nothing runs here"),
            }
        }
        for record in records {
            self.log.newest = record.cursor.n;
            self.records.insert(record.cursor.n, record.clone());
            self.all.insert(record.cursor.n, record.clone());
        }
        while self.records.len() > most {
            self.records.pop_first();
        }
    }

    fn kept(&self) -> Kept {
        Kept {
            log: self.log.clone(),
            nodes: self.nodes.values().cloned().collect(),
            tokens: self.tokens.values().cloned().collect(),
            // Nothing runs here.
            jobs: vec![],
        }
    }

    /// The last place that is no longer held.
    fn gone(&self) -> u64 {
        self.records.keys().next().map_or(self.log.newest, |first| first - 1)
    }
}

/// What comes to the actor.
#[derive(Debug)]
enum In {
    Message(u64, NodeToHub),
    Down(u64),
}

/// What a subscriber is sent.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// It begins after this place of the log.
    Subscribed(Cursor),
    /// The state at that place.
    Snapshot(BTreeMap<NodeId, NodeDetail>),
    /// A record.
    Record(Rc<LogRecord>),
    /// Records that it does not get.
    Gap {
        /// The last place before them.
        after: Cursor,
        /// The last of them.
        to: Cursor,
    },
}

/// What runs.
struct Process {
    core: Core,
    queue: VecDeque<In>,
    ring: VecDeque<Rc<LogRecord>>,
    gone: u64,
    log: LogId,
    started: Duration,
    /// The connections that the actor has.
    links: Vec<u64>,
}

impl Process {
    fn shelf(&self) -> Shelf {
        Shelf { gone: self.gone, newest: self.newest() }
    }

    fn newest(&self) -> u64 {
        self.ring.back().map_or(self.gone, |record| record.cursor.n)
    }
}

/// How the hub fares while it works off its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Well.
    Well,
    /// It is killed before the transaction.
    DiesBefore,
    /// It is killed after the transaction, before anybody hears of it.
    DiesAfter,
    /// The store refuses the transaction.
    Refused,
}

/// What came of working off the queue.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Messages for nodes, by wire.
    pub(crate) out: Vec<(u64, HubToNode)>,
    /// Wires that it closes.
    pub(crate) closed: Vec<u64>,
}

/// See the module.
pub(crate) struct Hub {
    pub(crate) disk: Disk,
    earlier: Vec<Disk>,
    copy: Option<Disk>,
    process: Option<Process>,
    held: usize,
    ring: usize,
    fresh: u64,
    restored: bool,
}

impl Hub {
    /// A hub that holds so many records in its log and in its ring.
    pub(crate) fn new(held: usize, ring: usize) -> Self {
        let log = LogRow { id: LogId(1), newest: 0, history: vec![] };
        let disk = Disk {
            log,
            nodes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            records: BTreeMap::new(),
            holes: vec![],
            all: BTreeMap::new(),
            lost_power: false,
        };
        Self { disk, earlier: vec![], copy: None, process: None, held, ring, fresh: 1_000, restored: false }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn start(&mut self, mono: Duration) {
        self.fresh += 1;
        self.disk.log.begin(LogId(self.fresh));
        if std::mem::take(&mut self.disk.lost_power) {
            let after = self.disk.log.newest;
            self.disk.log.newest += 1;
            self.disk.holes.push(Hole { after, to: after + 1, reason: "power".to_owned() });
        }
        let mut core = Core::new(self.disk.kept(), HEARTBEAT, JobLimits::default());
        let mut out = vec![];
        core.flush(&mut out);
        let newest = core.newest();
        self.process = Some(Process {
            core,
            queue: VecDeque::new(),
            ring: VecDeque::new(),
            gone: newest.n,
            log: newest.log,
            started: mono,
            links: vec![],
        });
    }

    /// A node is enrolled and joins.
    pub(crate) fn join(&mut self, id: NodeId, papers: [u8; 32], name: &str, unix: UnixNanos) {
        let process = self.process.as_mut().expect("a hub that runs");
        let now = Now { unix, mono: Duration::ZERO };
        let name: NodeName = name.parse().expect("a name");
        let wish = Enrolling { secret: papers, id, name, valid: Duration::ZERO, replace: false };
        let mut out = vec![];
        process.core.enroll(now, wish, &mut out).expect("a token");
        process.core.join(now, &papers, papers, "model", &mut out).expect("an admission");
        process.core.flush(&mut out);
        let done = self.perform(out, Fate::Well);
        assert!(done.closed.is_empty());
        // Who may join and who has joined is written so that a power cut does not take it.
        self.earlier.clear();
    }

    /// The process is killed.
    pub(crate) fn crash(&mut self) {
        self.process = None;
    }

    /// The machine loses power, and with it the last transactions.
    pub(crate) fn lose_power(&mut self, back: usize) {
        self.process = None;
        for _ in 0..back {
            if let Some(disk) = self.earlier.pop() {
                self.disk = disk;
            }
        }
        self.earlier.clear();
        self.disk.lost_power = true;
    }

    /// Somebody makes a copy of the store.
    pub(crate) fn copy(&mut self) {
        self.copy = Some(self.disk.clone());
    }

    /// Somebody puts the copy in the place of the store.
    pub(crate) fn restore(&mut self) {
        if let Some(copy) = self.copy.take() {
            (self.process, self.disk, self.restored) = (None, copy, true);
            self.earlier.clear();
        }
    }

    /// A message of a node is read off the wire.
    pub(crate) fn receive(&mut self, wire: u64, message: NodeToHub) {
        if let Some(process) = &mut self.process {
            process.queue.push_back(In::Message(wire, message));
        }
    }

    /// The hub's side of a wire has ended.
    pub(crate) fn lost(&mut self, wire: u64) {
        if let Some(process) = &mut self.process {
            process.queue.push_back(In::Down(wire));
        }
    }

    /// Works off at most so many messages, in one transaction.
    ///
    /// # Errors
    /// A node's records break the protocol.
    pub(crate) fn work(
        &mut self,
        most: usize,
        fate: Fate,
        mono: Duration,
        unix: UnixNanos,
    ) -> Result<Done, String> {
        let Some(process) = &mut self.process else { return Ok(Done::default()) };
        if process.queue.is_empty() {
            return Ok(Done::default());
        }
        let now = Now { unix, mono: mono.saturating_sub(process.started) };
        let mut out = Effects::new();
        for _ in 0..most {
            match process.queue.pop_front() {
                None => break,
                Some(In::Down(wire)) => {
                    process.links.retain(|link| *link != wire);
                    process.core.handle_link_down(now, Link(wire), "cut", &mut out);
                }
                Some(In::Message(wire, NodeToHub::Hello(hello))) => {
                    process.links.push(wire);
                    self.fresh += 1;
                    let papers = [hello_number(wire); 32];
                    let from = Introduction {
                        papers,
                        address: "192.0.2.1:5".to_owned(),
                        hello,
                        fresh: Epoch(self.fresh),
                    };
                    process.core.handle_hello(now, Link(wire), from, &mut out);
                }
                Some(In::Message(wire, NodeToHub::Records(list))) => {
                    let records = Incoming::batch(&list).map_err(|error| format!("a batch: {error}"))?;
                    process.core.handle_records(now, Link(wire), records, &mut out);
                }
                Some(In::Message(_, other)) => return Err(format!("a node says {other:?}")),
            }
        }
        process.core.flush(&mut out);
        Ok(self.perform(out, fate))
    }

    fn perform(&mut self, out: Effects, fate: Fate) -> Done {
        let mut done = Done::default();
        let Some(process) = &mut self.process else { return done };
        let (mut writes, mut records, mut outward) = (vec![], vec![], vec![]);
        for effect in out {
            match effect {
                Effect::Store(write) => writes.push(write),
                Effect::Publish(record) => {
                    let record = Rc::new(record);
                    records.push(record.clone());
                    outward.push((None, Some(record)));
                }
                other => outward.push((Some(other), None)),
            }
        }
        let has_to_write = !writes.is_empty() || !records.is_empty();
        match fate {
            Fate::DiesBefore => {
                self.process = None;
                return done;
            }
            Fate::Refused if has_to_write => {
                done.closed = std::mem::take(&mut process.links);
                process.core.restore(self.disk.kept());
                return done;
            }
            _ => {}
        }
        if has_to_write {
            self.earlier.push(self.disk.clone());
            if self.earlier.len() > EARLIER {
                self.earlier.remove(0);
            }
            self.disk.apply(writes, &records, self.held);
        }
        if fate == Fate::DiesAfter {
            self.process = None;
            return done;
        }
        for step in outward {
            match step {
                (None, Some(record)) => {
                    process.ring.push_back(record);
                    if process.ring.len() > self.ring {
                        process.ring.pop_front();
                        process.gone += 1;
                    }
                }
                (Some(Effect::ToNode(Link(wire), message)), _) => done.out.push((wire, message)),
                (Some(Effect::Close(Link(wire), _)), _) => {
                    process.links.retain(|link| *link != wire);
                    done.closed.push(wire);
                }
                _ => {}
            }
        }
        done
    }

    /// A client subscribes: to everything after a place, from the start of what is held, or with the state.
    ///
    /// # Errors
    /// The hub refuses.
    pub(crate) fn subscribe(&mut self, from: From) -> Result<Option<(Reading, Vec<Item>)>, Refusal> {
        let gone = self.disk.gone();
        let Some(process) = &mut self.process else { return Ok(None) };
        let start = match from {
            From::Cursor(cursor) => process.core.start_after(cursor, gone)?,
            From::Oldest => Start::at(gone),
            From::Snapshot => Start::at(process.newest()),
        };
        let snapshot = (from == From::Snapshot).then(|| {
            let details = process.core.details(|_, _| true).expect("a small state");
            details.into_iter().map(|detail| (detail.summary.id, detail)).collect()
        });
        let cursor = |n| Cursor { log: process.log, n };
        let mut items = vec![Item::Subscribed(cursor(start.after))];
        items.extend(snapshot.map(Item::Snapshot));
        items.extend(start.gap.map(|(after, _)| Item::Gap { after, to: cursor(start.after) }));
        Ok(Some((Reading::after(start.after), items)))
    }

    /// What a subscription sends next; at most so many records.
    pub(crate) fn read(&self, reading: &mut Reading, most: usize) -> Vec<Item> {
        let Some(process) = &self.process else { return vec![] };
        let shelf = process.shelf();
        let cursor = |n| Cursor { log: process.log, n };
        let mut items = vec![];
        let mut take = |records: &mut dyn Iterator<Item = &Rc<LogRecord>>, reading: &mut Reading| {
            for record in
                records.filter(|record| record.cursor.n > reading.at()).take(most).collect::<Vec<_>>()
            {
                if reading.handle_record(record.cursor.n) {
                    items.push(Item::Record(record.clone()));
                }
            }
        };
        match reading.next(shelf) {
            Next::Wait => {}
            Next::Ring => take(&mut process.ring.iter(), reading),
            Next::Store => {
                let behind = reading.at() + 1;
                let first = self.disk.records.range(behind..).next().map(|(n, _)| *n);
                let holes: Vec<Hole> =
                    self.disk.holes.iter().filter(|hole| hole.to >= behind).cloned().collect();
                let mut told = vec![];
                for missing in reading.handle_found(shelf, first, &holes) {
                    told.push(Item::Gap { after: cursor(missing.after), to: cursor(missing.to) });
                }
                take(&mut self.disk.records.range(behind..).map(|(_, record)| record), reading);
                told.append(&mut items);
                return told;
            }
        }
        items
    }

    /// Whether nothing waits in it.
    pub(crate) fn is_done(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.queue.is_empty())
    }

    /// What the hub holds of a node.
    pub(crate) fn node(&self, id: NodeId) -> Option<&(NodeRow, NodeState)> {
        self.disk.nodes.get(&id)
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Oldest,
    Cursor(Cursor),
    Snapshot,
}

/// Wires are numbered so that the last byte is the number of their node.
pub(crate) fn hello_number(wire: u64) -> u8 {
    (wire & 0xff) as u8
}
