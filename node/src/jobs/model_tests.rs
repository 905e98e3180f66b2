//! Any order of prints, ends, credits, crashes of the connection and of the hub: what the hub has kept of a detached
//! job is what the job printed, once and in order, and its end, once.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;
use secmon_protocol::{
    command::OutputStream,
    limits::{MAX_CHUNK, MIN_CHUNK_COST, chunk_cost},
};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// The hub hands over another job.
    Submit {
        window: u32,
    },
    /// A job prints so much, if it may.
    Print {
        job: usize,
        len: usize,
    },
    /// A job ends.
    End {
        job: usize,
    },
    /// A message of the node arrives at the hub, which keeps what is in it.
    Hear,
    /// The hub grants again what it has kept, to this many jobs.
    Credit {
        part: u32,
    },
    /// A message of the hub arrives at the node.
    Tell,
    Cut,
    Connect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let window = prop_oneof![Just(OUTPUT_WINDOW), MIN_CHUNK_COST..OUTPUT_WINDOW];
    let step = prop_oneof![
        1 => window.prop_map(|window| Step::Submit { window }),
        6 => (any::<usize>(), 1..=MAX_CHUNK).prop_map(|(job, len)| Step::Print { job, len }),
        2 => (any::<usize>(), 1..100_usize).prop_map(|(job, len)| Step::Print { job, len }),
        1 => any::<usize>().prop_map(|job| Step::End { job }),
        6 => Just(Step::Hear),
        3 => (1..=4_u32).prop_map(|part| Step::Credit { part }),
        6 => Just(Step::Tell),
        1 => Just(Step::Cut),
        2 => Just(Step::Connect),
    ];
    proptest::collection::vec(step, 1..300)
}

/// What the hub has on its disk of a job, and what it owes it on this connection.
#[derive(Debug, Default)]
struct Kept {
    output: Vec<u8>,
    window: u32,
    left: u32,
    owed: u32,
    started: bool,
    end: Option<i32>,
}

/// What the executor knows of a job.
#[derive(Debug, Default)]
struct Process {
    printed: Vec<u8>,
    may: u32,
    over: bool,
}

#[derive(Default)]
struct World {
    core: Core,
    linked: bool,
    remembered: Vec<JobId>,
    processes: HashMap<JobId, Process>,
    hub: HashMap<JobId, Kept>,
    to_node: VecDeque<HubToNode>,
    to_hub: VecDeque<NodeToHub>,
}

impl World {
    /// What lies at its door, the executor and the memory do at once.
    fn settle(&mut self) {
        for write in self.core.take_writes() {
            if let Write::Remember(job) = write {
                let new = !self.remembered.contains(&job);
                self.remembered.push(job);
                self.core.handle_remembered(job, if new { Answer::New } else { Answer::Known });
            }
        }
        while let Some(order) = self.core.poll_order() {
            match order {
                NodeToRunner::Start { job, credit, .. } => {
                    let process = Process { may: credit, ..Process::default() };
                    assert!(self.processes.insert(job, process).is_none(), "started twice");
                    self.core.handle_news(RunnerToNode::Started { job, pid: 1 });
                }
                NodeToRunner::Credit { job, credit } => {
                    let process = self.processes.get_mut(&job).unwrap();
                    process.may += credit;
                    assert!(process.may <= OUTPUT_WINDOW);
                }
                other => panic!("{other:?}"),
            }
        }
        while let Some(message) = self.core.poll_message() {
            self.to_hub.push_back(message);
        }
    }

    fn nth(&self, n: usize) -> Option<JobId> {
        let mut open: Vec<JobId> =
            self.processes.iter().filter(|(_, process)| !process.over).map(|(job, _)| *job).collect();
        open.sort();
        open.get(n.checked_rem(open.len())?).copied()
    }

    fn print(&mut self, job: JobId, len: usize) {
        let process = self.processes.get_mut(&job).unwrap();
        let len = len.min(process.may as usize);
        if process.may < chunk_cost(len) {
            return;
        }
        process.may -= chunk_cost(len);
        let from = process.printed.len();
        let data: Vec<u8> = (from..from + len).map(|at| (at * 31 % 251) as u8).collect();
        process.printed.extend(&data);
        let (stream, data) = (OutputStream::Stdout, Bytes::from(data));
        self.core.handle_news(RunnerToNode::Output { job, stream, data });
    }

    fn end(&mut self, job: JobId) {
        self.processes.get_mut(&job).unwrap().over = true;
        self.core.handle_news(RunnerToNode::Exit { job, end: RunEnd::Exited(5), usage: None });
    }

