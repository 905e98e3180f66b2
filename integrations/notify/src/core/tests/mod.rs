//! The core from outside, in virtual time.

mod digests;
mod golden;
mod model;
mod presence;
mod rules;

use std::collections::BTreeMap;

use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Source, SourceHost},
    event::{Detail, Event},
    ids::{NodeId, NodeName},
    time::UnixNanos,
};

use super::{Core, Input, Memory, Output, Target, Thread};
use crate::{Kind, Notice, Severity, config::NotifySection};

const SECOND: i64 = 1_000_000_000;
/// 2026-11-20T12:00:00Z, a Friday.
const START: i64 = 1_795_176_000;

/// That many seconds after the start.
fn at(seconds: i64) -> UnixNanos {
    UnixNanos((START + seconds) * SECOND)
}

/// A node by its number.
fn node(n: u8) -> (NodeId, NodeName) {
    (NodeId([n; 16]), format!("web-{n}").parse().unwrap())
}

fn event(n: u8, time: UnixNanos, detail: Detail) -> Event {
    Event { id: format!("{n}-{}", time.0), cursor: None, node: Some(node(n)), time, detail }
}

fn auth(n: u8, time: UnixNanos, action: AuthAction, user: &str, from: &str) -> Event {
    let source = Source { host: SourceHost::Ip(from.parse().unwrap()), port: Some(50_022) };
    let event = AuthEvent {
        user: Some(user.to_owned()),
        source: Some(source),
        method: Some("password".to_owned()),
        ..AuthEvent::new(time, "sshd", Some(7), action, "a line")
    };
    self::event(n, time, Detail::Auth(event))
}

/// A core that is asked in virtual time, and what it told.
struct World {
    section: NotifySection,
    targets: Vec<Target>,
    core: Core,
    now: UnixNanos,
    seen: BTreeMap<u64, UnixNanos>,
    told: Vec<Told>,
}

/// One [`Output::Tell`], and when.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    at: i64,
    to: String,
    notice: Notice,
    thread: Option<Thread>,
}

impl World {
    /// One destination, `chat`, that edits; `toml` is `[notify]`.
    fn new(toml: &str) -> Self {
        Self::with(toml, &[("chat", true, "")])
    }

    /// Destinations by name, whether they edit, and their own section.
    fn with(toml: &str, targets: &[(&str, bool, &str)]) -> Self {
        let section: NotifySection = toml::from_str(&format!("zone = 'UTC0'\n{toml}")).unwrap();
        let targets: Vec<Target> = targets
            .iter()
            .map(|(name, edits, toml)| Target {
                name: (*name).to_owned(),
                section: toml::from_str(toml).unwrap(),
                edits: *edits,
            })
            .collect();
        let core = Core::new(&section, &targets, Memory::default(), [], at(0)).unwrap();
        Self { section, targets, core, now: at(0), seen: BTreeMap::new(), told: vec![] }
    }

    fn collect(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Tell { destination: to, notice, thread } => {
                    let at = self.now.0.div_euclid(SECOND) - START;
                    self.told.push(Told { at, to, notice: *notice, thread });
                }
                Output::Seen { key, at } => {
                    self.seen.insert(key, at);
                }
                Output::Forget { key } => {
                    self.seen.remove(&key);
                }
            }
        }
    }

    /// Lets time pass, doing what is due when it is due.
    fn until(&mut self, now: UnixNanos) {
        let mut turns = 0;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= now) {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
            self.collect();
            turns += 1;
            assert!(turns < 1_000_000, "it is due for ever");
        }
        self.now = now;
    }

    fn give(&mut self, now: UnixNanos, input: Input<'_>) {
        self.until(now);
        self.core.handle(now, input);
        self.collect();
    }

    /// An event that happens when it is heard of.
    fn event(&mut self, event: &Event) {
        self.give(self.now.max(event.time), Input::Event(event));
    }

    /// A new core with what the old one remembered, over JSON.
    fn restart(&mut self) {
        let json = serde_json::to_string(&self.core.memory()).unwrap();
        assert!(json.len() <= 1 << 20, "{} bytes", json.len());
        let memory = serde_json::from_str(&json).unwrap();
        let seen = self.seen.iter().map(|(key, at)| (*key, *at));
        self.core = Core::new(&self.section, &self.targets, memory, seen, self.now).unwrap();
    }

    /// What was told since this was asked last.
    fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// `SECOND title`, of all that was told since this was asked last.
    fn titles(&mut self) -> Vec<String> {
        self.told().iter().map(|told| format!("{} {}", told.at, told.notice.title)).collect()
    }
}

/// Why a configuration is refused.
fn refused(toml: &str) -> String {
    let section: NotifySection = match toml::from_str(toml) {
        Ok(section) => section,
        Err(error) => return error.to_string(),
    };
    let target = Target { name: "chat".to_owned(), section: Default::default(), edits: true };
    Core::new(&section, &[target], Memory::default(), [], at(0)).unwrap_err().to_string()
}

fn is_open(told: &Told) -> bool {
    matches!(told.notice.kind, Kind::Digest { open: true, .. })
}
