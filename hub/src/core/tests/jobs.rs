//! Jobs, from their wish to their end, over ends of links, nodes and the hub itself; with a real store.

use secmon_protocol::{
    command::{Arg, CommandInfo, RunEnd, RunFailure},
    limits::{MAX_CHUNK, MIN_CHUNK_COST, OUTPUT_WINDOW},
    message::{
        Refusal,
        client::{JobState, JobSummary},
        node::HeldJob,
    },
};

use super::{
    runs::{told, wish_for},
    *,
};
use crate::{
    Durability,
    segment::Packer,
    store::{Batch, Keeping, Opening, Printed, Store},
};

const HOUR: Duration = Duration::from_secs(3600);
const WEB: NodeId = NodeId([1; 16]);

/// A hub with its store, played by hand.
struct World {
    dir: tempfile::TempDir,
    store: Option<Store>,
    core: Core,
    limits: JobLimits,
    link: u64,
    minute: i64,
}

fn open(dir: &std::path::Path) -> Store {
    let keeping = Keeping { size: 1 << 30, age: HOUR * 9999, durability: Durability::Process };
    let opening = Opening { boot_id: Some("boot".into()), fresh: LogId(9) };
    Store::open(dir, keeping, &opening).unwrap()
}

impl World {
    fn new() -> Self {
        Self::with(JobLimits::default())
    }

    fn with(limits: JobLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let core = Core::new(store.load().unwrap(), Duration::from_secs(15), limits);
        let mut world = Self { dir, store: Some(store), core, limits, link: 0, minute: 10 };
        world.step(|core, _, out| {
            let (id, name) = (WEB, "web-1".parse().unwrap());
            let wish = Enrolling { secret: [1; 32], id, name, valid: Duration::ZERO, replace: false };
            core.enroll(at(0), wish, out).unwrap();
            core.join(at(1), &[1; 32], [7; 32], "", out).unwrap();
        });
        world
    }

    /// Something happens, and what comes of it is written; what is to be done then.
    fn step<T>(&mut self, what: impl FnOnce(&mut Core, Now, &mut Effects) -> T) -> (T, Effects) {
        let (answer, out) = self.unwritten(what);
        let (mut packer, mut writes) = (Packer::default(), vec![]);
        for effect in &out {
            match effect {
                Effect::Store(write) => writes.push(write.clone()),
                Effect::Publish(record) => packer.push(record.clone()),
                _ => {}
            }
        }
        let batch = Batch { writes, segments: packer.finish(), now: at(self.minute).unix };
        self.store.as_mut().unwrap().commit(&batch).unwrap();
        (answer, out)
    }

    /// Something happens, and the hub is killed, or its store refuses, before that is written.
    fn unwritten<T>(&mut self, what: impl FnOnce(&mut Core, Now, &mut Effects) -> T) -> (T, Effects) {
        let mut out = vec![];
        let answer = what(&mut self.core, at(self.minute), &mut out);
        self.core.flush(&mut out);
        assert!(self.core.runs_are_consistent());
        (answer, out)
    }

    fn submit(&mut self, job: u64, wait: Duration) -> Result<JobSummary, Refusal> {
        self.step(|core, now, out| core.submit(now, wish_for("web-1", job), wait, out)).0
    }

    /// The node comes, and holds these jobs.
    fn comes(&mut self, held: &[(u64, Option<u32>)]) -> Effects {
        self.link += 1;
        let link = Link(self.link);
        let from = || Introduction {
            papers: [7; 32],
            address: String::new(),
            hello: hello(1, 1, 0),
            fresh: Epoch(777),
        };
        self.step(|core, now, out| core.handle_hello(now, link, from(), out));
        let held = held.iter().map(|(job, pid)| HeldJob { job: JobId(*job), pid: *pid }).collect();
        self.says(NodeToHub::Jobs(held))
    }

    fn leaves(&mut self) -> Effects {
        let link = Link(self.link);
        self.step(|core, now, out| core.handle_link_down(now, link, "cut", out)).1
    }

    fn says(&mut self, message: NodeToHub) -> Effects {
        let link = Link(self.link);
        self.step(|core, now, out| core.handle_message(now, link, message, out)).1
    }

    fn starts(&mut self, job: u64) -> Effects {
        self.says(NodeToHub::Started { job: JobId(job), pid: 7 })
    }

    fn prints(&mut self, job: u64, at: u64, data: &[u8]) -> Effects {
        let data = Bytes::copy_from_slice(data);
        self.says(NodeToHub::Output { job: JobId(job), stream: OutputStream::Stdout, at, data })
    }

