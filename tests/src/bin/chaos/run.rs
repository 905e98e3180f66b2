//! One run: the stage is built, the plan is played, everything is healed, and the judge is asked.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use secmon_protocol::message::client::Filter;
use secmon_testkit::{json::text, wait::within};

use crate::{
    HEAL,
    bot::Bot,
    judge::Judge,
    plan::{self, Cast, Fault, Part, Step},
    raw::Raw,
    sink::{Sink, lock},
    stage::{Disks, Stage},
    timeline::Timeline,
    verdict,
    watch::Watch,
    writer::{Rotation, Writer},
};

/// How a run is to be.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) millis: u64,
    pub(crate) nodes: usize,
    pub(crate) faults: Vec<Fault>,
    /// How many times as much is written.
    pub(crate) pace: u64,
    /// The hub's `log.size`.
    pub(crate) log_size: String,
    pub(crate) verbose: bool,
}

/// Who ended by itself is started again after this, as an init system does (`RestartSec=`).
const RESTART: Duration = Duration::from_millis(300);
/// Between two looks at who has ended.
const TICK: Duration = Duration::from_millis(20);
/// Subscribers that are processes: two, and one that reads slowly.
const PROCESSES: usize = 3;
/// Disks for state in MiB: the hub's holds its log of some hours, a node's its outbox and some room in advance.
const DISKS: Disks = Disks { hub: 96, node: 48 };

/// What a node sent is without an acknowledgement for so long at most, in milliseconds: while its link is cut, or it
/// or the hub stopped, and until they have found each other again. After a power cut it sends that again under other
/// numbers, because its own may have been used.
const UNDERWAY: u64 = 20_000;

/// Plays it in `folder`; whether every promise was kept.
///
/// # Errors
/// The run itself did not work out.
pub(crate) fn run(setup: &Setup, folder: &Path) -> anyhow::Result<bool> {
    let timeline = Arc::new(Timeline::new(setup.verbose));
    let judge = Arc::new(Mutex::new(Judge::default()));
    let stage = Stage::build(folder, setup.nodes, DISKS, &setup.log_size, &timeline)?;
    let writers = (0..setup.nodes).map(|at| stage.writer(at, &timeline)).collect::<Result<Vec<_>, _>>()?;
    let resumes = stage.help_of_watch().contains("--since");
    let all = vec![true; setup.nodes];
    let mut watches = Vec::new();
    for at in 0..PROCESSES {
        let sink = Sink::new(&judge, &timeline, &all, false);
        let slow = at == PROCESSES - 1;
        watches.push(Watch::new(sink, stage.socket.clone(), folder.to_owned(), resumes, slow));
    }
    let bot = Bot::new(setup.seed, folder, &stage.socket, setup.nodes)?;
    let mut play = Play {
        bot,
        stage,
        writers,
        watches,
        raws: Vec::new(),
        timeline,
        judge,
        down: BTreeMap::new(),
        broken: BTreeMap::new(),
        done: BTreeMap::new(),
        fell: BTreeMap::new(),
    };
    play.subscribe()?;
    play.perform(setup)?;
    play.heal()?;
    let kept = verdict::tell(setup, &play, resumes);
    if !kept {
        for seat in std::iter::once(&play.stage.hub).chain(&play.stage.nodes) {
            seat.keep(folder);
        }
    }
    Ok(kept)
}

/// Whether a node's disk is broken, where another's is full.
fn breaks(at: usize) -> bool {
    at % 2 == 1
}

