//! Namespaces from outside: how to run programs in them, look at their files and join their networks.
//!
//! A [`crate::realm::Realm`] and a [`crate::host::Host`] are machines; what makes them differ is who boots them.
//! Sources: `nsenter(1)`, `pid_namespaces(7)`, `proc(5)`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{Output, Process};

/// Somewhere to run programs, held by a process that somebody else keeps alive.
pub struct Machine {
    name: String,
    /// The process whose namespaces these are, as the test counts.
    holder: u32,
    /// The arguments of `nsenter` that lead inside, up to the program.
    enter: Vec<String>,
}

impl Machine {
    pub(crate) fn new(name: &str, holder: u32, enter: Vec<String>) -> Self {
        Self { name: name.to_owned(), holder, enter }
    }

    /// The machine's host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs a program inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.to_string()]).args(&self.enter).arg(program);
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

    /// A path of the machine, as the test can open it.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.holder)).join(inside.trim_start_matches('/'))
    }

    /// A TCP port is listened on, by `/proc/net/tcp` (state 0A, `proc_pid_net(5)`), without a connection to it.
    #[must_use]
    pub fn listens_on(&self, port: u16) -> bool {
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.holder)).unwrap_or_default();
        let local = format!(":{port:04X}");
        table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|address| address.ends_with(&local)) && words.nth(1) == Some("0A")
        })
    }

    /// Joins two machines by a veth pair, each end called `link` and given an address with its prefix length.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn join(&self, other: &Self, link: &str, here: &str, there: &str) {
        let mut make = Command::new("nsenter");
        make.args(["--target", &self.holder.to_string(), "--net", "--"]);
        make.args(["ip", "link", "add", "name", link, "type", "veth"]);
        make.args(["peer", "name", link, "netns", &other.holder.to_string()]);
        let made = Process::run("ip link add", &mut make);
        assert_eq!(made.code(), 0, "{made}");
        for (machine, address) in [(self, here), (other, there)] {
            machine.check("ip", &["address", "add", address, "dev", link]);
            machine.check("ip", &["link", "set", link, "up"]);
        }
    }
}
