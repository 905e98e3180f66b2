//! What holds for every shape of every table, and what lines of real programs make, said shortly.

use jiff::tz::TimeZone;
use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Outcome, Source, SourceHost},
    limits,
};

use super::*;

pub(super) fn context() -> Context {
    Context::new("2026-11-21T03:40:00Z".parse().unwrap(), TimeZone::UTC)
}

/// Every shape, with a program that says so.
pub(super) fn every_shape() -> impl Iterator<Item = (String, &'static Shape)> {
    let own = TABLES.iter().flat_map(|table| table.shapes.iter().map(|s| (table.programs[0].to_owned(), s)));
    let pam = pam::every_shape().map(|(_, shape)| ("vsftpd".to_owned(), shape));
    own.chain(pam)
}

/// A line that has the message of a shape in it.
pub(super) fn line_of(program: &str, message: &str, shape: &Shape) -> String {
    let module = pam::every_shape().find(|(_, s)| std::ptr::eq(*s, shape)).map(|(module, _)| module);
    let module = module.map(|m| format!("{m}({program}:auth): ")).unwrap_or_default();
    format!("Nov 21 03:34:11 vm {program}[7]: {module}{message}")
}

pub(super) fn heard(line: &str) -> Option<Heard> {
    match parse_line(line.as_bytes(), &context()) {
        Parsed::Event(heard) => Some(heard),
        Parsed::Known | Parsed::Unknown => None,
    }
}

/// `TYPE[ ROLE] field=value …`, of the fields that are there.
fn say(heard: &Heard) -> String {
    let Heard { event, role } = heard;
    let kind = secmon_protocol::event::EventType::auth(event.action);
    let mut out = kind.as_str().trim_start_matches("auth.").to_owned();
    if *role != Role::Carrier {
        out.push_str(&format!(" {role:?}"));
    }
    if event.outcome != event.action.outcome() {
        out.push_str(match event.outcome {
            Outcome::Failure => " failed",
            Outcome::Success | Outcome::Unknown => " ?",
        });
    }
    let source = event.source.as_ref().map(|Source { host, port }| {
        let host = match host {
            SourceHost::Ip(ip) => ip.to_string(),
            SourceHost::Name(name) => format!("name:{name}"),
        };
        port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    });
    for (name, value) in [
        ("by", &event.user),
        ("to", &event.target_user),
        ("group", &event.group),
        ("from", &source),
        ("method", &event.method),
        ("key", &event.fingerprint),
        ("tty", &event.tty),
        ("cwd", &event.cwd),
        ("command", &event.command),
        ("service", &event.service),
        ("why", &event.reason),
    ] {
        if let Some(value) = value {
            out.push_str(&format!(" {name}={value}"));
        }
    }
    if event.count != 1 {
        out.push_str(&format!(" x{}", event.count));
    }
    out
}

