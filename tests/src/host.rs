//! A whole host: a Debian that `tests/images` made, booted with systemd as its first process.
//!
//! It has its own logind, D-Bus, journald, sshd and users, its own control groups, network and processes, and
//! a copy of the image whose changes live in memory. What it shares with the machine is the kernel and the clock.
//! Sources: the container interface of systemd, <https://systemd.io/CONTAINER_INTERFACE/>, and `namespaces(7)`.
//!
//! A host ends when its keeper (`host.sh`) does, and that reads a pipe of ours: it cannot outlive the test, even
//! when that is killed.

use std::{
    fs, io,
    ops::Deref,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::{
    binary, cache,
    machine::Machine,
    process::{Process, lines},
    wait::eventually,
};

mod console;

pub use console::Console;

/// What is booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// bookworm: systemd 252, `/run/utmp`, shadow's login.
    Debian12,
    /// trixie: systemd 257 without utmp, sshd-session, util-linux' login, wtmpdb.
    Debian13,
}

impl Distribution {
    /// Its image, as `tests/images` names it, whether it is there or not.
    #[must_use]
    pub fn image(self) -> PathBuf {
        cache::folder().join(match self {
            Self::Debian12 => "debian-12",
            Self::Debian13 => "debian-13",
        })
    }
}

/// A booted host.
pub struct Host {
    machine: Machine,
    distribution: Distribution,
    /// The folder of its control group, as the machine sees it.
    group: PathBuf,
    /// Ends the host when it is dropped.
    keeper: Process,
}

impl Deref for Host {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Host {
    /// Boots a host and waits until systemd says that it runs. `/usr/local/bin/secmon` is the binary under test.
    /// Needs [`crate::need::Need::Host`].
    ///
    /// # Panics
    /// When it does not come up, or comes up with a failed unit.
    #[must_use]
    #[track_caller]
    pub fn boot(distribution: Distribution, name: &str) -> Self {
        let image = fs::canonicalize(distribution.image()).expect("an image: tests/images makes it");
        let mut command = Command::new("bash");
        command.args(["-c", include_str!("host.sh")]);
        command.env("HOST_NAME", name).env("HOST_IMAGE", image).env("HOST_BINARY", binary::secmon());
        let keeper = Process::spawn_with_stdin(&format!("host {name}"), &mut command);
        let up = |line: &str| {
            let (pid, group) = line.strip_prefix("up ")?.split_once(' ')?;
            Some((pid.parse().ok()?, PathBuf::from(group)))
        };
        let (init, group): (u32, _) =
            keeper.wait_until("the host to boot", |output| lines(&output.stdout).find_map(up));
        let mut enter: Vec<String> =
            ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"].map(str::to_owned).into();
        // Nothing of the test's environment is a host's.
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        enter.extend(["--wd=/", "--", "env", "-i", path].map(str::to_owned));
        let host = Self { machine: Machine::new(name, init, enter), distribution, group, keeper };
        host.wait_until_running();
        host.check("ip", &["link", "set", "lo", "up"]);
        host
    }

    #[track_caller]
    fn wait_until_running(&self) {
        let state = eventually("systemd to have started everything", || {
            assert!(self.path("/sbin/init").exists(), "it ended\n{}", self.keeper.output());
            let state = self.run("systemctl", &["is-system-running", "--wait"]).out();
            // Before it can be asked there is no answer, and "offline".
            ["running", "degraded"].into_iter().find(|known| state.trim() == *known)
        });
        let failed = || self.run("systemctl", &["--failed", "--no-legend"]).out();
        assert_eq!(state, "running", "{} {:?}: {}", self.name(), self.distribution, failed());
    }

    /// What was booted.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        self.distribution
    }

    /// The folder of its control group, as the machine sees it.
    #[must_use]
    pub fn control_group(&self) -> &Path {
        &self.group
    }

    /// Writes a file of the host, with the folders above it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, path: &str, mode: u32, content: &str) {
        let file = self.path(path);
        let folder = file.parent().expect("a file is in a folder");
        let written = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .and_then(|()| {
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&file)
            })
            .and_then(|mut file| io::Write::write_all(&mut file, content.as_bytes()));
        written.unwrap_or_else(|error| panic!("{path} of {}: {error}", self.name()));
    }

    /// The messages of a program in the host's journal, oldest first: what the product is compared with.
    ///
    /// # Panics
    /// When the journal cannot be read.
    #[must_use]
    #[track_caller]
    pub fn logged_by(&self, identifier: &str) -> Vec<String> {
        let text = self.check("journalctl", &["--quiet", "--output=cat", "--identifier", identifier]);
        text.lines().map(str::to_owned).collect()
    }

    /// Gives the host a console, `/dev/console`, with a getty on it that asks for a login.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[track_caller]
    pub fn console(&self) -> Console {
        Console::open(self)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            let journal = self.command("journalctl").args(["--no-pager", "--lines=150"]).output();
            if let Ok(journal) = journal {
                eprintln!("=== the journal of {}\n{}", self.name(), String::from_utf8_lossy(&journal.stdout));
            }
        }
    }
}

/// What of a host this machine cannot do, as a sentence for people; `None` when hosts can be booted.
pub(crate) fn lacking() -> Option<String> {
    for distribution in [Distribution::Debian12, Distribution::Debian13] {
        let image = distribution.image();
        if !image.join("sbin/init").exists() {
            return Some(format!("the image {} (tests/images makes it)", image.display()));
        }
    }
    // CGROUP2_SUPER_MAGIC of linux/magic.h; `host.sh` looks at the same two places.
    let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter().any(is_unified);
    (!unified).then(|| "a cgroup v2 hierarchy in /sys/fs/cgroup".to_owned())
}

/// A control group of version 2 has this file, cgroup v2 of the kernel's admin-guide; one of version 1 has not.
fn is_unified(hierarchy: &str) -> bool {
    Path::new(hierarchy).join("cgroup.controllers").exists()
}
