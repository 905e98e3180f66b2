//! What lines of each program make, said shortly. sshd's are in its own folder.

use secmon_protocol::auth::{Outcome, Source, SourceHost};

use super::{tests::context, *};

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

#[track_caller]
pub(super) fn check(program: &str, cases: &[(&str, &str)]) {
    for (message, want) in cases {
        assert_eq!(said(program, message), *want, "{program}: {message}");
    }
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
            ("Child connection from 192.0.2.7:4022", "probe Part from=192.0.2.7:4022"),
            ("Login attempt for nonexistent user", "invalid_user"),
        ],
    );
}
