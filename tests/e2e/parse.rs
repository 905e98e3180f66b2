//! `secmon parse`: what it makes of logs that real programs wrote, and how it behaves as a program.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    process::{Command, Stdio},
};

use secmon_testkit::{
    json::{self, number, text},
    need::Need::{Namespaces, Program},
    process::Process,
    product::{Hub, Lab, Node, NodeSetup, Place, arg},
    realm::Realm,
    require,
    sshd::Sshd,
    syslog,
    wait::eventually,
};
use serde_json::Value;

/// How a syslog daemon writes a line by RFC 3164, up to its tag.
const FRAME: &str = "Nov 21 03:00:00 web1 ";

fn parse(args: &[&str]) -> Vec<Value> {
    let parsed = Process::run("parse", Place::Here.secmon().arg("parse").arg("--json").args(args));
    assert_eq!(parsed.code(), 0, "{parsed}");
    json::lines(&parsed.stdout)
}

/// `TYPE user` of each event.
fn said(events: &[Value]) -> Vec<String> {
    let user = |event: &Value| match text(event, "user.name") {
        "" => text(event, "user.target.name").to_owned(),
        user => user.to_owned(),
    };
    events.iter().map(|event| format!("{} {}", text(event, "secmon.type"), user(event))).collect()
}

const LOG: &[&str] = &[
    "sshd[7]: Invalid user nosuch from 192.0.2.7 port 4022",
    "sshd[7]: pam_unix(sshd:auth): check pass; user unknown",
    "sshd[7]: Failed password for invalid user nosuch from 192.0.2.7 port 4022 ssh2",
    "sshd[7]: Server listening on 0.0.0.0 port 22.",
    "systemd-logind[9]: New session 3 of user alice.",
    "sudo:    alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/echo a",
    "sudo:    alice : (command continued) b",
    "frobnicate[9]: \u{1b}[2J what is this",
];

fn log(lab: &Lab) -> String {
    let lines: String = LOG.iter().map(|line| format!("{FRAME}{line}\n")).collect();
    lab.write("auth.log", lines).to_str().unwrap().to_owned()
}

#[test]
fn each_line_that_is_understood_is_shown_by_itself_with_its_role() {
    let lab = Lab::new();
    let events = parse(&[&log(&lab)]);
    let roles: Vec<_> =
        events.iter().map(|e| (number(e, "secmon.line").unwrap(), text(e, "secmon.role"))).collect();
    assert_eq!(
        roles,
        [
            (1, "carrier"),
            (2, "part"),
            (3, "carrier"),
            (4, "note"),
            (5, "aside"),
            (6, "carrier"),
            (7, "continuation"),
        ]
    );
    assert_eq!(text(&events[4], "secmon.type"), "auth.session_opened");
}

#[test]
fn join_shows_what_a_node_would_report() {
    let lab = Lab::new();
    let events = parse(&["--join", "--source", "auth", &log(&lab)]);
    assert_eq!(said(&events), ["auth.invalid_user nosuch", "auth.failed nosuch", "auth.sudo alice"]);
    assert_eq!(text(&events[1], "event.reason"), "invalid user; user unknown");
    assert_eq!(text(&events[2], "secmon.sudo.command"), "/bin/echo a b");
    assert_eq!(text(&events[2], "secmon.sudo.program"), "sudo");
    assert_eq!(number(&events[2], "secmon.line"), Some(6));
}

#[test]
fn unmatched_shows_the_lines_that_are_not_known_and_nothing_else() {
    let lab = Lab::new();
    let file = log(&lab);
    let plain = Process::run("parse", Place::Here.secmon().args(["parse", "--unmatched", &file]));
    let unknown = format!("{FRAME}{}", LOG[7]);
    assert_eq!(plain.out(), format!("{unknown}\n"), "nobody but a program reads a pipe");
    assert!(plain.err().contains("1 not known"), "{plain}");
    let events = parse(&["--unmatched", &file]);
    assert_eq!(events.len(), 1);
    assert_eq!((number(&events[0], "secmon.line"), text(&events[0], "message")), (Some(8), unknown.as_str()));
    // script(1) gives it a terminal.
    require!(Program("script"));
    let shown = format!("'{}' parse --unmatched {file}", secmon_testkit::binary::secmon().display());
    let mut on_a_terminal = Command::new("script");
    on_a_terminal.args(["-qec", &shown, "/dev/null"]).stdin(Stdio::null());
    let shown = Process::run("script", &mut on_a_terminal);
    assert!(shown.out().contains(r"\x1b[2J what is this") && !shown.out().contains('\u{1b}'), "{shown}");
}

#[test]
fn what_is_asked_for_wrongly_says_so() {
    let lab = Lab::new();
    let file = log(&lab);
    for (args, word) in [
        (&["parse", "--join", "--unmatched", &file][..], "cannot be used with"),
        (&["parse", "--source", "wtf", &file], "possible values"),
        (&["parse", "/no/such/file"], "/no/such/file"),
        (&["parse", "/tmp"], "/tmp"),
    ] {
        let output = Process::run("parse", Place::Here.secmon().args(args));
        assert_ne!(output.code(), 0, "{output}");
        assert!(output.err().contains(word), "{output}");
    }
}

#[test]
fn a_live_pipe_is_shown_as_it_comes() {
    let mut command = Place::Here.secmon();
    command.args(["parse", "--join", "--json", "-"]);
    let mut parse = Process::spawn_with_stdin("parse", &mut command);
    // Of the second a line more may come; it is shown when none does.
    for (line, count) in [(LOG[0], 1), (LOG[5], 2)] {
        parse.write_stdin(format!("{FRAME}{line}\n").as_bytes());
        parse.wait_until("the event", |output| (json::lines(&output.stdout).len() == count).then_some(()));
    }
    assert!(parse.is_running());
}

