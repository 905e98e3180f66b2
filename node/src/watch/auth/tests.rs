//! The watcher against real files, and against a stand-in for `journalctl` where a journald would be
//! needed: what reaches the core, in order, and no more.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use secmon_protocol::{auth::AuthAction, facet::Unavailable};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

struct Watching {
    seen: mpsc::Receiver<Observation>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Watching {
    fn start(choice: AuthSourceChoice, sources: Sources) -> Self {
        let (out, seen) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(watch_sources(choice, sources, out, cancel.clone()));
        Self { seen, cancel, task }
    }

    async fn next(&mut self) -> Observation {
        tokio::time::timeout(DEADLINE, self.seen.recv())
            .await
            .expect("nothing was seen")
            .expect("watcher ended")
    }

    /// The user of the next event.
    async fn user(&mut self) -> String {
        match self.next().await {
            Observation::Auth(event) => event.user.unwrap_or_default(),
            other => panic!("no event: {other:?}"),
        }
    }

    /// The source that is reported next.
    async fn ready(&mut self) -> String {
        match self.next().await {
            Observation::AuthLog(Facet::Ready(entries)) => entries.into_keys().collect(),
            other => panic!("not ready: {other:?}"),
        }
    }

    async fn unavailable(&mut self) -> Unavailable {
        match self.next().await {
            Observation::AuthLog(Facet::Unavailable(why)) => why,
            other => panic!("not unavailable: {other:?}"),
        }
    }

    async fn end(mut self) {
        self.cancel.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("does not end").expect("panicked");
        assert_eq!(self.seen.recv().await, None, "more than expected");
    }
}

fn failed(user: &str) -> String {
    format!("Nov 21 03:38:02 vm sshd[103]: Failed password for {user} from 192.0.2.7 port 59788 ssh2\n")
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A journal that is not there, and files at `paths`.
fn only(folder: &TempDir, paths: &[&Path]) -> Sources {
    let at = |name: &str| folder.path().join(name);
    let journal = Journal::at("journalctl".into(), at("no-socket"), vec![at("no-journal")]);
    Sources { journal, files: paths.iter().map(PathBuf::from).collect(), recheck: Duration::from_millis(200) }
}

#[tokio::test]
async fn a_file_is_followed_from_its_end_and_partial_lines_wait_for_their_rest() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before"));
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    assert_eq!(watching.ready().await, log.display().to_string());
    let line = failed("alice");
    let (start, rest) = line.split_at(50);
    append(&log, &(failed("first") + start));
    assert_eq!(watching.user().await, "first");
    append(&log, &(rest.to_owned() + &failed("bob")));
    assert_eq!(watching.user().await, "alice");
    assert_eq!(watching.user().await, "bob");
    watching.end().await;
}

#[tokio::test]
async fn rotation_by_rename_loses_nothing_even_of_a_writer_that_notices_late() {
    let folder = TempDir::new().unwrap();
    let (log, old) = (folder.path().join("auth.log"), folder.path().join("auth.log.1"));
    append(&log, "");
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.ready().await;
    append(&log, &failed("one"));
    fs::rename(&log, &old).unwrap();
    append(&log, "");
    append(&old, &failed("two"));
    assert_eq!(watching.user().await, "one");
    assert_eq!(watching.user().await, "two");
    append(&old, &failed("three"));
    assert_eq!(watching.user().await, "three");
    append(&log, &failed("four"));
    assert_eq!(watching.user().await, "four");
    watching.end().await;
}

#[tokio::test]
async fn a_file_that_is_truncated_in_place_is_read_from_its_start() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before").repeat(20));
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.ready().await;
    append(&log, &(failed("one") + "half a li"));
    assert_eq!(watching.user().await, "one");
    OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    append(&log, &failed("two"));
    assert_eq!(watching.user().await, "two");
    watching.end().await;
}

