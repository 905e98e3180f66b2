//! What receives `/dev/log` in a realm: a real systemd-journald without systemd, or a real rsyslogd.

use std::{fs, os::unix::net::UnixDatagram};

use crate::{binary::required_program, process::Process, realm::Realm, wait::eventually};

/// The log that rsyslogd writes, inside the realm.
pub const AUTH_LOG: &str = "/var/log/auth.log";

/// Where journald hands its messages on to a syslog daemon (`ForwardToSyslog=` of journald.conf(5)).
const FORWARDED: &str = "/run/systemd/journal/syslog";

/// rsyslogd as Debian sets it up, for the auth facilities only; with times as RFC 3164 has them. `SOCKET` is where
/// it listens.
const RSYSLOG_CONFIG: &str = r#"
module(load="imuxsock" SysSock.Name="SOCKET")
module(load="builtin:omfile" Template="RSYSLOG_TraditionalFileFormat")
auth,authpriv.* action(type="omfile" file="/var/log/auth.log" fileCreateMode="0640")
"#;

/// Starts journald as after its flush to `/var/log/journal`, where what an ordinary user's programs write goes
/// into a journal of that user's own (`SplitMode=uid` of journald.conf(5), the default).
///
/// # Panics
/// When it does not come up.
#[must_use]
#[track_caller]
pub fn persistent_journald(realm: &Realm) -> Process {
    realm.check("sh", &["-c", "mkdir -p /var/log/journal/$(cat /etc/machine-id) /run/systemd/journal"]);
    realm.check("touch", &["/run/systemd/journal/flushed"]);
    journald(realm)
}

/// Starts journald, with its journal in the realm's `/run/log/journal`, and puts it behind `/dev/log`.
///
/// # Panics
/// When it does not come up.
#[must_use]
#[track_caller]
pub fn journald(realm: &Realm) -> Process {
    realm.check("mkdir", &["-p", "/run/log/journal"]);
    let journald = required_program("systemd-journald");
    let daemon = realm.spawn(journald.to_str().expect("a path in UTF-8"), &[]);
    let socket = realm.path("/run/systemd/journal/dev-log");
    eventually("journald's socket", || {
        assert!(daemon.is_running(), "journald ended\n{}", daemon.output());
        socket.exists().then_some(())
    });
    realm.check("ln", &["-sf", "/run/systemd/journal/dev-log", "/dev/log"]);
    eventually("journald to take a message", || {
        realm.check("logger", &["--tag", "harness", "ready"]);
        realm
            .run("journalctl", &["--quiet", "-t", "harness", "-o", "cat"])
            .out()
            .contains("ready")
            .then_some(())
    });
    daemon
}

/// Starts rsyslogd, which writes [`AUTH_LOG`], and waits until that file is there.
///
/// # Panics
/// When it does not come up.
#[must_use]
#[track_caller]
pub fn rsyslogd(realm: &Realm) -> Process {
    rsyslogd_on(realm, "/dev/log")
}

/// Starts rsyslogd behind journald, as on Debian: what journald takes it hands on. Start this one first.
///
/// # Panics
/// When it does not come up.
#[must_use]
#[track_caller]
pub fn rsyslogd_behind_journald(realm: &Realm) -> Process {
    realm.check("mkdir", &["-p", "/run/systemd/journal", "/run/systemd/journald.conf.d"]);
    fs::write(realm.path("/run/systemd/journald.conf.d/forward.conf"), "[Journal]\nForwardToSyslog=yes\n")
        .expect("the realm's /run is writable");
    rsyslogd_on(realm, FORWARDED)
}

/// Hands a line of sshd's about a user to that rsyslogd, without journald.
///
/// # Panics
/// When nobody listens there.
#[track_caller]
pub fn log_past_journald(realm: &Realm, user: &str) {
    let socket = UnixDatagram::unbound().expect("a socket");
    let line = format!("<86>sshd: {}", failed_password(user));
    socket.send_to(line.as_bytes(), realm.path(FORWARDED)).expect("rsyslogd listens");
}

/// What sshd says of a wrong password.
fn failed_password(user: &str) -> String {
    format!("Failed password for {user} from 192.0.2.1 port 22 ssh2")
}

/// Logs a wrong password of a user under sshd's name, by logger(1), to whoever keeps the log of the realm.
///
/// # Panics
/// When nobody listens there.
#[track_caller]
pub fn log(realm: &Realm, user: &str) {
    realm.check("logger", &["--priority", "authpriv.info", "--tag", "sshd", &failed_password(user)]);
}

/// How [`AUTH_LOG`] is rotated; the words of logrotate(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Renamed, and the daemon told.
    Rename,
    /// Renamed, the daemon told, and compressed at once.
    Compress,
    /// Copied and truncated; nobody is told.
    CopyTruncate,
}

/// Rotates [`AUTH_LOG`] by a real logrotate, now.
///
/// # Panics
/// When logrotate fails.
#[track_caller]
pub fn rotate(realm: &Realm, rotation: Rotation) {
    let how = match rotation {
        Rotation::Rename => "create 0640",
        Rotation::Compress => "create 0640\n    compress",
        Rotation::CopyTruncate => "copytruncate",
    };
    let config = format!(
        "{AUTH_LOG} {{\n    rotate 9\n    {how}\n    postrotate\n        kill -HUP $(cat /run/rsyslogd.pid)\n    endscript\n}}\n"
    );
    fs::write(realm.path("/run/logrotate.conf"), config).expect("the realm's /run is writable");
    realm.check("logrotate", &["--force", "--state", "/run/logrotate.state", "/run/logrotate.conf"]);
}

#[track_caller]
fn rsyslogd_on(realm: &Realm, socket: &str) -> Process {
    let listen_on = realm.path(socket);
    fs::write(realm.path("/run/rsyslog.conf"), RSYSLOG_CONFIG.replace("SOCKET", socket))
        .expect("the realm's /run is writable");
    let rsyslogd = required_program("rsyslogd");
    let daemon = realm.spawn(
        rsyslogd.to_str().expect("a path in UTF-8"),
        &["-n", "-f", "/run/rsyslog.conf", "-i", "/run/rsyslogd.pid"],
    );
    eventually("rsyslogd to take a message", || {
        assert!(daemon.is_running(), "rsyslogd ended\n{}", daemon.output());
        let socket = UnixDatagram::unbound().expect("a socket");
        // 86 is authpriv.info (RFC 3164, 4.1.1). It is not there yet when the daemon has not bound its socket.
        let _ = socket.send_to(b"<86>harness: ready", &listen_on);
        let written = fs::read_to_string(realm.path(AUTH_LOG)).unwrap_or_default();
        written.contains("harness: ready").then_some(())
    });
    daemon
}