/// Everybody, and what is being done to them.
pub(crate) struct Play {
    // Dropped in this order: subscribers before what they watch.
    raws: Vec<Raw>,
    pub(crate) watches: Vec<Watch>,
    pub(crate) bot: Bot,
    pub(crate) writers: Vec<Writer>,
    pub(crate) stage: Stage,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) judge: Arc<Mutex<Judge>>,
    /// Who does not run, and when to start it; never where a fault will say so.
    down: BTreeMap<Part, Option<Instant>>,
    /// Nodes whose disk takes nothing, or did: the last of their lines that anybody had seen when that began, and how
    /// often they had gone back to their disk.
    broken: BTreeMap<usize, (u64, usize)>,
    /// What was done, and how often.
    pub(crate) done: BTreeMap<String, u64>,
    /// Who ended by itself, and how.
    pub(crate) fell: BTreeMap<String, u64>,
}

impl Play {
    /// Starts all subscribers, before the first line is written.
    fn subscribe(&mut self) -> anyhow::Result<()> {
        let all = vec![true; self.writers.len()];
        let mut first = vec![false; self.writers.len()];
        first[0] = true;
        let only_first =
            Filter { nodes: vec!["n0".to_owned()], types: vec!["auth.*".to_owned(), "gap".to_owned()] };
        for (wanted, whole, filter, slow) in [
            (&all, true, Filter::default(), false),
            (&all, true, Filter::default(), true),
            (&first, false, only_first, false),
        ] {
            let sink = Sink::new(&self.judge, &self.timeline, wanted, whole);
            let standing = sink.clone();
            self.raws.push(Raw::start(sink, self.stage.socket.clone(), filter, slow)?);
            within(HEAL, || standing.last()).context("a subscriber of our own does not stand")?;
        }
        for watch in &mut self.watches {
            watch.start(&self.stage.hub.realm)?;
            let at = within(HEAL, || watch.stands()).context("a watch does not stand")?;
            watch.begin(at);
        }
        self.bot.start()?;
        self.bot.wait()
    }

