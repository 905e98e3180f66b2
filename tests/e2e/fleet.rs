//! What people see of commands on many nodes and of jobs: forms, sums, refusals, and what a shell completes.

use std::{fs, io::Write as _, path::PathBuf};

use nix::sys::signal::Signal;
use secmon_testkit::{
    json::{self, text},
    process::{Process, is_gone, lines},
    product::{Hub, Lab, Node, NodeSetup, Place},
    wait::eventually,
};

const ALLOWLIST: &str = r#"
[commands.hello]
run = ["sh", "-c", "echo hello; echo oh >&2"]

[commands.once]
description = "Succeeds the first time, wherever"
run = ["mkdir", "ONCE"]

[commands.say]
description = "Says something"
run = ["echo", "{what}", "{times}"]
args.what = { type = "choice", values = ["this", "that"] }
args.times = { type = "integer", min = 1, max = 9, default = 3 }

[commands.count]
run = ["wc", "-c"]
stdin = "client"

[commands.tree]
run = ["sh", "-c", "sleep 1000 & echo $!; wait"]
timeout = "10m"

[commands.seven]
run = ["sh", "-c", "echo out; echo err >&2; exit 7"]
"#;

struct Scene {
    lab: Lab,
    hub: Hub<'static>,
    nodes: Vec<Node<'static>>,
}

impl Scene {
    /// A hub, and nodes of these names.
    fn new(names: &[&str]) -> Self {
        let lab = Lab::new();
        let once = lab.path("once");
        let allowlist = ALLOWLIST.replace("ONCE", once.to_str().unwrap());
        let hub = Hub::start(&lab, Place::Here);
        let setup = NodeSetup::quiet(&lab).with_commands(&allowlist);
        let nodes: Vec<_> =
            names.iter().map(|name| Node::join(&lab, Place::Here, &hub, name, &setup)).collect();
        Self { lab, hub, nodes }
    }

    fn once(&self) -> PathBuf {
        self.lab.path("once")
    }

