//! Whatever a hub says, in any order: the executor hears nothing that breaks its conversation (it would end
//! everything), no detached job starts twice, and nothing grows without bound.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use proptest::prelude::*;
use secmon_protocol::{
    command::OutputStream,
    limits::{MAX_CHUNK, chunk_cost},
};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Hub(HubToNode),
    Started(u64),
    Print(u64, usize),
    Takes(u64, u32),
    Exit(u64, bool),
    Answer(bool),
    Read(usize),
    Up,
    Down,
}

fn job() -> impl Strategy<Value = JobId> {
    (0..4_u64).prop_map(JobId)
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), 1..70_000_u32, Just(OUTPUT_WINDOW), Just(u32::MAX), any::<u32>()]
}

fn hub() -> impl Strategy<Value = HubToNode> {
    let order = (job(), 0..=OUTPUT_WINDOW, any::<bool>(), any::<bool>()).prop_map(
        |(job, credit, stdin, detached)| {
            HubToNode::Run(Order { job, label: "x".to_owned(), args: vec![], credit, stdin, detached })
        },
    );
    prop_oneof![
        4 => order,
        1 => job().prop_map(|job| HubToNode::Cancel { job }),
        2 => (job(), number()).prop_map(|(job, credit)| HubToNode::Credit { job, credit }),
        2 => (job(), 0..=MAX_CHUNK + 1).prop_map(|(job, len)| {
            HubToNode::Stdin { job, data: Bytes::from(vec![0; len]) }
        }),
        2 => (job(), any::<u32>()).prop_map(|(job, have)| HubToNode::Resume { job, have: have.into() }),
        1 => job().prop_map(|job| HubToNode::Forget { job }),
        1 => Just(HubToNode::Ping { nonce: 1 }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = || 0..4_u64;
    let step = prop_oneof![
        6 => hub().prop_map(Step::Hub),
        2 => n().prop_map(Step::Started),
        3 => (n(), 1..=MAX_CHUNK).prop_map(|(job, len)| Step::Print(job, len)),
        2 => (n(), 1..200_000_u32).prop_map(|(job, credit)| Step::Takes(job, credit)),
        2 => (n(), any::<bool>()).prop_map(|(job, ran)| Step::Exit(job, ran)),
        4 => any::<bool>().prop_map(Step::Answer),
        3 => (0..8_usize).prop_map(Step::Read),
        1 => Just(Step::Down),
        2 => Just(Step::Up),
    ];
    proptest::collection::vec(step, 1..200)
}

/// A run as the executor has it.
#[derive(Debug)]
struct Has {
    may: u32,
    stdin: bool,
    takes: u32,
    ended_input: bool,
    cancelled: bool,
    started: bool,
    detached: bool,
}

#[derive(Default)]
struct World {
    core: Core,
    linked: bool,
    asked: Vec<Write>,
    remembered: HashSet<JobId>,
    executor: HashMap<JobId, Has>,
    /// Detached ones whose process stood.
    stood: HashSet<JobId>,
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Hub(message) => {
                if self.linked && self.core.handle_hub(message).is_err() {
                    self.linked = false;
                    self.core.handle_link_down();
                }
            }
            Step::Up => {
                self.linked = true;
                self.core.handle_link_up();
            }
            Step::Down => {
                self.linked = false;
                self.core.handle_link_down();
            }
            Step::Read(many) => (0..many).for_each(|_| drop(self.core.poll_message())),
            Step::Answer(fails) => self.answer(fails),
            Step::Started(job) => {
                let job = JobId(job);
                if let Some(has) = self.executor.get_mut(&job).filter(|has| !has.started) {
                    has.started = true;
                    if has.detached {
                        assert!(self.stood.insert(job), "{job} started twice");
                    }
                    self.core.handle_news(RunnerToNode::Started { job, pid: 1 });
                }
            }
            Step::Print(job, len) => {
                let (job, cost) = (JobId(job), chunk_cost(len));
                if let Some(has) = self.executor.get_mut(&job).filter(|has| has.started && has.may >= cost) {
                    has.may -= cost;
                    let (stream, data) = (OutputStream::Stdout, Bytes::from(vec![0; len]));
                    self.core.handle_news(RunnerToNode::Output { job, stream, data });
                    let broken = |run: &Run| matches!(&run.stage, Stage::Over(..));
                    assert!(!self.core.runs.get(&job).is_some_and(broken), "it kept to its credit");
                }
            }
            Step::Takes(job, credit) => {
                let job = JobId(job);
                if let Some(has) = self.executor.get_mut(&job).filter(|has| has.started && has.stdin) {
                    has.takes = has.takes.saturating_add(credit);
                    self.core.handle_news(RunnerToNode::StdinCredit { job, credit });
                }
            }
            Step::Exit(job, ran) => {
                let job = JobId(job);
                if let Some(has) = self.executor.remove(&job) {
                    let end = match ran || has.started {
                        true => RunEnd::Exited(0),
                        false => RunEnd::Failed { why: RunFailure::Busy, message: String::new() },
                    };
                    if !has.started && ran && has.detached {
                        self.stood.insert(job);
                    }
                    self.core.handle_news(RunnerToNode::Exit { job, end, usage: None });
                }
            }
        }
        self.obey();
        let runs = &self.core.runs;
        assert!(runs.values().all(|run| run.output.cost() <= OUTPUT_WINDOW));
        assert!(self.core.link.as_ref().is_none_or(|link| link.ready.len() <= runs.len() + 4));
    }

    fn answer(&mut self, fails: bool) {
        for write in std::mem::take(&mut self.asked) {
            match write {
                Write::Remember(job) if fails => {
                    self.core.handle_remembered(job, Answer::Failed("full".to_owned()));
                }
                Write::Remember(job) => {
                    let new = self.remembered.insert(job);
                    self.core.handle_remembered(job, if new { Answer::New } else { Answer::Known });
                }
                Write::Forget(job) => {
                    assert!(!self.stood.contains(&job), "{job} was started, and is forgotten");
                    self.remembered.remove(&job);
                }
                Write::Renew => panic!("nothing was damaged"),
            }
        }
    }

    /// The executor does as it is told, and is told nothing that it would take for a breach.
    fn obey(&mut self) {
        self.asked.extend(self.core.take_writes());
        while let Some(order) = self.core.poll_order() {
            match order {
                NodeToRunner::Start { job, credit, stdin, .. } => {
                    assert!(credit <= OUTPUT_WINDOW);
                    let has = Has {
                        may: credit,
                        stdin,
                        takes: 0,
                        ended_input: false,
                        cancelled: false,
                        started: false,
                        // An attached run of a number that was a job's is another thing.
                        detached: self.core.runs[&job].bond == Bond::Detached,
                    };
                    assert!(self.executor.insert(job, has).is_none(), "{job} is there");
                    assert!(self.executor.len() <= MAX_OPEN);
                }
                NodeToRunner::Credit { job, credit } => {
                    if let Some(has) = self.executor.get_mut(&job) {
                        has.may += credit;
                        assert!(has.may <= OUTPUT_WINDOW, "{job} may send {}", has.may);
                    }
                }
                NodeToRunner::Stdin { job, data } => {
                    assert!(data.len() <= MAX_CHUNK);
                    if let Some(has) = self.executor.get_mut(&job) {
                        assert!(has.stdin && !has.ended_input);
                        match data.is_empty() {
                            true => has.ended_input = true,
                            false => has.takes = has.takes.checked_sub(chunk_cost(data.len())).unwrap(),
                        }
                    }
                }
                NodeToRunner::Cancel { job } => {
                    if let Some(has) = self.executor.get_mut(&job) {
                        assert!(!std::mem::replace(&mut has.cancelled, true), "once is enough");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_hub_makes_the_node_break_its_word_to_the_executor(steps in steps()) {
        let mut world = World::default();
        world.step(Step::Up);
        steps.into_iter().for_each(|step| world.step(step));
    }
}