#[tokio::test]
async fn a_file_that_appears_later_is_read_from_its_start() {
    let folder = TempDir::new().unwrap();
    let (log, other) = (folder.path().join("auth.log"), folder.path().join("secure"));
    let mut watching = Watching::start(AuthSourceChoice::Auto, only(&folder, &[&log, &other]));
    let why = watching.unavailable().await;
    assert!(
        why.reason.contains("journald: not running") && why.reason.contains("secure: no such file"),
        "{why:?}"
    );
    assert!(why.remedy.contains("rsyslog"), "{why:?}");
    append(&log, &failed("one"));
    assert_eq!(watching.user().await, "one");
    assert_eq!(watching.ready().await, log.display().to_string());
    watching.end().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_unavailable_until_it_can() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    std::os::unix::fs::symlink(&log, &log).unwrap();
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    assert!(watching.unavailable().await.reason.contains(log.to_str().unwrap()));
    fs::remove_file(&log).unwrap();
    append(&log, &failed("one"));
    loop {
        match watching.next().await {
            Observation::Auth(event) => break assert_eq!(event.user.as_deref(), Some("one")),
            Observation::AuthLog(Facet::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    watching.ready().await;
    watching.end().await;
}

#[tokio::test]
async fn a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, "");
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.ready().await;
    append(&log, &(failed(&"x".repeat(300_000)) + &failed("one")));
    assert_eq!(watching.user().await, "one");
    watching.end().await;
}

#[tokio::test]
async fn switched_off_is_not_monitored() {
    let folder = TempDir::new().unwrap();
    let mut watching = Watching::start(AuthSourceChoice::Off, only(&folder, &[]));
    assert_eq!(watching.next().await, Observation::AuthLog(Facet::NotMonitored));
    watching.end().await;
}

/// A journald that listens, keeps a journal, and whose `journalctl` is a script.
fn journal(folder: &TempDir, script: &str) -> (Journal, UnixDatagram) {
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

#[tokio::test]
async fn a_journalctl_that_dies_is_started_again_after_the_last_cursor() {
    let folder = TempDir::new().unwrap();
    let (journal, _socket) = journal(
        &folder,
        r#"echo "$@" >> arguments
user=$(wc -l < arguments)
echo "{\"__CURSOR\":\"c$user\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"_UID\":\"0\",\"_EXE\":\"/usr/sbin/sshd\",\"MESSAGE\":\"Invalid user u$user from 192.0.2.7 port 1\"}"
[ "$user" = 2 ] && exec sleep 600
echo oh no >&2"#,
    );
    let sources = Sources { journal, ..only(&folder, &[]) };
    let mut watching = Watching::start(AuthSourceChoice::Journald, sources);
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
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    let (first, second) = arguments.trim().split_once('\n').unwrap();
    assert!(
        first.contains("--since=@") && first.ends_with("SYSLOG_FACILITY=4 SYSLOG_FACILITY=10"),
        "{first}"
    );
    assert!(second.contains("--after-cursor=c1") && !second.contains("--since"), "{second}");
}

#[tokio::test]
async fn when_journald_goes_away_auto_moves_over_to_the_file() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before"));
    let (journal, socket) = journal(&folder, "exec sleep 600");
    let sources = Sources { journal, ..only(&folder, &[&log]) };
    let mut watching = Watching::start(AuthSourceChoice::Auto, sources);
    assert_eq!(watching.ready().await, "journald");
    drop(socket);
    match watching.next().await {
        Observation::AuthMissed(reason) => assert!(reason.contains("auth.log"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(watching.ready().await, log.display().to_string());
    append(&log, &failed("one"));
    assert_eq!(watching.user().await, "one");
    watching.end().await;
}

#[tokio::test]
async fn with_auto_a_journald_that_comes_back_is_read_on_from_where_it_was() {
    let folder = TempDir::new().unwrap();
    let (journal, socket) = journal(
        &folder,
        r#"echo "$@" >> arguments
echo "{\"__CURSOR\":\"c1\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"MESSAGE\":\"Invalid user u from 192.0.2.7 port 1\"}"
exec sleep 600"#,
    );
    let mut watching = Watching::start(AuthSourceChoice::Auto, Sources { journal, ..only(&folder, &[]) });
    assert_eq!(watching.ready().await, "journald");
    assert_eq!(watching.user().await, "u");
    drop(socket);
    fs::remove_file(folder.path().join("socket")).unwrap();
    watching.unavailable().await;
    let _socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
    assert_eq!(watching.ready().await, "journald");
    assert_eq!(watching.user().await, "u");
    watching.end().await;
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    let last = arguments.lines().last().unwrap();
    assert!(last.contains("--after-cursor=c1"), "{arguments}");
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

#[test]
fn the_configuration_has_defaults_and_refuses_unknown_words() {
    let parse = toml::from_str::<AuthConfig>;
    assert_eq!(parse("").unwrap(), AuthConfig::default());
    assert_eq!(parse("source = \"journald\"").unwrap().source, AuthSourceChoice::Journald);
    assert!(parse("source = \"syslog\"").is_err());
    assert!(parse("sources = \"auto\"").is_err());
}
