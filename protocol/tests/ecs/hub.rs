//! What the hub says of nodes and of commands.

use secmon_protocol::{
    command::{RunEnd, RunFailure},
    hub_event::{HubEvent, Requester},
    ids::{JobId, Seq},
    record::{Envelope, Lost},
};
use serde_json::{Value, json};

use crate::{
    common::{hub, of_hub, of_node, only, rendered},
    samples::{TIME, requester},
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
    assert_eq!(hub(&HubEvent::Removed), of_hub("node.removed", "host", &["deletion"], json!({})));
}

#[test]
fn a_command_that_started_says_who_asked_for_what() {
    let event = |by| HubEvent::CommandStarted { job: JobId(77), label: "uptime".into(), by };
    let rest = json!({
        "user": { "id": "1000", "name": "alice" },
        "secmon": { "command": { "job": 77, "label": "uptime", "agent": "secmon 0.1.0" } },
    });
    assert_eq!(hub(&event(requester())), of_hub("command.started", "process", &["start"], rest));
    let nobody = Requester { user: None, pid: None, agent: String::new(), ..requester() };
    let rest = json!({ "user": { "id": "1000" }, "secmon": { "command": { "job": 77, "label": "uptime" } } });
    assert_eq!(hub(&event(nobody)), of_hub("command.started", "process", &["start"], rest));
}

#[test]
fn a_command_that_finished_says_how() {
    let failed = RunEnd::Failed { why: RunFailure::Spawn, message: "cannot start it".into() };
    let ends = [
        (RunEnd::Exited(0), "success", json!({ "end": "exited" }), Some(0)),
        (RunEnd::Exited(3), "failure", json!({ "end": "exited" }), Some(3)),
        (RunEnd::Signalled(9), "failure", json!({ "end": "signalled", "signal": 9 }), None),
        (RunEnd::TimedOut, "failure", json!({ "end": "timed_out" }), None),
        (RunEnd::Cancelled, "failure", json!({ "end": "cancelled" }), None),
        (failed, "failure", json!({ "end": "failed", "message": "cannot start it" }), None),
    ];
    for (end, outcome, mut command, code) in ends {
        command["job"] = json!(77);
        command["label"] = json!("uptime");
        command["agent"] = json!("secmon 0.1.0");
        let mut rest = json!({
            "event": { "outcome": outcome },
            "user": { "id": "1000", "name": "alice" },
            "secmon": { "command": command },
        });
        if let Some(code) = code {
            rest["process"] = json!({ "exit_code": code });
        }
        let event =
            HubEvent::CommandFinished { job: JobId(77), label: "uptime".into(), by: requester(), end };
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