    fn perform(&mut self, setup: &Setup) -> anyhow::Result<()> {
        let watches = self.watches.len() + self.raws.len();
        let cast = Cast { nodes: setup.nodes, watches, processes: self.watches.len() };
        let steps = plan::plan(setup.seed, setup.millis, cast, &setup.faults);
        for (at, writer) in self.writers.iter_mut().enumerate() {
            writer.begin(plan::chance(setup.seed, "writer", at), setup.pace);
        }
        let begin = self.timeline.now();
        // Beginnings and ends, in order; at the same moment an end comes first.
        let mut cues: Vec<(u64, bool, Step)> = Vec::new();
        for step in steps {
            cues.push((step.from, true, step));
            cues.push((step.to, false, step));
        }
        cues.sort_by_key(|(at, begins, _)| (*at, *begins));
        let mut cues = cues.into_iter().peekable();
        while self.timeline.now() < begin + setup.millis {
            while let Some((_, begins, step)) = cues.next_if(|(at, ..)| begin + at <= self.timeline.now()) {
                if begins { self.begin(step)? } else { self.end(step)? }
            }
            self.look_after()?;
            thread::park_timeout(TICK);
        }
        for (_, begins, step) in cues {
            if !begins {
                self.end(step)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, step: Step) -> anyhow::Result<()> {
        let Step { fault, part, coin, .. } = step;
        *self.done.entry(fault.to_string()).or_default() += 1;
        let lasts = step.to - step.from;
        self.timeline.note(format!("{fault} of {part} for {lasts} ms{}", if coin { " (coin)" } else { "" }));
        match (fault, part) {
            (
                Fault::HubKills
                | Fault::NodeKills
                | Fault::WatchKills
                | Fault::HubPower
                | Fault::NodePower
                | Fault::BotKills,
                part,
            ) => {
                if let Part::Node(at) = part {
                    self.excuse(at, fault);
                }
                self.kill(part);
                self.down.insert(part, None);
                match (fault, part) {
                    (Fault::NodePower, Part::Node(at)) => self.stage.nodes[at].boot()?,
                    (Fault::HubPower, _) => self.stage.hub.boot()?,
                    _ => {}
                }
            }
            (Fault::LinkCuts, Part::Node(at)) => self.stage.cut(at, coin),
            (Fault::HubStops | Fault::NodeStops | Fault::WatchStops, part) => {
                self.signal(part, Signal::SIGSTOP)
            }
            (Fault::HubDisk, _) => self.stage.hub.fill()?,
            (Fault::NodeDisk, Part::Node(at)) => {
                self.spoil(at)?;
            }
            (Fault::Rotations, Part::Node(at)) => {
                self.writers[at].rotate(if coin { Rotation::CopyTruncate } else { Rotation::Rename })?;
            }
            (Fault::ServiceFaults, _) => {
                let what = self.bot.harm();
                self.timeline.note(format!("the service: {what}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, step: Step) -> anyhow::Result<()> {
        let Step { fault, part, coin, .. } = step;
        if !matches!(fault, Fault::Rotations | Fault::ServiceFaults) {
            self.timeline.note(format!("{fault} of {part} over"));
        }
        match (fault, part) {
            (
                Fault::HubKills
                | Fault::NodeKills
                | Fault::WatchKills
                | Fault::HubPower
                | Fault::NodePower
                | Fault::BotKills,
                part,
            ) => {
                self.down.remove(&part);
                self.start(part)?;
            }
            (Fault::LinkCuts, Part::Node(at)) => self.stage.mend(at, coin),
            (Fault::HubStops | Fault::NodeStops | Fault::WatchStops, part) => {
                self.signal(part, Signal::SIGCONT)
            }
            (Fault::HubDisk, _) => self.stage.hub.free()?,
            (Fault::NodeDisk, Part::Node(at)) => {
                let node = &mut self.stage.nodes[at];
                if breaks(at) { node.mend() } else { node.free()? }
            }
            _ => {}
        }
        Ok(())
    }

    /// A node's disk is full, which must disturb nobody, or takes nothing at all.
    fn spoil(&mut self, at: usize) -> anyhow::Result<()> {
        let node = &mut self.stage.nodes[at];
        if !breaks(at) {
            return node.fill();
        }
        let now = (lock(&self.judge).newest(at), node.returns_to_disk());
        // One that has not gone back since the last time knows what it did before that.
        let entry = self.broken.entry(at).or_insert(now);
        if entry.1 != now.1 {
            *entry = now;
        }
        node.spoil();
        Ok(())
    }

    /// A node is killed: if it is without its disk, it will know what it did before, and nothing since. All else it
    /// may not do again.
    fn excuse(&mut self, at: usize, fault: Fault) {
        let last = self.writers[at].last();
        let mut excuse = |from: u64, why: &str| {
            self.timeline.note(format!("n{at} {why}: {from} to {last} may come again"));
            lock(&self.judge).excuse(at, from..=last);
            let logins = self.writers[at].logins_since_number(from);
            self.bot.excuse(at, logins, self.writers[at].last_login());
        };
        if let Some((since, returns)) = self.broken.remove(&at)
            && returns == self.stage.nodes[at].returns_to_disk()
        {
            excuse(since + 1, "is in memory");
        }
        if fault == Fault::NodePower {
            let since = self.timeline.now().saturating_sub(UNDERWAY);
            excuse(self.writers[at].first_since(since), "will number anew what it holds");
        }
    }

    /// Starts again who ended by itself, as an init system does.
    fn look_after(&mut self) -> anyhow::Result<()> {
        let parts: Vec<Part> = std::iter::once(Part::Hub)
            .chain((0..self.stage.nodes.len()).map(Part::Node))
            .chain((0..self.watches.len()).map(Part::Watch))
            .chain([Part::Bot])
            .collect();
        for part in parts {
            let ended = match part {
                Part::Hub => self.stage.hub.ended(),
                Part::Node(at) => self.stage.nodes[at].ended(),
                Part::Watch(at) => self.watches[at].ended(),
                Part::Bot => self.bot.ended(),
                Part::Service => None,
            };
            if let Some(how) = ended {
                self.timeline.note(format!("{part} ended by itself: {how}"));
                *self.fell.entry(format!("{part}: {how}")).or_default() += 1;
                self.down.insert(part, Some(Instant::now() + RESTART));
            }
        }
        let due =
            |(part, at): (&Part, &Option<Instant>)| at.filter(|at| *at <= Instant::now()).map(|_| *part);
        let due: Vec<Part> = self.down.iter().filter_map(due).collect();
        for part in due {
            self.down.remove(&part);
            self.start(part)?;
        }
        Ok(())
    }

    fn kill(&mut self, part: Part) {
        match part {
            Part::Hub => self.stage.hub.kill(),
            Part::Node(at) => self.stage.nodes[at].kill(),
            Part::Watch(at) => match at.checked_sub(self.watches.len()) {
                Some(raw) => self.raws[raw].away(),
                None => self.watches[at].kill(),
            },
            Part::Bot => self.bot.kill(),
            Part::Service => {}
        }
    }

    fn start(&mut self, part: Part) -> anyhow::Result<()> {
        match part {
            Part::Hub => self.stage.hub.start(),
            Part::Node(at) => self.stage.nodes[at].start(),
            Part::Watch(at) => match at.checked_sub(self.watches.len()) {
                Some(raw) => {
                    self.raws[raw].back();
                    Ok(())
                }
                None => self.watches[at].start(&self.stage.hub.realm),
            },
            Part::Bot => self.bot.start(),
            Part::Service => Ok(()),
        }
    }

    fn signal(&mut self, part: Part, signal: Signal) {
        match part {
            Part::Hub => self.stage.hub.signal(signal),
            Part::Node(at) => self.stage.nodes[at].signal(signal),
            Part::Watch(at) => self.watches[at].signal(signal),
            Part::Bot | Part::Service => {}
        }
    }

    /// Nothing is done any more: waits until all are back, then writes a last number for each node, and waits for
    /// that to be everywhere. Who does not get there is for the judge.
    fn heal(&mut self) -> anyhow::Result<()> {
        for writer in &mut self.writers {
            writer.end()?;
        }
        self.bot.spare();
        self.timeline.note("healed");
        for watch in &self.watches {
            watch.hurry();
        }
        for raw in &self.raws {
            raw.hurry();
        }
        let back = |play: &Self| {
            let online = |node: &serde_json::Value| text(node, "secmon.status") == "online";
            let nodes = play.stage.list().is_some_and(|list| list.iter().all(online));
            nodes && play.watches.iter().all(|watch| watch.stands().is_some())
        };
        let is_back = self.within(back)?;
        ensure!(
            is_back,
            "not all came back within {} s\n{}",
            HEAL.as_secs(),
            self.timeline.around(self.timeline.now(), 0)
        );
        self.timeline.note("all are back");
        for writer in &self.writers {
            writer.write_one()?;
        }
        let last: Vec<u64> = self.writers.iter().map(Writer::last).collect();
        let everywhere = self.within(|play| lock(&play.judge).all_saw(&last))?;
        let logins: Vec<u64> = self.writers.iter().map(Writer::last_login).collect();
        let told = self.within(|play| play.bot.has(&logins))?;
        self.timeline.note(if told {
            "every chat has its last login"
        } else {
            "a chat has not got its last login"
        });
        self.timeline.note(if everywhere { "everything is everywhere" } else { "time is up" });
        lock(&self.judge).finish(self.timeline.now(), &last);
        Ok(())
    }

    fn within(&mut self, look: impl Fn(&Self) -> bool) -> anyhow::Result<bool> {
        let deadline = Instant::now() + HEAL;
        while Instant::now() < deadline {
            self.look_after()?;
            if look(self) {
                return Ok(true);
            }
            thread::park_timeout(TICK);
        }
        Ok(false)
    }
}
