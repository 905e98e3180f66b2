//! Commands, jobs and permissions, as `commands`, `jobs` and `whoami` print them.

use secmon_protocol::{
    command::RunEnd,
    ecs,
    message::client::{JobState, JobSummary, Role, Rule, WhoAmI},
};
use serde_json::json;

use crate::samples::{NODE, TIME, USAGE, bare_run, command_run, name, typed_command};

#[test]
fn a_command_shows_what_it_takes_and_its_limits() {
    let about = |name: &str| format!("about {name}");
    let expected = json!([{
        "label": "tail", "description": "The end of a log", "timeout_ms": 5_000, "max_output_bytes": 1 << 20,
        "concurrency": 2, "stdin": true,
        "args": [
            { "name": "lines", "description": about("lines"), "type": "integer", "min": -5, "max": 1_000, "default": "100" },
            { "name": "file", "description": about("file"), "type": "choice", "values": ["syslog", "auth.log"] },
            { "name": "match", "description": about("match"), "type": "string", "pattern": "[a-z]+",
              "min_length": 1, "max_length": 64 },
            { "name": "verbose", "description": about("verbose"), "type": "bool", "default": "false" },
            { "name": "path", "description": about("path"), "type": "path", "below": "/srv" },
        ],
    }]);
    assert_eq!(json!(ecs::commands(&[typed_command()])), expected);
}

#[test]
fn a_job_shows_where_it_stands_and_what_is_known_of_it() {
    let time = "2026-11-21T06:00:00.123456789Z";
    let job = JobSummary {
        node: NODE,
        name: name(),
        run: command_run(),
        state: JobState::Finished,
        made: TIME,
        expires: Some(TIME),
        started: Some(TIME),
        ended: Some(TIME),
        end: Some(RunEnd::Exited(3)),
        usage: Some(USAGE),
        output: 1_234,
        dropped: 34,
    };
    let shown = ecs::job(&job);
    assert_eq!(shown["host"], json!({ "id": NODE.to_string(), "name": "web-1" }));
    assert_eq!(shown["event"], json!({ "outcome": "failure" }));
    assert_eq!(shown["process"], json!({ "exit_code": 3 }));
    assert_eq!(shown["secmon"]["command"]["args"], json!({ "lines": "50", "file": "auth.log" }));
    assert_eq!(shown["secmon"]["command"]["usage"]["max_rss_bytes"], 4 << 20);
    let expected = json!({
        "state": "finished", "made": time, "expires": time, "started": time, "ended": time,
        "output_bytes": 1_234, "dropped_bytes": 34,
    });
    assert_eq!(shown["secmon"]["job"], expected);

    let (state, run) = (JobState::Queued, bare_run());
    let (expires, started, ended, end, usage) = (None, None, None, None, None);
    let waiting =
        JobSummary { run, state, expires, started, ended, end, usage, output: 0, dropped: 0, ..job };
    let expected = json!({ "state": "queued", "made": time, "output_bytes": 0, "dropped_bytes": 0 });
    assert_eq!(ecs::job(&waiting)["secmon"]["job"], expected);
    assert_eq!(ecs::job(&waiting).get("event"), None);
}

#[test]
fn who_one_is_shows_the_rules_that_apply() {
    let rule = Rule {
        name: "[[access]] 2 (group ops)".into(),
        role: Role::Operator,
        nodes: vec!["web-*".into()],
        commands: vec!["restart-*".into()],
    };
    let who = WhoAmI {
        uid: 1000,
        user: Some("alice".into()),
        groups: vec![(1000, Some("alice".into())), (4242, None)],
        rules: vec![rule],
    };
    let expected = json!({
        "user": {
            "id": "1000", "name": "alice",
            "group": [{ "id": "1000", "name": "alice" }, { "id": "4242" }],
        },
        "secmon": { "access": { "rules": [{
            "rule": "[[access]] 2 (group ops)", "role": "operator", "nodes": ["web-*"], "commands": ["restart-*"],
        }] } },
    });
    assert_eq!(ecs::who_am_i(&who), expected);
}
