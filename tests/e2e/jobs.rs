//! Detached jobs with real processes killed: each is started once at most, its output is kept whole, and its end is told.

use std::{fs, path::PathBuf};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use secmon_testkit::{
    json::{at, number, text},
    product::{Hub, Lab, Node, NodeSetup, Place},
    wait::eventually,
};
use serde_json::Value;

/// `gated` writes down that it was started, prints, and waits for a file before it prints on and ends.
const ALLOWLIST: &str = r#"
[commands.gated]
run = ["sh", "-c", "echo $$ >> STARTS; echo before; while ! test -e GATE; do sleep 0.05; done; echo after >&2; exit 3"]
timeout = "10m"

[commands.numbered]
run = ["sh", "-c", "echo $1 >> STARTS; for i in 1 2 3 4; do echo $1 line $i; sleep 0.1; done; echo $1 end", "sh", "{n}"]
args.n = { type = "integer" }

[commands.large]
run = ["sh", "-c", "echo first; head -c 4000000 /dev/zero; echo; echo last"]
"#;

struct Scene {
    lab: Lab,
    hub: Hub<'static>,
    node: Node<'static>,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let file = |name: &str| lab.path(name).to_str().expect("UTF-8").to_owned();
        let allowlist = ALLOWLIST.replace("STARTS", &file("starts")).replace("GATE", &file("gate"));
        let hub = Hub::start(&lab, Place::Here);
        let setup = NodeSetup::quiet(&lab).with_commands(&allowlist);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
        Self { lab, hub, node }
    }

    /// Runs `secmon run … --detach` and gives the number that it prints.
    fn detach(&self, args: &[&str]) -> String {
        let output = self.hub.client(&[&["run", "web1"], args].concat());
        assert_eq!(output.code(), 0, "{output}");
        let job = output.out().trim().to_owned();
        assert!(job.len() == 16 && job.bytes().all(|digit| digit.is_ascii_hexdigit()), "{output}");
        job
    }

    fn job(&self, job: &str) -> Value {
        self.hub.json(&["job", "show", job]).remove(0)
    }

    fn wait_for(&self, job: &str, state: &str) -> Value {
        let mut last = Value::Null;
        eventually(&format!("job {job} to be {state}"), || {
            last = self.job(job);
            (text(&last, "secmon.job.state") == state).then_some(())
        });
        last
    }

    /// The pids of all starts.
    fn starts(&self) -> Vec<String> {
        let starts = fs::read_to_string(self.lab.path("starts")).unwrap_or_default();
        starts.lines().map(str::to_owned).collect()
    }

    fn gate(&self) -> PathBuf {
        self.lab.path("gate")
    }

    fn output(&self, job: &str) -> (String, String) {
        let output = self.hub.client(&["job", "output", job]);
        (output.out(), output.err())
    }
}

#[test]
fn a_detached_job_outlives_its_client_and_its_hub_and_its_output_is_whole() {
    let mut scene = Scene::new();
    let mut watch = scene.hub.watch(&["--type", "command.*"]);
    let job = scene.detach(&["gated", "--detach"]);
    let started = watch.find_type("command.started");
    assert_eq!(text(&started, "secmon.command.job"), job, "{started}");
    assert_eq!(at(&started, "secmon.command.detached"), Some(&Value::Bool(true)), "{started}");
    scene.wait_for(&job, "running");
    drop(watch);
    scene.hub.process().kill();
    // What it prints while nobody listens waits for the hub.
    fs::write(scene.gate(), "").unwrap();
    scene.hub.start_again();
    let ended = scene.wait_for(&job, "finished");
    assert_eq!(number(&ended, "process.exit_code"), Some(3), "{ended}");
    assert_eq!(scene.starts().len(), 1);
    let (out, err) = scene.output(&job);
    assert_eq!((out.as_str(), err.as_str()), ("before\n", "after\n"));
    let events =
        scene.hub.watch(&["--type", "command.finished", "--since", "10m"]).find_type("command.finished");
    assert_eq!(text(&events, "secmon.command.job"), job, "{events}");
}

#[test]
fn a_job_for_a_node_that_is_away_waits_in_the_store_and_is_started_once() {
    let mut scene = Scene::new();
    fs::write(scene.gate(), "").unwrap();
    scene.node.process().terminate();
    scene.hub.wait_for_node("web1", "away");
    let refused = scene.hub.client(&["run", "web1", "gated", "--detach"]);
    assert_eq!(refused.code(), 4, "without a queue it is refused\n{refused}");
    let job = scene.detach(&["gated", "--queue-for", "1h"]);
    assert_eq!(text(&scene.job(&job), "secmon.job.state"), "queued");
    let other = scene.detach(&["gated", "--queue-for", "1h"]);
    assert_eq!(scene.hub.client(&["job", "cancel", &other]).code(), 0);
    scene.wait_for(&other, "cancelled");
    let brief = scene.detach(&["gated", "--queue-for", "1s"]);
    scene.wait_for(&brief, "expired");

    scene.hub.process().kill();
    scene.hub.start_again();
    scene.node.start_again();
    scene.wait_for(&job, "finished");
    assert_eq!(scene.starts().len(), 1, "only the one that waited");

    // Nor is it started again when its node comes back once more.
    scene.node.process().kill();
    scene.node.start_again();
    scene.hub.wait_for_node("web1", "online");
    let last = scene.detach(&["gated", "--detach"]);
    scene.wait_for(&last, "finished");
    assert_eq!(scene.starts().len(), 2);
}

