//! A real sshd on the loopback of a realm, with host key, client key and configuration of its own.

use std::{fs, process::Command};

use tempfile::TempDir;

use crate::{
    binary::required_program,
    process::Process,
    realm::Realm,
    ssh::{PORT, Ssh, make_key},
    wait::eventually,
};

/// A running sshd of a realm.
pub struct Sshd<'a> {
    client: Ssh<'a>,
    _folder: TempDir,
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
        let client = Ssh::new(realm, "127.0.0.1");
        make_key(&path("host"));
        let config = format!(
            "Port {PORT}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nPermitRootLogin yes\nUsePAM yes\nUseDNS no\nPasswordAuthentication yes\n\
             KbdInteractiveAuthentication no\nPrintMotd no\n",
            path("host").display(),
            client.public_key().display()
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
        Self { client, _folder: folder, _daemon: daemon }
    }

    /// Logs in with the right key and a terminal, and runs a shell command there; the session lasts as long.
    ///
    /// # Panics
    /// When ssh cannot be started.
    #[must_use]
    #[track_caller]
    pub fn login(&self, user: &str, remote: &str) -> Process {
        self.client.login(user, remote)
    }

    /// A command that logs in with the right key and without a terminal, and runs a shell command there.
    #[must_use]
    pub fn command(&self, user: &str, remote: &str) -> Command {
        self.client.piped(user, remote)
    }

    /// Tries one wrong password as `user` and returns when sshd has refused it.
    ///
    /// # Panics
    /// When ssh does not end in time, or gets in.
    #[track_caller]
    pub fn try_wrong_password(&self, user: &str) {
        let refused = self.client.try_password(user, "wrong-password", "true");
        assert_eq!(refused.code(), 255, "ssh reports 255 when it did not get in\n{refused}");
    }
}