    fn exits(&mut self, job: u64, end: RunEnd) -> Effects {
        self.says(NodeToHub::Exit { job: JobId(job), end, usage: None })
    }

    fn cancel(&mut self, job: u64) -> (Result<JobSummary, Refusal>, Effects) {
        self.step(|core, now, out| core.cancel_job(now, &ask(job), out))
    }

    fn tick(&mut self, minutes: i64) -> Effects {
        self.minute += minutes;
        self.step(|core, now, out| core.handle_tick(now, out)).1
    }

    /// The hub is killed and starts again.
    fn restart(&mut self) -> Effects {
        self.store = None;
        let store = open(self.dir.path());
        self.core = Core::new(store.load().unwrap(), Duration::from_secs(15), self.limits);
        self.store = Some(store);
        self.step(|core, now, out| core.settle(now, out)).1
    }

    fn job(&self, job: u64) -> JobSummary {
        self.core.job(&ask(job)).unwrap()
    }

    fn state(&self, job: u64) -> JobState {
        self.job(job).state
    }

    /// What the store has of a job's output.
    fn kept(&self, job: u64) -> Vec<Printed> {
        let reader = crate::store::LogReader::start(self.dir.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut found, mut from) = (vec![], 0);
        loop {
            let more = runtime.block_on(reader.output(JobId(job), from)).unwrap();
            let Some(last) = more.last() else { return found };
            from = last.at + last.data.len() as u64;
            found.extend(more);
        }
    }
}

fn ask(job: u64) -> JobAsk {
    let Wish { grants, by, .. } = wish_for("", 0);
    JobAsk { job: JobId(job).to_string(), grants, by }
}

fn failed(why: RunFailure) -> RunEnd {
    RunEnd::Failed { why, message: "said by the node".into() }
}

/// What a node is sent about jobs.
fn sent(out: &Effects) -> Vec<String> {
    let of = |effect: &Effect| match effect {
        Effect::ToNode(_, HubToNode::Run(order)) => Some(format!("run {}", order.job.0)),
        Effect::ToNode(_, HubToNode::Cancel { job }) => Some(format!("cancel {}", job.0)),
        Effect::ToNode(_, HubToNode::Resume { job, have }) => Some(format!("resume {} {have}", job.0)),
        Effect::ToNode(_, HubToNode::Forget { job }) => Some(format!("forget {}", job.0)),
        Effect::ToNode(_, HubToNode::Credit { job, credit }) => Some(format!("credit {} {credit}", job.0)),
        Effect::Close(..) => Some("close".to_owned()),
        _ => None,
    };
    out.iter().filter_map(of).collect()
}

/// What was logged of commands.
fn audited(out: &Effects) -> Vec<&'static str> {
    let of = |(_, event): (NodeId, HubEvent)| match event {
        HubEvent::CommandStarted(_) => Some("started"),
        HubEvent::CommandFinished { end: RunEnd::Failed { why: RunFailure::Lost, .. }, .. } => Some("lost"),
        HubEvent::CommandFinished { end: RunEnd::Failed { why: RunFailure::Expired, .. }, .. } => {
            Some("expired")
        }
        HubEvent::CommandFinished { end: RunEnd::Cancelled, .. } => Some("cancelled"),
        HubEvent::CommandFinished { .. } => Some("finished"),
        HubEvent::CommandRefused { .. } => Some("refused"),
        HubEvent::CommandQueued { .. } => Some("queued"),
        HubEvent::Denied { .. } => Some("denied"),
        _ => None,
    };
    told(out).into_iter().filter_map(of).collect()
}

#[test]
fn a_job_for_a_node_that_is_there_is_handed_over_at_once_and_its_end_is_kept() {
    let mut world = World::new();
    world.comes(&[]);
    let (job, out) = world.step(|core, now, out| core.submit(now, wish_for("web-1", 1), Duration::ZERO, out));
    assert_eq!((job.unwrap().state, sent(&out)), (JobState::Sent, vec!["run 1".to_owned()]));
    let written = out.iter().position(
        |effect| matches!(effect, Effect::Store(Write::Job(row)) if row.summary.state == JobState::Sent),
    );
    assert!(written.is_some() && audited(&out).is_empty());
    assert_eq!(audited(&world.starts(1)), ["started"]);
    assert_eq!(sent(&world.prints(1, 0, b"hello")), [format!("credit 1 {MIN_CHUNK_COST}")]);
    let out = world.exits(1, RunEnd::Exited(3));
    assert_eq!((sent(&out), audited(&out)), (vec!["forget 1".to_owned()], vec!["finished"]));
    for _ in 0..2 {
        let job = world.job(1);
        assert_eq!((job.state, job.end, job.output), (JobState::Finished, Some(RunEnd::Exited(3)), 5));
        assert!(job.started.is_some() && job.ended.is_some() && job.expires.is_none());
        assert_eq!(world.kept(1)[0].data, "hello");
        assert!(audited(&world.restart()).is_empty());
    }
}

