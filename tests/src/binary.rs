//! Finding the built `secmon` and the programs of the machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Where daemons live that an ordinary `PATH` does not name.
const DAEMON_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/systemd:/lib/systemd";

/// The binary under test: `SECMON_BIN`, or `secmon` in the target folder that this program was built into.
///
/// # Panics
/// When there is none; the message says how to build it.
#[must_use]
#[track_caller]
pub fn secmon() -> PathBuf {
    if let Some(named) = env::var_os("SECMON_BIN") {
        return fs::canonicalize(&named)
            .unwrap_or_else(|error| panic!("SECMON_BIN={}: {error}", Path::new(&named).display()));
    }
    // A test runs from target/PROFILE/deps, a binary of this package from target/PROFILE.
    let me = env::current_exe().expect("the path of this program");
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("secmon"))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no secmon beside {}: run `cargo build` with the same profile, or set SECMON_BIN",
                me.display()
            )
        })
}

/// The full path of a program, daemons included.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(DAEMON_FOLDERS.split(':'))
        .map(|folder| Path::new(folder).join(name))
        .find(|p| p.is_file())
}

/// The full path of a program that a test has already required.
///
/// # Panics
/// When it is not installed.
#[must_use]
#[track_caller]
pub fn required_program(name: &str) -> PathBuf {
    program(name).unwrap_or_else(|| panic!("{name} is not installed; tests/run says what is needed"))
}
