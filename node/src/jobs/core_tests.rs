use bytes::Bytes;
use secmon_protocol::{
    command::{Arg, MAX_ARG, OutputStream, Usage},
    limits::{MAX_ARGS, MAX_CHUNK, MIN_CHUNK_COST},
};

use super::*;

const JOB: JobId = JobId(7);

fn order(job: u64, detached: bool) -> Order {
    let (label, args) = ("x".to_owned(), vec![Arg { name: "n".to_owned(), value: "1".to_owned() }]);
    Order { job: JobId(job), label, args, credit: OUTPUT_WINDOW, stdin: false, detached }
}

fn run(order: Order) -> HubToNode {
    HubToNode::Run(order)
}

fn output(text: &'static str) -> RunnerToNode {
    RunnerToNode::Output { job: JOB, stream: OutputStream::Stdout, data: Bytes::from_static(text.as_bytes()) }
}

fn exit(code: i32) -> RunnerToNode {
    RunnerToNode::Exit { job: JOB, end: RunEnd::Exited(code), usage: Some(Usage::default()) }
}

fn failed(why: RunFailure) -> RunnerToNode {
    let end = RunEnd::Failed { why, message: String::new() };
    RunnerToNode::Exit { job: JOB, end, usage: None }
}

const STARTED: RunnerToNode = RunnerToNode::Started { job: JOB, pid: 42 };

/// A core, connected, that has said what comes first.
fn linked() -> Core {
    let mut core = Core::default();
    core.handle_link_up();
    core.messages();
    core
}

impl Core {
    fn hub(&mut self, message: HubToNode) {
        self.handle_hub(message).unwrap();
    }

