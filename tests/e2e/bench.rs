//! The benchmarks run, and what they say of losses is nothing. No figure is held to anything here.

use std::process::Command;

use secmon_testkit::{
    binary,
    json::{self, number},
    process::Process,
};

#[test]
fn a_fan_out_delivers_every_event_of_every_node_to_every_subscriber() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.env("SECMON_BIN", binary::secmon());
    command.args(["fanout", "--nodes", "3", "--events", "200", "--clients", "3", "--seconds", "1"]);
    command.args(["--rate", "100", "--json"]);
    if binary::program("nats-server").is_some() {
        command.args(["--beside", "nats"]);
    }
    let output = Process::run("bench", &mut command);
    assert_eq!(output.code(), 0, "{output}");
    let lines = json::lines(&output.stdout);
    assert!(!lines.is_empty(), "{output}");
    let carriers = lines.iter().filter(|line| line.get("lost").is_some());
    for line in carriers {
        assert_eq!((number(line, "lost"), number(line, "out_of_order")), (Some(0), Some(0)), "{line}");
        assert!(number(line, "delivered") > Some(0), "{line}");
    }
}
