//! A realm: a small machine of its own, made of private mount, pid, network and host name namespaces.
//!
//! It has its own `/run` (utmp, WireGuard's sockets, the journal), `/var/log`, `/dev` (`/dev/log`, terminals),
//! loopback and processes, all empty at first. `/tmp` is the machine's, so a Unix socket there is reached from
//! outside. Sources: `unshare(1)`, `nsenter(1)`, `mount_namespaces(7)`, `pid_namespaces(7)`.
//!
//! A realm ends when its holder does, and that reads a pipe of ours: it cannot outlive the test, even when
//! that is killed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    binary,
    process::{Output, Process},
};

/// The process that a command of a realm became, by the one that the test started: nsenter(1) forks into a pid
/// namespace.
///
/// # Panics
/// When it has ended.
#[must_use]
#[track_caller]
pub fn innermost(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    children.split_whitespace().find_map(|child| child.parse().ok()).map_or(pid, innermost)
}

/// Private namespaces with a process that holds them.
pub struct Realm {
    name: String,
    holder: Process,
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
        Self { name: name.to_owned(), holder }
    }

    /// The realm's host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs a program inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let holder = self.holder.pid();
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &holder.to_string(), "--mount", "--net", "--uts"])
            .arg(format!("--pid=/proc/{holder}/ns/pid_for_children"))
            .args(["--wd=/", "--", program]);
        command
    }

    /// Starts a program inside.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, program: &str, args: &[&str]) -> Process {
        Process::spawn(&format!("{program} in {}", self.name), self.command(program).args(args))
    }

    /// Runs a program inside to its end, whatever that is.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.spawn(program, args).finish()
    }

    /// Runs a program inside and insists that it succeeds; its standard output, trimmed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn check(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert_eq!(output.code(), 0, "{program} {args:?} in {}\n{output}", self.name);
        output.out().trim().to_owned()
    }

    /// A path of the realm, as the test can open it.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder.pid())).join(inside.trim_start_matches('/'))
    }

    /// Makes the realm's empty `/run/utmp`, as the init system of a host with utmp does.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    pub fn make_utmp(&self) {
        self.check("install", &["-m", "664", "-g", "utmp", "/dev/null", "/run/utmp"]);
    }

    /// A TCP port is listened on, by `/proc/net/tcp` (state 0A, `proc_pid_net(5)`), without a connection to it.
    #[must_use]
    pub fn listens_on(&self, port: u16) -> bool {
        let table =
            std::fs::read_to_string(format!("/proc/{}/net/tcp", self.holder.pid())).unwrap_or_default();
        let local = format!(":{port:04X}");
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|address| address.ends_with(&local)) && words.nth(1) == Some("0A")
        })
    }

    /// Joins two realms by a veth pair, each end called `link` and given an address with its prefix length.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn join(&self, other: &Self, link: &str, here: &str, there: &str) {
        let holder = self.holder.pid().to_string();
        let mut make = Command::new("nsenter");
        make.args(["--target", &holder, "--net", "--", "ip", "link", "add", "name", link, "type", "veth"]);
        make.args(["peer", "name", link, "netns", &other.holder.pid().to_string()]);
        let made = Process::run("ip link add", &mut make);
        assert_eq!(made.code(), 0, "{made}");
        for (realm, address) in [(self, here), (other, there)] {
            realm.check("ip", &["address", "add", address, "dev", link]);
            realm.check("ip", &["link", "set", link, "up"]);
        }
    }
}
