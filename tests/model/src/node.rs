//! A node: a log that grows, sessions that come and go, a disk, and the process that reads the one and writes
//! the other.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use secmon_node::{
    core::{Limits, Loaded, Meta, NodeCore, Now, Row, Start, Write},
    watch::{Observation, Place},
};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent, AuthLogSource},
    facet::Facet,
    ids::{Epoch, NodeId, Seq},
    message::node::{HostFacts, HubToNode, NodeToHub, Resume},
    session::{Session, SessionKind},
    state::NodeState,
    time::UnixNanos,
};

/// The only source.
const SOURCE: &str = "file:log";

/// What a shelf keeps, with the power of forgetting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    meta: Option<Meta>,
    rows: BTreeMap<u64, Row>,
    newest: u64,
    dropped: u64,
    places: BTreeMap<String, Bytes>,
    state: NodeState,
}

impl Disk {
    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Append(row) => {
                    self.newest = self.newest.max(row.entry.place);
                    assert!(self.rows.insert(row.entry.place, row).is_none(), "a place that is taken");
                }
                Write::DropThrough(place) => {
                    self.newest = self.newest.max(place);
                    self.rows = self.rows.split_off(&(place + 1));
                }
                Write::Source { source, at } if at.is_empty() => drop(self.places.remove(&source)),
                Write::Source { source, at } => drop(self.places.insert(source, at)),
                Write::State(ops) => self.state.apply(&ops).expect("operations that fit"),
                Write::Meta(meta) => self.meta = Some(meta),
                Write::Dropped(count) => self.dropped = count,
            }
        }
    }

    fn load(&self) -> Loaded {
        let mut before = None;
        for entry in self.rows.values().map(|row| row.entry) {
            let follows = before.is_none_or(|before| before == entry.place - entry.stands_for);
            assert!(follows, "record {} does not follow {before:?}", entry.place);
            before = Some(entry.place);
        }
        let oldest = self.rows.values().next().map(|row| row.entry);
        let before_oldest = oldest.map_or(self.newest, |entry| entry.place - entry.stands_for);
        assert!(
            self.meta.as_ref().is_none_or(|meta| meta.base <= before_oldest),
            "a record would be number 0"
        );
        Loaded {
            meta: self.meta.clone(),
            entries: self.rows.values().map(|row| row.entry).collect(),
            newest: self.newest,
            dropped: self.dropped,
            places: self.places.clone(),
            state: self.state.clone(),
        }
    }
}

/// One connection as the node has it.
#[derive(Debug)]
struct Talk {
    wire: u64,
    epoch: Epoch,
    oldest: Seq,
    newest: Seq,
    /// The last record that need not be sent; none before Welcome.
    sent: Option<Seq>,
}

/// What runs.
#[derive(Debug)]
struct Process {
    core: NodeCore,
    /// What the disk did not take, since it refused.
    memory: Option<BTreeMap<u64, Row>>,
    /// Lines of the log that were read.
    read: u64,
    session: Option<Talk>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) papers: [u8; 32],
    /// Lines in the log: the numbers from 1 on.
    pub(crate) written: u64,
    /// Who is logged in, by number.
    pub(crate) sessions: BTreeMap<u8, u8>,
    disk: Disk,
    /// The last few states of the disk, oldest first: what a power cut may go back to.
    earlier: Vec<Disk>,
    process: Option<Process>,
    capacity: usize,
    limits: Limits,
    boot: u64,
    /// Whether the disk takes nothing at present.
    pub(crate) refuses: bool,
    /// How often the machine lost power or its disk refused, after which lines may come again.
    pub(crate) cuts: u32,
}

/// States of a disk that a power cut may go back to.
const EARLIER: usize = 3;

