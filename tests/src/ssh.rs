//! A real ssh client with a key of its own, somewhere that reaches an sshd.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    machine::Machine,
    process::{Output, Process},
};

/// Where sshd listens; free on every machine of a test, since each has a network of its own.
pub const PORT: u16 = 22;

/// An ssh client. Needs `ssh` and `ssh-keygen`.
pub struct Ssh<'a> {
    from: &'a Machine,
    to: String,
    folder: TempDir,
}

impl<'a> Ssh<'a> {
    /// A client on a machine, for the sshd at an address.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    #[track_caller]
    pub fn new(from: &'a Machine, to: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        make_key(&folder.path().join("client"));
        let askpass = folder.path().join("askpass");
        fs::write(&askpass, "#!/bin/sh\nprintf '%s\\n' \"$TEST_PASSWORD\"\n")
            .expect("the folder is writable");
        fs::set_permissions(&askpass, Permissions::from_mode(0o755)).expect("the file is ours");
        Self { from, to: to.to_owned(), folder }
    }

    /// The file of its public key, a line for `authorized_keys`.
    #[must_use]
    pub fn public_key(&self) -> PathBuf {
        self.folder.path().join("client.pub")
    }

    /// Logs in with the key and a terminal, and runs a shell command there; the session lasts as long.
    ///
    /// # Panics
    /// When ssh cannot be started.
    #[must_use]
    #[track_caller]
    pub fn login(&self, user: &str, remote: &str) -> Process {
        Process::spawn_with_stdin("ssh -tt", self.with_key(user).args(["-tt", &self.to, remote]))
    }

    /// Logs in with the key and without a terminal, as scp and ansible do.
    ///
    /// # Panics
    /// When ssh cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(&self, user: &str, remote: &str) -> Process {
        Process::spawn_with_stdin("ssh", self.with_key(user).args([&self.to, remote]))
    }

    /// A command that logs in with the key and without a terminal, for who reads its output himself.
    #[must_use]
    pub fn piped(&self, user: &str, remote: &str) -> Command {
        let mut command = self.with_key(user);
        command.args([&self.to, remote]);
        command
    }

    /// Runs a shell command over ssh, without a terminal, to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    #[track_caller]
    pub fn run(&self, user: &str, remote: &str) -> Output {
        Process::run("ssh", self.with_key(user).args([&self.to, remote]))
    }

    /// Tries a password once, and runs a shell command if that is the right one.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    #[track_caller]
    pub fn try_password(&self, user: &str, password: &str, remote: &str) -> Output {
        let mut command = self.command(user);
        command
            .env("SSH_ASKPASS", self.folder.path().join("askpass"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("TEST_PASSWORD", password)
            .args(["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", &self.to, remote]);
        Process::run("ssh with a password", &mut command)
    }

    fn with_key(&self, user: &str) -> Command {
        let mut command = self.command(user);
        command.arg("-i").arg(self.folder.path().join("client")).args(["-o", "BatchMode=yes"]);
        command
    }

    fn command(&self, user: &str) -> Command {
        let mut command = self.from.command("ssh");
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

/// Makes a key pair without a passphrase.
#[track_caller]
pub(crate) fn make_key(path: &Path) {
    let mut make = Command::new("ssh-keygen");
    let made = Process::run("ssh-keygen", make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path));
    assert_eq!(made.code(), 0, "{made}");
}
