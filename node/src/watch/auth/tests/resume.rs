//! Killed at any moment, and started again with what was sent until then.

use secmon_protocol::auth::AuthEvent;

use super::{
    super::{
        parse::{Context, parse_line},
        twins::SourceId,
    },
    journald::journal,
    *,
};

fn users(observations: &[Observation]) -> Vec<String> {
    let user = |one: &Observation| match one {
        Observation::Auth(event) => event.user.clone(),
        _ => None,
    };
    observations.iter().filter_map(user).collect()
}

#[tokio::test]
async fn what_is_logged_while_nobody_reads_is_read_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before"));
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.ready().await;
    // Killed before anything was logged: also the first place is kept.
    let (_, places) = watching.kill().await;
    append(&log, &failed("one"));
    let mut watching = Watching::resume(AuthSourceChoice::File, only(&folder, &[&log]), places);
    assert_eq!(watching.user().await, "one");
    watching.ready().await;
    let (_, places) = watching.kill().await;
    append(&log, &failed("two"));
    fs::rename(&log, folder.path().join("auth.log.1")).unwrap();
    append(&log, &failed("three"));
    let mut watching = Watching::resume(AuthSourceChoice::File, only(&folder, &[&log]), places);
    assert_eq!(watching.user().await, "two");
    assert_eq!(watching.user().await, "three");
    watching.ready().await;
    watching.end().await;
}

#[tokio::test]
async fn what_was_rotated_and_removed_while_nobody_reads_is_said_to_be_missing() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before"));
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.ready().await;
    let (_, places) = watching.kill().await;
    append(&log, &failed("gone"));
    fs::remove_file(&log).unwrap();
    append(&log, &failed("one"));
    let mut watching = Watching::resume(AuthSourceChoice::File, only(&folder, &[&log]), places);
    // The events stand before or after the word: all of a moment come together.
    let mut seen = vec![watching.next().await, watching.next().await];
    seen.sort_by_key(|one| matches!(one, Observation::Missed(_)));
    assert_eq!(users(&seen), ["one"]);
    assert!(matches!(&seen[1], Observation::Missed(why) if why.contains("gone")), "{seen:?}");
    watching.ready().await;
    watching.end().await;
}

#[tokio::test]
async fn a_place_that_cannot_be_read_is_a_first_start_and_a_gap() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before"));
    let name = format!("file:{}", log.display());
    for garbage in [&b""[..], b"\0\x01", b"\xff\xffnew", &[0; 300]] {
        let places = BTreeMap::from([(name.clone(), Bytes::from(garbage))]);
        let mut watching = Watching::resume(AuthSourceChoice::File, only(&folder, &[&log]), places);
        let why = watching.missed().await;
        assert!(why.contains(&name), "{why}");
        watching.ready().await;
        append(&log, &failed("one"));
        assert_eq!(watching.user().await, "one");
        watching.end().await;
    }
}

#[tokio::test]
async fn a_line_that_stands_in_two_files_comes_once_also_when_one_of_them_is_read_after_a_kill() {
    let folder = TempDir::new().unwrap();
    let (secure, messages) = (folder.path().join("secure"), folder.path().join("messages"));
    append(&secure, "");
    append(&messages, "");
    let sources = || only(&folder, &[&secure, &messages]);
    let mut watching = Watching::start(AuthSourceChoice::File, sources());
    watching.ready().await;
    append(&secure, &failed("both"));
    assert_eq!(watching.user().await, "both");
    let (_, places) = watching.kill().await;
    append(&messages, &(failed("both") + &failed("messages")));
    let mut watching = Watching::resume(AuthSourceChoice::File, sources(), places);
    assert_eq!(watching.user().await, "messages");
    watching.ready().await;
    watching.end().await;
}

#[tokio::test]
async fn journald_is_read_on_from_its_cursor_and_what_it_no_longer_holds_is_a_gap() {
    let entry = |cursor: &str, user: &str| {
        format!(
            r#"echo '{{"__CURSOR":"{cursor}","SYSLOG_IDENTIFIER":"sshd","MESSAGE":"Invalid user {user} from 192.0.2.7 port 1"}}'; "#
        )
    };
    let script = format!(
        "run=$(cat run 2>/dev/null); echo $run >&2; case $run in\n3) {}{};;\n2) {}{};;\n*) {};;\nesac\nexec sleep 600",
        entry("c8", "u8"),
        entry("c9", "u9"),
        entry("c1", "u1"),
        entry("c2", "u2"),
        entry("c1", "u1"),
    );
    let folder = TempDir::new().unwrap();
    let (journal, _socket) = journal(&folder, &script);
    let sources = || Sources { journal: journal.clone(), ..only(&folder, &[]) };
    let mut watching = Watching::start(AuthSourceChoice::Journald, sources());
    watching.ready().await;
    assert_eq!(watching.user().await, "u1");
    let (_, places) = watching.kill().await;

    fs::write(folder.path().join("run"), "2").unwrap();
    let mut watching = Watching::resume(AuthSourceChoice::Journald, sources(), places);
    watching.ready().await;
    assert_eq!(watching.user().await, "u2");
    let (_, places) = watching.kill().await;

    fs::write(folder.path().join("run"), "3").unwrap();
    let mut watching = Watching::resume(AuthSourceChoice::Journald, sources(), places);
    watching.ready().await;
    assert!(watching.missed().await.contains("no longer holds"));
    assert_eq!(watching.user().await, "u8");
    assert_eq!(watching.user().await, "u9");
    watching.end().await;
}

