//! Sequences of lines, most of them as real programs wrote them, and the events they make.

use jiff::tz::TimeZone;
use proptest::prelude::*;
use secmon_protocol::event::EventType;

use super::*;
use crate::watch::auth::parse::{Context, Parsed, parse_line};

/// `TYPE user@host:port: reason` of each event of `lines`, which are `SECONDS PROGRAM: MESSAGE`.
fn joined(lines: &[&str]) -> Vec<String> {
    let mut joiner = Joiner::default();
    let mut events = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if let Some(heard) = heard(line) {
            joiner.take(heard, number + 1, |event, number| events.push((event, number)));
        }
    }
    joiner.settle(|event, number| events.push((event, number)));
    events.iter().map(|(event, number)| say(event, *number)).collect()
}

fn heard(line: &str) -> Option<Heard> {
    let context = Context::new("2026-11-21T04:00:00Z".parse().unwrap(), TimeZone::UTC);
    let (seconds, rest) = line.split_once(' ').unwrap();
    let seconds: u32 = seconds.parse().unwrap();
    let stamp = format!("2026-11-21T03:{:02}:{:02}Z", seconds / 60, seconds % 60);
    match parse_line(format!("{stamp} vm {rest}").as_bytes(), &context) {
        Parsed::Event(heard) => Some(heard),
        Parsed::Known => None,
        Parsed::Unknown => panic!("no shape fits {line}"),
    }
}

fn say(event: &AuthEvent, number: usize) -> String {
    let mut out = format!("{number} {}", EventType::auth(event.action).as_str().trim_start_matches("auth."));
    for (name, value) in [("by", &event.user), ("to", &event.target_user), ("command", &event.command)] {
        if let Some(value) = value {
            out.push_str(&format!(" {name}={value}"));
        }
    }
    if let Some(port) = event.source.as_ref().and_then(|s| s.port) {
        out.push_str(&format!(" port={port}"));
    }
    if let Some(reason) = &event.reason {
        out.push_str(&format!(": {reason}"));
    }
    out
}

#[track_caller]
fn check(lines: &[&str], want: &[&str]) {
    assert_eq!(joined(lines), want, "{lines:#?}");
}

#[test]
fn a_wrong_password_over_ssh_is_one_failure() {
    check(
        &[
            "1 sshd[68]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1  user=root",
            "3 sshd[68]: Failed password for root from 127.0.0.1 port 41414 ssh2",
            "3 sshd[68]: Connection closed by authenticating user root 127.0.0.1 port 41414 [preauth]",
        ],
        &["2 failed by=root port=41414", "3 disconnected by=root port=41414"],
    );
}

#[test]
fn a_failure_of_a_user_that_does_not_exist_says_so() {
    check(
        &[
            "1 sshd[68]: Invalid user nosuch from 127.0.0.1 port 41414",
            "1 sshd[68]: pam_unix(sshd:auth): check pass; user unknown",
            "1 sshd[68]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1 ",
            "3 sshd[68]: Failed password for invalid user nosuch from 127.0.0.1 port 41414 ssh2",
            "6 sshd[68]: Failed password for invalid user nosuch from 127.0.0.1 port 41414 ssh2",
            "7 sshd[68]: Connection closed by invalid user nosuch 127.0.0.1 port 41414 [preauth]",
        ],
        &[
            "1 invalid_user by=nosuch port=41414",
            "4 failed by=nosuch port=41414: invalid user; user unknown",
            "5 failed by=nosuch port=41414: invalid user",
            "6 disconnected by=nosuch port=41414",
        ],
    );
}

#[test]
fn a_user_that_may_not_log_in_fails_for_that_reason() {
    check(
        &[
            "1 sshd[68]: User bob from 127.0.0.1 not allowed because not listed in AllowUsers",
            "1 sshd[69]: Failed password for alice from 127.0.0.1 port 41416 ssh2",
            "3 sshd[68]: Failed password for invalid user bob from 127.0.0.1 port 41414 ssh2",
        ],
        &[
            "1 invalid_user by=bob: not listed in AllowUsers",
            "2 failed by=alice port=41416",
            "3 failed by=bob port=41414: not listed in AllowUsers",
        ],
    );
}