    /// Everything for the hub, in short.
    fn messages(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.poll_message())
            .map(|message| match message {
                NodeToHub::Commands(commands) => format!("commands {}", commands.len()),
                NodeToHub::Jobs(held) => {
                    let held: Vec<_> = held.iter().map(|held| (held.job.0, held.pid)).collect();
                    format!("jobs {held:?}")
                }
                NodeToHub::Started { job, pid } => format!("{} started {pid}", job.0),
                NodeToHub::Output { job, at, data, .. } => {
                    format!("{} {at}:{}", job.0, std::str::from_utf8(&data).unwrap())
                }
                NodeToHub::StdinCredit { job, credit } => format!("{} takes {credit}", job.0),
                NodeToHub::Exit { job, end: RunEnd::Exited(code), .. } => format!("{} exit {code}", job.0),
                NodeToHub::Exit { job, end: RunEnd::Failed { why, .. }, .. } => {
                    format!("{} {why:?}", job.0)
                }
                NodeToHub::Exit { job, end, .. } => format!("{} {end:?}", job.0),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// Everything for the executor, in short.
    fn ordered(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.poll_order())
            .map(|order| match order {
                NodeToRunner::Start { job, label, args, credit, stdin } => {
                    let args: Vec<_> = args.iter().map(|arg| format!("{}={}", arg.name, arg.value)).collect();
                    format!("start {} {label} {args:?} {credit} {stdin}", job.0)
                }
                NodeToRunner::Stdin { job, data } => format!("stdin {} {}", job.0, data.len()),
                NodeToRunner::Credit { job, credit } => format!("credit {} {credit}", job.0),
                NodeToRunner::Cancel { job } => format!("cancel {}", job.0),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The memory answers all that it was asked.
    fn answer(&mut self, answer: Answer) {
        for write in self.take_writes() {
            if let Write::Remember(job) = write {
                self.handle_remembered(job, answer.clone());
            }
        }
    }

    fn start_detached(&mut self) {
        self.hub(run(order(7, true)));
        self.answer(Answer::New);
        self.handle_news(STARTED);
        self.ordered();
        self.messages();
    }

    fn reconnect(&mut self) -> Vec<String> {
        self.handle_link_down();
        self.handle_link_up();
        self.messages()
    }
}

#[test]
fn what_may_be_run_and_what_is_held_come_before_anything_of_a_run() {
    let mut core = Core::default();
    core.handle_link_up();
    core.hub(run(order(7, false)));
    core.handle_news(STARTED);
    core.handle_news(RunnerToNode::Commands(vec![CommandInfo::plain("x", "", 1)]));
    assert_eq!(core.messages(), ["commands 1", "jobs []", "7 started 42"]);
    core.handle_news(RunnerToNode::Commands(vec![CommandInfo::plain("x", "", 1)]));
    assert_eq!(core.messages(), [""; 0], "nothing has changed");
    core.handle_news(RunnerToNode::Commands(vec![]));
    assert_eq!(core.messages(), ["commands 0"]);
}

#[test]
fn an_attached_run_ends_with_its_connection_and_what_it_says_after_is_dropped() {
    let mut core = linked();
    core.hub(run(order(7, false)));
    assert_eq!(core.ordered(), ["start 7 x [\"n=1\"] 1048576 false"]);
    assert!(core.take_writes().is_empty(), "it costs the disk nothing");
    core.handle_news(STARTED);
    core.handle_news(output("abc"));
    core.handle_news(output("de"));
    assert_eq!(core.messages(), ["7 started 42", "7 0:abc", "7 3:de"]);
    core.hub(HubToNode::Credit { job: JOB, credit: 2 * MIN_CHUNK_COST });
    assert_eq!(core.ordered(), ["credit 7 8192"]);
    core.handle_link_down();
    assert_eq!(core.ordered(), ["cancel 7"]);
    core.handle_news(output("x"));
    core.handle_link_up();
    assert_eq!(core.messages(), ["commands 0", "jobs []"]);
    // The executor still has that number.
    assert_eq!(core.handle_hub(run(order(7, false))), Err(Violation::Twice));
    assert_eq!(core.handle_hub(run(order(7, true))), Err(Violation::Twice));
    core.handle_news(exit(0));
    assert_eq!(core.messages(), [""; 0]);
    core.hub(run(order(7, false)));
    assert_eq!(core.ordered().len(), 1);
}

#[test]
fn a_detached_job_starts_only_when_its_number_is_written() {
    let mut core = linked();
    core.hub(run(order(7, true)));
    assert_eq!(core.ordered(), [""; 0]);
    core.hub(HubToNode::Credit { job: JobId(8), credit: 1 });
    core.answer(Answer::New);
    assert_eq!(core.ordered(), ["start 7 x [\"n=1\"] 1048576 false"]);
}

#[test]
fn a_detached_job_goes_on_without_a_connection_and_the_hub_gets_what_it_lacks_and_the_end_once() {
    let mut core = linked();
    core.start_detached();
    core.handle_news(output("abc"));
    core.handle_news(output("def"));
    assert_eq!(core.messages(), ["7 0:abc", "7 3:def"]);
    core.hub(HubToNode::Credit { job: JOB, credit: MIN_CHUNK_COST });
    assert_eq!(core.ordered(), ["credit 7 4096"]);
    core.handle_link_down();
    assert_eq!(core.ordered(), [""; 0], "nothing is cancelled");
    core.handle_news(output("ghi"));
    assert_eq!(core.reconnect(), ["commands 0", "jobs [(7, Some(42))]"]);
    assert_eq!(core.messages(), [""; 0], "the hub says where to go on");
    core.hub(HubToNode::Resume { job: JOB, have: 6 });
    assert_eq!(core.ordered(), ["credit 7 4096"], "the hub had it all");
    assert_eq!(core.messages(), ["7 6:ghi"], "and knew that it stands");
    core.handle_news(exit(3));
    assert_eq!(core.messages(), ["7 exit 3"]);
    // The end was on its way when the connection was lost.
    assert_eq!(core.reconnect(), ["commands 0", "jobs [(7, Some(42))]"]);
    core.hub(HubToNode::Resume { job: JOB, have: 9 });
    assert_eq!(core.messages(), ["7 exit 3"]);
    core.hub(HubToNode::Forget { job: JOB });
    assert_eq!(core.reconnect(), ["commands 0", "jobs []"]);
}

#[test]
fn a_number_that_was_started_before_is_lost_and_not_started() {
    let mut core = linked();
    core.hub(run(order(7, true)));
    core.answer(Answer::Known);
    assert_eq!((core.messages(), core.ordered()), (vec!["7 Lost".to_owned()], vec![]));
    // It is asked again, after a crash of the hub: the same answer.
    core.reconnect();
    core.hub(run(order(7, true)));
    core.answer(Answer::Known);
    assert_eq!(core.messages(), ["7 Lost"]);
}

#[test]
fn a_number_that_cannot_be_written_is_not_started_and_may_be_tried_again() {
    let mut core = linked();
    core.hub(run(order(7, true)));
    core.answer(Answer::Failed("disk full".to_owned()));
    assert_eq!((core.messages(), core.ordered()), (vec!["7 Refused".to_owned()], vec![]));
    core.start_detached();
    core.handle_news(exit(0));
    assert_eq!(core.messages(), ["7 exit 0"]);
}

#[test]
fn with_a_damaged_memory_nothing_starts_that_may_have_been_started_before() {
    let damaged = || Answer::Damaged("torn".to_owned());
    let mut core = linked();
    core.hub(HubToNode::Ping { nonce: 1 });
    core.hub(run(order(7, true)));
    core.answer(damaged());
    assert_eq!((core.messages(), core.ordered()), (vec!["7 Lost".to_owned()], vec![]));
    // When it was handed over counts, not when the disk, which may be slow, has answered.
    core.hub(run(order(6, true)));
    core.hub(HubToNode::Ping { nonce: 2 });
    core.answer(damaged());
    assert_eq!((core.messages(), core.take_writes()), (vec!["6 Lost".to_owned()], vec![]));
    core.hub(run(order(8, true)));
    core.answer(damaged());
    assert_eq!(core.take_writes(), [Write::Renew, Write::Remember(JobId(8))]);
    core.handle_remembered(JobId(8), Answer::New);
    assert_eq!(core.ordered(), ["start 8 x [\"n=1\"] 1048576 false"]);
    // A disk that damages the new one, too: no second attempt for the same job.
    core.hub(run(order(9, true)));
    core.answer(damaged());
    core.answer(damaged());
    assert_eq!(core.messages(), ["9 Lost"]);
}

/// A hub puts a job that found its node busy back into its queue, and hands it over again by the same number.
#[test]
fn what_the_executor_did_not_start_is_forgotten_and_may_be_tried_again() {
    use RunFailure::{BadArgument, Busy, Lost, Refused, Spawn, Stopped, UnknownLabel};
    for why in [UnknownLabel, Busy, Spawn, Refused, BadArgument] {
        let mut core = linked();
        core.hub(run(order(7, true)));
        core.answer(Answer::New);
        core.handle_news(failed(why));
        assert_eq!(core.take_writes(), [Write::Forget(JOB)], "{why:?}");
        assert_eq!(core.messages(), [format!("7 {why:?}")]);
        core.start_detached();
        core.handle_news(failed(why));
        assert!(core.take_writes().is_empty(), "it was started");
    }
    for why in [Lost, Stopped] {
        let mut core = linked();
        core.hub(run(order(7, true)));
        core.answer(Answer::New);
        core.handle_news(failed(why));
        assert!(core.take_writes().is_empty(), "{why:?}: nobody knows");
    }
}

#[test]
fn a_refusal_that_nobody_hears_is_not_held() {
    let mut core = linked();
    core.hub(run(order(7, true)));
    core.answer(Answer::New);
    core.handle_link_down();
    core.handle_news(failed(RunFailure::Busy));
    core.handle_link_up();
    assert_eq!(core.messages(), ["commands 0", "jobs []"]);
    // One of which the hub was told that it is held is answered.
    core.hub(run(order(7, true)));
    core.answer(Answer::New);
    assert_eq!(core.reconnect(), ["commands 0", "jobs [(7, None)]"]);
    core.handle_news(failed(RunFailure::Busy));
    assert_eq!(core.messages(), [""; 0]);
    core.hub(HubToNode::Resume { job: JOB, have: 0 });
    assert_eq!(core.messages(), ["7 Busy"]);
    assert_eq!(core.reconnect(), ["commands 0", "jobs []"]);
}

#[test]
fn a_cancelled_job_tells_its_end_also_to_a_hub_that_does_not_resume_it() {
    for ended in [false, true] {
        let mut core = linked();
        core.start_detached();
        core.handle_news(output("abc"));
        core.handle_link_down();
        if ended {
            core.handle_news(exit(0));
        }
        core.handle_link_up();
        core.messages();
        core.hub(HubToNode::Cancel { job: JOB });
        core.hub(HubToNode::Cancel { job: JOB });
        if !ended {
            assert_eq!((core.ordered(), core.messages()), (vec!["cancel 7".to_owned()], vec![]));
            core.handle_news(exit(0));
        }
        assert_eq!(core.messages(), ["7 exit 0"]);
        core.hub(HubToNode::Resume { job: JOB, have: 0 });
        assert_eq!(core.messages(), [""; 0], "nothing comes after the end");
        core.hub(HubToNode::Forget { job: JOB });
        assert_eq!(core.reconnect(), ["commands 0", "jobs []"]);
    }
}

#[test]
fn a_job_that_is_cancelled_before_its_number_is_written_never_starts() {
    let mut core = linked();
    core.hub(run(order(7, true)));
    core.hub(HubToNode::Cancel { job: JOB });
    core.answer(Answer::New);
    assert_eq!((core.messages(), core.ordered()), (vec!["7 Cancelled".to_owned()], vec![]));
    core.hub(HubToNode::Forget { job: JOB });
    for forget in [true, false] {
        core.hub(run(order(8, true)));
        if forget {
            core.hub(HubToNode::Forget { job: JobId(8) });
        } else {
            core.handle_stop();
        }
        core.answer(Answer::New);
        assert_eq!(core.ordered(), [""; 0]);
    }
    assert_eq!(core.messages(), ["8 Stopped"]);
}

#[test]
fn a_running_job_that_nobody_wants_is_ended() {
    let mut core = linked();
    core.start_detached();
    core.hub(HubToNode::Forget { job: JOB });
    assert_eq!(core.ordered(), ["cancel 7"]);
    core.handle_news(output("abc"));
    core.handle_news(exit(0));
    assert_eq!(core.reconnect(), ["commands 0", "jobs []"]);
}

/// A hub that was restored from a backup does not know what it had started.
#[test]
fn a_run_of_a_job_that_is_held_goes_on_with_it_and_starts_nothing() {
    let mut core = linked();
    core.start_detached();
    core.handle_news(output("abc"));
    core.reconnect();
    core.hub(run(order(7, true)));
    assert_eq!((core.messages(), core.ordered()), (vec!["7 0:abc".to_owned()], vec![]));
    assert!(core.take_writes().is_empty());
    assert_eq!(core.handle_hub(run(order(7, true))), Err(Violation::Twice));
    core.reconnect();
    assert_eq!(core.handle_hub(run(order(7, false))), Err(Violation::Twice), "it is not attached");
}

#[test]
fn a_runner_that_sends_more_than_it_may_is_told_to_end_what_it_runs() {
    let mut core = linked();
    core.hub(run(Order { credit: MIN_CHUNK_COST, ..order(7, false) }));
    core.ordered();
    core.handle_news(output("x"));
    core.handle_news(output("y"));
    assert_eq!(core.ordered(), ["cancel 7"]);
    assert!(core.messages().contains(&"7 Lost".to_owned()));
}

#[test]
fn input_flows_under_its_own_credit_to_who_reads_it() {
    let stdin = |data: &[u8]| HubToNode::Stdin { job: JOB, data: Bytes::copy_from_slice(data) };
    let reading = || {
        let mut core = linked();
        core.hub(run(Order { stdin: true, ..order(7, false) }));
        core.ordered();
        core
    };
    let mut core = reading();
    assert_eq!(core.handle_hub(stdin(b"x")), Err(Violation::Input), "nothing was granted");
    let mut core = reading();
    core.handle_news(STARTED);
    core.handle_news(RunnerToNode::StdinCredit { job: JOB, credit: 5000 });
    assert_eq!(core.messages(), ["7 started 42", "7 takes 5000"]);
    core.hub(stdin(b"x"));
    assert_eq!(core.ordered(), ["stdin 7 1"]);
    assert_eq!(core.handle_hub(stdin(b"x")), Err(Violation::Input), "a byte costs as much as 4096");
    core.hub(stdin(b""));
    assert_eq!(core.ordered(), ["stdin 7 0"], "the end costs nothing");
    assert_eq!(core.handle_hub(stdin(b"x")), Err(Violation::InputAfterEnd));
    assert_eq!(core.handle_hub(stdin(&vec![0; MAX_CHUNK + 1])), Err(Violation::Chunk(MAX_CHUNK + 1)));
    core.handle_news(exit(0));
    core.messages();
    core.hub(stdin(b"x"));
    assert_eq!(core.ordered(), [""; 0], "it is past caring");

    // The end may come before anybody is ready for it.
    let mut core = reading();
    core.hub(stdin(b""));
    assert_eq!(core.ordered(), [""; 0]);
    core.handle_news(RunnerToNode::StdinCredit { job: JOB, credit: 5000 });
    assert_eq!((core.ordered(), core.messages()), (vec!["stdin 7 0".to_owned()], vec![]));

    for detached in [false, true] {
        let mut core = linked();
        core.hub(run(Order { stdin: detached, ..order(7, detached) }));
        assert_eq!(core.handle_hub(stdin(b"x")), Err(Violation::NoInput));
    }
}

#[test]
fn what_breaks_the_protocol_is_named_and_starts_nothing() {
    let arg = |name: &str, len| Arg { name: name.to_owned(), value: "x".repeat(len) };
    let table: Vec<(&str, HubToNode)> = vec![
        ("label of 0", run(Order { label: String::new(), ..order(9, false) })),
        ("label of 65", run(Order { label: "x".repeat(65), ..order(9, true) })),
        ("17 arguments", run(Order { args: vec![arg("a", 1); MAX_ARGS + 1], ..order(9, false) })),
        ("4097 bytes", run(Order { args: vec![arg("a", MAX_ARG + 1)], ..order(9, true) })),
        ("twice", run(Order { args: vec![arg("a", 1), arg("a", 1)], ..order(9, false) })),
        ("of credit", run(Order { credit: OUTPUT_WINDOW + 1, ..order(9, true) })),
        ("second run", run(order(1, false))),
        ("second run", run(order(1, true))),
        ("second run", run(order(2, false))),
        ("second run", run(order(2, true))),
        ("of credit", HubToNode::Credit { job: JobId(1), credit: 1 }),
        ("of credit", HubToNode::Credit { job: JobId(2), credit: u32::MAX }),
        ("input", HubToNode::Stdin { job: JobId(1), data: Bytes::from_static(b"x") }),
        ("input", HubToNode::Stdin { job: JobId(2), data: Bytes::new() }),
        ("not detached", HubToNode::Resume { job: JobId(1), have: 0 }),
        ("not detached", HubToNode::Forget { job: JobId(1) }),
        ("already", HubToNode::Resume { job: JobId(2), have: 0 }),
    ];
    for (why, message) in table {
        let mut core = linked();
        core.hub(run(order(1, false)));
        core.hub(run(order(2, true)));
        core.answer(Answer::New);
        core.ordered();
        let violation = core.handle_hub(message.clone()).expect_err("a violation").to_string();
        assert!(violation.contains(why), "{message:?}: {violation}");
        assert_eq!((core.ordered(), core.take_writes()), (vec![], vec![]), "{message:?}");
    }
}

#[test]
fn what_is_said_of_nothing_does_nothing() {
    let job = JobId(1);
    let mut core = linked();
    for message in [
        HubToNode::Cancel { job },
        HubToNode::Credit { job, credit: u32::MAX },
        HubToNode::Stdin { job, data: Bytes::from_static(b"x") },
        HubToNode::Resume { job, have: u64::MAX },
        HubToNode::Forget { job },
    ] {
        core.hub(message);
    }
    assert_eq!((core.messages(), core.ordered(), core.take_writes()), (vec![], vec![], vec![]));
}

#[test]
fn a_hub_that_asks_on_without_reading_is_left() {
    for detached in [false, true] {
        let mut core = linked();
        let asked = (0..10_000).find(|job| {
            let asked = core.handle_hub(run(order(*job, detached)));
            core.answer(Answer::New);
            core.ordered();
            core.handle_news(RunnerToNode::Exit {
                job: JobId(*job),
                end: RunEnd::Failed { why: RunFailure::UnknownLabel, message: String::new() },
                usage: None,
            });
            asked == Err(Violation::Flood)
        });
        assert!(asked.is_some_and(|asked| asked < 1_000), "{asked:?}");
    }
}

#[test]
fn only_so_much_is_held_and_then_a_job_finds_the_node_busy() {
    let mut core = linked();
    let mut held = 0;
    for job in 0..2_000 {
        core.hub(run(Order { credit: 1000, ..order(job, true) }));
        core.answer(Answer::New);
        held += core.ordered().len();
        core.handle_news(RunnerToNode::Started { job: JobId(job), pid: 1 });
        core.handle_news(RunnerToNode::Exit { job: JobId(job), end: RunEnd::Exited(0), usage: None });
        core.messages();
    }
    assert_eq!(held, MAX_HELD_JOBS);
    let mut core = linked();
    let mut held = 0;
    for job in 0..100 {
        core.hub(run(order(job, true)));
        core.answer(Answer::New);
        held += core.ordered().len();
        core.messages();
    }
    assert_eq!(held as u64, MAX_KEPT / u64::from(OUTPUT_WINDOW));
}

/// The executor ends everything when it is asked for far more than it can run.
#[test]
fn no_hub_makes_the_node_ask_too_much_of_its_executor() {
    let mut core = linked();
    let mut asked = 0;
    for job in 0..60 {
        core.hub(run(Order { credit: 1000, ..order(job, job % 2 == 0) }));
        core.answer(Answer::New);
        asked += core.ordered().len();
    }
    assert_eq!(asked, MAX_OPEN);
    assert_eq!(core.messages(), (48..60).map(|job| format!("{job} Busy")).collect::<Vec<_>>());
}

#[test]
fn runs_have_turns_and_a_slow_connection_stops_the_executor_but_not_the_node() {
    let mut core = linked();
    let chunk = Bytes::from(vec![b'x'; MAX_CHUNK]);
    for job in [1, 2] {
        core.hub(run(order(job, false)));
        for _ in 0..4 {
            assert!(core.takes_news());
            let (stream, data) = (OutputStream::Stdout, chunk.clone());
            core.handle_news(RunnerToNode::Output { job: JobId(job), stream, data });
        }
    }
    assert!(!core.takes_news());
    let turns: Vec<u64> = std::iter::from_fn(|| core.poll_message())
        .map(|message| match message {
            NodeToHub::Output { job, .. } => job.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(turns, [1, 2, 1, 2, 1, 2, 1, 2]);
    assert!(core.takes_news());
}

#[test]
fn a_node_that_stops_tells_every_end_and_starts_nothing() {
    let mut core = linked();
    core.start_detached();
    core.handle_stop();
    core.hub(run(order(8, false)));
    core.hub(run(order(9, true)));
    assert_eq!((core.messages(), core.ordered()), (vec!["8 Stopped".into(), "9 Stopped".into()], vec![]));
    assert!(!core.is_idle());
    core.handle_news(failed(RunFailure::Stopped));
    assert_eq!(core.messages(), ["7 Stopped"]);
    assert!(!core.is_idle(), "the hub has not kept it");
    core.hub(HubToNode::Forget { job: JOB });
    assert!(core.is_idle());
    // Nobody who is not there is waited for.
    let mut core = linked();
    core.start_detached();
    core.handle_link_down();
    assert!(core.is_idle());
}

#[test]
fn an_executor_that_ends_ends_what_it_had_and_nothing_starts_any_more() {
    let mut core = linked();
    core.handle_news(RunnerToNode::Commands(vec![CommandInfo::plain("x", "", 1)]));
    core.start_detached();
    core.hub(run(order(8, false)));
    core.hub(run(order(9, true)));
    core.handle_executor_gone();
    core.answer(Answer::New);
    let mut told = core.messages();
    told.sort();
    assert_eq!(told, ["7 Stopped", "8 Stopped", "9 Stopped", "commands 0"]);
    core.hub(run(order(10, false)));
    assert_eq!((core.messages(), core.ordered()), (vec!["10 Stopped".to_owned()], vec![]));
}