#[test]
fn a_job_whose_node_is_killed_is_lost_and_not_tried_again() {
    let mut scene = Scene::new();
    let job = scene.detach(&["gated", "--detach"]);
    scene.wait_for(&job, "running");
    eventually("its start", || (scene.starts().len() == 1).then_some(()));
    scene.node.process().kill();
    scene.node.start_again();
    let lost = scene.wait_for(&job, "lost");
    assert_eq!(text(&lost, "secmon.command.end"), "failed", "{lost}");
    assert_eq!(scene.output(&job).0, "before\n", "what it had printed is kept");
    assert_eq!(scene.starts().len(), 1);
    // What the killed node left behind ends by itself.
    fs::write(scene.gate(), "").unwrap();
}

#[test]
fn a_running_job_is_cancelled_and_listed_by_node_and_state() {
    let scene = Scene::new();
    let job = scene.detach(&["gated", "--detach"]);
    scene.wait_for(&job, "running");
    let listed = scene.hub.json(&["jobs", "--node", "web*", "--state", "running"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(text(&listed[0], "secmon.command.job"), job);
    assert!(scene.hub.json(&["jobs", "--state", "finished"]).is_empty());
    assert_eq!(scene.hub.client(&["job", "cancel", &job[..8]]).code(), 0);
    scene.wait_for(&job, "cancelled");
    let again = scene.hub.client(&["job", "cancel", &job]);
    assert_eq!(again.code(), 1, "it is over\n{again}");
    let unknown = scene.hub.client(&["job", "show", "ffffffffffffffff"]);
    assert_eq!(unknown.code(), 1, "{unknown}");
}

#[test]
fn of_much_output_the_beginning_and_the_end_are_kept_and_the_hole_is_told() {
    let scene = Scene::new();
    let job = scene.detach(&["large", "--detach"]);
    let ended = scene.wait_for(&job, "finished");
    let dropped = number(&ended, "secmon.job.dropped_bytes").expect("a number");
    assert!(dropped > 0, "{ended}");
    let output = scene.hub.client(&["job", "output", &job]);
    assert!(output.stdout.starts_with(b"first\n") && output.stdout.ends_with(b"\nlast\n"));
    let printed = number(&ended, "secmon.job.output_bytes").expect("a number");
    assert_eq!(output.stdout.len() as i64, printed - dropped);
    assert!(output.err().contains(&dropped.to_string()), "{}", output.err());
}

#[test]
fn who_follows_a_job_sees_what_it_prints_and_ends_as_it_does() {
    let scene = Scene::new();
    let job = scene.detach(&["gated", "--detach"]);
    let follower = scene.hub.spawn_client(&["job", "output", &job, "--follow"]);
    follower.wait_until("the first line", |output| output.out().contains("before\n").then_some(()));
    fs::write(scene.gate(), "").unwrap();
    let output = follower.finish();
    assert_eq!((output.code(), output.out().as_str()), (3, "before\n"), "{output}");
    assert!(output.err().contains("after\n"), "{output}");
}

#[test]
fn jobs_among_restarts_and_kills_start_once_and_end_and_what_finished_is_whole() {
    for seed in [1, 2] {
        let (mut scene, mut chance, mut jobs) = (Scene::new(), StdRng::seed_from_u64(seed), vec![]);
        for _ in 0..8 {
            for _ in 0..4 {
                let n = jobs.len().to_string();
                let job = scene.detach(&["numbered", &format!("n={n}"), "--queue-for", "1h"]);
                jobs.push((n, job));
            }
            // What is under way differs each time: the queue, its handing over, output, or an end.
            let reached = chance.random_range(0..jobs.len());
            eventually("some starts", || (scene.starts().len() * 2 >= reached).then_some(()));
            match chance.random_range(0..5) {
                0 | 1 => {
                    scene.hub.process().kill();
                    scene.hub.start_again();
                }
                2 => {
                    scene.node.process().kill();
                    scene.node.start_again();
                }
                3 => {
                    scene.node.process().terminate();
                    scene.node.start_again();
                }
                _ => {
                    scene.node.process().kill();
                    scene.hub.process().kill();
                    scene.hub.start_again();
                    scene.node.start_again();
                }
            }
        }
        let mut finished = 0;
        for (n, job) in &jobs {
            let mut state = String::new();
            eventually(&format!("job {n} to end, with seed {seed}"), || {
                text(&scene.job(job), "secmon.job.state").clone_into(&mut state);
                matches!(state.as_str(), "finished" | "lost" | "failed" | "expired" | "cancelled")
                    .then_some(())
            });
            let starts = scene.starts().iter().filter(|start| *start == n).count();
            assert!(starts <= 1, "seed {seed}: job {n} was started {starts} times");
            match state.as_str() {
                "finished" => {
                    let lines: String = (1..=4).map(|i| format!("{n} line {i}\n")).collect();
                    assert_eq!(
                        (starts, scene.output(job).0),
                        (1, format!("{lines}{n} end\n")),
                        "seed {seed}"
                    );
                    finished += 1;
                }
                "lost" => {}
                other => panic!("seed {seed}: job {n} is {other}"),
            }
        }
        assert!(finished >= jobs.len() / 4, "seed {seed}: only {finished} of {} finished", jobs.len());
    }
}
