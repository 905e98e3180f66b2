//! Whether a line's writer is the program that it claims to be, as far as journald knows.
//!
//! Anybody may write `sshd: Accepted …` into syslog; nobody can choose the `_EXE` and `_UID` that
//! journald adds. Both may be absent, because journald reads them after the writer may have ended.

use secmon_protocol::auth::AuthAction;

use super::frame::Framed;

/// Folders that only root can put executables into.
const SYSTEM_FOLDERS: [&str; 7] =
    ["/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/nix/store/", "/run/wrappers/"];

/// `Some(true)` when the writer is the program, `Some(false)` when it cannot be, `None` when nobody knows.
pub(super) fn judge(framed: &Framed<'_>, action: AuthAction) -> Option<bool> {
    let writer = &framed.writer;
    let exe = writer.exe.as_deref().map(|exe| exe.strip_suffix(" (deleted)").unwrap_or(exe));
    let name = exe.map(|exe| exe.rsplit_once('/').map_or(exe, |(_, name)| name));
    let is = |names: &[&str]| {
        name.map(|name| {
            names.contains(&name) && exe.is_some_and(|e| SYSTEM_FOLDERS.iter().any(|f| e.starts_with(f)))
        })
    };
    match framed.program.as_ref() {
        "sshd" | "sshd-session" | "sshd-auth" => {
            match (is(&["sshd", "sshd-session", "sshd-auth"]), writer.uid) {
                (Some(false), _) => Some(false),
                (exe, Some(0)) => exe,
                // sshd says goodbye under the uid of who was logged in, which anybody there may use as well.
                (_, Some(_)) if action == AuthAction::Disconnected => None,
                (_, Some(_)) => Some(false),
                (_, None) => None,
            }
        }
        // Setuid programs write under the uid of who called them.
        "sudo" | "sudoedit" | "sudo-rs" => is(&["sudo", "sudoedit", "sudo-rs"]),
        "su" | "runuser" => is(&["su", "runuser", "su-rs"]),
        // Of other programs the name of the executable is not known for certain: gdm-password is written
        // by gdm-session-worker. A writer that root did not start and that has another name is in doubt.
        program => match (is(&[&program.to_ascii_lowercase(), program.trim_matches(['(', ')'])]), writer.uid)
        {
            (Some(true), _) => Some(true),
            (Some(false), Some(uid)) if uid != 0 => Some(false),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parsed, parse_line, tests::context};

    fn trusted(program: &str, exe: Option<&str>, uid: u32, message: &str) -> Option<bool> {
        let exe = exe.map(|e| format!(r#""_EXE":"{e}","#)).unwrap_or_default();
        let line =
            format!(r#"{{{exe}"_UID":"{uid}","SYSLOG_IDENTIFIER":"{program}","MESSAGE":"{message}"}}"#);
        match parse_line(line.as_bytes(), &context()) {
            Parsed::Event(event) => event.trusted,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn only_root_running_sshd_is_sshd() {
        let line = "Accepted password for root from 192.0.2.6 port 1 ssh2";
        assert_eq!(trusted("sshd", Some("/usr/sbin/sshd"), 0, line), Some(true));
        assert_eq!(trusted("sshd", Some("/usr/sbin/sshd (deleted)"), 0, line), Some(true));
        assert_eq!(trusted("sshd-session", Some("/usr/lib/openssh/sshd-session"), 0, line), Some(true));
        assert_eq!(trusted("sshd", Some("/usr/bin/logger"), 0, line), Some(false));
        assert_eq!(trusted("sshd", Some("/home/eve/sshd"), 0, line), Some(false));
        assert_eq!(trusted("sshd", Some("/usr/sbin/sshd"), 1001, line), Some(false));
        assert_eq!(trusted("sshd", None, 1001, line), Some(false));
        assert_eq!(trusted("sshd", None, 0, line), None);
    }

    #[test]
    fn the_goodbye_of_a_users_own_sshd_process_is_not_called_a_forgery() {
        let line = "Disconnected from user alice 127.0.0.1 port 35126";
        assert_eq!(trusted("sshd", None, 1001, line), None);
        assert_eq!(trusted("sshd", Some("/usr/bin/logger"), 1001, line), Some(false));
    }

    #[test]
    fn setuid_programs_are_told_by_their_executable() {
        let line = "   alice : PWD=/ ; USER=root ; COMMAND=/usr/bin/id";
        assert_eq!(trusted("sudo", Some("/usr/bin/sudo"), 1001, line), Some(true));
        assert_eq!(trusted("sudo", Some("/tmp/sudo"), 1001, line), Some(false));
        assert_eq!(trusted("sudo", None, 1001, line), None);
        let line = "pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)";
        assert_eq!(trusted("CRON", Some("/usr/sbin/cron"), 0, line), Some(true));
        assert_eq!(trusted("CRON", Some("/usr/bin/logger"), 1001, line), Some(false));
    }
}