#[test]
fn too_many_attempts_end_a_connection_for_that_reason() {
    check(
        &[
            "1 sshd[68]: pam_faillock(sshd:auth): Consecutive login failures for user root account temporarily locked",
            "1 sshd[68]: Failed password for root from 127.0.0.1 port 41414 ssh2",
            "1 sshd[68]: error: maximum authentication attempts exceeded for root from 127.0.0.1 port 41414 ssh2 [preauth]",
            "1 sshd[68]: Disconnecting authenticating user root 127.0.0.1 port 41414: Too many authentication failures [preauth]",
            "1 sshd[68]: PAM 2 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1  user=root",
        ],
        &[
            "2 failed by=root port=41414: Consecutive login failures for user root account temporarily locked",
            "4 disconnected by=root port=41414: maximum authentication attempts exceeded; Too many authentication failures",
        ],
    );
}

/// At its usual log level sshd writes `Failed keyboard-interactive/pam` of an account only from the third time
/// on, and `PAM: …` each time: the attempts before would be lost.
#[test]
fn keyboard_interactive_fails_once_with_and_without_a_line_of_its_own() {
    let attempt = |more: &'static [&'static str]| {
        let mut lines = vec!["1 sshd[68]: error: PAM: Authentication failure for root from 127.0.0.1"];
        lines.extend(more);
        joined(&lines)
    };
    assert_eq!(
        attempt(&["1 sshd[68]: Failed keyboard-interactive/pam for root from 127.0.0.1 port 41414 ssh2"]),
        ["2 failed by=root port=41414: Authentication failure"]
    );
    assert_eq!(
        attempt(&[
            "1 sshd[68]: Connection closed by authenticating user root 127.0.0.1 port 41414 [preauth]"
        ]),
        ["1 failed by=root port=41414: Authentication failure", "2 disconnected by=root port=41414"]
    );
    assert_eq!(
        attempt(&["9 sshd[68]: error: PAM: Authentication failure for root from 127.0.0.1"]),
        ["1 failed by=root: Authentication failure", "2 failed by=root: Authentication failure"]
    );
    assert_eq!(attempt(&[]), ["1 failed by=root: Authentication failure"]);
    check(
        &[
            "1 sshd[68]: error: PAM: User not known to the underlying authentication module for illegal user x from 127.0.0.1",
            "1 sshd[68]: Failed keyboard-interactive/pam for invalid user x from 127.0.0.1 port 41414 ssh2",
        ],
        &["2 failed by=x port=41414: User not known to the underlying authentication module"],
    );
}

#[test]
fn a_probe_gets_the_address_that_the_next_line_of_its_process_has() {
    check(
        &[
            "1 sshd[68]: error: kex_exchange_identification: Connection closed by remote host",
            "1 sshd[68]: Connection closed by 127.0.0.1 port 41414",
            "2 sshd[69]: kex_exchange_identification: client sent invalid protocol identifier \"GET / HTTP/1.1\"",
            "2 sshd[69]: banner exchange: Connection from 127.0.0.1 port 41416: invalid format",
        ],
        &[
            "1 probe port=41414: kex_exchange_identification: Connection closed by remote host",
            "2 disconnected port=41414",
            "4 probe port=41416: kex_exchange_identification: client sent invalid protocol identifier \"GET / HTTP/1.1\"; invalid format",
        ],
    );
}

