//! One command on many nodes, its arguments, its input and its amounts.

use std::{fs, process::Command};

use secmon_testkit::{
    json::{number, text},
    process::{Output, Process},
    product::{Hub, Lab, Node, NodeSetup, Place},
    wait::eventually,
};

const ALLOWLIST: &str = r#"
[commands.say]
description = "Prints what it is told"
run = ["printf", "%s|", "of NAME", "--", "{word}", "n={count}", "{loud}"]
args.word = { type = "string", pattern = "[ -~]*", min = 0, max = 100 }
args.count = { type = "integer", min = 1, max = 9, default = 3 }
args.loud = { type = "bool", word = "--loud", default = false }

[commands.lines]
run = ["sh", "-c", "echo one of NAME; echo two of NAME >&2; exit CODE"]

[commands.count]
run = ["sh", "-c", "wc -c; sha256sum < /dev/null"]
stdin = "client"

[commands.flood]
run = ["head", "-c", "268435456", "/dev/zero"]
timeout = "10m"

[commands.mark]
run = ["sh", "-c", "echo NAME >> MARKS; exit CODE"]
"#;

struct Scene {
    lab: Lab,
    hub: Hub<'static>,
    nodes: Vec<Node<'static>>,
}

impl Scene {
    /// Nodes of these names, each with the exit code of its commands.
    fn new(nodes: &[(&str, i32)]) -> Self {
        let lab = Lab::new();
        let hub = Hub::start(&lab, Place::Here);
        let marks = lab.path("marks");
        let nodes = nodes
            .iter()
            .map(|(name, code)| {
                let allowlist = ALLOWLIST
                    .replace("NAME", name)
                    .replace("CODE", &code.to_string())
                    .replace("MARKS", marks.to_str().expect("UTF-8"));
                let setup = NodeSetup::quiet(&lab).with_commands(&allowlist);
                let node = Node::join(&lab, Place::Here, &hub, name, &setup);
                eventually("its commands", || (hub.json(&["commands", name]).len() == 5).then_some(()));
                node
            })
            .collect();
        Self { lab, hub, nodes }
    }

    fn marks(&self) -> Vec<String> {
        let marks = fs::read_to_string(self.lab.path("marks")).unwrap_or_default();
        marks.lines().map(str::to_owned).collect()
    }

    /// Runs a client command with a file of the lab as its input.
    fn with_input(&self, input: &[u8], args: &[&str]) -> Output {
        let file = self.lab.write("input", input);
        let secmon = Place::Here.secmon();
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"exec "$@" < "$INPUT""#, "sh"]).env("INPUT", file);
        shell.arg(secmon.get_program()).args(secmon.get_args());
        for (variable, value) in secmon.get_envs() {
            match value {
                Some(value) => shell.env(variable, value),
                None => shell.env_remove(variable),
            };
        }
        Process::run("with input", shell.args(args).arg("--socket").arg(self.hub.socket()))
    }
}

#[test]
fn arguments_fill_their_places_and_nothing_else() {
    let scene = Scene::new(&[("web1", 0)]);
    let run = |args: &[&str]| scene.hub.client(&[&["run", "web1", "say"], args].concat());
    assert_eq!(run(&["word=hello"]).out(), "of web1|--|hello|n=3|");
    assert_eq!(run(&["word=a b=c", "count=9", "loud=true"]).out(), "of web1|--|a b=c|n=9|--loud|");
    for word in ["$(id)", "; id", "%s", "'\"", "*", "a -n"] {
        let output = run(&[&format!("word={word}")]);
        assert_eq!((output.code(), output.out()), (0, format!("of web1|--|{word}|n=3|")), "{output}");
    }
    for wrong in [
        &["word=x", "count=10"][..],
        &["word=x", "count=two"],
        &["wrd=x"],
        &[],
        &["word=\u{e9}"],
        &["word"],
        &["word=--version"],
    ] {
        let output = run(wrong);
        assert_eq!((output.code(), output.out().as_str()), (2, ""), "{wrong:?}\n{output}");
        assert!(!output.err().is_empty());
    }
}

