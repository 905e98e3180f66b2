//! Everything together: which step is next is decided by the seed; at the end everything is mended and calms
//! down, and the verdict is given.

use std::{collections::VecDeque, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use secmon_node::core::Limits;
use secmon_protocol::{ids::Epoch, time::UnixNanos};

pub use crate::verdict::Tally;
use crate::{
    Faults,
    hub::{Fate, From, Hub},
    network::Network,
    node::{self, Node},
    subscriber::{Shown, Subscriber},
    verdict,
};

/// Steps of a run before everything is mended.
const STEPS: std::ops::Range<u64> = 50..400;
/// Rounds in which all must have calmed down afterwards.
const ROUNDS: u32 = 2_000;
/// Steps that a report shows.
const REMEMBERED: usize = 400;
/// The wall clock at the start.
const EPOCH: i64 = 1_700_000_000_000_000_000;

/// See the module.
pub(crate) struct World {
    rng: SmallRng,
    faults: Faults,
    mono: Duration,
    /// How far the wall clock was set.
    skew: i64,
    nodes: Vec<Node>,
    hub: Hub,
    network: Network,
    subscribers: Vec<Subscriber>,
    shown: Shown,
    fresh: u64,
    trace: VecDeque<String>,
    steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let faults = Faults {
            power: rng.random_bool(0.25),
            restore: rng.random_bool(0.15),
            refusals: rng.random_bool(0.3),
            tight: rng.random_bool(0.3),
            disk: rng.random_bool(0.2),
            rate: rng.random_bool(0.2),
        };
        let (events_per_second, events_burst) = if faults.rate { (4, Some(6)) } else { (0, None) };
        let limits = Limits { events_per_second, events_burst };
        let (capacity, held, ring) = match faults.tight {
            true => (rng.random_range(600..4_000), rng.random_range(3..60), rng.random_range(1..20)),
            false => (1 << 20, 1 << 20, rng.random_range(1..200)),
        };
        let nodes =
            (1..=rng.random_range(1..=3)).map(|number| Node::new(number, capacity, limits.clone())).collect();
        let kinds = [From::Oldest, From::Oldest, From::Snapshot];
        let subscribers =
            (0..rng.random_range(1..=3)).map(|_| Subscriber::new(kinds[rng.random_range(0..3)])).collect();
        Self {
            rng,
            faults,
            mono: Duration::from_secs(1),
            skew: 0,
            nodes,
            hub: Hub::new(held, ring),
            network: Network::default(),
            subscribers,
            shown: Shown::new(),
            fresh: 1 << 32,
            trace: VecDeque::new(),
            steps: 0,
        }
    }

    pub(crate) fn run(mut self) -> Result<Tally, String> {
        let steps = self.rng.random_range(STEPS);
        let outcome = self.begin().and_then(|()| {
            for _ in 0..steps {
                self.step()?;
            }
            self.calm()?;
            self.verdict()
        });
        outcome.map_err(|what| {
            let trace = self.trace.iter().cloned().collect::<Vec<_>>().join("\n  ");
            format!("{what}\n  faults: {:?}\n  {trace}", self.faults)
        })
    }

    fn begin(&mut self) -> Result<(), String> {
        self.hub.start(self.mono);
        for node in &self.nodes {
            let name = format!("node-{}", node.id.0[0]);
            self.hub.join(node.id, node.papers, &name, self.unix());
        }
        Ok(())
    }

    fn unix(&self) -> UnixNanos {
        UnixNanos(EPOCH + self.skew + i64::try_from(self.mono.as_nanos()).unwrap_or(0))
    }

    fn clocks(&self) -> secmon_node::core::Now {
        node::clocks(self.mono, self.unix())
    }

    fn note(&mut self, what: impl Into<String>) {
        if self.trace.len() >= REMEMBERED {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{}: {}", self.steps, what.into()));
    }

    fn fresh(&mut self) -> Epoch {
        self.fresh += 1;
        Epoch(self.fresh)
    }

    fn chance(&mut self, chance: f64) -> bool {
        self.rng.random_bool(chance)
    }

    fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        self.mono += Duration::from_millis(self.rng.random_range(0..500));
        let number = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..100) {
            0..12 => self.life(number),
            12..32 => self.node(number),
            32..40 => self.send(number),
            40..48 => self.connect(number),
            48..66 => self.deliver()?,
            66..78 => self.hub()?,
            78..92 => self.subscriber()?,
            92..95 => self.cut(),
            _ => self.fault(number),
        }
        Ok(())
    }

    /// What happens on a server.
    fn life(&mut self, number: usize) {
        let many = self.rng.random_range(1..8);
        let (key, tty) = (self.rng.random_range(0..6), self.rng.random_range(0..4));
        let (login, logout) = (self.chance(0.3), self.chance(0.3));
        let node = &mut self.nodes[number];
        node.written += many;
        if login {
            node.sessions.insert(key, tty);
        }
        if logout {
            node.sessions.remove(&tty);
        }
        self.note(format!("node {}: {many} lines more, sessions {login} {logout}", number + 1));
    }

    /// What a node's process does.
    fn node(&mut self, number: usize) {
        let now = self.clocks();
        let (fresh, most) = (self.fresh(), self.rng.random_range(1..6));
        let what = self.rng.random_range(0..10);
        let node = &mut self.nodes[number];
        let what = match what {
            _ if !node.is_up() => {
                node.start(fresh, now);
                "starts"
            }
            0..4 => {
                node.read(most, now);
                "reads"
            }
            4..6 => {
                node.look(now);
                "looks"
            }
            6 => {
                node.tick(fresh, now);
                "looks what is due"
            }
            _ => {
                node.commit(fresh, now);
                "commits"
            }
        };
        self.note(format!("node {} {what}", number + 1));
    }

    fn connect(&mut self, number: usize) {
        let now = self.clocks();
        let again = self.chance(0.2);
        let node = &mut self.nodes[number];
        if !node.is_up() || (node.wire().is_some() && !again) {
            return;
        }
        if let Some(old) = node.wire()
            && let Some(wire) = self.network.wires.get_mut(&old)
        {
            // The node gives it up; the hub may find out much later.
            (wire.at_node, wire.broken) = (false, true);
        }
        if let Some(hello) = node.connect(self.network.upcoming(number), now) {
            let wire = self.network.open(number, hello);
            self.note(format!("node {} connects, wire {wire}", number + 1));
        }
    }

    fn send(&mut self, number: usize) {
        let target = self.rng.random_range(1..2_000);
        let node = &mut self.nodes[number];
        if let Some(wire) = node.wire()
            && let Some(batch) = node.send(target)
        {
            self.network.send_up(wire, batch);
            self.note(format!("node {} sends", number + 1));
        }
    }

    /// Something on a wire arrives, or its end is noticed.
    fn deliver(&mut self) -> Result<(), String> {
        let Some(number) = self.network.pick(&mut self.rng) else { return Ok(()) };
        let (up, skip) = (self.chance(0.5), self.chance(0.3));
        self.deliver_on(number, up, skip)
    }

    fn deliver_on(&mut self, number: u64, up: bool, patient: bool) -> Result<(), String> {
        let now = self.clocks();
        let Some(wire) = self.network.wires.get_mut(&number) else { return Ok(()) };
        let node = Network::node_of(number);
        if up && wire.at_hub {
            match wire.up.pop_front() {
                _ if !self.hub.is_up() => (wire.at_hub, wire.broken) = (false, true),
                Some(message) => self.hub.receive(number, message),
                None if wire.broken && !patient => {
                    wire.at_hub = false;
                    self.hub.lost(number);
                    self.note(format!("the hub notices the end of wire {number}"));
                }
                None => {}
            }
        } else if !up && wire.at_node {
            let is_of_node = self.nodes[node].wire() == Some(number);
            match wire.down.pop_front() {
                _ if !is_of_node => (wire.at_node, wire.broken) = (false, true),
                Some(message) => {
                    let text = format!("node {} hears {message:?}", node + 1);
                    self.note(text);
                    self.nodes[node].hear(message, now)?;
                }
                None if wire.broken && !patient => {
                    wire.at_node = false;
                    self.nodes[node].disconnected();
                    self.note(format!("node {} notices the end of wire {number}", node + 1));
                }
                None => {}
            }
        }
        self.network.tidy();
        Ok(())
    }

    fn hub(&mut self) -> Result<(), String> {
        if !self.hub.is_up() {
            self.hub.start(self.mono);
            self.note("the hub starts");
            return Ok(());
        }
        let most = self.rng.random_range(1..6);
        let fate = match self.rng.random_range(0..60) {
            0 => Fate::DiesBefore,
            1 => Fate::DiesAfter,
            2..5 if self.faults.refusals => Fate::Refused,
            _ => Fate::Well,
        };
        self.work(most, fate)
    }

    fn work(&mut self, most: usize, fate: Fate) -> Result<(), String> {
        let done = self.hub.work(most, fate, self.mono, self.unix())?;
        self.note(format!("the hub works off {most}: {fate:?}, at {}", self.hub.disk.log.newest));
        for (wire, message) in done.out {
            self.network.send_down(wire, message);
        }
        for number in done.closed {
            if let Some(wire) = self.network.wires.get_mut(&number) {
                (wire.at_hub, wire.broken) = (false, true);
            }
        }
        if !self.hub.is_up() {
            self.hub_is_gone();
        }
        Ok(())
    }

    fn hub_is_gone(&mut self) {
        for wire in self.network.wires.values_mut() {
            (wire.at_hub, wire.broken) = (false, true);
        }
        for subscriber in &mut self.subscribers {
            let arrives = self.rng.random_range(0..=subscriber.waiting());
            subscriber.hub_gone(arrives);
        }
        self.network.tidy();
    }

    fn subscriber(&mut self) -> Result<(), String> {
        let number = self.rng.random_range(0..self.subscribers.len());
        let most = self.rng.random_range(1..12);
        let what = self.rng.random_range(0..20);
        self.serve(number, most)?;
        match what {
            0 => self.subscribers[number].crash(),
            1..6 => self.subscribers[number].save(),
            _ => {
                for _ in 0..most {
                    let subscriber = &mut self.subscribers[number];
                    subscriber
                        .take(&mut self.shown)
                        .map_err(|what| format!("subscriber {number}: {what}"))?;
                }
            }
        }
        Ok(())
    }

    /// The hub's side of a subscription goes on.
    fn serve(&mut self, number: usize, most: usize) -> Result<(), String> {
        let subscriber = &mut self.subscribers[number];
        if !subscriber.is_subscribed() {
            let wants = subscriber.wants();
            let begun = self.hub.subscribe(wants);
            match begun.map_err(|refusal| format!("subscriber {number} is refused: {refusal}"))? {
                Some((reading, items)) => {
                    subscriber.subscribed(reading, items);
                    self.note(format!("subscriber {number} subscribes from {wants:?}"));
                }
                None => return Ok(()),
            }
        } else if let Some((reading, queue)) = subscriber.reading() {
            queue.extend(self.hub.read(reading, most));
        }
        Ok(())
    }

    fn cut(&mut self) {
        if let Some(number) = self.network.pick(&mut self.rng) {
            self.network.cut(number, &mut self.rng);
            self.note(format!("wire {number} is cut"));
        }
    }

    fn fault(&mut self, number: usize) {
        let back = self.rng.random_range(0..3);
        match self.rng.random_range(0..10) {
            0..3 => {
                self.node_is_gone(number);
                self.nodes[number].crash();
                self.note(format!("node {} is killed", number + 1));
            }
            4 if self.faults.disk => {
                let node = &mut self.nodes[number];
                node.refuses = !node.refuses;
                let says = if node.refuses { "refuses" } else { "is well again" };
                self.note(format!("the disk of node {} {says}", number + 1));
            }
            3..5 => {
                self.hub.crash();
                self.hub_is_gone();
                self.note("the hub is killed");
            }
            5 if self.faults.power => {
                self.node_is_gone(number);
                self.nodes[number].lose_power(back);
                self.note(format!("node {} loses power and {back} transactions", number + 1));
            }
            6 if self.faults.power => {
                self.hub.lose_power(back);
                self.hub_is_gone();
                self.note(format!("the hub loses power and {back} transactions"));
            }
            7 if self.faults.restore => {
                self.hub.copy();
                self.note("the hub's store is copied");
            }
            8 if self.faults.restore => {
                self.hub.restore();
                if !self.hub.is_up() {
                    self.hub_is_gone();
                }
                self.note("the hub's store is restored");
            }
            9 => self.skew = self.rng.random_range(-7_200_000_000_000..7_200_000_000_000),
            _ => {}
        }
    }

    fn node_is_gone(&mut self, number: usize) {
        if let Some(wire) = self.nodes[number].wire() {
            self.network.cut(wire, &mut self.rng);
            if let Some(wire) = self.network.wires.get_mut(&wire) {
                wire.at_node = false;
            }
        }
        self.network.tidy();
    }

    /// Everything works again, and goes on until nothing is left to do.
    fn calm(&mut self) -> Result<(), String> {
        self.note("everything is mended");
        let wires: Vec<u64> = self.network.wires.keys().copied().collect();
        wires.into_iter().for_each(|wire| self.network.cut(wire, &mut self.rng));
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            self.steps += 1;
            self.mono += Duration::from_millis(200);
            if !self.hub.is_up() {
                self.hub.start(self.mono);
            }
            let now = self.clocks();
            for number in 0..self.nodes.len() {
                let fresh = self.fresh();
                let node = &mut self.nodes[number];
                if !node.is_up() {
                    node.start(fresh, now);
                }
                node.read(1_000, now);
                node.look(now);
                node.refuses = false;
                node.tick(fresh, now);
                if self.nodes[number].wire().is_none() {
                    self.connect(number);
                }
                self.send(number);
            }
            for wire in self.network.wires.keys().copied().collect::<Vec<_>>() {
                for up in [true, false, true, false] {
                    self.deliver_on(wire, up, false)?;
                }
            }
            self.work(100, Fate::Well)?;
            for number in 0..self.subscribers.len() {
                self.serve(number, 1_000)?;
                while self.subscribers[number].waiting() > 0 {
                    let subscriber = &mut self.subscribers[number];
                    subscriber
                        .take(&mut self.shown)
                        .map_err(|what| format!("subscriber {number}: {what}"))?;
                }
                if self.subscribers[number].reading().is_none() {
                    self.subscribers[number].take(&mut self.shown)?;
                }
            }
            let done = self.hub.is_done()
                && self.nodes.iter().all(Node::is_done)
                && self.network.wires.values().all(|wire| wire.up.is_empty() && wire.down.is_empty());
            quiet = if done { quiet + 1 } else { 0 };
            if quiet == 5 {
                return Ok(());
            }
        }
        Err("it does not calm down".to_owned())
    }

    fn verdict(&mut self) -> Result<Tally, String> {
        let mut tally =
            Tally { records: self.hub.disk.all.len() as u64, steps: self.steps, ..Tally::default() };
        for node in &self.nodes {
            verdict::node(node, &self.hub, self.faults, &mut tally)?;
        }
        verdict::states(&self.hub, &self.nodes)?;
        for (number, subscriber) in self.subscribers.iter().enumerate() {
            verdict::subscriber(number, subscriber, &self.hub, &self.shown, self.faults, &mut tally)?;
        }
        Ok(tally)
    }
}