#[tokio::test]
async fn what_journald_said_before_a_kill_the_file_does_not_say_again_after_it() {
    let folder = TempDir::new().unwrap();
    let (log, now) = (folder.path().join("auth.log"), jiff::Timestamp::now().as_second());
    append(&log, "");
    let line = |user: &str| {
        let time = jiff::Timestamp::from_second(now).unwrap();
        format!("{time} vm sshd[7]: Invalid user {user} from 192.0.2.7 port 1\n")
    };
    let script = format!(
        r#"echo '{{"__CURSOR":"c1","__REALTIME_TIMESTAMP":"{now}400000","SYSLOG_IDENTIFIER":"sshd","_PID":"7","MESSAGE":"Invalid user both from 192.0.2.7 port 1"}}'; exec sleep 600"#
    );
    let (journal, socket) = journal(&folder, &script);
    let sources = || Sources { journal: journal.clone(), ..only(&folder, &[&log]) };
    let mut watching = Watching::start(AuthSourceChoice::Auto, sources());
    assert_eq!(watching.ready().await, "journald");
    assert_eq!(watching.user().await, "both");
    append(&log, &line("both"));
    let (_, places) = watching.kill().await;
    // Without journald from now on.
    drop(socket);
    append(&log, &line("late"));
    let mut watching = Watching::resume(AuthSourceChoice::Auto, sources(), places);
    assert_eq!(watching.user().await, "late");
    assert_eq!(watching.ready().await, log.display().to_string());
    watching.end().await;
}

#[tokio::test]
async fn killed_again_and_again_under_a_log_that_is_written_and_rotated_every_line_comes_once() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before"));
    let (mut places, mut seen, mut written) = (BTreeMap::new(), Vec::new(), 0);
    // A clock of its own: that of a file system may stand still between two rotations.
    let mut clock = std::time::SystemTime::now();
    let mut write = |text: &str| {
        append(&log, text);
        clock += Duration::from_millis(1);
        OpenOptions::new().append(true).open(&log).unwrap().set_modified(clock).unwrap();
    };
    for round in 0..40 {
        let mut watching = Watching::resume(AuthSourceChoice::File, only(&folder, &[&log]), places);
        if round == 0 {
            watching.ready().await;
        }
        for burst in 0..3 {
            for _ in 0..rand::random_range(0..9) {
                write(&failed(&format!("user{written}")));
                written += 1;
            }
            if rand::random_ratio(1, 4) {
                fs::rename(&log, folder.path().join(format!("auth.log.{}", 100 + round * 3 + burst)))
                    .unwrap();
                write("");
            }
            tokio::task::yield_now().await;
        }
        for _ in 0..rand::random_range(0..4) {
            if let Ok(Some(observation)) =
                tokio::time::timeout(Duration::from_millis(20), watching.seen.recv()).await
            {
                watching.unpack(observation);
            }
        }
        let (came, kept) = watching.lose().await;
        seen.extend(came);
        places = kept;
    }
    let mut watching = Watching::resume(AuthSourceChoice::File, only(&folder, &[&log]), places);
    write(&failed("last"));
    while users(&seen).last().map(String::as_str) != Some("last") {
        seen.push(watching.next().await);
    }
    watching.end().await;
    let missed: Vec<_> = seen.iter().filter(|one| matches!(one, Observation::Missed(_))).collect();
    assert!(missed.is_empty(), "{missed:?}");
    let want: Vec<_> = (0..written).map(|n| format!("user{n}")).chain(["last".to_owned()]).collect();
    let got = users(&seen);
    let first = got.iter().zip(&want).position(|(got, want)| got != want);
    assert_eq!((got.len(), first), (want.len(), None), "{:?}", first.map(|at| &got[at..]));
}