#[test]
fn a_job_waits_for_its_node_and_is_handed_over_once_in_its_turn() {
    let mut world = World::new();
    assert_eq!(world.submit(1, Duration::ZERO).unwrap_err().code, ErrorCode::NodeAway);
    let (job, out) = world.step(|core, now, out| core.submit(now, wish_for("web-1", 2), HOUR, out));
    let job = job.unwrap();
    assert_eq!((job.state, audited(&out)), (JobState::Queued, vec!["queued"]));
    assert_eq!(job.expires, Some(at(10 + 60).unix));
    world.submit(1, HOUR).unwrap();
    assert!(sent(&world.restart()).is_empty(), "the node is away");
    let out = world.comes(&[]);
    assert_eq!((sent(&out), audited(&out)), (vec!["run 2".to_owned(), "run 1".to_owned()], vec![]));
    assert!(sent(&world.tick(1)).is_empty());
    world.starts(2);
    world.leaves();
    assert_eq!(sent(&world.comes(&[(2, Some(7)), (1, None)])), ["resume 2 0", "resume 1 0"]);
    assert_eq!((world.state(1), world.state(2)), (JobState::Sent, JobState::Running));
}

#[test]
fn before_the_node_says_what_it_holds_nothing_is_handed_over() {
    let mut world = World::new();
    world.submit(1, HOUR).unwrap();
    let from =
        || Introduction { papers: [7; 32], address: String::new(), hello: hello(1, 1, 0), fresh: Epoch(777) };
    let (_, out) = world.step(|core, now, out| core.handle_hello(now, Link(1), from(), out));
    assert!(sent(&out).is_empty());
    world.link = 1;
    assert_eq!(world.submit(2, Duration::ZERO).unwrap().state, JobState::Queued);
    assert_eq!(sent(&world.says(NodeToHub::Jobs(vec![]))), ["run 1", "run 2"]);
    assert_eq!(sent(&world.says(NodeToHub::Jobs(vec![]))), ["close"], "it is said once");
}

/// What became of a job, for each state in which the hub was killed and each way in which the node comes back.
#[test]
fn a_hub_that_was_killed_goes_on_with_what_the_node_holds_and_starts_nothing_twice() {
    // Handed over, and the hub died before it heard that the process stands.
    for (held, then, state, logged) in [
        (vec![], "run 1", JobState::Sent, vec![]),
        (vec![(1, None)], "resume 1 0", JobState::Sent, vec![]),
        (vec![(1, Some(7))], "resume 1 0", JobState::Running, vec!["started"]),
    ] {
        let mut world = World::new();
        world.comes(&[]);
        world.submit(1, Duration::ZERO).unwrap();
        assert!(audited(&world.restart()).is_empty());
        let out = world.comes(&held);
        assert_eq!((sent(&out), audited(&out)), (vec![then.to_owned()], logged));
        assert_eq!(world.state(1), state);
    }
    // The process stood and had printed.
    let running = || {
        let mut world = World::new();
        world.comes(&[]);
        world.submit(1, Duration::ZERO).unwrap();
        world.starts(1);
        world.prints(1, 0, b"abc");
        world.restart();
        world
    };
    let mut world = running();
    assert_eq!(sent(&world.comes(&[(1, Some(7))])), ["resume 1 3"]);
    world.starts(1);
    world.prints(1, 3, b"def");
    assert_eq!(audited(&world.exits(1, RunEnd::Exited(0))), ["finished"]);
    assert_eq!((world.kept(1)[0].data.as_ref(), world.job(1).dropped), (&b"abcdef"[..], 0));
    let mut world = running();
    let out = world.comes(&[]);
    assert_eq!((audited(&out), sent(&out)), (vec!["lost"], vec![]), "the node was restarted");
    assert_eq!(world.state(1), JobState::Lost);
    assert!(sent(&world.comes(&[])).is_empty(), "it is not tried again");
    // What the store does not know never happened: nothing was sent.
    let mut world = World::new();
    world.comes(&[]);
    world.unwritten(|core, now, out| core.submit(now, wish_for("web-1", 1), HOUR, out)).0.unwrap();
    world.restart();
    assert_eq!(world.core.job(&ask(1)).unwrap_err().code, ErrorCode::UnknownJob);
}