fn said(program: &str, message: &str) -> String {
    match parse_line(format!("Nov 21 03:34:11 vm {program}: {message}").as_bytes(), &context()) {
        Parsed::Event(heard) => say(&heard),
        Parsed::Known => "known".to_owned(),
        Parsed::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn every_shape_reads_its_example_and_nothing_before_it_takes_it() {
    for (program, shape) in every_shape() {
        let line = line_of(&program, shape.example, shape);
        let got = match parse_line(line.as_bytes(), &context()) {
            Parsed::Event(heard) => Some((heard.event.action, heard.role)),
            Parsed::Known => None,
            Parsed::Unknown => panic!("no shape fits {line}"),
        };
        let want =
            match (shape.gives, pam::every_shape().any(|(m, s)| std::ptr::eq(s, shape) && m != "pam_unix")) {
                (Some((action, _)), true) => Some((action, Role::Part)),
                (want, _) => want,
            };
        assert_eq!(got, want, "{line}");
        assert!(Body::of(shape.example, false).text.starts_with(shape.prefix), "{line}");
        for theirs in shape.theirs {
            assert!(shape.example.contains(theirs), "{theirs} is not in {line}");
        }
    }
    for table in TABLES {
        for shape in table.shapes {
            let body = Body::of(shape.example, false);
            let taken = table.shapes.iter().find(|s| s.read(&body).is_some());
            assert_eq!(taken.map(|s| s.example), Some(shape.example), "another shape takes it");
        }
    }
}

#[test]
fn a_line_of_an_unknown_program_or_without_a_frame_is_unknown() {
    for line in [
        "",
        "\n",
        "{",
        "{}",
        "nonsense",
        "Nov 21 03:34:11 vm cron[1]: (root) CMD (true)",
        "Nov 99 03:34:11 vm sshd[1]: Server listening on 0.0.0.0 port 22.",
        "Nov 99 03:34:11 vm sshd[1]: Failed password for root from 192.0.2.7 port 1 ssh2",
    ] {
        assert_eq!(parse_line(line.as_bytes(), &context()), Parsed::Unknown, "{line}");
    }
}

#[test]
fn a_cut_line_is_not_read_from_its_end() {
    let forged = "Nov 21 03:34:11 vm sshd[7]: Failed password for invalid user ";
    let tail = " from 10.0.0.1 port 22 ssh2";
    let name = "x".repeat(limits::MAX_LINE - forged.len() - tail.len());
    let line = format!("{forged}{name}{tail} from 203.0.113.9 port 5 ssh2");
    assert_eq!(parse_line(line.as_bytes(), &context()), Parsed::Unknown);
}

#[test]
fn an_event_is_bounded_however_long_its_line_is() {
    let long = "x".repeat(limits::MAX_LINE * 2);
    for (program, shape) in every_shape() {
        for theirs in shape.theirs {
            let line = line_of(&program, &shape.example.replacen(theirs, &long, 1), shape);
            let Some(heard) = heard(&line) else { continue };
            let AuthEvent {
                user, target_user, group, command, reason, cwd, tty, fingerprint, message, ..
            } = *heard.event;
            for text in [user, target_user, group, command, reason, cwd, tty, fingerprint, Some(message)] {
                assert!(text.is_none_or(|text| text.len() <= limits::MAX_FIELD), "{}", shape.example);
            }
        }
    }
}

#[track_caller]
fn check(program: &str, cases: &[(&str, &str)]) {
    for (message, want) in cases {
        assert_eq!(said(program, message), *want, "{program}: {message}");
    }
}

#[test]
fn sshd_is_understood() {
    check(
        "sshd-session[9]",
        &[
            (
                "Accepted publickey for alice from ::ffff:192.0.2.7 port 4022 ssh2: RSA SHA256:abc",
                "accepted by=alice from=192.0.2.7:4022 method=publickey key=RSA SHA256:abc",
            ),
            (
                "Accepted publickey for alice from 2001:db8::7 port 4022 ssh2: ED25519-CERT SHA256:abc ID alice@ca (serial 7) CA ED25519 SHA256:def",
                "accepted by=alice from=2001:db8::7:4022 method=publickey key=ED25519-CERT SHA256:abc",
            ),
            (
                "Accepted password for alice from fe80::1%eth0 port 4022 ssh2",
                "accepted by=alice from=name:fe80::1%eth0:4022 method=password",
            ),
            ("Accepted password for alice from UNKNOWN port 65535 ssh2", "accepted by=alice method=password"),
            (
                "Accepted gssapi-with-mic for alice from host.example.net port 4022 ssh2: alice@EXAMPLE.NET",
                "accepted by=alice from=name:host.example.net:4022 method=gssapi-with-mic",
            ),
            (
                "Accepted keyboard-interactive/pam for alice from 192.0.2.7 port 4022 ssh2",
                "accepted by=alice from=192.0.2.7:4022 method=keyboard-interactive/pam",
            ),
            (
                "Failed none for invalid user admin from 192.0.2.7 port 4022 ssh2",
                "failed by=admin from=192.0.2.7:4022 method=none",
            ),
            (
                "Failed publickey for root from 192.0.2.7 port 4022 ssh2: RSA SHA256:abc",
                "failed by=root from=192.0.2.7:4022 method=publickey key=RSA SHA256:abc",
            ),
            (
                "message repeated 2 times: [ Failed password for root from 192.0.2.7 port 4022 ssh2]",
                "failed by=root from=192.0.2.7:4022 method=password x2",
            ),
            (
                "[ID 800047 auth.info] Failed password for root from 192.0.2.7 port 4022 ssh2",
                "failed by=root from=192.0.2.7:4022 method=password",
            ),
            ("Postponed publickey for alice from 192.0.2.7 port 4022 ssh2 [preauth]", "known"),
            ("Partial publickey for alice from 192.0.2.7 port 4022 ssh2: RSA SHA256:abc", "known"),
            ("Invalid user  from 192.0.2.7 port 4022", "invalid_user from=192.0.2.7:4022"),
            ("Illegal user admin from 192.0.2.7", "invalid_user by=admin from=192.0.2.7"),
            (
                "error: PAM: Authentication failure for illegal user admin from host.example.net",
                "failed Part by=admin from=name:host.example.net method=keyboard-interactive/pam why=Authentication failure",
            ),
            (
                "error: PAM: User not known to the underlying authentication module for root from 192.0.2.7 via 192.0.2.1",
                "failed Herald by=root from=192.0.2.7 method=keyboard-interactive/pam why=User not known to the underlying authentication module",
            ),
            (
                "error: maximum authentication attempts exceeded for root from 192.0.2.7 port 4022 ssh2 [preauth]",
                "failed Part by=root from=192.0.2.7:4022 why=maximum authentication attempts exceeded",
            ),
            (
                "Disconnecting: Too many authentication failures for root [preauth]",
                "disconnected by=root why=Too many authentication failures for root",
            ),
            (
                "Disconnecting: Too many authentication failures [preauth]",
                "disconnected why=Too many authentication failures",
            ),
            (
                "Disconnecting invalid user admin 192.0.2.7 port 4022: Too many authentication failures [preauth]",
                "disconnected by=admin from=192.0.2.7:4022 why=Too many authentication failures",
            ),
            (
                "Too many authentication failures for root [preauth]",
                "disconnected by=root why=Too many authentication failures for root",
            ),
            ("Connection closed by 192.0.2.7", "disconnected from=192.0.2.7"),
            (
                "Connection reset by authenticating user root 192.0.2.7 port 4022 [preauth]",
                "disconnected by=root from=192.0.2.7:4022",
            ),
            (
                "Connection from user alice 192.0.2.7 port 4022 timed out",
                "disconnected by=alice from=192.0.2.7:4022 why=timed out",
            ),
            (
                "Received disconnect from 192.0.2.7 port 4022:11: Bye Bye [preauth]",
                "disconnected Part from=192.0.2.7:4022 why=Bye Bye",
            ),
            (
                "Received disconnect from 192.0.2.7: 11: Bye Bye [preauth]",
                "disconnected from=192.0.2.7 why=Bye Bye",
            ),
            ("User bob not allowed because account is locked", "invalid_user by=bob why=account is locked"),
            (
                "User bob from host.example.net not allowed because none of user's groups are listed in AllowGroups",
                "invalid_user by=bob from=name:host.example.net why=none of user's groups are listed in AllowGroups",
            ),
            ("User child is on pid 4711", "known"),
            (
                "ROOT LOGIN REFUSED FROM 192.0.2.7",
                "invalid_user by=root from=192.0.2.7 why=root login refused",
            ),
            ("refused connect from 192.0.2.7 (192.0.2.7)", "probe from=192.0.2.7 why=refused connect"),
            (
                "refused connect from ::ffff:192.0.2.7 (::ffff:192.0.2.7)",
                "probe from=192.0.2.7 why=refused connect",
            ),
            (
                "drop connection #10 from [2001:db8::7]:4022 on [2001:db8::1]:22 penalty: failed authentication",
                "probe from=2001:db8::7:4022 why=penalty: failed authentication",
            ),
            (
                "Did not receive identification string from UNKNOWN port 65535",
                "probe why=no identification string",
            ),
            (
                "Bad protocol version identification '\\026\\003\\001' from 192.0.2.7",
                "probe from=192.0.2.7 why=bad protocol version identification",
            ),
            (
                "error: kex_exchange_identification: banner line contains invalid characters",
                "probe Herald why=kex_exchange_identification: banner line contains invalid characters",
            ),
            (
                "banner exchange: Connection from 192.0.2.7 port 4022: could not read protocol version",
                "probe from=192.0.2.7:4022 why=could not read protocol version",
            ),
            (
                "ssh_dispatch_run_fatal: Connection from invalid user admin 192.0.2.7 port 4022: incomplete message [preauth]",
                "probe by=admin from=192.0.2.7:4022 why=incomplete message",
            ),
            (
                "Unable to negotiate with 192.0.2.7 port 4022: no matching key exchange method found. Their offer: diffie-hellman-group1-sha1 [preauth]",
                "probe from=192.0.2.7:4022 why=no matching key exchange method found. Their offer: diffie-hellman-group1-sha1",
            ),
            (
                "fatal: Timeout before authentication for 192.0.2.7",
                "probe from=192.0.2.7 why=timeout before authentication",
            ),
            (
                "Timeout before authentication for connection from 192.0.2.7 to 192.0.2.1, pid = 4711",
                "probe from=192.0.2.7 why=timeout before authentication",
            ),
            (
                "Address 192.0.2.7 maps to host.example.net, but this does not map back to the address - POSSIBLE BREAK-IN ATTEMPT!",
                "probe Aside from=192.0.2.7 why=its name does not map back to the address",
            ),
            (
                "reverse mapping checking getaddrinfo for host.example.net [192.0.2.7] failed - POSSIBLE BREAK-IN ATTEMPT!",
                "probe Aside from=192.0.2.7 why=its name does not map back to the address",
            ),
            ("Connection from 192.0.2.7 port 4022 on 192.0.2.1 port 22", "known"),
            ("Starting session: command for alice from 192.0.2.7 port 4022 id 0", "known"),
        ],
    );
}

#[test]
fn pam_is_understood_from_any_program() {
    check(
        "vsftpd[9]",
        &[
            (
                "pam_unix(vsftpd:auth): authentication failure; logname=LOGIN uid=0 euid=0 tty=/dev/tty1 ruser= rhost= ",
                "failed tty=tty1 service=vsftpd",
            ),
            (
                "pam_unix(vsftpd:auth): 1 more authentication failure; logname= uid=0 euid=0 tty=ftp ruser=a rhost=::1  user=root",
                "failed by=root from=::1 service=vsftpd",
            ),
            (
                "pam_unix(vsftpd:auth): check pass; user unknown",
                "failed Part service=vsftpd why=user unknown",
            ),
            (
                "pam_unix(vsftpd:auth): check pass; user (bob) unknown",
                "failed Part service=vsftpd why=user unknown",
            ),
            (
                "pam_unix(sudo:auth): auth could not identify password for [bob]",
                "failed Part by=bob service=sudo why=could not identify password",
            ),
            ("pam_unix(sudo:auth): conversation failed", "failed Part service=sudo why=conversation failed"),
            (
                "pam_unix(cron:session): session opened for user root by (uid=0)",
                "session_opened to=root service=cron",
            ),
            (
                "pam_unix(login:session): session opened for user alice(uid=1001) by LOGIN(uid=0)",
                "session_opened by=LOGIN to=alice service=login",
            ),
            ("pam_unix(cron:session): session closed for user root", "session_closed to=root service=cron"),
            ("(pam_unix) session opened for user root by (uid=0)", "session_opened to=root service=vsftpd"),
            (
                "pam_unix(passwd:chauthtok): password changed for alice",
                "account_changed to=alice service=passwd why=password changed",
            ),
            (
                "pam_unix(x:account): account bob has expired (account expired)",
                "failed Part service=x why=account bob has expired (account expired)",
            ),
            (
                "pam_faillock(login:auth): Consecutive login failures for user bob account temporarily locked",
                "failed Part by=bob service=login why=Consecutive login failures for user bob account temporarily locked",
            ),
            (
                "pam_sss(su:auth): authentication failure; logname=alice uid=1001 euid=0 tty=pts/0 ruser=alice rhost= user=bob",
                "failed StandIn(1) by=bob tty=pts/0 service=su",
            ),
            ("pam_sss(x:session): session opened for user root by (uid=0)", "known"),
            ("pam_unix(x:auth): something else", "unknown"),
        ],
    );
    check(
        "unix_chkpwd[9]",
        &[("password check failed for user (bob)", "failed Part by=bob why=password check failed")],
    );
    check("su(pam_unix)[9]", &[("session closed for user root", "session_closed to=root service=su")]);
}

#[test]
fn sudo_su_and_doas_are_understood() {
    check(
        "sudo[9]",
        &[
            (
                "   alice : HOST=web1 ; TTY=pts/0 ; CHROOT=/srv/a ; PWD=/ ; USER=www ; GROUP=adm ; TSID=000001 ; ENV=A=b C=d ; COMMAND=/bin/a ; b = c",
                "sudo by=alice to=www tty=pts/0 cwd=/ command=/bin/a ; b = c",
            ),
            (
                "     bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
                "sudo_denied by=bob to=root tty=pts/0 cwd=/ command=/bin/ls why=3 incorrect password attempts",
            ),
            (
                "     bob : command not allowed ; TTY=unknown ; PWD=/ ; USER=root ; COMMAND=list",
                "sudo_denied by=bob to=root cwd=/ command=list why=command not allowed",
            ),
            (
                "     bob : a password is required ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
                "sudo_denied by=bob to=root cwd=/ command=/bin/ls why=a password is required",
            ),
            (
                "     bob : unknown user x ; TTY=forged ; PWD=/ ; USER=root ; COMMAND=/bin/evil ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
                "sudo_denied by=bob why=unknown user x",
            ),
            ("   alice : (command continued) -v /srv", "sudo Continuation by=alice command=-v /srv"),
            // sudo-rs, with and without a terminal.
            (
                "alice : TTY=/dev/pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/id -u",
                "sudo by=alice to=root tty=pts/0 cwd=/home/alice command=/usr/bin/id -u",
            ),
            (
                "alice :  PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/id",
                "sudo by=alice to=root cwd=/home/alice command=/usr/bin/id",
            ),
        ],
    );
    check(
        "su",
        &[
            ("(to root) alice on pts/0", "su by=alice to=root tty=pts/0"),
            ("FAILED SU (to root) alice on none", "su_failed by=alice to=root"),
            ("+ /dev/pts/0 alice:root", "su StandIn(2) by=alice to=root tty=pts/0"),
            ("- ??? alice:root", "su_failed StandIn(2) by=alice to=root"),
            ("Successful su for root by alice", "su by=alice to=root"),
            ("FAILED su for root by alice", "su_failed by=alice to=root"),
        ],
    );
    check(
        "doas",
        &[
            (
                "alice ran command id -u as root from /home/alice",
                "su by=alice to=root cwd=/home/alice command=id -u",
            ),
            ("alice ran command id -u as root", "su by=alice to=root command=id -u"),
            ("alice ran command sh -c x as root from /a as eve from /b", "su by=alice"),
            ("failed auth for bob", "su_failed by=bob why=failed auth"),
        ],
    );
}

#[test]
fn login_logind_and_polkit_are_understood() {
    check(
        "login[9]",
        &[
            (
                "FAILED LOGIN 1 FROM tty1 FOR nosuch, User not known to the underlying authentication module",
                "failed StandIn(2) by=nosuch tty=tty1 why=User not known to the underlying authentication module",
            ),
            (
                "FAILED LOGIN 2 FROM 192.0.2.7 FOR (unknown), Authentication failure",
                "failed StandIn(2) from=192.0.2.7 why=Authentication failure",
            ),
            (
                "FAILED LOGIN SESSION FROM tty1 FOR bob, Authentication failure",
                "failed StandIn(2) by=bob tty=tty1 why=Authentication failure",
            ),
            (
                "FAILED LOGIN (1) on '/dev/tty1' FOR 'UNKNOWN', Authentication failure",
                "failed StandIn(2) tty=tty1 why=Authentication failure",
            ),
            ("TOO MANY LOGIN TRIES (3) on 'tty1' FOR 'bob'", "failed StandIn(2) by=bob tty=tty1"),
            (
                "invalid password for 'bob'  on 'tty1'",
                "failed StandIn(2) by=bob tty=tty1 why=invalid password",
            ),
            ("ROOT LOGIN ON tty1 FROM 192.0.2.7", "accepted by=root from=192.0.2.7 tty=tty1"),
            ("ROOT LOGIN  on '/dev/tty1'", "accepted by=root tty=tty1"),
            ("LOGIN ON tty1 BY alice", "accepted by=alice tty=tty1"),
            (
                "'alice' logged in  on 'tty1' from 'host.example.net'",
                "accepted by=alice from=name:host.example.net tty=tty1",
            ),
        ],
    );
    check(
        "systemd-logind[9]",
        &[
            ("New session 3 of user alice.", "session_opened Aside to=alice"),
            (
                "New session 'c1' of user 'alice' with class 'user' and type 'tty'.",
                "session_opened Aside to=alice why=class 'user' and type 'tty'",
            ),
            ("Session 3 logged out. Waiting for processes to exit.", "session_closed Aside why=logged out"),
            ("Removed session 3.", "session_closed Aside"),
        ],
    );
    check(
        "pkexec[9]",
        &[
            (
                "alice: Executing command [USER=root] [TTY=unknown] [CWD=/] [COMMAND=/usr/bin/id]",
                "sudo by=alice to=root cwd=/ command=/usr/bin/id",
            ),
            (
                "alice: Executing command [USER=root] [TTY=/dev/pts/0] [CWD=/a] [COMMAND=/b] [COMMAND=/usr/bin/id]",
                "sudo by=alice to=root tty=pts/0",
            ),
            (
                "bob: Error executing command as another user: Request dismissed [USER=root] [TTY=/dev/pts/0] [CWD=/] [COMMAND=/usr/bin/id]",
                "sudo_denied by=bob to=root tty=pts/0 cwd=/ command=/usr/bin/id why=Request dismissed",
            ),
        ],
    );
    check(
        "polkitd[9]",
        &[
            (
                "Operator of unix-session:2 successfully authenticated as unix-user:root to gain TEMPORARY authorization for action org.x for system-bus-name::1.5 [x (owned by unix-user:root)] (owned by unix-user:alice)",
                "sudo by=alice to=root why=org.x",
            ),
            (
                "Operator of unix-session:2 FAILED to authenticate to gain authorization for action org.x for unix-process:1:2 [x] (owned by unix-user:bob)",
                "sudo_denied by=bob why=org.x",
            ),
        ],
    );
}

#[test]
fn changed_accounts_are_understood() {
    check(
        "useradd[9]",
        &[
            (
                "new user: name=alice, UID=1001, GID=1001, home=/home/alice, shell=/bin/bash, from=/dev/pts/0",
                "account_changed to=alice tty=pts/0 why=new user",
            ),
            (
                "new user: name=alice, UID=1001, GID=1001, home=/home/alice, shell=/bin/bash",
                "account_changed to=alice why=new user",
            ),
            ("new group: name=alice, GID=1001", "account_changed group=alice why=new group"),
            ("add 'alice' to group 'sudo'", "account_changed to=alice group=sudo why=added to group"),
            (
                "add 'alice' to shadow group 'sudo'",
                "account_changed Part to=alice group=sudo why=added to group",
            ),
            (
                "failed adding user 'alice', exit code: 9",
                "account_changed failed to=alice why=failed adding user",
            ),
            (
                "failed adding user alice, data deleted",
                "account_changed failed to=alice why=failed adding user",
            ),
        ],
    );
    check(
        "userdel[9]",
        &[
            ("delete user 'alice'", "account_changed to=alice why=user deleted"),
            ("removed group 'alice' owned by 'alice'", "account_changed group=alice why=group removed"),
            (
                "removed shadow group 'alice' owned by 'alice'",
                "account_changed Part group=alice why=group removed",
            ),
            (
                "delete 'alice' from group 'sudo'",
                "account_changed to=alice group=sudo why=removed from group",
            ),
        ],
    );
    check(
        "usermod[9]",
        &[
            ("change user 'alice' shell from '/bin/sh' to '/bin/bash'", "account_changed to=alice why=shell"),
            ("change user 'alice' password", "account_changed to=alice why=password"),
            ("change user name 'alice' to 'bob'", "account_changed to=alice why=user renamed"),
            ("lock user 'alice' password", "account_changed to=alice why=password locked"),
        ],
    );
    check(
        "groupadd[9]",
        &[
            ("group added to /etc/group: name=staff, GID=1001", "account_changed Part group=staff"),
            ("group added to /etc/gshadow: name=staff", "account_changed Part group=staff"),
            ("new group: name=staff, GID=1001", "account_changed group=staff why=new group"),
        ],
    );
    check(
        "groupdel[9]",
        &[
            ("group 'staff' removed from /etc/group", "account_changed Part group=staff why=group removed"),
            ("group 'staff' removed", "account_changed group=staff why=group removed"),
        ],
    );
    check(
        "gpasswd[9]",
        &[
            (
                "user alice added by root to group sudo",
                "account_changed by=root to=alice group=sudo why=added to group",
            ),
            (
                "user alice removed by root from group sudo",
                "account_changed by=root to=alice group=sudo why=removed from group",
            ),
            (
                "user alice added by root to group sudo in /etc/gshadow",
                "account_changed Part by=root to=alice group=sudo why=added to group",
            ),
            ("members of group sudo set by root to alice,bob", "account_changed by=root group=sudo why=set"),
            (
                "bob failed to add user bob to group sudo: Permission denied",
                "account_changed failed by=bob why=add user bob to group sudo: Permission denied",
            ),
        ],
    );
    check(
        "passwd[9]",
        &[
            (
                "password for 'alice' changed by 'root'",
                "account_changed StandIn(2) by=root to=alice why=password changed",
            ),
            ("password changed for alice", "account_changed StandIn(2) to=alice why=password changed"),
        ],
    );
    check(
        "chage[9]",
        &[("changed password expiry for alice", "account_changed to=alice why=password expiry changed")],
    );
    check("chsh[9]", &[("changed user 'alice' shell to '/bin/sh'", "account_changed to=alice why=shell")]);
}

#[test]
fn dropbear_is_understood() {
    check(
        "dropbear[9]",
        &[
            (
                "Bad password attempt for 'root' from 2001:db8::7:4022",
                "failed by=root from=2001:db8::7:4022 method=password",
            ),
            (
                "Bad PAM password attempt for 'a' from 10.0.0.1:1' from ::ffff:192.0.2.7:4022",
                "failed by=a' from 10.0.0.1:1 from=192.0.2.7:4022 method=password",
            ),
            ("Login attempt for nonexistent user from 192.0.2.7:4022", "invalid_user from=192.0.2.7:4022"),
            (
                "Pubkey auth succeeded for 'alice' with ssh-ed25519 key SHA256:abc from 192.0.2.7:4022",
                "accepted by=alice from=192.0.2.7:4022 method=publickey key=ssh-ed25519 key SHA256:abc",
            ),
            (
                "Pubkey auth succeeded for 'alice' with key md5 aa:bb from 192.0.2.7:4022",
                "accepted by=alice from=192.0.2.7:4022 method=publickey key=md5 aa:bb",
            ),
            (
                "Password auth succeeded for 'alice' from 192.0.2.7:4022",
                "accepted by=alice from=192.0.2.7:4022 method=password",
            ),
            ("Password auth succeeded for 'alice' from 192.0.2.7:4022, extra auth required", "known"),
            (
                "Exit before auth from <192.0.2.7:4022>: (user 'root', 3 fails): Exited normally",
                "disconnected by=root from=192.0.2.7:4022 why=Exited normally",
            ),
            (
                "Exit before auth (user 'root', 3 fails): Exited normally",
                "disconnected by=root why=Exited normally",
            ),
            (
                "Exit before auth from <192.0.2.7:4022>: Exited normally",
                "disconnected from=192.0.2.7:4022 why=Exited normally",
            ),
            ("Exit before auth: Exited normally", "disconnected why=Exited normally"),
            ("Exit (alice): Disconnect received", "disconnected by=alice why=Disconnect received"),
            (
                "pam_authenticate() failed, rc=7, Authentication failure",
                "failed Part why=Authentication failure",
            ),
            ("Child connection from 192.0.2.7:4022", "known"),
        ],
    );
    assert_eq!(AuthAction::Probe.outcome(), Outcome::Unknown);
}
