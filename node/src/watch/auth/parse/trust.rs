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
    let program = framed.program.as_ref();
    let Some((_, executables, runs)) = WRITERS.iter().find(|(programs, ..)| programs.contains(&program))
    else {
        // Of other programs the name of the executable is not known for certain: gdm-password is written
        // by gdm-session-worker. A writer that root did not start and that has another name is in doubt.
        return match (is(&[&program.to_ascii_lowercase(), program.trim_matches(['(', ')'])]), writer.uid) {
            (Some(true), _) => Some(true),
            (Some(false), Some(uid)) if uid != 0 => Some(false),
            _ => None,
        };
    };
    match (is(executables), writer.uid, runs) {
        (Some(false), ..) => Some(false),
        (exe, _, Runs::SetUid) | (exe, Some(0), _) => exe,
        // sshd says goodbye under the uid of who was logged in, which anybody there may use as well; so does
        // dropbear.
        (_, Some(_), Runs::ThenAsUser) if action == AuthAction::Disconnected => None,
        // polkitd's user has no fixed uid, and its executable may be run by anybody: but only root and that user
        // write under a uid of the system's.
        (exe, Some(uid), Runs::AsSystem) => {
            if uid < FIRST_USER {
                exe
            } else {
                Some(false)
            }
        }
        (_, Some(_), _) => Some(false),
        (_, None, _) => None,
    }
}

/// Under which uid a program writes.
#[derive(Clone, Copy)]
enum Runs {
    /// Under root's.
    AsRoot,
    /// Under root's, and at the end under that of who was logged in.
    ThenAsUser,
    /// Under one below [`FIRST_USER`].
    AsSystem,
    /// Under that of whoever called it.
    SetUid,
}

/// The first uid that is given to people, `UID_MIN` of login.defs(5).
const FIRST_USER: u32 = 1000;

/// The programs of the tables: their names in the log, the executables that write under them, and their uid.
const WRITERS: &[(&[&str], &[&str], Runs)] = &[
    (&["sshd", "sshd-session", "sshd-auth"], &["sshd", "sshd-session", "sshd-auth"], Runs::ThenAsUser),
    (&["dropbear"], &["dropbear", "dropbearmulti", "busybox"], Runs::ThenAsUser),
    (&["sudo", "sudoedit", "sudo-rs"], &["sudo", "sudoedit", "sudo-rs"], Runs::SetUid),
    (&["su", "runuser"], &["su", "runuser", "su-rs", "busybox"], Runs::SetUid),
    (&["doas"], &["doas"], Runs::SetUid),
    (&["pkexec"], &["pkexec"], Runs::SetUid),
    (&["polkit-agent-helper-1"], &["polkit-agent-helper-1"], Runs::SetUid),
    (&["unix_chkpwd"], &["unix_chkpwd"], Runs::SetUid),
    (&["polkitd", "polkitd(authority=local)"], &["polkitd"], Runs::AsSystem),
    (&["login"], &["login", "busybox"], Runs::AsRoot),
    (&["systemd-logind"], &["systemd-logind"], Runs::AsRoot),
    // Anybody may call these, for himself.
    (&["passwd"], &["passwd", "busybox"], Runs::SetUid),
    (&["gpasswd"], &["gpasswd"], Runs::SetUid),
    (&["chage"], &["chage"], Runs::SetUid),
    (&["chfn"], &["chfn"], Runs::SetUid),
    (&["chsh"], &["chsh"], Runs::SetUid),
    (&["newgrp", "sg"], &["newgrp", "sg"], Runs::SetUid),
    (&["useradd"], &["useradd"], Runs::AsRoot),
    (&["userdel"], &["userdel"], Runs::AsRoot),
    (&["usermod"], &["usermod"], Runs::AsRoot),
    (&["groupadd"], &["groupadd"], Runs::AsRoot),
    (&["groupdel"], &["groupdel"], Runs::AsRoot),
    (&["groupmod"], &["groupmod"], Runs::AsRoot),
    (&["chpasswd"], &["chpasswd", "busybox"], Runs::AsRoot),
    (&["chgpasswd"], &["chgpasswd"], Runs::AsRoot),
    (&["newusers"], &["newusers"], Runs::AsRoot),
];

#[cfg(test)]
mod tests {
    use super::super::{Parsed, parse_line, tests::context};

    fn trusted(program: &str, exe: Option<&str>, uid: u32, message: &str) -> Option<bool> {
        let exe = exe.map(|e| format!(r#""_EXE":"{e}","#)).unwrap_or_default();
        let line =
            format!(r#"{{{exe}"_UID":"{uid}","SYSLOG_IDENTIFIER":"{program}","MESSAGE":"{message}"}}"#);
        match parse_line(line.as_bytes(), &context()) {
            Parsed::Event(heard) => heard.event.trusted,
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

    #[test]
    fn programs_that_only_root_runs_write_as_root() {
        let line = "new user: name=eve, UID=0, GID=0, home=/, shell=/bin/sh";
        assert_eq!(trusted("useradd", Some("/usr/sbin/useradd"), 0, line), Some(true));
        assert_eq!(trusted("useradd", Some("/usr/sbin/useradd"), 1001, line), Some(false));
        assert_eq!(trusted("useradd", Some("/usr/bin/logger"), 0, line), Some(false));
        assert_eq!(trusted("useradd", None, 0, line), None);
        let line = "ROOT LOGIN ON tty1";
        assert_eq!(trusted("login", Some("/usr/bin/login"), 0, line), Some(true));
        assert_eq!(trusted("login", Some("/usr/bin/login"), 1001, line), Some(false));
        let line = "Password auth succeeded for 'root' from 192.0.2.7:1";
        assert_eq!(trusted("dropbear", Some("/usr/sbin/dropbear"), 0, line), Some(true));
        assert_eq!(trusted("dropbear", Some("/usr/sbin/dropbear"), 1001, line), Some(false));
        let line = "Exit (alice) from <192.0.2.7:1>: Disconnect received";
        assert_eq!(trusted("dropbear", Some("/usr/sbin/dropbear"), 1001, line), None);
    }

    #[test]
    fn programs_that_anybody_may_run_are_told_by_their_executable() {
        for (program, exe, line) in [
            ("doas", "/usr/bin/doas", "alice ran command id as root from /"),
            (
                "pkexec",
                "/usr/bin/pkexec",
                "alice: Executing command [USER=root] [TTY=x] [CWD=/] [COMMAND=/bin/id]",
            ),
            ("passwd", "/usr/bin/passwd", "pam_unix(passwd:chauthtok): password changed for alice"),
            ("gpasswd", "/usr/bin/gpasswd", "user alice added by bob to group staff"),
        ] {
            assert_eq!(trusted(program, Some(exe), 1001, line), Some(true), "{program}");
            assert_eq!(trusted(program, Some("/usr/bin/logger"), 1001, line), Some(false), "{program}");
            assert_eq!(trusted(program, Some("/usr/bin/logger"), 0, line), Some(false), "{program}");
            assert_eq!(trusted(program, None, 1001, line), None, "{program}");
        }
        let line = "Operator of unix-session:1 FAILED to authenticate to gain authorization for action a for b [c] (owned by unix-user:d)";
        assert_eq!(trusted("polkitd", Some("/usr/lib/polkit-1/polkitd"), 997, line), Some(true));
        assert_eq!(trusted("polkitd", Some("/usr/lib/polkit-1/polkitd"), 1001, line), Some(false));
    }
}