#[test]
fn what_the_store_refused_never_happened_and_the_handshake_settles_the_rest() {
    let mut world = World::new();
    world.comes(&[]);
    world.submit(1, Duration::ZERO).unwrap();
    world.starts(1);
    world.prints(1, 0, b"abc");
    world.unwritten(|core, now, out| {
        core.handle_message(
            now,
            Link(1),
            NodeToHub::Exit { job: JobId(1), end: RunEnd::Exited(0), usage: None },
            out,
        );
        core.submit(now, wish_for("web-1", 2), HOUR, out).unwrap();
    });
    let kept = world.store.as_ref().unwrap().load().unwrap();
    world.core.restore(kept);
    assert!(world.core.runs_are_consistent());
    assert_eq!((world.state(1), world.core.job(&ask(2)).is_err()), (JobState::Running, true));
    // The node keeps the end until it is told to forget it.
    assert_eq!(sent(&world.comes(&[(1, Some(7))])), ["resume 1 3"]);
    assert_eq!(audited(&world.exits(1, RunEnd::Exited(0))), ["finished"]);
}

#[test]
fn an_attached_run_that_was_open_when_the_hub_was_killed_is_told_to_be_lost_once() {
    let mut world = World::new();
    world.comes(&[]);
    let asked = |job| RunRequest {
        request: secmon_protocol::ids::RequestId(job),
        wish: wish_for("web-1", job),
        credit: 0,
        stdin: false,
    };
    for job in [1, 2] {
        world.step(|core, now, out| core.handle_run(now, ClientId(1), asked(job), out));
    }
    world.starts(1);
    world.says(NodeToHub::Exit { job: JobId(2), end: RunEnd::Exited(0), usage: None });
    let out = world.restart();
    assert_eq!(audited(&out), ["lost"]);
    assert!(audited(&world.restart()).is_empty() && world.core.runs_are_consistent());
}

#[test]
fn a_job_that_the_node_holds_and_nobody_wants_is_ended_and_forgotten() {
    let mut world = World::new();
    let out = world.comes(&[(9, Some(3))]);
    assert_eq!(sent(&out), ["cancel 9", "resume 9 0"]);
    for news in [world.starts(9), world.prints(9, 0, b"x")] {
        assert!(sent(&news).is_empty());
    }
    let out = world.exits(9, RunEnd::Cancelled);
    assert_eq!((sent(&out), audited(&out)), (vec!["forget 9".to_owned()], vec![]));
    assert_eq!(sent(&world.exits(9, RunEnd::Cancelled)), ["close"], "that was its end");
    // One whose end was written, and only that the node may forget it was not told.
    world.comes(&[]);
    world.submit(1, Duration::ZERO).unwrap();
    world.starts(1);
    world.prints(1, 0, b"abc");
    world.exits(1, RunEnd::Exited(0));
    assert_eq!(sent(&world.comes(&[(1, Some(7))])), ["cancel 1", "resume 1 3"]);
    let out = world.exits(1, RunEnd::Exited(0));
    assert_eq!((sent(&out), audited(&out)), (vec!["forget 1".to_owned()], vec![]));
    assert_eq!(world.job(1).end, Some(RunEnd::Exited(0)));
}

#[test]
fn a_job_can_be_cancelled_in_every_state() {
    let mut world = World::new();
    world.submit(1, HOUR).unwrap();
    let (job, out) = world.cancel(1);
    assert_eq!((job.unwrap().state, audited(&out)), (JobState::Cancelled, vec!["cancelled"]));
    assert!(sent(&world.comes(&[])).is_empty());
    assert_eq!(world.cancel(1).0.unwrap_err().code, ErrorCode::JobState);
    assert_eq!(world.cancel(99).0.unwrap_err().code, ErrorCode::UnknownJob);
    // Handed over: its end still comes.
    world.submit(2, HOUR).unwrap();
    let (job, out) = world.cancel(2);
    assert_eq!((job.unwrap().state, sent(&out)), (JobState::Sent, vec!["cancel 2".to_owned()]));
    assert_eq!(audited(&world.exits(2, RunEnd::Cancelled)), ["refused"]);
    assert_eq!(world.state(2), JobState::Cancelled);
    // While its node is away, over a restart of the hub.
    world.submit(3, HOUR).unwrap();
    world.starts(3);
    world.leaves();
    assert!(sent(&world.cancel(3).1).is_empty());
    world.restart();
    assert_eq!(sent(&world.comes(&[(3, Some(7))])), ["resume 3 0", "cancel 3"]);
    assert_eq!(audited(&world.exits(3, RunEnd::Cancelled)), ["cancelled"]);
    // Handed over and cancelled while the node was away, which never had it: it is not sent again.
    world.submit(4, HOUR).unwrap();
    world.leaves();
    world.cancel(4).0.unwrap();
    let out = world.comes(&[]);
    assert_eq!((sent(&out), audited(&out)), (vec![], vec!["lost"]));
}