    /// Stops a node, and waits until the hub knows.
    fn away(&self, at: usize, name: &str) {
        self.nodes[at].process().terminate();
        self.hub.wait_for_node(name, "away");
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_pattern_runs_a_command_on_the_nodes_that_match_and_on_no_other() {
    let scene = Scene::new(&["db1", "web1", "web2"]);
    let output = scene.hub.client(&["run", "web*", "hello"]);
    assert_eq!(output.code(), 0, "{output}");
    assert_eq!(sorted(&output.out()), ["web1 | hello", "web2 | hello"]);
    let err = output.err();
    assert!(err.contains("web1 | oh\n") && err.contains("web2 | oh\n"), "{output}");
    assert!(err.ends_with("2 nodes: 2 exited with 0\n"), "{output}");
    let output = scene.hub.client(&["run", "--all", "hello", "--group", "--parallel", "1"]);
    // In one piece each, and side by side would mean in any order.
    assert_eq!(output.out(), "==> db1 <==\nhello\n==> web1 <==\nhello\n==> web2 <==\nhello\n", "{output}");
    let ends = json::lines(&scene.hub.client(&["run", "db1,web2", "seven", "--json"]).stdout);
    let ends: Vec<_> = ends.iter().filter(|line| line.get("end").is_some()).collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends.iter().all(|end| end["exit_code"] == 7 && end["host"]["name"].is_string()), "{ends:?}");
    let output = scene.hub.client(&["run", "web1,web3", "hello"]);
    assert_eq!(
        (output.code(), output.out().as_str()),
        (4, ""),
        "nothing runs where a name is wrong\n{output}"
    );
}

#[test]
fn ctrl_c_ends_a_command_on_all_nodes_and_still_sums_up() {
    let scene = Scene::new(&["web1", "web2"]);
    let run = scene.hub.spawn_client(&["run", "--all", "tree"]);
    let pids = run.wait_until("both pids", |output| {
        let pids: Vec<u32> =
            lines(&output.stdout).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (pids.len() == 2).then_some(pids)
    });
    run.signal(Signal::SIGINT);
    let output = run.finish();
    assert_eq!(output.code(), 130, "{output}");
    assert!(output.err().ends_with("2 nodes: 2 failed, 0 exited with 0\n"), "{output}");
    for pid in pids {
        eventually("the end of what ran", || is_gone(pid).then_some(()));
    }
}

#[test]
fn arguments_reach_the_command_and_wrong_ones_nobody() {
    let scene = Scene::new(&["web1", "web2"]);
    let output = scene.hub.client(&["run", "web1", "say", "what=that"]);
    assert_eq!((output.code(), output.out().as_str()), (0, "that 3\n"), "{output}");
    let mut watch = scene.hub.watch(&["--type", "command.*"]);
    for (words, said) in [
        (&["web1", "say"][..], "missing what=this|that"),
        (&["web1", "say", "what=those"], "one of this, that"),
        (&["web1", "say", "what=this", "times=10"], "a number from 1 to 9"),
        (&["web1", "say", "waht=this"], "did you mean what?"),
        (&["web*", "say", "what=this", "x=1"], "web1: say has no argument x"),
    ] {
        let output = scene.hub.client(&[&["run"], words].concat());
        assert_eq!((output.code(), output.out().as_str()), (2, ""), "{output}");
        assert!(output.err().contains(said), "{output}");
    }
    assert_eq!(scene.hub.client(&["run", "web1", "say", "what=this", "times=9"]).code(), 0);
    let started = watch.find_type("command.started");
    assert!(
        started.to_string().contains("\"times\":\"9\""),
        "the first that started is the good one: {started}"
    );
}

#[test]
fn a_command_that_reads_gets_our_input_and_another_leaves_it_to_others() {
    let scene = Scene::new(&["web1"]);
    let mut secmon = Place::Here.secmon();
    secmon.args(["run", "web1", "count", "--socket"]).arg(scene.hub.socket());
    let mut run = Process::spawn_with_stdin("count", &mut secmon);
    // More than all windows on the way hold together.
    run.write_stdin(&vec![7; 8 << 20]);
    run.close_stdin();
    assert_eq!(run.finish().out(), format!("{}\n", 8 << 20));
    let file = scene.lab.path("input");
    fs::File::create(&file).unwrap().write_all(b"one\ntwo\n").unwrap();
    let mut shell = std::process::Command::new("sh");
    let script = r#"while read line; do "$@" > /dev/null; echo "$line"; done < "$INPUT""#;
    shell.args(["-c", script, "sh"]).arg(Place::Here.secmon().get_program());
    shell.args(["run", "web1", "hello", "--socket"]).arg(scene.hub.socket()).env("INPUT", &file);
    let output = Process::run("a loop over lines", &mut shell);
    assert_eq!(output.out(), "one\ntwo\n", "what does not read takes nothing\n{output}");
}

#[test]
fn a_job_outlives_its_client_and_ends_a_follower_as_it_ended() {
    let scene = Scene::new(&["web1"]);
    let made = scene.hub.client(&["run", "web1", "seven", "--detach"]);
    assert_eq!(made.code(), 0, "{made}");
    let id = made.out().trim().to_owned();
    assert_eq!(id.len(), 16, "{made}");
    let output = scene.hub.client(&["job", "output", &id[..8], "--follow"]);
    assert_eq!((output.code(), output.out().as_str()), (7, "out\n"), "{output}");
    assert!(output.err().contains("err\n"), "{output}");
    let jobs = scene.hub.json(&["jobs", "--node", "web*", "--state", "finished"]);
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(text(&jobs[0], "secmon.job.state"), "finished");
    assert!(scene.hub.client(&["job", "show", &id]).out().contains("exited with 7"));
    assert!(scene.hub.json(&["jobs", "--state", "queued"]).is_empty());
    let unknown = scene.hub.client(&["job", "show", "ffffffffffffffff"]);
    assert_eq!((unknown.code(), unknown.out().as_str()), (1, ""), "{unknown}");
}

#[test]
fn a_job_waits_for_its_node_and_can_be_taken_back_until_then() {
    let mut scene = Scene::new(&["web1"]);
    scene.away(0, "web1");
    let refused = scene.hub.client(&["run", "web1", "hello", "--detach"]);
    assert_eq!(refused.code(), 4, "{refused}");
    assert!(refused.err().contains("--queue-for"), "{refused}");
    let submit = |label: &str| {
        let made = scene.hub.client(&["run", "web1", label, "--queue-for", "1h"]);
        assert!(made.err().contains("web1 is away or busy"), "{made}");
        made.out().trim().to_owned()
    };
    let (back, waits) = (submit("once"), submit("hello"));
    assert_eq!(scene.hub.client(&["job", "cancel", &back]).code(), 0);
    let follow = scene.hub.spawn_client(&["job", "output", &waits, "--follow"]);
    scene.nodes[0].start_again();
    let output = follow.finish();
    assert_eq!((output.code(), output.out().as_str()), (0, "hello\n"), "{output}");
    assert!(!scene.once().exists(), "what was taken back never ran");
}

#[test]
fn a_shell_is_offered_nodes_labels_arguments_and_values() {
    let scene = Scene::new(&["db1", "web1"]);
    let offered = |words: &[&str]| {
        let mut secmon = Place::Here.secmon();
        secmon.env("COMPLETE", "zsh").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        secmon.env("SECMON_SOCKET", scene.hub.socket());
        secmon.args(["--", "secmon"]).args(words);
        let output = Process::run("complete", &mut secmon);
        assert_eq!((output.code(), output.err().as_str()), (0, ""), "{output}");
        output.out()
    };
    assert!(offered(&["run", "we"]).contains("web1"));
    assert!(!offered(&["run", "we"]).contains("db1"));
    assert!(offered(&["run", "web1", "s"]).contains("say"));
    assert!(offered(&["run", "web1", "say", ""]).contains("what="));
    assert!(offered(&["run", "--all", "say", "what=tha"]).contains("what=that"));
    let mut nowhere = Place::Here.secmon();
    nowhere.env("COMPLETE", "zsh").env("_CLAP_COMPLETE_INDEX", "2").env("SECMON_SOCKET", "/nowhere/at/all");
    let output = Process::run("complete", nowhere.args(["--", "secmon", "run", "we"]));
    assert_eq!(
        (output.code(), output.err().as_str()),
        (0, ""),
        "where no hub is, there is silence\n{output}"
    );
}