/// Lines as sshd, sudo and PAM write them, of attempts that take several: with the times of the log.
fn attempts() -> Vec<String> {
    let long = "x".repeat(900);
    let text = format!(
        "1 sshd[68]: Invalid user nosuch from 127.0.0.1 port 41414
1 sshd[68]: pam_unix(sshd:auth): check pass; user unknown
1 sshd[68]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1 
2 sudo[70]:    alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/bin/echo {long}
2 sudo[70]:    alice : (command continued) {long}
2 sudo[70]:    alice : (command continued) the end
2 sudo[70]: pam_unix(sudo:session): session opened for user root(uid=0) by alice(uid=1000)
3 sshd[68]: Failed password for invalid user nosuch from 127.0.0.1 port 41414 ssh2
3 sshd[71]: error: PAM: Authentication failure for root from 127.0.0.1
3 sshd[71]: Failed keyboard-interactive/pam for root from 127.0.0.1 port 5 ssh2
4 sshd[72]: error: PAM: Authentication failure for root from 127.0.0.1
4 sshd[72]: Connection closed by authenticating user root 127.0.0.1 port 6 [preauth]
6 sshd[68]: Failed password for invalid user nosuch from 127.0.0.1 port 41414 ssh2
7 sshd[68]: Connection closed by invalid user nosuch 127.0.0.1 port 41414 [preauth]
8 su[80]: pam_unix(su:auth): authentication failure; logname= uid=1000 euid=0 tty=pts/1 ruser=bob rhost=  user=root
8 su[80]: FAILED SU (to root) bob on pts/1
9 login[81]: pam_unix(login:auth): authentication failure; logname=LOGIN uid=0 euid=0 tty=/dev/tty1 ruser= rhost=  user=carol
9 login[81]: FAILED LOGIN (1) on '/dev/tty1' FOR 'carol', Authentication failure"
    );
    let line = |line: &str| {
        let (seconds, rest) = line.split_once(' ').unwrap();
        format!("2026-11-21T03:00:{:02}Z vm {rest}", seconds.parse::<u32>().unwrap())
    };
    text.lines().map(line).collect()
}

/// Reads all lines in these pieces, some of which end the log for a moment; and is killed after each message of these
/// numbers, however far it has read by then. Gives the events, and how many messages there were.
async fn read(lines: &[String], pieces: &[(usize, bool)], mut kills: Vec<usize>) -> (Vec<AuthEvent>, usize) {
    let context = Context::new("2026-11-21T04:00:00Z".parse().unwrap(), jiff::tz::TimeZone::UTC);
    // Where a piece ends, and whether the log does.
    let ends: BTreeMap<usize, bool> = pieces
        .iter()
        .scan(0, |at, (count, pause)| {
            *at += count;
            Some((*at, *pause))
        })
        .filter(|(at, _)| *at < lines.len())
        .chain([(lines.len(), true)])
        .collect();
    let (mut events, mut places, mut messages) = (Vec::new(), BTreeMap::new(), 0);
    'process: loop {
        let (out, mut seen) = mpsc::channel(4);
        let mut report = Report::new(out, true, Kept::new(places.clone()));
        report.ready("log").await.unwrap();
        let mut at: usize = report.kept("log").map_or(0, |at: String| at.parse().unwrap());
        let mut step = Some(at);
        while let Some(from) = step {
            let next = ends.range(from + 1..).next().map(|(end, _)| *end);
            // The reader looks for more first, and there may be none.
            for pausing in [ends.get(&from) == Some(&true), false] {
                if pausing {
                    report.pause().await.unwrap();
                } else if let Some(next) = next {
                    for (number, line) in lines.iter().enumerate().take(next).skip(at) {
                        report.parsed(parse_line(line.as_bytes(), &context), SourceId::file(number % 2));
                    }
                    at = next;
                    report.place("log", &at.to_string());
                    report.flush().await.unwrap();
                } else {
                    // It is no longer read: nothing is held any more.
                    report
                        .unavailable(Unavailable { reason: String::new(), remedy: String::new() })
                        .await
                        .unwrap();
                }
                while let Ok(Observation::Together(all)) = seen.try_recv() {
                    messages += 1;
                    for one in all {
                        match one {
                            Observation::Auth(event) => events.push(*event),
                            Observation::Place(Place { source, at }) => drop(places.insert(source, at)),
                            Observation::AuthLog(_) => {}
                            other => panic!("{other:?}"),
                        }
                    }
                    if kills.first().is_some_and(|kill| *kill <= messages) {
                        kills.remove(0);
                        continue 'process;
                    }
                }
            }
            step = next;
        }
        return (events, messages);
    }
}

#[tokio::test]
async fn a_kill_after_any_message_changes_no_event() {
    let lines = attempts();
    for size in 1..6 {
        for pause in [false, true] {
            let pieces = vec![(size, pause); lines.len()];
            let (whole, messages) = read(&lines, &pieces, Vec::new()).await;
            assert!(whole.len() > 9, "{whole:#?}");
            for kill in 1..=messages {
                let (cut, _) = read(&lines, &pieces, vec![kill]).await;
                assert_eq!(cut, whole, "pieces of {size}, {pause}, killed after message {kill}");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_kills_at_any_pieces_change_no_event(
        pieces in proptest::collection::vec((1_usize..7, proptest::bool::ANY), 0..20),
        order in proptest::collection::vec(0_usize..18, 0..60),
        kills in proptest::collection::btree_set(1_usize..60, 0..10),
    ) {
        let known = attempts();
        let lines: Vec<String> = order.iter().filter_map(|at| known.get(*at).cloned()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (whole, _) = runtime.block_on(read(&lines, &pieces, Vec::new()));
        let (cut, _) = runtime.block_on(read(&lines, &pieces, kills.into_iter().collect()));
        proptest::prop_assert_eq!(cut, whole);
    }
}
