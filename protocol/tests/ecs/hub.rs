//! What the hub says of nodes and of commands.

use secmon_protocol::{
    command::{RunEnd, RunFailure},
    hub_event::{CommandRun, HubEvent},
    ids::Seq,
    record::{Envelope, Lost},
};
use serde_json::{Value, json};

use crate::{
    common::{hub, of_hub, of_node, only, rendered},
    samples::{TIME, USAGE, bare_run, command_run, requester},
};

#[test]
fn a_node_is_enrolled_connected_disconnected_and_removed() {
    let secmon = |value: Value| json!({ "secmon": { "node": value } });
    let enrolled = of_hub("node.enrolled", "host", &["creation"], secmon(json!({ "replaced": false })));
    assert_eq!(hub(&HubEvent::Enrolled { replaced: false }), enrolled);
    let event = HubEvent::Connected { address: "192.0.2.1:40000".into(), agent: "0.1.0".into() };
    let rest = secmon(json!({ "address": "192.0.2.1:40000", "agent": "0.1.0" }));
    assert_eq!(hub(&event), of_hub("node.connected", "host", &["start"], rest));
    let event = HubEvent::Disconnected { reason: "it closed the connection".into() };
    let rest = secmon(json!({ "reason": "it closed the connection" }));
    assert_eq!(hub(&event), of_hub("node.disconnected", "host", &["end"], rest));
    let rest = json!({
        "user": { "id": "1000", "name": "alice" },
        "secmon": { "node": { "removed_with": "secmon 0.1.0" } },
    });
    assert_eq!(
        hub(&HubEvent::Removed { by: requester() }),
        of_hub("node.removed", "host", &["deletion"], rest)
    );
}

/// What every event about a command has.
fn of_command(run: &CommandRun) -> Value {
    let mut command = json!({ "job": run.job.to_string(), "label": run.label, "detached": run.detached });
    if !run.by.agent.is_empty() {
        command["agent"] = json!(run.by.agent);
    }
    if !run.args.is_empty() {
        command["args"] = json!({ "lines": "50", "file": "auth.log" });
    }
    let mut user = json!({ "id": run.by.uid.to_string() });
    if let Some(name) = &run.by.user {
        user["name"] = json!(name);
    }
    json!({ "user": user, "secmon": { "command": command } })
}

#[test]
fn a_command_that_started_says_who_asked_for_what() {
    assert_eq!(command_run().job.to_string(), "00decade00000077");
    for run in [command_run(), bare_run()] {
        let expected = of_hub("command.started", "process", &["start"], of_command(&run));
        assert_eq!(hub(&HubEvent::CommandStarted(run)), expected);
    }
}

#[test]
fn a_command_that_waits_says_until_when_and_one_that_was_refused_why() {
    let mut rest = of_command(&command_run());
    rest["secmon"]["command"]["expires"] = json!("2026-11-21T06:00:00.123456789Z");
    let event = HubEvent::CommandQueued { run: command_run(), expires: TIME };
    assert_eq!(hub(&event), of_hub("command.queued", "process", &["info"], rest));
    let mut rest = of_command(&bare_run());
    rest["secmon"]["command"]["message"] = json!("no such command");
    rest["event"] = json!({ "outcome": "failure" });
    let event = HubEvent::CommandRefused { run: bare_run(), reason: "no such command".into() };
    assert_eq!(hub(&event), of_hub("command.refused", "process", &["denied"], rest));
}

#[test]
fn a_denial_says_who_asked_for_what_and_what_he_lacks() {
    for unlogged in [0, 3] {
        let (request, reason) = ("enroll web-2".to_owned(), "only an admin may".to_owned());
        let event = HubEvent::Denied { by: requester(), request, reason, unlogged };
        let mut access =
            json!({ "request": "enroll web-2", "reason": "only an admin may", "agent": "secmon 0.1.0" });
        if unlogged > 0 {
            access["unlogged"] = json!(unlogged);
        }
        let rest = json!({
            "event": { "outcome": "failure" },
            "user": { "id": "1000", "name": "alice" },
            "secmon": { "access": access },
        });
        assert_eq!(hub(&event), of_hub("access.denied", "iam", &["denied"], rest));
    }
}

#[test]
fn a_command_that_finished_says_how_and_what_it_took() {
    let failed = RunEnd::Failed { why: RunFailure::Spawn, message: "cannot start it".into() };
    let ends = [
        (RunEnd::Exited(0), "success", json!({ "end": "exited" }), Some(0)),
        (RunEnd::Exited(3), "failure", json!({ "end": "exited" }), Some(3)),
        (RunEnd::Signalled(9), "failure", json!({ "end": "signalled", "signal": 9 }), None),
        (RunEnd::TimedOut, "failure", json!({ "end": "timed_out" }), None),
        (RunEnd::Cancelled, "failure", json!({ "end": "cancelled" }), None),
        (RunEnd::TooMuchOutput, "failure", json!({ "end": "too_much_output" }), None),
        (failed, "failure", json!({ "end": "failed", "message": "cannot start it" }), None),
    ];
    for (end, outcome, how, code) in ends {
        let mut rest = of_command(&command_run());
        rest["event"] = json!({ "outcome": outcome });
        let command = rest["secmon"]["command"].as_object_mut().unwrap();
        command.extend(how.as_object().unwrap().clone());
        let usage = json!({
            "wall_ns": 1_500_000_000, "user_ns": 20_000_000, "system_ns": 10_000_000,
            "max_rss_bytes": 4 << 20, "output_bytes": 1_234,
        });
        command.insert("usage".into(), usage);
        if let Some(code) = code {
            rest["process"] = json!({ "exit_code": code });
        }
        let event = HubEvent::CommandFinished { run: command_run(), end, usage: Some(USAGE) };
        assert_eq!(hub(&event), of_hub("command.finished", "process", &["end"], rest));
    }
}

#[test]
fn a_gap_says_how_many_are_missing_and_why() {
    let rest = json!({ "secmon": { "gap": { "count": 10, "reason": "the outbox was full" } } });
    let event = HubEvent::Gap { from: Seq(10), to: Seq(19), reason: "the outbox was full".into() };
    assert_eq!(hub(&event), of_hub("gap", "host", &["error"], rest.clone()));
    let lost = Lost { count: 10, reason: "the outbox was full".into() };
    assert_eq!(only(rendered(Envelope::lost(TIME, &lost))), of_node(0, "gap", "host", &["error"], rest));
}