    /// The hub takes a message, by the rules that both keep.
    fn hear(&mut self) {
        let Some(message) = self.to_hub.pop_front() else { return };
        match message {
            NodeToHub::Commands(_) => {}
            NodeToHub::Jobs(held) => {
                for (job, kept) in &mut self.hub {
                    let job = *job;
                    match held.iter().find(|held| held.job == job) {
                        Some(_) if kept.end.is_some() => self.to_node.push_back(HubToNode::Forget { job }),
                        Some(held) => {
                            kept.started |= held.pid.is_some();
                            (kept.left, kept.owed) = (kept.window, 0);
                            let have = kept.output.len() as u64;
                            self.to_node.push_back(HubToNode::Resume { job, have });
                        }
                        None if kept.end.is_none() && !kept.started => {
                            (kept.left, kept.owed) = (kept.window, 0);
                            self.to_node.push_back(HubToNode::Run(order(job, kept.window)));
                        }
                        None => assert!(kept.end.is_some(), "the node has not ended: nothing is lost"),
                    }
                }
            }
            NodeToHub::Started { job, .. } => {
                let kept = self.hub.get_mut(&job).unwrap();
                assert!(!std::mem::replace(&mut kept.started, true), "told twice");
            }
            NodeToHub::Output { job, at, data, .. } => {
                let kept = self.hub.get_mut(&job).unwrap();
                assert!(kept.started && kept.end.is_none());
                assert_eq!(at, kept.output.len() as u64, "a hole, or a repeat");
                let cost = chunk_cost(data.len());
                kept.left = kept.left.checked_sub(cost).expect("no more than was granted");
                kept.owed += cost;
                kept.output.extend(&data);
            }
            NodeToHub::Exit { job, end, .. } => {
                assert_eq!(end, RunEnd::Exited(5));
                let kept = self.hub.get_mut(&job).unwrap();
                assert!(kept.end.replace(5).is_none(), "it ended twice");
                self.to_node.push_back(HubToNode::Forget { job });
            }
            other => panic!("{other:?}"),
        }
    }

    fn credit(&mut self, part: u32) {
        for (job, kept) in &mut self.hub {
            let credit = kept.owed.div_ceil(part);
            if credit > 0 && kept.end.is_none() {
                kept.owed -= credit;
                kept.left += credit;
                self.to_node.push_back(HubToNode::Credit { job: *job, credit });
            }
        }
    }

    fn cut(&mut self) {
        if std::mem::take(&mut self.linked) {
            self.to_node.clear();
            self.to_hub.clear();
            self.core.handle_link_down();
            // What it granted went with the connection.
            self.hub.values_mut().for_each(|kept| kept.owed = 0);
        }
    }

    fn connect(&mut self) {
        if !std::mem::replace(&mut self.linked, true) {
            self.core.handle_link_up();
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Submit { window } => {
                if self.hub.len() < 8 && self.linked && !self.to_hub.iter().any(is_jobs) {
                    let job = JobId(self.hub.len() as u64);
                    let kept = Kept { window: *window, left: *window, ..Kept::default() };
                    self.hub.insert(job, kept);
                    self.to_node.push_back(HubToNode::Run(order(job, *window)));
                }
            }
            Step::Print { job, len } => {
                if let Some(job) = self.nth(*job) {
                    self.print(job, *len);
                }
            }
            Step::End { job } => {
                if let Some(job) = self.nth(*job) {
                    self.end(job);
                }
            }
            Step::Hear => self.hear(),
            Step::Credit { part } => self.credit(*part),
            Step::Tell => {
                if let Some(message) = self.to_node.pop_front() {
                    self.core.handle_hub(message).unwrap();
                }
            }
            Step::Cut => self.cut(),
            Step::Connect => self.connect(),
        }
        self.settle();
        let held: u64 = self.core.runs.values().map(|run| u64::from(run.output.cost())).sum();
        let granted: u64 = self.hub.values().map(|kept| u64::from(kept.window)).sum();
        assert!(held <= granted, "{held} of {granted}");
    }

    /// All goes well from here on.
    fn finish(&mut self) {
        self.cut();
        self.step(&Step::Connect);
        for _ in 0..3 {
            while !self.to_hub.is_empty() || !self.to_node.is_empty() {
                [Step::Hear, Step::Tell, Step::Credit { part: 1 }].iter().for_each(|step| self.step(step));
            }
            while let Some(job) = self.nth(0) {
                self.end(job);
            }
            self.settle();
        }
    }
}

fn is_jobs(message: &NodeToHub) -> bool {
    matches!(message, NodeToHub::Jobs(_))
}

fn order(job: JobId, credit: u32) -> Order {
    Order { job, label: "x".to_owned(), args: vec![], credit, stdin: false, detached: true }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_hub_has_every_byte_once_and_in_order_and_one_end(steps in steps()) {
        let mut world = World::default();
        steps.iter().for_each(|step| world.step(step));
        world.finish();
        for (job, kept) in &world.hub {
            let process = &world.processes[job];
            prop_assert!(kept.output == process.printed, "{job}: {} of {} bytes", kept.output.len(), process.printed.len());
            prop_assert_eq!(kept.end, Some(5));
        }
        prop_assert!(world.core.runs.is_empty(), "and the node forgets");
    }
}