#[test]
fn a_login_and_its_end_keep_their_reason() {
    check(
        &[
            "1 sshd[84]: Accepted publickey for alice from 127.0.0.1 port 35126 ssh2: ED25519 SHA256:abc",
            "1 sshd[84]: pam_unix(sshd:session): session opened for user alice(uid=1001) by (uid=0)",
            "1 systemd-logind[1]: New session 3 of user alice.",
            "2 sshd[90]: Received disconnect from 127.0.0.1 port 35126:11: disconnected by user",
            "2 sshd[90]: Disconnected from user alice 127.0.0.1 port 35126",
            "2 sshd[84]: pam_unix(sshd:session): session closed for user alice",
        ],
        &[
            "1 accepted by=alice port=35126",
            "2 session_opened to=alice",
            "5 disconnected by=alice port=35126: disconnected by user",
            "6 session_closed to=alice",
        ],
    );
}

#[test]
fn sudo_is_one_event_each_and_a_denial_says_why() {
    check(
        &[
            "1 sudo: pam_unix(sudo:auth): authentication failure; logname=bob uid=1002 euid=0 tty=/dev/pts/0 ruser=bob rhost=  user=bob",
            "9 sudo: pam_unix(sudo:auth): auth could not identify password for [bob]",
            "9 sudo:      bob : 2 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
            "12 sudo:    alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
            "12 sudo: pam_unix(sudo:session): session opened for user root(uid=0) by alice(uid=1001)",
        ],
        &[
            "1 failed by=bob",
            "3 sudo_denied by=bob to=root command=/bin/ls: could not identify password; 2 incorrect password attempts",
            "4 sudo by=alice to=root command=/bin/ls",
            "5 session_opened by=alice to=root",
        ],
    );
}