#[test]
fn a_command_on_many_nodes_prints_whose_line_each_is_and_ends_as_the_worst() {
    let scene = Scene::new(&[("web1", 0), ("web2", 4), ("db1", 0)]);
    let output = scene.hub.client(&["run", "web*", "lines"]);
    assert_eq!(output.code(), 1, "{output}");
    let (out, err) = (output.out(), output.err());
    for name in ["web1", "web2"] {
        assert!(
            out.lines().any(|line| line.starts_with(name) && line.ends_with(&format!("one of {name}"))),
            "{output}"
        );
        assert!(
            err.lines().any(|line| line.starts_with(name) && line.ends_with(&format!("two of {name}"))),
            "{output}"
        );
    }
    assert!(!out.contains("db1") && err.contains('4'), "{output}");
    assert_eq!(scene.hub.client(&["run", "web1,db1", "lines"]).code(), 0);
    let grouped = scene.hub.client(&["run", "--all", "lines", "--group"]);
    assert_eq!((grouped.code(), grouped.out().matches("one of").count()), (1, 3), "{grouped}");
    let frames = scene.hub.client(&["run", "--all", "lines", "--json"]);
    let frames = secmon_testkit::json::lines(&frames.stdout);
    let ends = frames.iter().filter(|frame| !text(frame, "end").is_empty());
    let mut ends: Vec<_> = ends.map(|end| (text(end, "host.name"), number(end, "exit_code"))).collect();
    ends.sort_unstable();
    assert_eq!(ends, [("db1", Some(0)), ("web1", Some(0)), ("web2", Some(4))]);
    assert_ne!(
        scene.hub.client(&["run", "nothing*", "lines"]).code(),
        0,
        "a pattern that fits no node is a mistake"
    );
}

#[test]
fn a_rolling_run_stops_at_the_first_failure_unless_told_to_go_on() {
    let scene = Scene::new(&[("web1", 0), ("web2", 1), ("web3", 0)]);
    let output = scene.hub.client(&["run", "web*", "mark", "--rolling", "1"]);
    assert_eq!((output.code(), scene.marks()), (1, vec!["web1".to_owned(), "web2".to_owned()]), "{output}");
    assert!(output.err().contains("web3"), "what was not run is named\n{output}");
    let output = scene.hub.client(&["run", "web*", "mark", "--rolling", "1", "--continue"]);
    assert_eq!((output.code(), scene.marks().len()), (1, 5), "{output}");
}

#[test]
fn a_node_that_is_away_fails_for_itself_alone() {
    let scene = Scene::new(&[("web1", 0), ("web2", 0)]);
    scene.nodes[1].process().terminate();
    scene.hub.wait_for_node("web2", "away");
    let output = scene.hub.client(&["run", "web*", "lines"]);
    assert_eq!(output.code(), 1, "{output}");
    assert!(output.out().contains("one of web1") && output.err().contains("web2"), "{output}");
}

#[test]
fn input_reaches_a_command_that_reads_it_and_no_other() {
    let scene = Scene::new(&[("web1", 0)]);
    let input = vec![7; 3 << 20];
    let output = scene.with_input(&input, &["run", "web1", "count"]);
    assert_eq!(output.code(), 0, "{output}");
    assert!(output.out().trim_start().starts_with(&input.len().to_string()), "{output}");
    let output = scene.with_input(b"", &["run", "web1", "count"]);
    assert!(output.out().trim_start().starts_with('0'), "{output}");
    let output = scene.with_input(b"not wanted", &["run", "web1", "lines"]);
    assert_eq!((output.code(), output.out().as_str()), (0, "one of web1\n"), "{output}");
}

/// A quarter of a gigabyte; the bound is far below it and far above what a run may hold.
#[test]
fn what_a_command_prints_passes_through_and_is_kept_nowhere() {
    const ROOM_KIB: u64 = 48 << 10;
    let scene = Scene::new(&[("web1", 0)]);
    let peak = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("proc_pid_status(5)")
            .to_owned();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let pids = [scene.hub.process().pid(), scene.nodes[0].process().pid()];
    let before = pids.map(peak);
    let secmon = Place::Here.secmon();
    let mut shell = Command::new("sh");
    // A reader that takes its time: what it has not taken waits in the pipe of the command.
    shell
        .args(["-c", r#""$@" | { sleep 1; wc -c; }"#, "sh"])
        .arg(secmon.get_program())
        .args(secmon.get_args());
    shell.args(["run", "web1", "flood", "--socket"]).arg(scene.hub.socket());
    let output = Process::run("a flood", &mut shell);
    assert_eq!(output.out().trim(), "268435456", "{output}");
    for (pid, before) in pids.into_iter().zip(before) {
        assert!(peak(pid) < before + ROOM_KIB, "{pid} had {before} KiB and then {} KiB", peak(pid));
    }
}
