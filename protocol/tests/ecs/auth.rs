//! The auth log.

use secmon_protocol::auth::{AuthAction, AuthEvent, Source, SourceHost};
use serde_json::{Value, json};

use crate::{
    common::{auth, of_node},
    samples::{TIME, auth_event},
};

fn event(program: &str, action: AuthAction, message: &str) -> AuthEvent {
    AuthEvent::new(TIME, program, Some(812), action, message)
}

fn from(host: SourceHost, port: Option<u16>) -> Option<Source> {
    Some(Source { host, port })
}

#[test]
fn an_accepted_login_says_who_from_where_and_how() {
    let event = AuthEvent {
        user: Some("alice".into()),
        source: from(SourceHost::Ip([192, 0, 2, 7].into()), Some(50_022)),
        method: Some("publickey".into()),
        fingerprint: Some("ED25519 SHA256:abc".into()),
        trusted: Some(true),
        ..event("sshd", AuthAction::Accepted, "Accepted publickey for alice")
    };
    let rest = json!({
        "event": { "outcome": "success" },
        "message": "Accepted publickey for alice",
        "process": { "name": "sshd", "pid": 812 },
        "user": { "name": "alice" },
        "source": { "ip": "192.0.2.7", "port": 50_022 },
        "secmon": {
            "ssh": { "method": "publickey", "fingerprint": "ED25519 SHA256:abc" },
            "trusted": true,
        },
    });
    assert_eq!(auth(&event), of_node(0, "auth.accepted", "authentication", &["start"], rest));
}

#[test]
fn a_failed_login_counts_its_repetitions_and_keeps_a_name_apart_from_an_address() {
    let event = AuthEvent {
        user: Some("root".into()),
        source: from(SourceHost::Name("fe80::1%eth0".into()), Some(4)),
        method: Some("password".into()),
        count: 5,
        ..event("sshd", AuthAction::Failed, "Failed password for root")
    };
    let rest = json!({
        "event": { "outcome": "failure" },
        "message": "Failed password for root",
        "process": { "name": "sshd", "pid": 812 },
        "user": { "name": "root" },
        "source": { "address": "fe80::1%eth0", "port": 4 },
        "secmon": { "ssh": { "method": "password" }, "count": 5 },
    });
    assert_eq!(auth(&event), of_node(0, "auth.failed", "authentication", &["start"], rest));
}

#[test]
fn an_invalid_user_is_a_failure_before_authentication() {
    let event = AuthEvent {
        user: Some("admin".into()),
        source: from(SourceHost::Ip("::ffff:203.0.113.5".parse().unwrap()), None),
        preauth: true,
        reason: Some("not listed in AllowUsers".into()),
        ..event("sshd", AuthAction::InvalidUser, "Invalid user admin")
    };
    let rest = json!({
        "event": { "outcome": "failure", "reason": "not listed in AllowUsers" },
        "message": "Invalid user admin",
        "process": { "name": "sshd", "pid": 812 },
        "user": { "name": "admin" },
        "source": { "ip": "203.0.113.5" },
        "secmon": { "ssh": { "preauth": true } },
    });
    assert_eq!(auth(&event), of_node(0, "auth.invalid_user", "authentication", &["start"], rest));
}

/// sudo's command is what was asked for; a process's command line is what runs.
#[test]
fn sudo_has_its_command_its_place_and_both_users() {
    let event = |action| AuthEvent {
        user: Some("alice".into()),
        target_user: Some("root".into()),
        tty: Some("pts/1".into()),
        cwd: Some("/home/alice".into()),
        command: Some("/usr/bin/id -u".into()),
        ..event("sudo", action, "alice : TTY=pts/1")
    };
    let rest = |outcome| {
        json!({
            "event": { "outcome": outcome },
            "message": "alice : TTY=pts/1",
            "process": { "name": "sudo", "pid": 812 },
            "user": { "name": "alice", "target": { "name": "root" } },
            "secmon": {
                "tty": "pts/1", "cwd": "/home/alice",
                "sudo": { "command": "/usr/bin/id -u", "program": "sudo" },
            },
        })
    };
    let allowed = of_node(0, "auth.sudo", "process", &["start"], rest("success"));
    assert_eq!(auth(&event(AuthAction::Sudo)), allowed);
    let denied = of_node(0, "auth.sudo_denied", "process", &["denied"], rest("failure"));
    assert_eq!(auth(&event(AuthAction::SudoDenied)), denied);
}

#[test]
fn su_has_both_users_and_a_forged_line_says_so() {
    let event = AuthEvent {
        user: Some("alice".into()),
        target_user: Some("root".into()),
        tty: Some("pts/1".into()),
        service: Some("su-l".into()),
        trusted: Some(false),
        pid: None,
        ..event("su", AuthAction::Su, "(to root) alice on pts/1")
    };
    let rest = json!({
        "event": { "outcome": "success" },
        "message": "(to root) alice on pts/1",
        "process": { "name": "su" },
        "user": { "name": "alice", "target": { "name": "root" } },
        "secmon": { "tty": "pts/1", "pam": { "service": "su-l" }, "trusted": false },
    });
    assert_eq!(auth(&event), of_node(0, "auth.su", "authentication", &["start"], rest));
}

#[test]
fn a_line_that_says_little_is_an_event_with_little_in_it() {
    let event = AuthEvent { pid: None, ..event("sshd", AuthAction::Probe, "") };
    let rest = json!({ "event": { "outcome": "unknown" }, "process": { "name": "sshd" } });
    assert_eq!(auth(&event), of_node(0, "auth.probe", "network", &["connection", "denied"], rest));
}

#[test]
fn a_changed_account_names_the_account_and_the_group() {
    let event = AuthEvent {
        user: Some("root".into()),
        target_user: Some("alice".into()),
        group: Some("adm".into()),
        ..event("gpasswd", AuthAction::AccountChanged, "user alice added by root to group adm")
    };
    let rest = json!({
        "event": { "outcome": "success" },
        "message": "user alice added by root to group adm",
        "process": { "name": "gpasswd", "pid": 812 },
        "user": { "name": "root", "target": { "name": "alice" } },
        "group": { "name": "adm" },
    });
    assert_eq!(auth(&event), of_node(0, "auth.account_changed", "iam", &["change"], rest));
}

#[test]
fn a_name_that_is_an_address_is_an_address() {
    let event = AuthEvent { source: from(SourceHost::Name("2001:db8::1".into()), None), ..auth_event() };
    assert_eq!(auth(&event)["source"], json!({ "ip": "2001:db8::1" }));
}

#[test]
fn a_command_that_is_not_sudos_is_the_command_line_of_a_process() {
    let event = auth(&auth_event());
    assert_eq!(event["process"]["command_line"], "/usr/bin/id");
    assert_eq!(event["secmon"].get("sudo"), None::<&Value>);
}