impl Node {
    pub(crate) fn new(number: u8, capacity: usize, limits: Limits) -> Self {
        Self {
            id: NodeId([number; 16]),
            papers: [number; 32],
            written: 0,
            sessions: BTreeMap::new(),
            disk: Disk::default(),
            earlier: vec![],
            process: None,
            capacity,
            limits,
            boot: 0,
            refuses: false,
            cuts: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// The wire that its session is on.
    pub(crate) fn wire(&self) -> Option<u64> {
        Some(self.process.as_ref()?.session.as_ref()?.wire)
    }

    pub(crate) fn start(&mut self, fresh: Epoch, now: Now) {
        let start = Start {
            fresh,
            boot: Some(self.boot.to_string()),
            capacity: self.capacity,
            limits: self.limits.clone(),
            now,
        };
        let mut core = NodeCore::start(self.disk.load(), start);
        let read = core
            .known()
            .places
            .get(SOURCE)
            .map_or(0, |at| u64::from_be_bytes(at.as_ref().try_into().expect("eight bytes")));
        core.observe(Observation::WgPeers(Facet::NotMonitored), now);
        let source = AuthLogSource { source: "log".to_owned() };
        core.observe(Observation::AuthLog(Facet::Ready([("log".to_owned(), source)].into())), now);
        self.process = Some(Process { core, memory: None, read, session: None });
    }

    /// The process is gone, and what was not committed with it.
    pub(crate) fn crash(&mut self) {
        self.process = None;
    }

    /// The machine is gone, and perhaps the last transactions with it.
    pub(crate) fn lose_power(&mut self, back: usize) {
        self.process = None;
        self.boot += 1;
        self.cuts += 1;
        for _ in 0..back {
            if let Some(disk) = self.earlier.pop() {
                self.disk = disk;
            }
        }
        self.earlier.clear();
    }

    /// Reads at most so many lines of its log.
    pub(crate) fn read(&mut self, most: u64, now: Now) {
        let Some(process) = &mut self.process else { return };
        let to = self.written.min(process.read + most);
        if to == process.read {
            return;
        }
        let line = |n: u64| {
            let event = AuthEvent::new(now.unix, "sshd", None, AuthAction::Failed, &n.to_string());
            Observation::Auth(Box::new(event))
        };
        let mut together: Vec<Observation> = (process.read + 1..=to).map(line).collect();
        process.read = to;
        together.push(Observation::Place(Place {
            source: SOURCE.to_owned(),
            at: Bytes::copy_from_slice(&to.to_be_bytes()),
        }));
        process.core.observe(Observation::Together(together), now);
    }

    /// Looks who is logged in.
    pub(crate) fn look(&mut self, now: Now) {
        let Some(process) = &mut self.process else { return };
        let session = |(key, tty): (&u8, &u8)| (key.to_string(), session(*tty));
        let facet = Facet::Ready(self.sessions.iter().map(session).collect());
        process.core.observe(Observation::Sessions(facet), now);
    }

    /// Writes what there is to write. Where the disk refuses, it goes on in memory, in the epoch `fresh`.
    pub(crate) fn commit(&mut self, fresh: Epoch, now: Now) {
        let Some(Process { core, memory, .. }) = &mut self.process else { return };
        if !core.is_dirty() {
            return;
        }
        let writes = core.take_writes();
        match memory {
            None if self.refuses => {
                let memory = memory.insert(BTreeMap::new());
                remember(memory, writes);
                self.cuts += 1;
                core.freeze(fresh, self.capacity, now);
                remember(memory, core.take_writes());
            }
            None => {
                self.earlier.push(self.disk.clone());
                if self.earlier.len() > EARLIER {
                    self.earlier.remove(0);
                }
                self.disk.apply(writes);
            }
            Some(memory) => remember(memory, writes),
        }
        core.committed();
    }

    /// Says what is due, and goes back to the disk where that takes something again.
    pub(crate) fn tick(&mut self, fresh: Epoch, now: Now) {
        if let Some(process) = &mut self.process {
            process.core.tick(now);
        }
        self.commit(fresh, now);
        let Some(Process { core, memory, .. }) = &mut self.process else { return };
        if !self.refuses
            && let Some(memory) = memory.take()
        {
            let rows = memory.into_values().collect();
            let writes = core.thaw(&self.disk.load(), rows, fresh, self.capacity, now);
            self.disk.apply(writes);
            core.committed();
        }
    }

    /// Connects: what it says first.
    pub(crate) fn connect(&mut self, wire: u64, now: Now) -> Option<NodeToHub> {
        let process = self.process.as_mut()?;
        let opening = process.core.opening();
        let (epoch, oldest, newest) = (opening.epoch, opening.oldest, opening.newest);
        process.session = Some(Talk { wire, epoch, oldest, newest, sent: None });
        Some(NodeToHub::Hello(secmon_protocol::message::node::Hello {
            agent: "model".to_owned(),
            facts: HostFacts::default(),
            epoch,
            oldest,
            newest,
            clock: now.unix,
            extensions: BTreeMap::new(),
        }))
    }

    /// Its connection ended.
    pub(crate) fn disconnected(&mut self) {
        if let Some(process) = &mut self.process {
            process.session = None;
        }
    }

    /// Something came from the hub on its present connection.
    ///
    /// # Errors
    /// The hub broke the protocol.
    pub(crate) fn hear(&mut self, message: HubToNode, now: Now) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some(session) = &mut process.session else { return Ok(()) };
        match message {
            HubToNode::Welcome(welcome) => {
                let sent = match welcome.resume {
                    Resume::After(seq) if seq > session.newest => {
                        return Err(format!("the hub resumes after {seq:?}, of {:?}", session.newest));
                    }
                    Resume::After(seq) => {
                        process.core.ack(session.epoch, seq);
                        seq
                    }
                    Resume::Oldest => Seq(session.oldest.0.saturating_sub(1)),
                };
                session.sent = Some(sent);
            }
            HubToNode::Ack { seq } if session.sent.is_none_or(|sent| seq > sent) => {
                return Err(format!("the hub acknowledges {seq:?}, of {:?}", session.sent));
            }
            HubToNode::Ack { seq } => process.core.ack(session.epoch, seq),
            HubToNode::Resync => process.core.resync(now),
            HubToNode::Reject(refusal) => return Err(format!("the hub refuses a node: {refusal}")),
            other => return Err(format!("the hub says {other:?}")),
        }
        Ok(())
    }

    /// The next batch, if there is one.
    pub(crate) fn send(&mut self, target: usize) -> Option<NodeToHub> {
        let process = self.process.as_mut()?;
        // A connection is for the numbering that it was opened with.
        process.session.take_if(|session| session.epoch != process.core.epoch());
        let session = process.session.as_mut()?;
        let wanted = process.core.wanted(session.sent?, target);
        // What is in memory stands before what the disk has at the same place.
        let row =
            |place| process.memory.as_ref().and_then(|rows| rows.get(place)).or(self.disk.rows.get(place));
        let rows: Vec<Row> =
            wanted.iter().map(|place| row(place).expect("a row that is held").clone()).collect();
        let batch = process.core.pack(&rows)?;
        session.sent = Some(batch.last);
        Some(NodeToHub::Records(batch.list))
    }

    /// Whether there is nothing left to do for it.
    pub(crate) fn is_done(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            process.read == self.written
                && !process.core.is_urgent()
                && process.core.deadline().is_none()
                && process.core.held() == 0
        })
    }

    /// The sessions as the hub should have them.
    pub(crate) fn facet(&self) -> Facet<String, Session> {
        Facet::Ready(self.sessions.iter().map(|(key, tty)| (key.to_string(), session(*tty))).collect())
    }
}

/// Memory keeps records only.
fn remember(memory: &mut BTreeMap<u64, Row>, writes: Vec<Write>) {
    for write in writes {
        match write {
            Write::Append(row) => drop(memory.insert(row.entry.place, row)),
            Write::DropThrough(place) => *memory = memory.split_off(&(place + 1)),
            _ => {}
        }
    }
}

fn session(tty: u8) -> Session {
    Session {
        user: "root".to_owned(),
        tty: Some(format!("pts/{tty}")),
        remote: None,
        since: UnixNanos(1),
        leader: None,
        service: None,
        kind: SessionKind::Interactive,
        sources: std::collections::BTreeSet::new(),
    }
}

/// A node's two clocks.
pub(crate) fn clocks(mono: Duration, unix: UnixNanos) -> Now {
    Now { mono, unix }
}