#[test]
fn a_command_of_several_lines_is_one_command() {
    check(
        &[
            "1 sudo[7]:    alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/echo 'a b'",
            "1 sudo[8]:      bob : TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/id",
            "1 sudo[7]:    alice : (command continued) c ; d",
            "1 sudo[7]:    alice : (command continued) e",
        ],
        &["1 sudo by=alice to=root command=/bin/echo 'a b' c ; d e", "2 sudo by=bob to=root command=/bin/id"],
    );
    let word = "x".repeat(960);
    let lines = [
        "1 sudo:    alice : PWD=/ ; USER=root ; COMMAND=/bin/echo".to_owned(),
        format!("1 sudo:    alice : (command continued) {word}"),
        "1 sudo:    alice : (command continued) yz end".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    check(&lines, &[&format!("1 sudo by=alice to=root command=/bin/echo {word}yz end")]);
    // What continues nothing that is known is shown as what it is.
    check(&["1 sudo: bob : (command continued) c"], &["1 sudo by=bob command=c: command continued"]);
}

#[test]
fn a_denied_command_of_several_lines_keeps_its_reason() {
    check(
        &[
            "1 sudo:      bob : user NOT in sudoers ; PWD=/ ; USER=root ; COMMAND=/bin/echo a",
            "1 sudo:      bob : (command continued) b",
        ],
        &["1 sudo_denied by=bob to=root command=/bin/echo a b: user NOT in sudoers"],
    );
}

#[test]
fn su_and_login_are_told_of_once_by_whoever_speaks() {
    check(
        &[
            "1 su[9]: pam_unix(su:auth): authentication failure; logname=alice uid=1001 euid=0 tty=/dev/pts/0 ruser=alice rhost=  user=root",
            "2 su[9]: FAILED SU (to root) alice on pts/0",
        ],
        &["1 failed by=root", "2 su_failed by=alice to=root"],
    );
    // shadow's sentence and its short form; BusyBox has the short form alone.
    check(
        &["1 su[9]: Successful su for root by alice", "1 su[9]: + /dev/pts/0 alice:root"],
        &["1 su by=alice to=root"],
    );
    check(
        &["1 su: + /dev/pts/0 alice:root", "2 su: - /dev/pts/0 alice:root", "3 su: - /dev/pts/0 alice:root"],
        &["1 su by=alice to=root", "2 su_failed by=alice to=root", "3 su_failed by=alice to=root"],
    );
    check(
        &[
            "1 login[9]: pam_unix(login:auth): authentication failure; logname=LOGIN uid=0 euid=0 tty=/dev/tty1 ruser= rhost=  user=bob",
            "3 login[9]: FAILED LOGIN (1) on '/dev/tty1' FOR 'bob', Authentication failure",
        ],
        &["1 failed by=bob"],
    );
    check(
        &["3 login[9]: FAILED LOGIN 1 FROM tty1 FOR bob, Authentication failure"],
        &["1 failed by=bob: Authentication failure"],
    );
}

/// An account of a domain has no password that pam_unix could refuse.
#[test]
fn another_module_carries_where_pam_unix_says_nothing() {
    let sss = "pam_sss(su:auth): authentication failure; logname= uid=0 euid=0 tty=pts/0 ruser=alice rhost= user=bob";
    let unix = "pam_unix(su:auth): authentication failure; logname= uid=0 euid=0 tty=pts/0 ruser=alice rhost=  user=bob";
    let lines =
        |first: &str, second: &str| joined(&[&format!("1 su[9]: {first}"), &format!("1 su[9]: {second}")]);
    assert_eq!(lines(sss, sss).len(), 2);
    assert_eq!(lines(unix, sss), ["1 failed by=bob"]);
}

#[test]
fn a_changed_account_is_one_event() {
    check(
        &[
            "1 useradd[5]: new group: name=alice, GID=1001",
            "1 useradd[5]: new user: name=alice, UID=1001, GID=1001, home=/home/alice, shell=/bin/bash, from=/dev/pts/0",
            "1 useradd[5]: add 'alice' to group 'sudo'",
            "1 useradd[5]: add 'alice' to shadow group 'sudo'",
            "2 passwd[6]: pam_unix(passwd:chauthtok): password changed for alice",
            "2 passwd[6]: password for 'alice' changed by 'root'",
            "3 userdel[7]: delete user 'alice'",
            "3 userdel[7]: delete 'alice' from group 'sudo'",
            "3 userdel[7]: delete 'alice' from shadow group 'sudo'",
            "3 userdel[7]: removed group 'alice' owned by 'alice'",
            "3 userdel[7]: removed shadow group 'alice' owned by 'alice'",
        ],
        &[
            "1 account_changed: new group",
            "2 account_changed to=alice: new user",
            "3 account_changed to=alice: added to group",
            "5 account_changed to=alice: password changed",
            "7 account_changed to=alice: user deleted",
            "8 account_changed to=alice: removed from group",
            "10 account_changed: group removed",
        ],
    );
}

#[test]
fn dropbear_is_joined_like_sshd() {
    check(
        &[
            "1 dropbear[9]: Child connection from 127.0.0.1:41414",
            "1 dropbear[9]: Login attempt for nonexistent user",
            "2 dropbear[9]: Exit before auth from <127.0.0.1:41414>: Exited normally",
            "3 dropbear[10]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1  user=root",
            "3 dropbear[10]: pam_authenticate() failed, rc=7, Authentication failure",
            "3 dropbear[10]: Bad PAM password attempt for 'root' from 127.0.0.1:41416",
        ],
        &[
            "2 invalid_user port=41414",
            "3 disconnected port=41414: Exited normally",
            "6 failed by=root port=41416: Authentication failure",
        ],
    );
}

/// The daemon's own process serves many, and each of the others one.
#[test]
fn an_address_is_that_of_the_process_and_of_no_other() {
    check(
        &[
            "1 sshd[1]: drop connection #10 from [127.0.0.1]:4022 on [127.0.0.1]:22 past MaxStartups",
            "1 sshd[1]: Timeout before authentication for connection from 127.0.0.1 to 127.0.0.1, pid = 7",
            "2 sshd[7]: error: maximum authentication attempts exceeded for root from 127.0.0.1 port 4023 ssh2 [preauth]",
            "2 sshd[7]: Disconnecting: Too many authentication failures for root [preauth]",
            "2 sshd[8]: Disconnecting: Too many authentication failures for root [preauth]",
        ],
        &[
            "1 probe port=4022: past MaxStartups",
            "2 probe: timeout before authentication",
            "4 disconnected by=root port=4023: maximum authentication attempts exceeded; Too many authentication failures for root",
            "5 disconnected by=root: Too many authentication failures for root",
        ],
    );
}

#[test]
fn what_was_said_long_ago_is_forgotten() {
    let denied = "0 sshd[68]: User bob from 127.0.0.1 not allowed because not listed in AllowUsers";
    let failed =
        |at: u32| format!("{at} sshd[68]: Failed password for invalid user bob from 127.0.0.1 port 1 ssh2");
    assert_eq!(joined(&[denied, &failed(600)])[1], "2 failed by=bob port=1: not listed in AllowUsers");
    assert_eq!(joined(&[denied, &failed(601)])[1], "2 failed by=bob port=1");
    // A line that follows is no older, whatever a clock says that was set back.
    let late = "700 sshd[68]: User bob from 127.0.0.1 not allowed because not listed in AllowUsers";
    assert_eq!(joined(&[late, &failed(0)])[1], "2 failed by=bob port=1: not listed in AllowUsers");
}

#[test]
fn a_clock_that_is_set_back_neither_doubles_nor_holds() {
    let herald = "700 sshd[68]: error: PAM: Authentication failure for root from 127.0.0.1";
    let carrier = "5 sshd[68]: Failed keyboard-interactive/pam for root from 127.0.0.1 port 5 ssh2";
    assert_eq!(joined(&[herald, carrier]).len(), 1);
    let other = "5 sshd[69]: Failed password for root from 127.0.0.1 port 6 ssh2";
    let [first, second] = &joined(&[herald, other])[..] else { panic!() };
    assert!(first.starts_with("2 failed") && second.starts_with("1 failed"), "{first} {second}");
}

#[test]
fn a_forged_line_is_shown_and_moves_nothing() {
    let entry = |exe: &str, program: &str, message: &str| {
        let context = Context::new("2026-11-21T04:00:00Z".parse().unwrap(), TimeZone::UTC);
        let line = serde_json::json!({
            "MESSAGE": message, "SYSLOG_IDENTIFIER": program, "_PID": "9", "_EXE": exe, "_UID": "0",
            "__REALTIME_TIMESTAMP": "1795232051000000",
        });
        match parse_line(line.to_string().as_bytes(), &context) {
            Parsed::Event(heard) => heard,
            other => panic!("{message}: {other:?}"),
        }
    };
    let mut events = Vec::new();
    let mut joiner = Joiner::default();
    for (exe, message) in [
        ("/usr/bin/logger", "User bob from 127.0.0.1 not allowed because forged"),
        ("/usr/bin/logger", "error: PAM: forged for bob from 127.0.0.1"),
        ("/usr/bin/logger", "Received disconnect from 127.0.0.1 port 1:11: forged"),
        ("/usr/sbin/sshd", "Failed password for bob from 127.0.0.1 port 1 ssh2"),
    ] {
        joiner.take(entry(exe, "sshd", message), 0, |event, _| events.push(event));
    }
    let got: Vec<_> = events.iter().map(|e| (e.action, e.trusted)).collect();
    assert_eq!(
        got,
        [
            (AuthAction::InvalidUser, Some(false)),
            (AuthAction::Failed, Some(false)),
            (AuthAction::Failed, Some(true)),
        ]
    );
    assert_eq!(events[2].reason, None);
}

#[test]
fn a_pause_reports_what_will_hardly_go_on_and_silence_reports_all() {
    let mut joiner = Joiner::default();
    let short = "1 sudo[7]:    alice : PWD=/ ; USER=root ; COMMAND=/bin/id";
    let long = format!("1 sudo[8]:    alice : PWD=/ ; USER=root ; COMMAND=/bin/echo {}", "a ".repeat(300));
    let mut got = Vec::new();
    for line in [short, &long] {
        joiner.take(heard(line).unwrap(), (), |event, ()| got.push(event));
    }
    assert!(got.is_empty() && joiner.holds());
    joiner.pause(|event, ()| got.push(event));
    assert_eq!(got.iter().map(|e| e.pid).collect::<Vec<_>>(), [Some(7)]);
    joiner.settle(|event, ()| got.push(event));
    assert_eq!(got.iter().map(|e| e.pid).collect::<Vec<_>>(), [Some(7), Some(8)]);
    assert!(!joiner.holds());
}

#[test]
fn nothing_is_held_back_past_a_moment_of_the_logs_own_time() {
    let mut joiner = Joiner::default();
    let mut got = Vec::new();
    joiner.take(heard("1 sudo[7]: alice : PWD=/ ; USER=root ; COMMAND=/bin/id").unwrap(), (), |e, ()| {
        got.push(e)
    });
    joiner.take(heard("9 su[9]: (to root) alice on pts/0").unwrap(), (), |e, ()| got.push(e));
    assert_eq!(got.iter().map(|e| e.pid).collect::<Vec<_>>(), [Some(7), Some(9)]);
}

#[test]
fn the_memory_is_bounded() {
    let mut joiner = Joiner::default();
    let mut count = 0_usize;
    let mut take = |joiner: &mut Joiner<()>, line: String| {
        joiner.take(heard(&line).unwrap(), (), |_, ()| count += 1);
    };
    for pid in 0..5_000 {
        take(&mut joiner, format!("1 sshd[{pid}]: User bob not allowed because {pid}"));
        take(
            &mut joiner,
            format!("1 sshd[{pid}]: error: PAM: Authentication failure for bob from 127.0.0.1"),
        );
        for n in 0..6 {
            take(&mut joiner, format!("1 sshd[{pid}]: Received disconnect from 127.0.0.1 port 1:11: {n}"));
        }
    }
    assert!(joiner.young.len() <= PROCESSES && joiner.old.len() <= PROCESSES);
    assert!(joiner.young.values().all(|p| p.reasons.len() <= REASONS));
    assert!(joiner.held.len() <= HELD);
    joiner.settle(|_, ()| count += 1);
    assert_eq!(count, 10_000, "what is forgotten is no event, and every event is reported");
}

proptest! {
    /// Whatever order lines come in: each carrier is an event, nothing else is, and none is reported twice.
    #[test]
    fn every_carrier_is_reported_once(
        picks in proptest::collection::vec((0_usize..12, 0_u32..3, 0_u32..600), 0..40),
    ) {
        let messages = [
            "Failed password for root from 127.0.0.1 port 1 ssh2",
            "Invalid user x from 127.0.0.1 port 1",
            "Accepted password for root from 127.0.0.1 port 1 ssh2",
            "error: PAM: Authentication failure for root from 127.0.0.1",
            "error: kex_exchange_identification: Connection closed by remote host",
            "Connection closed by 127.0.0.1 port 1",
            "Received disconnect from 127.0.0.1 port 1:11: bye",
            "alice : PWD=/ ; USER=root ; COMMAND=/bin/id",
            "alice : (command continued) x",
            "pam_unix(su:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost=  user=x",
            "+ /dev/pts/0 alice:root",
            "Successful su for root by alice",
        ];
        let mut joiner = Joiner::default();
        let (mut carriers, mut got) = (Vec::new(), Vec::new());
        for (number, (which, pid, at)) in picks.iter().enumerate() {
            let program = match which { 0..7 => "sshd", 7..9 => "sudo", _ => "su" };
            let heard = heard(&format!("{at} {program}[{pid}]: {}", messages[*which])).unwrap();
            if heard.role == Role::Carrier {
                carriers.push(number);
            }
            joiner.take(heard, number, |_, number| got.push(number));
        }
        joiner.settle(|_, number| got.push(number));
        prop_assert!(carriers.iter().all(|c| got.iter().filter(|g| *g == c).count() == 1));
        got.sort_unstable();
        let all = got.len();
        got.dedup();
        prop_assert_eq!(all, got.len());
    }
}
