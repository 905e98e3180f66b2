//! `secmon parse` over files of logins that real hosts wrote.

use std::path::PathBuf;

use secmon_testkit::{
    json::{self, number, text},
    process::Process,
    product::Place,
};
use serde_json::Value;

/// A file that a Debian wrote.
fn fixture(name: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../node/tests/fixtures").join(name);
    file.to_str().unwrap().to_owned()
}

fn parse(args: &[&str]) -> Vec<Value> {
    let parsed = Process::run("parse", Place::Here.secmon().arg("parse").arg("--json").args(args));
    assert_eq!(parsed.code(), 0, "{parsed}");
    json::lines(&parsed.stdout)
}

/// `RECORD TYPE USER TTY` of each event.
fn said(events: &[Value]) -> Vec<String> {
    let field = |event: &Value, name| match text(event, name) {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    let one = |event: &Value| {
        let line = number(event, "secmon.line").unwrap();
        let [kind, user, tty] = ["secmon.type", "user.name", "secmon.tty"].map(|name| field(event, name));
        format!("{line} {kind} {user} {tty}")
    };
    events.iter().map(one).collect()
}

#[test]
fn a_record_of_an_end_has_no_name_by_itself_and_that_of_its_beginning_when_joined() {
    let wtmp = fixture("wtmp-x86_64-debian-12");
    let alone = said(&parse(&["--source", "utmp", &wtmp]));
    assert_eq!(alone[..2], ["3 session.opened root pts/0", "4 session.closed - pts/0"]);
    let joined = said(&parse(&["--source", "utmp", "--join", &wtmp]));
    assert_eq!(joined[..2], ["3 session.opened root pts/0", "4 session.closed root pts/0"]);
    assert_eq!(joined.len(), alone.len());
}

#[test]
fn each_row_of_wtmpdb_is_a_beginning_and_an_end() {
    let rows = said(&parse(&["--source", "wtmpdb", &fixture("wtmpdb-debian-13.db")]));
    assert_eq!(rows[..2], ["2 session.opened root pts/0", "2 session.closed root pts/0"]);
    assert_eq!(rows.len(), 16);
}

#[test]
fn btmp_tells_of_failures() {
    let failed = said(&parse(&["--source", "btmp", &fixture("btmp-x86_64-two-sshd-failures")]));
    assert_eq!(failed[..2], ["1 auth.failed alice -", "2 auth.failed nosuch -"]);
}

#[test]
fn what_is_no_file_of_logins_is_said_and_costs_nothing() {
    let run = |args: &[&str]| Process::run("parse", Place::Here.secmon().arg("parse").args(args));
    let text = run(&["--source", "utmp", "/etc/passwd"]);
    assert!(text.code() == 0 && text.err().contains("is it a file of logins?"), "{text}");
    let database = run(&["--source", "wtmpdb", "/etc/passwd"]);
    assert!(database.code() == 1 && database.err().contains("not a database"), "{database}");
    let stream = run(&["--source", "wtmpdb", "-"]);
    assert!(stream.code() == 1 && stream.err().contains("give the name of its file"), "{stream}");
}
