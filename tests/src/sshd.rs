//! A real sshd on the loopback of a realm, with host key, client key and configuration of its own.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use tempfile::TempDir;

use crate::{binary::required_program, process::Process, realm::Realm, wait::eventually};

/// A port for sshd; free in every realm, since the loopback is its own.
const PORT: u16 = 22;

/// A running sshd of a realm.
pub struct Sshd<'a> {
    realm: &'a Realm,
    folder: TempDir,
    _daemon: Process,
}

impl<'a> Sshd<'a> {
    /// Starts sshd and waits until it listens. Needs `sshd`, `ssh` and `ssh-keygen`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(realm: &'a Realm) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        for key in ["host", "client"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(key));
            let made = Process::run("ssh-keygen", &mut make);
            assert_eq!(made.code(), 0, "{made}");
        }
        write_script(&path("askpass"), "#!/bin/sh\necho wrong-password\n");
        let config = format!(
            "Port {PORT}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/client.pub\nPidFile none\n\
             StrictModes no\nPermitRootLogin yes\nUsePAM yes\nUseDNS no\nPasswordAuthentication yes\n\
             KbdInteractiveAuthentication no\nPrintMotd no\n",
            folder.path().display()
        );
        fs::write(path("config"), config).expect("the folder is writable");
        // sshd insists on being called by its full path.
        let sshd = required_program("sshd");
        let mut command = realm.command(sshd.to_str().expect("a path in UTF-8"));
        let daemon = Process::spawn("sshd", command.args(["-D", "-f"]).arg(path("config")));
        eventually("sshd to listen", || {
            assert!(daemon.is_running(), "sshd ended\n{}", daemon.output());
            realm.listens_on(PORT).then_some(())
        });
        Self { realm, folder, _daemon: daemon }
    }

    /// Logs in with the right key and a terminal, and runs a shell command there; the session lasts as long.
    ///
    /// # Panics
    /// When ssh cannot be started.
    #[must_use]
    #[track_caller]
    pub fn login(&self, user: &str, remote: &str) -> Process {
        let mut command = self.ssh(user);
        command.arg("-i").arg(self.folder.path().join("client"));
        Process::spawn_with_stdin("ssh", command.args(["-tt", "-o", "BatchMode=yes", "127.0.0.1", remote]))
    }

    /// Tries one wrong password as `user` and returns when sshd has refused it.
    ///
    /// # Panics
    /// When ssh does not end in time, or gets in.
    #[track_caller]
    pub fn try_wrong_password(&self, user: &str) {
        let mut command = self.ssh(user);
        command
            .env("SSH_ASKPASS", self.folder.path().join("askpass"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .args(["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "127.0.0.1", "true"]);
        let refused = Process::run("ssh", &mut command);
        assert_eq!(refused.code(), 255, "ssh reports 255 when it did not get in\n{refused}");
    }

    fn ssh(&self, user: &str) -> Command {
        let mut command = self.realm.command("ssh");
        command.args(["-F", "none", "-p", &PORT.to_string(), "-l", user]);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
        ] {
            command.args(["-o", option]);
        }
        command
    }
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, text).expect("the folder is writable");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("the file is ours");
}
