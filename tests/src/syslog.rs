//! What receives `/dev/log` in a realm: a real systemd-journald without systemd, or a real rsyslogd.

use std::{fs, os::unix::net::UnixDatagram};

use crate::{binary::required_program, process::Process, realm::Realm, wait::eventually};

/// The log that rsyslogd writes, inside the realm.
pub const AUTH_LOG: &str = "/var/log/auth.log";

/// rsyslogd as Debian sets it up, for the auth facilities only; with times as RFC 3164 has them.
const RSYSLOG_CONFIG: &str = r#"
module(load="imuxsock" SysSock.Name="/dev/log")
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
    realm.check("ln", &["-s", "/run/systemd/journal/dev-log", "/dev/log"]);
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
    fs::write(realm.path("/run/rsyslog.conf"), RSYSLOG_CONFIG).expect("the realm's /run is writable");
    let rsyslogd = required_program("rsyslogd");
    let daemon = realm.spawn(
        rsyslogd.to_str().expect("a path in UTF-8"),
        &["-n", "-f", "/run/rsyslog.conf", "-i", "/run/rsyslogd.pid"],
    );
    eventually("rsyslogd to take a message", || {
        assert!(daemon.is_running(), "rsyslogd ended\n{}", daemon.output());
        let socket = UnixDatagram::unbound().expect("a socket");
        // 86 is authpriv.info (RFC 3164, 4.1.1). It is not there yet when the daemon has not bound its socket.
        let _ = socket.send_to(b"<86>harness: ready", realm.path("/dev/log"));
        let written = fs::read_to_string(realm.path(AUTH_LOG)).unwrap_or_default();
        written.contains("harness: ready").then_some(())
    });
    daemon
}