/// A node cannot look ahead: what may go on in another line is reported when none comes.
#[test]
fn a_node_reports_a_command_of_sudos_once_and_whole() {
    let lab = Lab::new();
    let file = lab.write("auth.log", "");
    let hub = Hub::start(&lab, Place::Here);
    let setup = NodeSetup::quiet(&lab).with_auth_file(&file);
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut watch = hub.watch(&["--type", "auth.*"]);
    let write = |lines: &[&str]| {
        let lines: String = lines.iter().map(|line| format!("{FRAME}{line}\n")).collect();
        let mut log = OpenOptions::new().append(true).open(&file).unwrap();
        log.write_all(lines.as_bytes()).unwrap();
    };
    write(&["sudo[7]:    short : PWD=/ ; USER=root ; COMMAND=/bin/id"]);
    watch.find_user("auth.sudo", "short");
    let long =
        format!("sudo[8]:     long : PWD=/ ; USER=root ; COMMAND=/bin/echo {}", ["word"; 180].join(" "));
    write(&[&long, "sudo[8]:     long : (command continued) the end"]);
    let whole = watch.find_user("auth.sudo", "long");
    assert!(text(&whole, "secmon.sudo.command").ends_with("word the end"), "{whole}");
    write(&[&long.replace("sudo[8]:     long", "sudo[9]:   silence")]);
    watch.find_user("auth.sudo", "silence");
    assert_eq!(watch.events.len(), 3, "{:#?}", watch.events);
}

#[test]
fn what_real_programs_write_is_joined_into_one_event_for_each_attempt() {
    require!(
        Namespaces,
        Program("sshd"),
        Program("ssh"),
        Program("rsyslogd"),
        Program("sudo"),
        Program("su"),
        Program("useradd"),
        Program("chpasswd"),
        Program("gpasswd"),
        Program("setpriv"),
    );
    let realm = Realm::new("web1");
    let (_log, file) = (syslog::rsyslogd(&realm), realm.path(syslog::AUTH_LOG));
    // What they change is the realm's own.
    realm.check("sh", &["-c", "cp -a /etc /run/etc && mount --bind /run/etc /etc"]);
    let sshd = Sshd::start(&realm);
    let joined = |at_least: usize| {
        eventually("the lines of the log", || {
            let events = parse(&["--join", arg(&file)]);
            (events.len() >= at_least).then_some(events)
        })
    };
    sshd.try_wrong_password("mallory");
    sshd.try_wrong_password("root");
    let events = joined(5);
    assert_eq!(
        said(&events),
        [
            "auth.invalid_user mallory",
            "auth.failed mallory",
            "auth.disconnected mallory",
            "auth.failed root",
            "auth.disconnected root",
        ]
    );
    assert!(text(&events[1], "event.reason").contains("invalid user"), "{}", events[1]);
    assert!(events.iter().all(|e| text(e, "source.ip") == "127.0.0.1" && number(e, "source.port").is_some()));

    fs::write(&file, "").unwrap();
    realm.check("useradd", &["--create-home", "--base-dir", "/run", "--groups", "adm", "secmon-alice"]);
    realm.check("sh", &["-c", "echo secmon-alice:secret | chpasswd"]);
    realm.check("gpasswd", &["-d", "secmon-alice", "adm"]);
    let alice = ["--reuid=secmon-alice", "--regid=secmon-alice", "--clear-groups", "--"];
    let rule = "Defaults:secmon-alice !authenticate\nsecmon-alice ALL = /bin/true\n";
    fs::write(realm.path("/etc/sudoers.d/secmon-alice"), rule).unwrap();
    let denied = realm.run("setpriv", &[&alice[..], &["sudo", "-n", "/bin/ls"]].concat());
    assert_ne!(denied.code(), 0, "{denied}");
    let failed = realm.run("setpriv", &[&alice[..], &["su", "-c", "true", "root"]].concat());
    assert_ne!(failed.code(), 0, "{failed}");
    realm.check("sudo", &["sh", "-c", &format!(": {}", "word ".repeat(600))]);
    realm.check("userdel", &["--remove", "secmon-alice"]);
    let events = joined(12);
    let count = |kind: &str, user: &str| {
        let is =
            |e: &&Value| text(e, "secmon.type") == kind && said(std::slice::from_ref(*e))[0].ends_with(user);
        events.iter().filter(is).count()
    };
    let all = said(&events);
    for (kind, user, times) in [
        ("auth.sudo_denied", "secmon-alice", 1),
        ("auth.su_failed", "secmon-alice", 1),
        ("auth.sudo", "root", 1),
    ] {
        assert_eq!(count(kind, user), times, "{kind} {user}\n{all:#?}");
    }
    let of_alice = |reason: &str| {
        let is = |e: &&Value| {
            text(e, "secmon.type") == "auth.account_changed"
                && text(e, "user.target.name") == "secmon-alice"
                && text(e, "event.reason") == reason
        };
        events.iter().filter(is).count()
    };
    for reason in ["new user", "password changed", "user deleted", "added to group", "removed from group"] {
        assert_eq!(of_alice(reason), 1, "{reason}\n{}", fs::read_to_string(&file).unwrap());
    }
    let sudo = events.iter().find(|e| text(e, "secmon.type") == "auth.sudo").unwrap();
    let command = text(sudo, "secmon.sudo.command");
    assert_eq!(command.matches("word ").count(), 600, "the command of several lines is whole: {command}");
    let unmatched = parse(&["--unmatched", arg(&file)]);
    assert!(unmatched.iter().all(|l| !text(l, "message").contains("pam_unix")), "{unmatched:#?}");
}
