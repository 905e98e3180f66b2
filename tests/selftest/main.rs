//! Shows that the harness itself is real: each part is started by itself and checked with the tools of the field.
//! The product has no part in this; what it makes of these parts is in `e2e`.

use std::fs;

use secmon_testkit::{
    host::{Distribution, Host},
    json,
    need::{
        Need,
        Need::{Namespaces, Program, Tun},
    },
    process::lines,
    realm::Realm,
    require,
    sshd::Sshd,
    syslog, utmp,
    wait::eventually,
    wireguard::Tunnel,
};

#[test]
fn a_realm_shares_nothing_and_takes_everything_with_it() {
    require!(Namespaces);
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let realm = Realm::new("alone");
    assert_eq!(realm.check("hostname", &[]), "alone");
    for gone in ["/run/utmp", "/run/systemd", "/run/wireguard", "/dev/log", "/var/log/auth.log"] {
        assert!(!realm.path(gone).exists(), "{gone} of the machine is seen");
    }
    let sleeper = realm.spawn("sleep", &["1000"]);
    let processes = realm.check("ls", &["/proc"]);
    assert!(processes.lines().filter(|name| name.parse::<u32>().is_ok()).count() < 6, "{processes}");
    drop(realm);
    let _ = sleeper.wait();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

#[test]
fn a_whole_host_runs_a_debian_of_its_own_and_takes_everything_with_it() {
    require!(Need::Host);
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let host = Host::boot(Distribution::Debian13, "alone");
    assert_eq!(host.check("hostname", &[]), "alone");
    assert!(host.check("cat", &["/etc/os-release"]).contains("trixie"));
    assert_eq!(host.check("cat", &["/proc/1/comm"]), "systemd");
    assert!(host.check("loginctl", &["list-sessions"]).contains("No sessions"));
    // What is the machine's cannot be changed from inside.
    assert_ne!(host.run("sh", &["-c", "echo 7 >/proc/sys/kernel/pid_max"]).code(), 0);
    let mut console = host.console();
    console.wait_for("alone login: ");
    let group = host.control_group().to_owned();
    assert!(group.join("init.scope").is_dir(), "{}", group.display());
    drop(host);
    eventually("its control group to go", || (!group.exists()).then_some(()));
    assert_eq!(mounts(), before);
}

#[test]
fn a_login_over_sshd_is_in_utmp_while_it_lasts_and_in_the_log_of_rsyslogd() {
    require!(
        Namespaces,
        Program("sshd"),
        Program("ssh"),
        Program("ssh-keygen"),
        Program("rsyslogd"),
        Program("who")
    );
    let realm = Realm::new("login");
    realm.make_utmp();
    let _log = syslog::rsyslogd(&realm);
    let sshd = Sshd::start(&realm);
    let mut session = sshd.login("root", "echo inside; read -r line");
    session.wait_until("the shell", |output| output.out().contains("inside").then_some(()));
    let who = realm.check("who", &[]);
    assert!(who.starts_with("root") && who.contains("pts/0") && who.contains("127.0.0.1"), "{who}");
    session.write_stdin(b"\n");
    assert_eq!(session.finish().code(), 0);
    eventually("the session's end in utmp", || realm.check("who", &[]).is_empty().then_some(()));
    let log = eventually("sshd's line", || {
        let log = fs::read_to_string(realm.path(syslog::AUTH_LOG)).ok()?;
        log.contains("session closed for user root").then_some(log)
    });
    assert!(log.contains("Accepted publickey for root from 127.0.0.1"), "{log}");
}

#[test]
fn a_wrong_user_is_in_the_journal_with_its_cursor_and_its_writer() {
    require!(Namespaces, Program("sshd"), Program("ssh"), Program("systemd-journald"), Program("journalctl"));
    let realm = Realm::new("wrong");
    let _journal = syslog::journald(&realm);
    let sshd = Sshd::start(&realm);
    sshd.try_wrong_password("mallory");
    let entry = eventually("sshd's line", || {
        let output = realm.run("journalctl", &["-q", "-o", "json", "-t", "sshd"]);
        json::lines(&output.stdout)
            .into_iter()
            .find(|e| json::text(e, "MESSAGE").starts_with("Failed password"))
    });
    assert!(
        json::text(&entry, "MESSAGE").contains("for invalid user mallory from 127.0.0.1 port"),
        "{entry}"
    );
    assert!(json::text(&entry, "_EXE").ends_with("/sshd"), "{entry}");
    assert!(!json::text(&entry, "__CURSOR").is_empty(), "{entry}");
}

#[test]
fn two_tunnels_in_two_realms_make_a_handshake() {
    require!(Namespaces, Tun, Program("wireguard-go"), Program("wg"));
    let (here, there) = (Realm::new("here"), Realm::new("there"));
    here.join(&there, "wire", "10.77.0.1/24", "10.77.0.2/24");
    let one = Tunnel::start(&here, "wg0", "10.78.0.1/24");
    let other = Tunnel::start(&there, "wg0", "10.78.0.2/24");
    other.add_peer(&one, "10.77.0.1", "10.78.0.1/32");
    one.add_peer(&other, "10.77.0.2", "10.78.0.2/32");
    eventually("a handshake", || (one.latest_handshake() > 0 && other.latest_handshake() > 0).then_some(()));
}

#[test]
fn a_record_written_by_hand_is_read_by_who() {
    require!(Program("who"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("utmp");
    let pid = std::process::id();
    let login =
        utmp::Login { line: "pts/77", user: "alice", host: "192.0.2.7", address: [192, 0, 2, 7], pid };
    utmp::write_slot(&file, 1, &login.record()).unwrap();
    let who = secmon_testkit::process::Process::run("who", std::process::Command::new("who").arg(&file));
    let line = lines(&who.stdout).next().unwrap_or_default().to_owned();
    assert!(line.starts_with("alice") && line.contains("pts/77") && line.contains("192.0.2.7"), "{line}");
    utmp::write_slot(&file, 1, &login.end()).unwrap();
    let who = secmon_testkit::process::Process::run("who", std::process::Command::new("who").arg(&file));
    assert!(who.stdout.is_empty(), "{who}");
}
