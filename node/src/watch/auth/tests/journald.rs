//! journald, with a script in place of `journalctl`; the real one is tried end to end.

use std::{fs, os::unix::net::UnixDatagram};

use secmon_protocol::auth::AuthAction;
use tempfile::TempDir;

use super::{super::*, Observation, Watching, only};

/// A journald that listens, keeps a journal, and whose `journalctl` is a script.
pub(super) fn journal(folder: &TempDir, script: &str) -> (Journal, UnixDatagram) {
    let at = |name: &str| folder.path().join(name);
    let socket = UnixDatagram::bind(at("socket")).unwrap();
    fs::create_dir_all(at("journal/id")).unwrap();
    fs::write(at("journal/id/system.journal"), "").unwrap();
    fs::write(at("script"), format!("#!/bin/sh\ncd {}\n{script}\n", folder.path().display())).unwrap();
    // Written by another process: a child that another test starts meanwhile would hold our descriptor
    // for a moment, and the kernel runs no file that somebody has open for writing.
    let install =
        std::process::Command::new("install").arg("-m755").args([at("script"), at("journalctl")]).status();
    assert!(install.unwrap().success());
    (Journal::at(at("journalctl").into(), at("socket"), vec![at("journal")]), socket)
}

/// Shell functions of the scripts: an entry of the journal, by its cursor and user.
const ENTRY: &str = r#"entry() { echo "{\"__CURSOR\":\"$1\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"_UID\":\"0\",\"_EXE\":\"/usr/sbin/sshd\",\"MESSAGE\":\"Invalid user $2 from 192.0.2.7 port 1\"}"; }
echo "$@" >> arguments
run=$(wc -l < arguments)
"#;

/// Watches a journal whose `journalctl` is [`ENTRY`] and a script; the arguments of each run are kept.
fn watch_script(folder: &TempDir, script: &str) -> (Watching, UnixDatagram) {
    let (journal, socket) = journal(folder, &format!("{ENTRY}{script}"));
    (Watching::start(AuthSourceChoice::Journald, Sources { journal, ..only(folder, &[]) }), socket)
}

fn arguments(folder: &TempDir) -> Vec<String> {
    let text = fs::read_to_string(folder.path().join("arguments")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_journalctl_that_dies_is_started_again_at_the_last_entry_which_is_not_doubled() {
    let folder = TempDir::new().unwrap();
    let script = "[ $run = 2 ] && { entry c1 u1; entry c2 u2; exec sleep 600; }; entry c1 u1; echo oh no >&2";
    let (mut watching, _socket) = watch_script(&folder, script);
    assert_eq!(watching.ready().await, "journald");
    match watching.next().await {
        Observation::Auth(event) => {
            assert_eq!((event.action, event.trusted), (AuthAction::InvalidUser, Some(true)));
            assert_eq!(event.user.as_deref(), Some("u1"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(watching.user().await, "u2");
    watching.end().await;
    let runs = arguments(&folder);
    assert!(
        runs[0].contains("--since=@") && runs[0].contains("SYSLOG_FACILITY=4 SYSLOG_FACILITY=10 +"),
        "{runs:?}"
    );
    assert!(runs[1].contains("--cursor=c1") && !runs[1].contains("--since"), "{runs:?}");
}

#[tokio::test]
async fn an_entry_that_the_journal_no_longer_holds_is_a_gap_and_what_is_left_is_read() {
    let folder = TempDir::new().unwrap();
    let script = "[ $run = 2 ] && { entry c8 u8; entry c9 u9; exec sleep 600; }; entry c1 u1";
    let (mut watching, _socket) = watch_script(&folder, script);
    watching.ready().await;
    assert_eq!(watching.user().await, "u1");
    let reason = watching.missed().await;
    assert!(reason.contains("no longer holds"), "{reason}");
    assert_eq!(watching.user().await, "u8");
    assert_eq!(watching.user().await, "u9");
    watching.end().await;
}

#[tokio::test]
async fn an_entry_that_is_too_large_is_a_gap_and_the_next_one_is_read() {
    let folder = TempDir::new().unwrap();
    let script =
        "entry c1 u1; entry c2 $(head -c 300000 /dev/zero | tr '\\0' x); entry c3 u3; exec sleep 600";
    let (mut watching, _socket) = watch_script(&folder, script);
    watching.ready().await;
    assert_eq!(watching.user().await, "u1");
    let reason = watching.missed().await;
    assert!(reason.contains("larger than"), "{reason}");
    assert_eq!(watching.user().await, "u3");
    watching.end().await;
}

#[tokio::test]
async fn a_journalctl_that_stalls_in_an_entry_is_replaced() {
    let folder = TempDir::new().unwrap();
    let script = "[ $run = 2 ] && { entry c1 u1; entry c2 u2; exec sleep 600; }; entry c1 u1; printf '{\"__CURSOR\":'; exec sleep 600";
    let (mut watching, _socket) = watch_script(&folder, script);
    watching.ready().await;
    assert_eq!(watching.user().await, "u1");
    assert_eq!(watching.user().await, "u2");
    watching.end().await;
}

#[tokio::test]
async fn a_journalctl_that_was_stopped_is_replaced() {
    let folder = TempDir::new().unwrap();
    let script = "[ $run = 2 ] && { entry c1 u1; entry c2 u2; exec sleep 600; }; entry c1 u1; kill -STOP $$; entry c2 u2";
    let (mut watching, _socket) = watch_script(&folder, script);
    watching.ready().await;
    assert_eq!(watching.user().await, "u1");
    assert_eq!(watching.user().await, "u2");
    watching.end().await;
}

#[tokio::test]
async fn a_journal_that_moves_to_another_folder_is_followed_there() {
    // `journalctl --flush`, as an administrator gives it after making /var/log/journal: a follower that was
    // started before hears nothing of what is written there, for ever.
    let folder = TempDir::new().unwrap();
    let script =
        "[ -e journal/other ] && { entry c1 u1; entry c2 u2; exec sleep 600; }; entry c1 u1; exec sleep 600";
    let (mut watching, _socket) = watch_script(&folder, script);
    watching.ready().await;
    assert_eq!(watching.user().await, "u1");
    fs::create_dir(folder.path().join("journal/other")).unwrap();
    fs::write(folder.path().join("journal/other/system.journal"), "").unwrap();
    assert_eq!(watching.user().await, "u2");
    watching.end().await;
}

#[tokio::test]
async fn what_journalctl_complains_of_is_in_the_reason_and_bounded() {
    let folder = TempDir::new().unwrap();
    let script =
        "head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; printf 'no \\033[31mway\\n' >&2; exit 3";
    let (mut watching, _socket) = watch_script(&folder, script);
    let why = watching.unavailable().await;
    assert!(why.reason.contains("exit status: 3") && why.reason.ends_with("way"), "{why:?}");
    assert!(why.reason.len() < 200, "{why:?}");
    watching.end().await;
}

#[tokio::test]
async fn a_journalctl_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    let (_, _socket) = journal(&folder, "");
    let at = |name: &str| folder.path().join(name);
    let journal = Journal::at(at("nothing").into(), at("socket"), vec![at("journal")]);
    let mut watching = Watching::start(AuthSourceChoice::Journald, Sources { journal, ..only(&folder, &[]) });
    let why = watching.unavailable().await;
    assert!(why.reason.contains("nothing: not found"), "{why:?}");
    watching.end().await;
}
