//! The product under test, as its users run it: a hub, nodes that join it by token, and the command line.
//!
//! Everything lives in one temporary folder, listens on a free port, and watches nothing of the machine
//! unless a test says so.

pub mod bridge;
mod hub;
mod integration;
mod node;
mod watch;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

pub use self::{
    bridge::Bridge,
    hub::Hub,
    integration::Integration,
    node::{Node, NodeSetup},
    watch::Watch,
};
use crate::{binary, realm::Realm};

/// Variables that would make the product behave differently on a developer's machine.
const NOT_INHERITED: [&str; 18] = [
    "SECMON_SOCKET",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CLICOLOR_FORCE",
    "CREDENTIALS_DIRECTORY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// A temporary folder that every user may look into, for the state, sockets and files of one test.
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    /// An empty one.
    ///
    /// # Panics
    /// When the temporary folder cannot be made.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder, which a default should not")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("secmon-test-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("the folder is ours");
        Self { folder }
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the folder is ours");
        path
    }
}

/// Where a program of the product runs.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// On the machine itself.
    Here,
    /// In a realm made by [`Realm::with_secmon`].
    In(&'a Realm),
    /// In such a realm as another user, by uid, whose only group has the same number.
    As(&'a Realm, u32),
}

impl Place<'_> {
    /// A command that runs the binary under test there, with an environment of its own.
    ///
    /// # Panics
    /// When the binary is not built.
    #[must_use]
    #[track_caller]
    pub fn secmon(&self) -> Command {
        let mut command = match self {
            Self::Here => {
                // It must not outlive a test that is killed.
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]).arg(binary::secmon());
                command
            }
            Self::In(realm) => realm.command("/run/bin/secmon"),
            Self::As(realm, uid) => {
                let mut command = realm.command("setpriv");
                command.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "--"]);
                command.arg("/run/bin/secmon");
                command
            }
        };
        for variable in NOT_INHERITED {
            command.env_remove(variable);
        }
        command.env("NO_COLOR", "1");
        command
    }
}

/// A path as an argument.
///
/// # Panics
/// When it is not UTF-8; the harness makes none such.
#[must_use]
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("the harness makes paths in UTF-8")
}