#[test]
fn a_job_whose_node_does_not_come_expires_also_while_the_hub_was_down() {
    let mut world = World::new();
    world.submit(1, HOUR).unwrap();
    world.submit(2, 2 * HOUR).unwrap();
    assert!(audited(&world.tick(59)).is_empty());
    assert_eq!(audited(&world.tick(1)), ["expired"]);
    assert_eq!(world.state(1), JobState::Expired);
    world.restart();
    assert_eq!(audited(&world.tick(600)), ["expired"]);
    assert!(sent(&world.comes(&[])).is_empty());
    assert_eq!(world.submit(3, 800 * HOUR).unwrap_err().code, ErrorCode::TooMany);
}

#[test]
fn a_node_that_is_too_busy_gets_the_job_again_while_it_may_wait() {
    let mut world = World::new();
    world.comes(&[]);
    world.submit(1, HOUR).unwrap();
    let out = world.exits(1, failed(RunFailure::Busy));
    assert_eq!((sent(&out), audited(&out)), (vec!["forget 1".to_owned()], vec!["queued"]));
    assert_eq!(world.state(1), JobState::Queued);
    assert_eq!(sent(&world.tick(1)), ["run 1"]);
    assert_eq!(audited(&world.exits(1, failed(RunFailure::Busy))), Vec::<&str>::new(), "told once");
    // The end of another run makes room.
    world.submit(2, HOUR).unwrap();
    assert_eq!(sent(&world.tick(1)), ["run 1", "run 2"]);
    world.exits(1, failed(RunFailure::Busy));
    assert_eq!(sent(&world.exits(2, RunEnd::Exited(0))), ["forget 2", "run 1"]);
    world.minute += 60;
    assert_eq!(audited(&world.exits(1, failed(RunFailure::Busy))), ["refused"]);
    assert_eq!(world.state(1), JobState::Failed);
    world.submit(3, Duration::ZERO).unwrap();
    assert_eq!(audited(&world.exits(3, failed(RunFailure::Busy))), ["refused"], "it may not wait");
}

#[test]
fn only_a_hub_where_something_waits_for_time_has_to_be_told_of_it() {
    let mut world = World::new();
    assert!(world.core.waits_for_time(), "what the last process left open");
    world.tick(1);
    assert!(!world.core.waits_for_time());
    world.submit(1, HOUR).unwrap();
    assert!(world.core.waits_for_time());
    assert_eq!(audited(&world.tick(60)), ["expired"]);
    assert!(!world.core.waits_for_time());
    world.submit(9, HOUR).unwrap();
    world.unwritten(|core, now, out| core.cancel_job(now, &ask(9), out)).0.unwrap();
    world.tick(1);
    assert!(!world.core.waits_for_time(), "it was taken out of the queue");
    world.submit(2, Duration::ZERO).unwrap_err();
    assert!(world.core.waits_for_time(), "refusals are counted, and forgotten later");
    world.tick(2);
    assert!(!world.core.waits_for_time());
    world.comes(&[]);
    world.submit(3, HOUR).unwrap();
    world.exits(3, failed(RunFailure::Busy));
    assert!(world.core.waits_for_time(), "a node that was busy is asked again");
}

#[test]
fn jobs_that_wait_for_a_node_outlast_its_restart() {
    // A node that was stopped answered each of them that it was stopping, and one restart lost all that waited.
    let mut world = World::new();
    world.comes(&[]);
    for job in 1..=9 {
        world.submit(job, HOUR).unwrap();
    }
    world.submit(10, HOUR).unwrap();
    (1..=8).for_each(|job| drop(world.starts(job)));
    assert_eq!(sent(&world.exits(1, failed(RunFailure::Stopped))), ["forget 1", "run 9"]);
    assert_eq!((world.state(1), world.state(9)), (JobState::Lost, JobState::Sent));
    assert_eq!(audited(&world.exits(9, failed(RunFailure::Stopped))), Vec::<&str>::new(), "told before");
    assert_eq!((world.state(9), world.state(10)), (JobState::Queued, JobState::Queued));
    world.leaves();
    let out = world.comes(&[]);
    assert_eq!(sent(&out), ["run 9", "run 10"]);
    world.submit(11, Duration::ZERO).unwrap();
    assert_eq!(audited(&world.exits(11, failed(RunFailure::Stopped))), ["refused"], "it may not wait");
}

