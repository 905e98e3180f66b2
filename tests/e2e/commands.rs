//! Commands from the node's allowlist: streams, ends, and that nothing outlives them.

use std::{fs, path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use secmon_testkit::{
    json::text,
    process::{Output, Process, lines},
    product::{Hub, Lab, Node, NodeSetup, Place},
    wait::eventually,
};

/// The older form of an allowlist line, and the newer form with every key of this release that a test needs.
const ALLOWLIST: &str = r#"
[commands.both]
description = "Prints on both streams"
run = ["sh", "-c", "echo to-stdout; echo to-stderr >&2"]

[commands.blob]
run = ["cat", "BLOB"]

[commands.three]
run = ["sh", "-c", "exit 3"]

[commands.signalled]
run = ["sh", "-c", "kill -TERM $$"]

[commands.slow]
run = ["sh", "-c", "sleep 1000 & echo $!; wait"]
timeout = "5s"

[commands.endless]
run = ["sh", "-c", "yes; exit 7"]
timeout = "10m"

[commands.tree]
run = ["sh", "-c", "sh -c 'sleep 1000 & echo $!; wait' & wait"]
timeout = "10m"

[commands.held]
run = ["cat", "FIFO"]
"#;

struct Scene {
    lab: Lab,
    hub: Hub<'static>,
    blob: Vec<u8>,
    _node: Node<'static>,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        // Every byte value, in no order that a text filter would leave alone.
        let blob: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let file = lab.write("blob", &blob);
        let fifo = lab.path("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let allowlist =
            ALLOWLIST.replace("BLOB", file.to_str().unwrap()).replace("FIFO", fifo.to_str().unwrap());
        let hub = Hub::start(&lab, Place::Here);
        let setup = NodeSetup::quiet(&lab).with_commands(&allowlist);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
        Self { lab, hub, blob, _node: node }
    }

    /// Runs a client command whose stdout a shell puts elsewhere: `"$@"` in `script` is the command.
    fn in_shell(&self, script: &str, args: &[&str]) -> Output {
        let secmon = Place::Here.secmon();
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(secmon.get_program()).args(secmon.get_args());
        for (variable, value) in secmon.get_envs() {
            match value {
                Some(value) => shell.env(variable, value),
                None => shell.env_remove(variable),
            };
        }
        Process::run(script, shell.args(args).arg("--socket").arg(self.hub.socket()))
    }

    fn fifo(&self) -> PathBuf {
        self.lab.path("fifo")
    }
}

/// A process is gone when it is not there or only waits to be reaped (state Z, `proc_pid_stat(5)`).
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

fn first_pid(stdout: &[u8]) -> Option<u32> {
    lines(stdout).next()?.trim().parse().ok()
}

#[test]
fn both_streams_of_a_command_come_back_apart() {
    let scene = Scene::new();
    let output = scene.hub.client(&["run", "web1", "both"]);
    assert_eq!(
        (output.code(), output.out().as_str(), output.err().as_str()),
        (0, "to-stdout\n", "to-stderr\n")
    );
}

#[test]
fn a_megabyte_of_binary_output_comes_back_byte_for_byte() {
    let scene = Scene::new();
    let output = scene.hub.client(&["run", "web1", "blob"]);
    assert_eq!(output.code(), 0, "{}", output.err());
    assert!(output.stdout == scene.blob, "{} bytes came, not the {}", output.stdout.len(), scene.blob.len());
}

#[test]
fn json_has_the_output_in_base64_and_then_the_end() {
    let scene = Scene::new();
    let mut chunks = scene.hub.json(&["run", "web1", "blob"]);
    let end = chunks.pop().expect("an end");
    assert!(end.get("data").is_none(), "{end}");
    let mut whole = Vec::new();
    for chunk in &chunks {
        assert_eq!(text(chunk, "stream"), "stdout");
        whole.extend(STANDARD.decode(text(chunk, "data")).unwrap());
    }
    assert!(whole == scene.blob);
}

#[test]
fn the_exit_is_the_commands_own() {
    let scene = Scene::new();
    assert_eq!(scene.hub.client(&["run", "web1", "three"]).code(), 3);
    assert_eq!(scene.hub.client(&["run", "web1", "signalled"]).code(), 143);
}

#[test]
fn a_run_whose_output_is_closed_cancels_its_command_and_says_so_by_its_exit() {
    let scene = Scene::new();
    let mut watch = scene.hub.watch(&["--type", "command.finished"]);
    for form in [&["run", "web1", "endless"][..], &["run", "web1", "endless", "--json"]] {
        let output = scene.in_shell(r#"{ "$@"; echo "ended with $?" >&2; } | head -c 4"#, form);
        assert_eq!((output.stdout.len(), output.err().as_str()), (4, "ended with 125\n"), "{output}");
        let finished = watch.find_type("command.finished");
        assert_eq!(text(&finished, "secmon.command.end"), "cancelled", "{finished}");
        watch.events.clear();
    }
}

#[test]
fn a_run_whose_output_cannot_be_written_never_ends_with_a_code_of_the_commands() {
    let scene = Scene::new();
    let to_full = |args: &[&str]| scene.in_shell(r#""$@" > /dev/full"#, args);
    for args in [&["run", "web1", "blob"][..], &["run", "web1", "three", "--json"]] {
        let output = to_full(args);
        assert_eq!(output.code(), 125, "{args:?}\n{output}");
        assert!(output.err().starts_with("secmon: cannot write the output: No space left"), "{output}");
    }
    assert_eq!(to_full(&["run", "web1", "three"]).code(), 3, "nothing was to be written");
}

#[test]
fn a_timeout_ends_the_whole_process_group() {
    let scene = Scene::new();
    let output = scene.hub.client(&["run", "web1", "slow"]);
    assert_eq!(output.code(), 124, "{output}");
    let grandchild = first_pid(&output.stdout).expect("the grandchild's pid");
    eventually("the grandchild's end", || is_gone(grandchild).then_some(()));
}

#[test]
fn ctrl_c_ends_the_grandchildren_on_the_node() {
    let scene = Scene::new();
    let run = scene.hub.spawn_client(&["run", "web1", "tree"]);
    let grandchild = run.wait_until("the grandchild's pid", |output| first_pid(&output.stdout));
    assert!(!is_gone(grandchild));
    run.signal(Signal::SIGINT);
    let output = run.finish();
    assert_eq!(output.code(), 130, "{output}");
    eventually("the grandchild's end", || is_gone(grandchild).then_some(()));
}

#[test]
fn a_client_that_vanishes_takes_its_command_with_it() {
    let scene = Scene::new();
    let run = scene.hub.spawn_client(&["run", "web1", "tree"]);
    let grandchild = run.wait_until("the grandchild's pid", |output| first_pid(&output.stdout));
    run.kill();
    eventually("the grandchild's end", || is_gone(grandchild).then_some(()));
}

#[test]
fn commands_of_one_node_run_side_by_side() {
    let scene = Scene::new();
    let held = scene.hub.spawn_client(&["run", "web1", "held"]);
    // A write end can be opened once the command reads; the other command runs meanwhile.
    let mut fifo = fs::OpenOptions::new().write(true).open(scene.fifo()).unwrap();
    assert_eq!(scene.hub.client(&["run", "web1", "both"]).code(), 0);
    assert!(held.is_running());
    std::io::Write::write_all(&mut fifo, b"released\n").unwrap();
    drop(fifo);
    let output = held.finish();
    assert_eq!((output.code(), output.out().as_str()), (0, "released\n"));
}

#[test]
fn the_start_and_the_end_of_a_command_are_events() {
    let scene = Scene::new();
    let mut watch = scene.hub.watch(&["--type", "command.*"]);
    assert_eq!(scene.hub.client(&["run", "web1", "three"]).code(), 3);
    let started = watch.find_type("command.started");
    assert!(started.to_string().contains("three"), "{started}");
    let finished = watch.find_type("command.finished");
    assert_eq!(text(&finished, "host.name"), "web1", "{finished}");
}

#[test]
fn commands_lists_what_the_node_allows_and_an_older_list_is_read() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let old = "# comment\nuptime=cat /proc/uptime\ngreet=echo 'hello world'\n";
    let setup = NodeSetup::quiet(&lab).with_commands(old);
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    let listed = hub.json(&["commands", "web1"]);
    assert_eq!(listed.len(), 2, "{listed:?}");
    let labels: Vec<&str> = listed.iter().map(|command| text(command, "label")).collect();
    assert_eq!(labels, ["greet", "uptime"]);
    let output = hub.client(&["run", "web1", "greet"]);
    assert_eq!((output.code(), output.out().as_str()), (0, "hello world\n"));
}
