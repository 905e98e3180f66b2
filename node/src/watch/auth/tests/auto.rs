//! `auto`: moving between journald and the files.

use std::{fs, os::unix::net::UnixDatagram};

use tempfile::TempDir;

use super::{super::*, Watching, append, failed, journald::journal, only};

/// A journal entry, as an `echo` of a script, of the line that [`line`] gives.
fn entry(cursor: &str, user: &str, seconds: i64) -> String {
    format!(
        r#"echo '{{"__CURSOR":"{cursor}","__REALTIME_TIMESTAMP":"{seconds}400000","SYSLOG_IDENTIFIER":"sshd","_PID":"7","MESSAGE":"Invalid user {user} from 192.0.2.7 port 1"}}'"#
    )
}

fn line(user: &str, seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap();
    format!("{time} vm sshd[7]: Invalid user {user} from 192.0.2.7 port 1\n")
}

#[tokio::test]
async fn when_journald_goes_away_the_file_is_read_from_before_and_what_journald_said_is_not_doubled() {
    let folder = TempDir::new().unwrap();
    let (log, now) = (folder.path().join("auth.log"), jiff::Timestamp::now().as_second());
    append(&log, &line("old", now - 100));
    let script = format!("{}\n{}\nexec sleep 600", entry("c1", "both", now), entry("c2", "journal", now));
    let (journal, socket) = journal(&folder, &script);
    // No look comes between: the file is read from where it was at the start.
    let sources = Sources { journal, recheck: Duration::from_secs(2), ..only(&folder, &[&log]) };
    let mut watching = Watching::start(AuthSourceChoice::Auto, sources);
    assert_eq!(watching.ready().await, "journald");
    append(&log, &(line("both", now) + &line("late", now)));
    assert_eq!(watching.user().await, "both");
    assert_eq!(watching.user().await, "journal");
    drop(socket);
    assert_eq!(watching.user().await, "late");
    assert_eq!(watching.ready().await, log.display().to_string());
    append(&log, &failed("one"));
    assert_eq!(watching.user().await, "one");
    watching.end().await;
}

#[tokio::test]
async fn when_journald_comes_back_it_is_read_again_and_what_the_file_said_is_not_doubled() {
    let folder = TempDir::new().unwrap();
    let (log, now) = (folder.path().join("auth.log"), jiff::Timestamp::now().as_second());
    append(&log, "");
    let script = format!("{}\n{}\nexec sleep 600", entry("c1", "file", now), entry("c2", "journal", now));
    let (journal, socket) = journal(&folder, &script);
    drop(socket);
    fs::remove_file(folder.path().join("socket")).unwrap();
    let sources = Sources { journal, ..only(&folder, &[&log]) };
    let mut watching = Watching::start(AuthSourceChoice::Auto, sources);
    assert_eq!(watching.ready().await, log.display().to_string());
    append(&log, &line("file", now));
    assert_eq!(watching.user().await, "file");
    let _socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
    assert_eq!(watching.ready().await, "journald");
    assert_eq!(watching.user().await, "journal");
    watching.end().await;
}

#[tokio::test]
async fn a_file_that_was_not_there_before_journald_went_away_comes_with_a_gap() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    let (journal, socket) = journal(&folder, "exec sleep 600");
    let sources = Sources { journal, ..only(&folder, &[&log]) };
    let mut watching = Watching::start(AuthSourceChoice::Auto, sources);
    assert_eq!(watching.ready().await, "journald");
    drop(socket);
    watching.unavailable().await;
    append(&log, &failed("one"));
    assert_eq!(watching.user().await, "one");
    let reason = watching.missed().await;
    assert!(reason.contains("auth.log"), "{reason}");
    assert_eq!(watching.ready().await, log.display().to_string());
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
    // It begins with what was read last, which is not news.
    watching.end().await;
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    let last = arguments.lines().last().unwrap();
    assert!(last.contains("--cursor=c1"), "{arguments}");
}