#[test]
fn a_job_whose_time_is_over_is_not_run_by_a_node_that_comes_before_the_clock_ticks() {
    let mut world = World::new();
    world.submit(1, HOUR).unwrap();
    world.restart();
    world.minute += 61;
    assert!(sent(&world.comes(&[])).is_empty());
    world.tick(0);
    assert_eq!(world.state(1), JobState::Expired);
    // One that was on its way when the link was lost may have run; it is not tried when its time is over.
    for (wait, late) in [(HOUR, 61), (Duration::ZERO, 1)] {
        for (minutes, expected) in [(0, vec!["run 1"]), (late, vec![])] {
            let mut world = World::new();
            world.comes(&[]);
            world.submit(1, wait).unwrap();
            world.leaves();
            world.minute += minutes;
            assert_eq!(sent(&world.comes(&[])), expected, "{wait:?}");
            assert_eq!(world.state(1), if minutes == 0 { JobState::Sent } else { JobState::Lost });
        }
    }
}

#[test]
fn every_end_of_a_node_is_a_state_and_one_record() {
    for (end, started, state, logged) in [
        (RunEnd::Exited(1), true, JobState::Finished, "finished"),
        (RunEnd::Signalled(9), true, JobState::Finished, "finished"),
        (RunEnd::TimedOut, true, JobState::Finished, "finished"),
        (RunEnd::TooMuchOutput, true, JobState::Finished, "finished"),
        (RunEnd::Cancelled, true, JobState::Cancelled, "cancelled"),
        (failed(RunFailure::Stopped), true, JobState::Lost, "finished"),
        (failed(RunFailure::Lost), true, JobState::Lost, "lost"),
        (failed(RunFailure::Lost), false, JobState::Lost, "lost"),
        (failed(RunFailure::UnknownLabel), false, JobState::Failed, "refused"),
        (failed(RunFailure::BadArgument), false, JobState::Failed, "refused"),
        (failed(RunFailure::Spawn), false, JobState::Failed, "refused"),
    ] {
        let mut world = World::new();
        world.comes(&[]);
        world.submit(1, Duration::ZERO).unwrap();
        if started {
            world.starts(1);
        }
        assert_eq!(audited(&world.exits(1, end.clone())), [logged], "{end:?}");
        assert_eq!(world.state(1), state, "{end:?}");
    }
    // A node that did not say that it stood.
    let mut world = World::new();
    world.comes(&[]);
    world.submit(1, Duration::ZERO).unwrap();
    assert_eq!(audited(&world.exits(1, RunEnd::Exited(0))), ["started", "finished"]);
}

#[test]
fn the_first_half_and_the_last_of_what_a_job_prints_are_kept_over_restarts() {
    let limits = JobLimits { output: 256 << 10, ..JobLimits::default() };
    let mut world = World::with(limits);
    world.comes(&[]);
    world.submit(1, Duration::ZERO).unwrap();
    world.starts(1);
    let mut printed = 0;
    for chunk in 0..40_u8 {
        let data = vec![chunk; if chunk % 3 == 0 { 50 } else { MAX_CHUNK }];
        let out = world.prints(1, printed, &data);
        assert_eq!(sent(&out).len(), 1, "credited back");
        printed += data.len() as u64;
        if chunk % 7 == 0 {
            world.restart();
            assert_eq!(sent(&world.comes(&[(1, Some(7))])), [format!("resume 1 {printed}")]);
        }
    }
    let job = world.job(1);
    let kept = world.kept(1);
    let bytes: usize = kept.iter().map(|piece| piece.data.len()).sum();
    assert_eq!((job.output, job.dropped), (printed, printed - bytes as u64));
    assert!(bytes <= 256 << 10 && bytes > 128 << 10, "{bytes}");
    let last = kept.last().unwrap();
    assert_eq!((kept[0].at, last.at + last.data.len() as u64), (0, printed));
    let holes = kept.windows(2).filter(|pair| pair[0].at + pair[0].data.len() as u64 != pair[1].at).count();
    assert_eq!(holes, 1);
    let out = world.prints(1, u64::MAX, b"x");
    assert_eq!(sent(&out), ["close"]);
}

