//! A realm: a small machine of its own, made of private mount, pid, network and host name namespaces.
//!
//! It has its own `/run` (utmp, WireGuard's sockets, the journal), `/var/log`, `/dev` (`/dev/log`, terminals),
//! loopback and processes, all empty at first. `/tmp` is the machine's, so a Unix socket there is reached from
//! outside. Sources: `unshare(1)`, `nsenter(1)`, `mount_namespaces(7)`, `pid_namespaces(7)`.
//!
//! A realm ends when its holder does, and that reads a pipe of ours: it cannot outlive the test, even when
//! that is killed.

use std::{ops::Deref, process::Command};

use crate::{binary, machine::Machine, process::Process};

/// The process that a command of a realm became, by the one that the test started: nsenter(1) forks into a pid
/// namespace. One that has ended is all there is.
#[must_use]
pub fn innermost(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().find_map(|child| child.parse().ok()).map_or(pid, innermost)
}

/// Private namespaces with a process that holds them.
pub struct Realm {
    machine: Machine,
    _holder: Process,
}

impl Deref for Realm {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Realm {
    /// Makes a realm; `name` is its host name. Needs [`crate::need::Need::Namespaces`].
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self::make(name, "")
    }

    /// Makes a realm where `/run/bin/secmon` is the binary under test.
    ///
    /// # Panics
    /// When the kernel refuses or the binary is not built.
    #[must_use]
    #[track_caller]
    pub fn with_secmon(name: &str) -> Self {
        Self::make(name, binary::secmon().to_str().expect("a path in UTF-8"))
    }

    #[track_caller]
    fn make(name: &str, binary: &str) -> Self {
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "--pid",
                "--net",
                "--uts",
                "--fork",
                "--kill-child",
            ])
            .args(["--mount-proc", "bash", "-c", include_str!("realm.sh")])
            .env("REALM_NAME", name)
            .env("REALM_BINARY", binary);
        let holder = Process::spawn_with_stdin(&format!("realm {name}"), &mut command);
        holder.wait_until("the realm to stand", |output| output.stdout.starts_with(b"ready").then_some(()));
        let pid = format!("--pid=/proc/{}/ns/pid_for_children", holder.pid());
        let enter = ["--mount", "--net", "--uts", &pid, "--wd=/", "--"].map(str::to_owned).into();
        Self { machine: Machine::new(name, holder.pid(), enter), _holder: holder }
    }

    /// Makes the realm's empty `/run/utmp`, as the init system of a host with utmp does.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    pub fn make_utmp(&self) {
        self.check("install", &["-m", "664", "-g", "utmp", "/dev/null", "/run/utmp"]);
    }
}