#[test]
fn bytes_of_any_kind_and_both_streams_come_back_as_they_were() {
    let mut world = World::new();
    world.comes(&[]);
    world.submit(1, Duration::ZERO).unwrap();
    world.starts(1);
    let (mut at, mut expected) = (0, vec![]);
    for (stream, data) in [
        (OutputStream::Stdout, &b"\x00\xff"[..]),
        (OutputStream::Stdout, b"\xc3"),
        (OutputStream::Stderr, b"\x80'\"\n"),
        (OutputStream::Stdout, b"z"),
    ] {
        let bytes = Bytes::copy_from_slice(data);
        world.says(NodeToHub::Output { job: JobId(1), stream, at, data: bytes });
        at += data.len() as u64;
        expected.push((stream, data));
    }
    let kept: Vec<_> = world.kept(1).into_iter().map(|piece| (piece.stream, piece.data.to_vec())).collect();
    let pieces = [
        (OutputStream::Stdout, b"\x00\xff\xc3".to_vec()),
        (OutputStream::Stderr, b"\x80'\"\n".to_vec()),
        (OutputStream::Stdout, b"z".to_vec()),
    ];
    assert_eq!(kept, pieces);
}

#[test]
fn a_job_that_sends_more_than_the_window_is_cut_off() {
    let mut world = World::new();
    world.comes(&[]);
    world.submit(1, Duration::ZERO).unwrap();
    world.starts(1);
    let data = vec![0; OUTPUT_WINDOW as usize + 1];
    assert_eq!(sent(&world.prints(1, 0, &data)), ["close"]);
    assert_eq!(world.state(1), JobState::Running, "the job itself goes on");
}

#[test]
fn few_jobs_run_side_by_side_and_the_rest_wait_in_order() {
    let mut world = World::new();
    world.comes(&[]);
    let mut side_by_side = 0;
    for job in 1..=40 {
        if world.submit(job, HOUR).unwrap().state == JobState::Sent {
            side_by_side = job;
        }
    }
    assert!((1..16).contains(&side_by_side), "{side_by_side}");
    assert_eq!(world.submit(99, Duration::ZERO).unwrap_err().code, ErrorCode::TooMany, "it may not wait");
    for job in 1..=40 - side_by_side {
        world.starts(job);
        let next = job + side_by_side;
        assert_eq!(
            sent(&world.exits(job, RunEnd::Exited(0))),
            [format!("forget {job}"), format!("run {next}")]
        );
    }
    let mut world = World::new();
    let refusal = (0..).find_map(|job| world.submit(job, HOUR).err()).unwrap();
    assert!(refusal.code == ErrorCode::TooMany && refusal.message.contains("256 jobs of web-1"), "{refusal}");
}

#[test]
fn a_command_that_runs_alone_holds_up_its_own_jobs_and_no_others() {
    let mut world = World::new();
    world.comes(&[]);
    let alone = |most| CommandInfo { concurrency: Some(most), ..CommandInfo::plain("alone", "", 1) };
    world.says(NodeToHub::Commands(vec![alone(1), CommandInfo::plain("up", "", 1)]));
    let mut submit = |job, label: &str, wait| {
        let wish = Wish { label: label.to_owned(), ..wish_for("web-1", job) };
        let (job, out) = world.step(|core, now, out| core.submit(now, wish, wait, out));
        (job.unwrap().state, sent(&out).len())
    };
    assert_eq!(submit(1, "alone", HOUR), (JobState::Sent, 1));
    for job in 2..20 {
        assert_eq!(submit(job, "alone", HOUR), (JobState::Queued, 0));
    }
    assert_eq!(submit(20, "up", HOUR), (JobState::Sent, 1));
    assert_eq!(sent(&world.exits(1, RunEnd::Exited(0))), ["forget 1", "run 2"]);
    assert_eq!(sent(&world.says(NodeToHub::Commands(vec![alone(3)]))), ["run 3", "run 4"]);
}

#[test]
fn jobs_that_are_over_are_kept_by_number_and_by_age_and_go_with_their_output() {
    let mut world = World::with(JobLimits { keep: 3, ..JobLimits::default() });
    world.comes(&[]);
    for job in 1..=5 {
        world.submit(job, Duration::ZERO).unwrap();
        world.starts(job);
        world.prints(job, 0, b"x");
        world.exits(job, RunEnd::Exited(0));
        world.minute += 1;
    }
    let listed = |world: &World| {
        let wanted = JobList { nodes: Box::new(|_, _| true), states: vec![], limit: 0 };
        world.core.list_jobs(&wanted).0.iter().map(|job| job.run.job.0).collect::<Vec<_>>()
    };
    assert_eq!(listed(&world), [5, 4, 3], "the latest first");
    world.restart();
    assert_eq!((listed(&world), world.kept(1).len(), world.kept(5).len()), (vec![5, 4, 3], 0, 1));
    world.tick(30 * 24 * 60 - 2);
    assert_eq!(listed(&world), [5]);
    world.tick(1);
    assert!(listed(&world).is_empty() && world.kept(5).is_empty());
}

#[test]
fn lists_are_filtered_and_bounded() {
    let mut world = World::new();
    for job in 1..=9 {
        world.submit(job, HOUR).unwrap();
    }
    world.cancel(5).0.unwrap();
    let list = |states: &[JobState], limit, all: bool| {
        let nodes = Box::new(move |_: NodeId, name: &NodeName| all || name.as_str() == "other");
        let (jobs, more) = world.core.list_jobs(&JobList { nodes, states: states.to_vec(), limit });
        (jobs.iter().map(|job| job.run.job.0).collect::<Vec<_>>(), more)
    };
    assert_eq!(list(&[], 2, true), (vec![9, 8], true));
    assert_eq!(list(&[JobState::Cancelled], 2, true), (vec![5], false));
    assert_eq!(list(&[], 0, false), (vec![], false));
}

#[test]
fn arguments_of_many_jobs_do_not_take_all_memory() {
    let mut world = World::with(JobLimits { keep: 10_000, ..JobLimits::default() });
    let value = "x".repeat(4096);
    let args: Vec<Arg> = (0..16).map(|n| Arg { name: format!("a{n}"), value: value.clone() }).collect();
    let submit = |world: &mut World, node: &str, job| {
        let wish = Wish { args: args.clone(), ..wish_for(node, job) };
        world.unwritten(|core, now, out| core.submit(now, wish, HOUR, out)).0
    };
    // Those that are over make room. They filled it, and for a month nobody could have a job any more.
    for job in 0..1_100 {
        submit(&mut world, "web-1", job).unwrap();
        world.unwritten(|core, now, out| core.cancel_job(now, &ask(job), out)).0.unwrap();
        assert!(world.core.weight_of_jobs() <= 33 << 20);
    }
    assert!(world.core.job(&ask(0)).is_err() && world.core.job(&ask(1_099)).is_ok());
    for n in 2..=5 {
        world.unwritten(|core, _, out| {
            let (id, name) = (NodeId([n; 16]), format!("web-{n}").parse().unwrap());
            let wish = Enrolling { secret: [n; 32], id, name, valid: Duration::ZERO, replace: false };
            core.enroll(at(0), wish, out).unwrap();
            core.join(at(1), &[n; 32], [n; 32], "", out).unwrap();
        });
    }
    let refusal =
        (2_000..4_000).find_map(|job| submit(&mut world, &format!("web-{}", job % 5 + 1), job).err());
    assert!(refusal.unwrap().message.contains("memory"));
    assert!(world.core.job(&ask(1_099)).is_err(), "all that was over went first");
    let wanted = JobList { nodes: Box::new(|_, _| true), states: vec![], limit: 0 };
    let (jobs, more) = world.core.list_jobs(&wanted);
    assert!(more && jobs.len() < 200, "a list is one message");
}

#[test]
fn jobs_of_a_node_that_is_removed_are_lost() {
    let mut world = World::new();
    world.submit(1, HOUR).unwrap();
    world.comes(&[]);
    world.submit(2, HOUR).unwrap();
    world.starts(2);
    let (removed, out) = world.step(|core, now, out| {
        core.remove(now, (&crate::access::Grants::everything(""), &super::access::by()), "web-1", out)
    });
    assert_eq!((removed.unwrap().0, audited(&out)), (WEB, vec!["lost", "lost"]));
    for _ in 0..2 {
        assert_eq!((world.state(1), world.state(2)), (JobState::Lost, JobState::Lost));
        assert!(audited(&world.restart()).is_empty());
    }
}

#[test]
fn a_job_is_found_by_the_beginning_of_its_number() {
    let mut world = World::new();
    for job in [0xab << 56, 0xac << 56] {
        world.submit(job, HOUR).unwrap();
    }
    let find = |job: &str| world.core.job(&JobAsk { job: job.to_owned(), ..ask(0) });
    assert_eq!(find("ab").unwrap().run.job, JobId(0xab << 56));
    assert_eq!(find("AC00").unwrap().run.job, JobId(0xac << 56));
    for (wrong, said) in [("a", "several"), ("b", "no job b"), ("x", "hexadecimal"), ("", "hexadecimal")] {
        let refusal = find(wrong).unwrap_err();
        assert!(refusal.code == ErrorCode::UnknownJob && refusal.message.contains(said), "{refusal}");
    }
}
